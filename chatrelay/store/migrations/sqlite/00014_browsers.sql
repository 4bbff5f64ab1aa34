-- SPDX-License-Identifier: GPL-3.0-or-later
-- +goose Up
ALTER TABLE subscriptions ADD COLUMN name TEXT NOT NULL DEFAULT '';   -- of the browser, as "Chrome on Android"
ALTER TABLE subscriptions ADD COLUMN lang TEXT NOT NULL DEFAULT '';   -- in which it shows what comes
ALTER TABLE subscriptions ADD COLUMN added BIGINT NOT NULL DEFAULT 0; -- when it was put for the first time
ALTER TABLE subscriptions ADD COLUMN shown BIGINT NOT NULL DEFAULT 0; -- when it last showed something
UPDATE subscriptions SET added = put;

-- +goose Down
ALTER TABLE subscriptions DROP COLUMN shown;
ALTER TABLE subscriptions DROP COLUMN added;
ALTER TABLE subscriptions DROP COLUMN lang;
ALTER TABLE subscriptions DROP COLUMN name;
