-- SPDX-License-Identifier: GPL-3.0-or-later
-- +goose Up
ALTER TABLE logins ADD COLUMN signed_out BIGINT NOT NULL DEFAULT 0; -- sessions that began before have ended

-- +goose Down
ALTER TABLE logins DROP COLUMN signed_out;
