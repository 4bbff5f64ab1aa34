-- SPDX-License-Identifier: GPL-3.0-or-later
-- +goose Up
CREATE TABLE logins (
    login    TEXT PRIMARY KEY,
    settings TEXT NOT NULL              -- JSON
);
CREATE TABLE subscriptions (            -- browsers that take notifications (Web Push)
    endpoint TEXT PRIMARY KEY,
    login    TEXT NOT NULL,
    p256dh   TEXT NOT NULL,
    auth     TEXT NOT NULL,
    put      BIGINT NOT NULL
);
CREATE INDEX subscriptions_login ON subscriptions (login, put);
CREATE TABLE blocks (
    login TEXT NOT NULL,                -- who has blocked
    who   TEXT NOT NULL,                -- a mail address; #ID: a participant without one
    name  TEXT NOT NULL,
    at    BIGINT NOT NULL,
    PRIMARY KEY (login, who)
);
CREATE TABLE members (                  -- of groups
    addr  TEXT NOT NULL,                -- the group's address, which is its login
    login TEXT NOT NULL,
    PRIMARY KEY (addr, login)
);
CREATE INDEX members_login ON members (login);
ALTER TABLE participants ADD COLUMN muted BOOLEAN NOT NULL DEFAULT FALSE; -- rings of the room have no sound
ALTER TABLE attempts ADD COLUMN why TEXT NOT NULL DEFAULT '';       -- why it did not ring
ALTER TABLE attempts ADD COLUMN words TEXT NOT NULL DEFAULT '';     -- of a decline
ALTER TABLE attempts ADD COLUMN taker BIGINT NOT NULL DEFAULT 0;    -- participant who answered, of a group
ALTER TABLE attempts ADD COLUMN mailed BIGINT NOT NULL DEFAULT 0;   -- the alarm mail went out
ALTER TABLE attempts ADD COLUMN pushed BIGINT NOT NULL DEFAULT 0;   -- a notification was taken
CREATE INDEX attempts_tell ON attempts (callee) WHERE tell;

-- +goose Down
DROP INDEX attempts_tell;
ALTER TABLE attempts DROP COLUMN pushed;
ALTER TABLE attempts DROP COLUMN mailed;
ALTER TABLE attempts DROP COLUMN taker;
ALTER TABLE attempts DROP COLUMN words;
ALTER TABLE attempts DROP COLUMN why;
ALTER TABLE participants DROP COLUMN muted;
DROP TABLE members;
DROP TABLE blocks;
DROP TABLE subscriptions;
DROP TABLE logins;
