-- SPDX-License-Identifier: GPL-3.0-or-later
-- +goose Up
ALTER TABLE messages ADD COLUMN ref BIGINT NOT NULL DEFAULT 0;            -- offset that an edit or a delete changes
ALTER TABLE messages ADD COLUMN edited BIGINT NOT NULL DEFAULT 0;
ALTER TABLE messages ADD COLUMN deleted BOOLEAN NOT NULL DEFAULT FALSE;   -- the body is gone
ALTER TABLE messages ADD COLUMN via TEXT NOT NULL DEFAULT '';             -- "mail"
CREATE TABLE files (
    room   TEXT NOT NULL REFERENCES rooms (id) ON DELETE CASCADE,
    pos    BIGINT NOT NULL,     -- offset of its message
    id     TEXT NOT NULL,       -- SHA-256
    folder TEXT NOT NULL,       -- of the relay that keeps it
    name   TEXT NOT NULL,
    type   TEXT NOT NULL,
    size   BIGINT NOT NULL,
    octets BIGINT NOT NULL,     -- with its thumbnail
    width  BIGINT NOT NULL,
    height BIGINT NOT NULL,
    thumb  BOOLEAN NOT NULL,
    PRIMARY KEY (room, pos)
);
CREATE INDEX files_id ON files (id, folder);
CREATE TABLE transcripts (
    participant BIGINT PRIMARY KEY REFERENCES participants (id) ON DELETE CASCADE,
    room        TEXT NOT NULL REFERENCES rooms (id) ON DELETE CASCADE,
    wish        BOOLEAN NOT NULL,
    usual       BOOLEAN NOT NULL,           -- not said in this room: by the login's settings
    lang        TEXT NOT NULL,
    zone        TEXT NOT NULL,
    sent        BIGINT NOT NULL,            -- offset up to which transcripts went out
    taken       BIGINT NOT NULL DEFAULT 0   -- when a relay began to send one, by this database's clock
);
CREATE INDEX transcripts_room ON transcripts (room);

-- +goose Down
DROP TABLE transcripts;
DROP TABLE files;
ALTER TABLE messages DROP COLUMN via;
ALTER TABLE messages DROP COLUMN deleted;
ALTER TABLE messages DROP COLUMN edited;
ALTER TABLE messages DROP COLUMN ref;
