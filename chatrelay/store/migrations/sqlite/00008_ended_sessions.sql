-- SPDX-License-Identifier: GPL-3.0-or-later
-- +goose Up
CREATE TABLE ended_sessions (
    id      TEXT PRIMARY KEY,
    login   TEXT NOT NULL,
    expires BIGINT NOT NULL -- when the session would have ended by itself
);
CREATE INDEX ended_sessions_login ON ended_sessions (login);

-- +goose Down
DROP TABLE ended_sessions;
