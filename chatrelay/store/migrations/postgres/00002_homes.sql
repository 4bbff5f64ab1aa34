-- SPDX-License-Identifier: GPL-3.0-or-later
-- +goose Up
CREATE TABLE relays (
    name   TEXT PRIMARY KEY,     -- of the relay host
    origin TEXT NOT NULL,        -- of its pages
    socket TEXT NOT NULL,        -- its WebSocket endpoint
    beat   BIGINT NOT NULL,      -- newest heartbeat, by this database's clock; 0: it has left
    drains BOOLEAN NOT NULL      -- it takes no further rooms
);
ALTER TABLE rooms ADD COLUMN home TEXT NOT NULL DEFAULT ''; -- relay that serves the room now
CREATE INDEX rooms_home ON rooms (home) WHERE home <> '';

-- +goose Down
DROP INDEX rooms_home;
ALTER TABLE rooms DROP COLUMN home;
DROP TABLE relays;
