-- SPDX-License-Identifier: GPL-3.0-or-later
-- +goose Up
DROP TABLE journal;

-- +goose Down
CREATE TABLE journal (
    pos BIGINT NOT NULL
);
INSERT INTO journal (pos) VALUES (0);
