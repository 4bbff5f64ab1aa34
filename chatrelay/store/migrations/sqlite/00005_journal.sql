-- SPDX-License-Identifier: GPL-3.0-or-later
-- +goose Up
CREATE TABLE journal (
    pos BIGINT NOT NULL                 -- newest record of the journal that is in this database
);
INSERT INTO journal (pos) VALUES (0);

-- +goose Down
DROP TABLE journal;
