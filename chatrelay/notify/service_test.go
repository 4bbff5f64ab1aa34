// SPDX-License-Identifier: GPL-3.0-or-later

package notify

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

const pagesBase = "https://chat.mall.example"

// browser is one that has subscribed.
type browser struct {
	private *ecdh.PrivateKey
	auth    []byte
	sub     Subscription
}

func newBrowser(t *testing.T, endpoint string) *browser {
	t.Helper()
	k, err := ecdh.P256().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	b := &browser{private: k, auth: make([]byte, 16)}
	rand.Read(b.auth)
	b.sub.Endpoint = endpoint
	b.sub.Keys.P256dh = base64.RawURLEncoding.EncodeToString(k.PublicKey().Bytes())
	b.sub.Keys.Auth = base64.RawURLEncoding.EncodeToString(b.auth)
	return b
}

// open decrypts a push as a browser does: RFC 8291 section 3.4, RFC 8188.
func (b *browser) open(body []byte) ([]byte, error) {
	if len(body) < 21+65 || body[20] != 65 {
		return nil, errors.New("not an aes128gcm header with a P-256 key")
	}
	salt, size, key := body[:16], binary.BigEndian.Uint32(body[16:20]), body[21:86]
	if record := body[86:]; len(body) > 4096 || uint32(len(record)) > size {
		return nil, fmt.Errorf("%d octets in records of %d", len(body), size)
	}
	server, err := ecdh.P256().NewPublicKey(key)
	if err != nil {
		return nil, err
	}
	shared, err := b.private.ECDH(server)
	if err != nil {
		return nil, err
	}
	info := "WebPush: info\x00" + string(b.private.PublicKey().Bytes()) + string(key)
	ikm, err := hkdf.Key(sha256.New, shared, b.auth, info, 32)
	if err != nil {
		return nil, err
	}
	cek, err := hkdf.Key(sha256.New, ikm, salt, "Content-Encoding: aes128gcm\x00", 16)
	if err != nil {
		return nil, err
	}
	nonce, err := hkdf.Key(sha256.New, ikm, salt, "Content-Encoding: nonce\x00", 12)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(cek)
	if err != nil {
		return nil, err
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		return nil, err
	}
	plain, err := gcm.Open(nil, nonce, body[86:], nil)
	if err != nil {
		return nil, err
	}
	text := strings.TrimRight(string(plain), "\x00")
	if !strings.HasSuffix(text, "\x02") { // the last record's delimiter
		return nil, errors.New("no delimiter")
	}
	return []byte(text[:len(text)-1]), nil
}

// checkVAPID checks the Authorization of a push: RFC 8292 sections 2 and 3.
func checkVAPID(value, origin, public string) error {
	rest, ok := strings.CutPrefix(value, "vapid ")
	if !ok {
		return fmt.Errorf("the scheme of %q", value)
	}
	var token, key string
	for _, param := range strings.Split(rest, ",") {
		switch name, v, _ := strings.Cut(strings.TrimSpace(param), "="); name {
		case "t":
			token = v
		case "k":
			key = v
		}
	}
	if key != public {
		return fmt.Errorf("signed by %q, the subscription is for %q", key, public)
	}
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return fmt.Errorf("not a JWT: %q", token)
	}
	var decoded [3][]byte
	for i, p := range parts {
		b, err := base64.RawURLEncoding.DecodeString(p)
		if err != nil {
			return err
		}
		decoded[i] = b
	}
	var header struct{ Typ, Alg string }
	if err := json.Unmarshal(decoded[0], &header); err != nil || header.Typ != "JWT" || header.Alg != "ES256" {
		return fmt.Errorf("the JWT's header %s: %w", decoded[0], err)
	}
	point, err := base64.RawURLEncoding.DecodeString(key)
	if err != nil {
		return err
	}
	pub, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point)
	if err != nil {
		return err
	}
	sum := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	if len(decoded[2]) != 64 || !ecdsa.Verify(pub, sum[:], new(big.Int).SetBytes(decoded[2][:32]),
		new(big.Int).SetBytes(decoded[2][32:])) {
		return errors.New("the JWT's signature is wrong")
	}
	var claims struct {
		Aud, Sub string
		Exp      int64
	}
	if err := json.Unmarshal(decoded[1], &claims); err != nil {
		return err
	}
	if left := time.Until(time.Unix(claims.Exp, 0)); left < time.Minute || left > 24*time.Hour {
		return fmt.Errorf("the JWT is good for %v", left)
	}
	if claims.Aud != origin || claims.Sub != "mailto:postmaster@mall.example" {
		return fmt.Errorf("the JWT's claims are %+v", claims)
	}
	return nil
}

