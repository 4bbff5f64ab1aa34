-- SPDX-License-Identifier: GPL-3.0-or-later
-- +goose Up
-- proven: they have been in the room and have shown who they are; then only what they see so is read.
ALTER TABLE unread ADD COLUMN proven BOOLEAN NOT NULL DEFAULT FALSE;
UPDATE unread SET proven = TRUE WHERE participant IN (SELECT participant FROM claims WHERE proven);

-- +goose Down
ALTER TABLE unread DROP COLUMN proven;
