-- SPDX-License-Identifier: GPL-3.0-or-later
-- +goose Up
ALTER TABLE claims ADD COLUMN proven BOOLEAN NOT NULL DEFAULT FALSE; -- the browser has proven to be whose link it is
ALTER TABLE claims ADD COLUMN since BIGINT NOT NULL DEFAULT 0;       -- offset from which on it reads, while unproven
ALTER TABLE claims ADD COLUMN idle BIGINT NOT NULL DEFAULT 0;        -- nobody talked with it, and it was gone by then; 0: it is in use
ALTER TABLE invites ADD COLUMN since BIGINT NOT NULL DEFAULT 0;      -- offset from which on an unproven browser reads; 0: from where it comes in
ALTER TABLE participants ADD COLUMN removed BOOLEAN NOT NULL DEFAULT FALSE; -- was put out of the room
ALTER TABLE attempts ADD COLUMN unproven BOOLEAN NOT NULL DEFAULT FALSE;    -- whoever rang had not proven who they are

-- +goose Down
ALTER TABLE attempts DROP COLUMN unproven;
ALTER TABLE participants DROP COLUMN removed;
ALTER TABLE invites DROP COLUMN since;
ALTER TABLE claims DROP COLUMN idle;
ALTER TABLE claims DROP COLUMN since;
ALTER TABLE claims DROP COLUMN proven;
