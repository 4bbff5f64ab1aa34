-- SPDX-License-Identifier: GPL-3.0-or-later
-- +goose Up
ALTER TABLE rooms ADD COLUMN talked BIGINT NOT NULL DEFAULT 0; -- newest message of a person, or attempt; 0: only mails
UPDATE rooms SET talked = COALESCE((SELECT MAX(m.at) FROM messages m
    WHERE m.room = rooms.id AND m.kind IN ('text', 'file')), 0);
UPDATE rooms SET talked = COALESCE((SELECT MAX(a.started) FROM attempts a WHERE a.room = rooms.id), 0)
    WHERE talked = 0;
ALTER TABLE participants ADD COLUMN assignee TEXT NOT NULL DEFAULT ''; -- of a group: login of the member whose room it is
CREATE INDEX participants_assignee ON participants (assignee) WHERE assignee <> '';
UPDATE attempts SET acked = TRUE WHERE state = 'cancelled';
CREATE INDEX attempts_started ON attempts (started);
CREATE TABLE dismissals (               -- missed calls that a login does not want to see any more
    login TEXT NOT NULL,
    room  TEXT NOT NULL REFERENCES rooms (id) ON DELETE CASCADE,
    at    BIGINT NOT NULL,              -- attempts that began until then
    PRIMARY KEY (login, room)
);
CREATE INDEX dismissals_room ON dismissals (room);
CREATE TABLE labels (
    owner TEXT NOT NULL,                -- a login, or a group's address
    room  TEXT NOT NULL REFERENCES rooms (id) ON DELETE CASCADE,
    label TEXT NOT NULL,
    PRIMARY KEY (owner, room, label)
);
CREATE INDEX labels_room ON labels (room);
CREATE INDEX labels_label ON labels (owner, label);
CREATE TABLE team_notes (               -- never a part of the conversation
    room   TEXT NOT NULL REFERENCES rooms (id) ON DELETE CASCADE,
    owner  TEXT NOT NULL,               -- a group's address, or the login that wrote it
    pos    BIGINT NOT NULL,             -- rises by one
    id     TEXT NOT NULL,               -- made by the client
    login  TEXT NOT NULL,               -- who wrote it
    body   TEXT NOT NULL,
    behind BIGINT NOT NULL,             -- offset of the room's newest message then
    at     BIGINT NOT NULL,
    PRIMARY KEY (room, owner, pos),
    UNIQUE (room, owner, login, id)
);

-- +goose Down
DROP TABLE team_notes;
DROP TABLE labels;
DROP TABLE dismissals;
DROP INDEX attempts_started;
DROP INDEX participants_assignee;
ALTER TABLE participants DROP COLUMN assignee;
ALTER TABLE rooms DROP COLUMN talked;