// pushed is one request that the service took.
type pushed struct {
	path, topic, urgency, ttl string
	note                      Note // as far as the notification tells
	shown                     pushMessage
}

// note is what a notification tells of its note.
func (m pushMessage) note() Note {
	d := m.Notification.Data
	return Note{Kind: d.Kind, Room: d.Room, Attempt: d.Attempt, Subject: m.Notification.Body,
		URL: strings.TrimPrefix(m.Notification.Navigate, pagesBase),
		At:  time.UnixMilli(m.Notification.Timestamp).UTC()}
}

// service is a push service. Its answers are set by the test.
type service struct {
	*httptest.Server
	t        *testing.T
	keys     Keys
	mu       sync.Mutex
	browsers map[string]*browser // by path
	answer   func(w http.ResponseWriter, got pushed)
	got      chan pushed
}

func newService(t *testing.T) *service {
	t.Helper()
	s := &service{t: t, keys: newKeys(t), browsers: make(map[string]*browser), got: make(chan pushed, 1000)}
	s.Server = httptest.NewTLSServer(http.HandlerFunc(s.serve))
	t.Cleanup(s.Server.Close)
	return s
}

func newKeys(t *testing.T) Keys {
	t.Helper()
	keys, err := LoadKeys(t.Context(), new(settings).Setting)
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

func (s *service) browser(path string) *browser {
	b := newBrowser(s.t, s.URL+path)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.browsers[path] = b
	return b
}

func (s *service) serve(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	b, answer := s.browsers[r.URL.Path], s.answer
	s.mu.Unlock()
	body, err := io.ReadAll(io.LimitReader(r.Body, 8192))
	if b == nil || err != nil || r.Method != http.MethodPost || r.Header.Get("Content-Encoding") != "aes128gcm" {
		s.t.Errorf("%s %s: %v", r.Method, r.URL.Path, err)
		return
	}
	if err := checkVAPID(r.Header.Get("Authorization"), s.URL, s.keys.Public()); err != nil {
		s.t.Errorf("VAPID: %v", err)
	}
	got := pushed{path: r.URL.Path, topic: r.Header.Get("Topic"),
		urgency: r.Header.Get("Urgency"), ttl: r.Header.Get("TTL")}
	plain, err := b.open(body)
	if err == nil {
		err = json.Unmarshal(plain, &got.shown)
		got.note = got.shown.note()
	}
	if err != nil {
		s.t.Errorf("decrypting: %v", err)
	}
	if answer != nil {
		answer(w, got)
	} else {
		w.WriteHeader(http.StatusCreated)
	}
	s.got <- got
}

// settings is a store.Store as far as settings go.
type settings struct {
	mu sync.Mutex
	m  map[string][]byte
}

// TestVector tries the browser's side against RFC 8291 appendix A.
func TestVector(t *testing.T) {
	t.Parallel()
	dec := func(s string) []byte {
		b, err := base64.RawURLEncoding.DecodeString(s)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	k, err := ecdh.P256().NewPrivateKey(dec("q1dXpw3UpT5VOmu_cf_v6ih07Aems3njxI-JWgLcM94"))
	if err != nil {
		t.Fatal(err)
	}
	b := &browser{private: k, auth: dec("BTBZMqHH6r4Tts7J_aSIgg")}
	plain, err := b.open(dec("DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27ml" +
		"mlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A_yl95bQpu6cVPT" +
		"pK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN"))
	if err != nil || string(plain) != "When I grow up, I want to be a watermelon" {
		t.Errorf("got %q, %v", plain, err)
	}
}
