-- SPDX-License-Identifier: GPL-3.0-or-later
-- +goose Up
-- The computers whose program signed in with a token.
CREATE TABLE programs (
    id    TEXT PRIMARY KEY, -- of the session
    login TEXT NOT NULL,
    name  TEXT NOT NULL,    -- of the computer
    made  BIGINT NOT NULL,
    seen  BIGINT NOT NULL,
    addr  TEXT NOT NULL     -- from which it was seen
);
CREATE INDEX programs_login ON programs (login);
-- Codes that are good once, and were used.
CREATE TABLE used_codes (
    id      TEXT PRIMARY KEY,
    expires BIGINT NOT NULL -- when the code would have ended by itself
);

-- +goose Down
DROP TABLE programs;
DROP TABLE used_codes;
