-- SPDX-License-Identifier: GPL-3.0-or-later
-- Times are microseconds since 1970 UTC; 0 means never.

-- +goose Up
CREATE TABLE rooms (
    id      TEXT PRIMARY KEY,
    epoch   TEXT NOT NULL,
    next    BIGINT NOT NULL,            -- offset of the next message
    subject TEXT NOT NULL,
    created BIGINT NOT NULL,
    touched BIGINT NOT NULL,            -- time of the last message
    owner   BIGINT NOT NULL             -- participant
);
CREATE TABLE participants (
    id    INTEGER PRIMARY KEY AUTOINCREMENT,
    room  TEXT NOT NULL REFERENCES rooms (id) ON DELETE CASCADE,
    login TEXT NOT NULL,
    addr  TEXT NOT NULL,
    name  TEXT NOT NULL,
    guest BOOLEAN NOT NULL,
    hidden BOOLEAN NOT NULL DEFAULT FALSE, -- in Bcc, and not come in yet
    seen  BIGINT NOT NULL DEFAULT 0     -- last offset read
);
CREATE INDEX participants_room ON participants (room);
CREATE UNIQUE INDEX participants_login ON participants (login, room) WHERE login <> '' AND NOT guest;
CREATE TABLE mails (
    message_id TEXT NOT NULL,
    room       TEXT NOT NULL REFERENCES rooms (id) ON DELETE CASCADE,
    PRIMARY KEY (message_id, room)
);
CREATE TABLE invites (
    token     BLOB PRIMARY KEY,         -- SHA-256 of the token
    room      TEXT NOT NULL REFERENCES rooms (id) ON DELETE CASCADE,
    recipient BIGINT NOT NULL REFERENCES participants (id) ON DELETE CASCADE,
    callee    BIGINT NOT NULL REFERENCES participants (id) ON DELETE CASCADE,
    subject   TEXT NOT NULL,
    mailed    BIGINT NOT NULL,
    expires   BIGINT NOT NULL,
    revoked   BOOLEAN NOT NULL DEFAULT FALSE
);
CREATE INDEX invites_room ON invites (room, callee);
CREATE INDEX invites_expires ON invites (expires);
CREATE TABLE claims (
    invite      BLOB NOT NULL REFERENCES invites (token) ON DELETE CASCADE,
    claim       BLOB NOT NULL,          -- SHA-256 of the browser's secret
    participant BIGINT NOT NULL REFERENCES participants (id) ON DELETE CASCADE,
    PRIMARY KEY (invite, claim)
);
CREATE TABLE codes (
    invite BLOB NOT NULL REFERENCES invites (token) ON DELETE CASCADE,
    hash   BLOB NOT NULL,               -- SHA-256 of token and code
    made   BIGINT NOT NULL,
    tries  BIGINT NOT NULL DEFAULT 0
);
CREATE INDEX codes_invite ON codes (invite, made);
CREATE TABLE messages (
    room   TEXT NOT NULL REFERENCES rooms (id) ON DELETE CASCADE,
    pos    BIGINT NOT NULL,             -- offset
    id     TEXT NOT NULL,
    sender BIGINT NOT NULL,             -- participant; 0 is the server
    kind   TEXT NOT NULL,
    body   TEXT NOT NULL,
    at     BIGINT NOT NULL,
    PRIMARY KEY (room, pos),
    UNIQUE (room, sender, id)
);
CREATE TABLE attempts (
    id      TEXT PRIMARY KEY,
    room    TEXT NOT NULL REFERENCES rooms (id) ON DELETE CASCADE,
    caller  BIGINT NOT NULL REFERENCES participants (id) ON DELETE CASCADE,
    callee  BIGINT NOT NULL REFERENCES participants (id) ON DELETE CASCADE,
    state   TEXT NOT NULL,
    rings   BIGINT NOT NULL,
    started BIGINT NOT NULL,
    ended   BIGINT NOT NULL,
    tell    BOOLEAN NOT NULL,
    acked   BOOLEAN NOT NULL DEFAULT FALSE
);
CREATE INDEX attempts_room ON attempts (room, started);
CREATE INDEX attempts_open ON attempts (started) WHERE ended = 0;
CREATE INDEX attempts_callee ON attempts (callee);
CREATE TABLE settings (
    name  TEXT PRIMARY KEY,
    value BLOB NOT NULL
);

-- +goose Down
DROP TABLE settings;
DROP TABLE attempts;
DROP TABLE messages;
DROP TABLE codes;
DROP TABLE claims;
DROP TABLE invites;
DROP TABLE mails;
DROP TABLE participants;
DROP TABLE rooms;
