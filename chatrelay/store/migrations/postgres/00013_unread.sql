-- SPDX-License-Identifier: GPL-3.0-or-later
-- +goose Up
CREATE TABLE unread (                   -- who gets unread words by mail: everybody who has been in the room
    participant BIGINT PRIMARY KEY REFERENCES participants (id) ON DELETE CASCADE,
    sent   BIGINT NOT NULL,             -- offset up to which they have got what there is
    mailed BIGINT NOT NULL DEFAULT 0,   -- when the last mail went out
    taken  BIGINT NOT NULL DEFAULT 0,   -- a relay sends them one since then
    stop   BOOLEAN NOT NULL DEFAULT FALSE -- they want none about this conversation
);
CREATE INDEX rooms_talked ON rooms (talked);

-- +goose Down
DROP INDEX rooms_talked;
DROP TABLE unread;
