// SPDX-License-Identifier: GPL-3.0-or-later

// What makes a tab ring: a tone made here, the title that flashes, and a
// notification of the system. A browser lets a page sound only after a press.

import { t } from '../base/i18n';
import { tabRings } from '../base/tabtitle';
import { after, every } from '../base/time';
import { soundsHere } from '../model/tabs';
import { noticeTag, registration } from '../wire/push';

const phrase = 2600; // ms from one chime to the next
// A rising figure and its answer: [start in s, Hz].
const notes: [number, number][] = [[0, 659.3], [0.16, 784], [0.32, 987.8], [0.8, 784], [0.96, 987.8]];

let sound: AudioContext | undefined;

/** canSound: the browser lets this tab sound. */
export const canSound = () => sound?.state === 'running';

/** mayNotify: granted, refused, or still to be asked. */
export const mayNotify = () => ('Notification' in window ? Notification.permission : 'denied');

/** unlock is called in a press; it reports when the tab can sound. */
export async function unlock(): Promise<void> {
  sound ??= new AudioContext();
  // Without an audio device resume may wait for ever.
  await Promise.race([sound.resume(), new Promise<void>((done) => after(500, done))]).catch(() => {});
}

export async function askToNotify(): Promise<void> {
  if ('Notification' in window && Notification.permission === 'default') await Notification.requestPermission();
}

function tone(at: number, hz: number, loud: number): void {
  if (!sound) return;
  const gain = sound.createGain();
  gain.gain.setValueAtTime(0, at);
  gain.gain.linearRampToValueAtTime(loud, at + 0.015);
  gain.gain.exponentialRampToValueAtTime(0.0001, at + 0.7);
  gain.connect(sound.destination);
  for (const [factor, share] of [[1, 1], [2, 0.25]] as const) {
    const part = sound.createGain();
    part.gain.value = share;
    part.connect(gain);
    const osc = sound.createOscillator();
    osc.frequency.value = hz * factor;
    osc.connect(part);
    osc.start(at);
    osc.stop(at + 0.8);
  }
}

/** sample lets one hear the ring. */
export function sample(): void {
  if (!canSound()) return;
  for (const [at, hz] of notes) tone(sound!.currentTime + at, hz, 0.22);
}

const chime = () => soundsHere() && sample();

/** messageSound announces a message that is not before one's eyes. */
export function messageSound(): void {
  if (!canSound() || !soundsHere()) return;
  tone(sound!.currentTime, 880, 0.1);
}

export interface Notice {
  title: string; body: string;
  room: string;
  attempt?: string;  // of a ring: with Answer and Decline where the browser has buttons
  onclick(): void;
}

/** notify shows a notification of the system while the page is not looked at, and returns what takes it away. */
export function notify(n: Notice): () => void {
  if (mayNotify() !== 'granted' || !document.hidden || !soundsHere()) return () => {};
  let gone = false;
  let close = () => {};
  void show(n).then((stop) => {
    close = stop;
    if (gone) close();
  });
  return () => {
    gone = true;
    close();
  };
}

async function show(n: Notice): Promise<() => void> {
  // A ring keeps a notification of its own, with its buttons, whatever else comes in its conversation.
  const tag = noticeTag(n.room, n.attempt);
  const options = { body: n.body, tag, renotify: true, requireInteraction: !!n.attempt,
    icon: '/icon-192.png', badge: '/badge-96.png' };
  const reg = await registration();
  if (reg?.active) {
    const actions = n.attempt
      ? [{ action: 'answer', title: t('ring.answer') }, { action: 'decline', title: t('ring.decline') }] : [];
    const more = { actions, data: { room: n.room, attempt: n.attempt ?? '', url: '/desk#' + n.room } };
    await reg.showNotification(n.title, { ...options, ...more }).catch(() => {});
    return () => void reg.getNotifications({ tag }).then((all) => all.forEach((x) => x.close()));
  }
  try {
    const shown = new Notification(n.title, options);
    shown.onclick = () => {
      window.focus();
      n.onclick();
      shown.close();
    };
    return () => shown.close();
  } catch {
    return () => {}; // Chrome on Android has none for pages
  }
}

/** How a ring sounds: aloud, or only a little while one is talking to somebody else. */
export type Loudness = 'loud' | 'gentle';

/** ring sounds and flashes until the returned function is called. */
export function ring(who: string, how: Loudness): () => void {
  const sounds = how === 'loud' ? chime : messageSound;
  sounds();
  tabRings(t('ring.title', { name: who }));
  if (how === 'loud') navigator.vibrate?.([300, 150, 300]);
  const stopSound = every(phrase, sounds);
  return () => {
    stopSound();
    tabRings('');
  };
}
