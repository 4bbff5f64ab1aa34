-- SPDX-License-Identifier: GPL-3.0-or-later
-- +goose Up
CREATE TABLE members_of (               -- of groups
    source TEXT NOT NULL,               -- who says so: empty the configuration, else a part of the server
    addr   TEXT NOT NULL,               -- the group's address, which is its login
    login  TEXT NOT NULL,
    PRIMARY KEY (source, addr, login)
);
INSERT INTO members_of SELECT '', addr, login FROM members;
DROP TABLE members;
ALTER TABLE members_of RENAME TO members;
CREATE INDEX members_login ON members (login);
CREATE INDEX members_addr ON members (addr);

-- +goose Down
CREATE TABLE members_of (
    addr  TEXT NOT NULL,
    login TEXT NOT NULL,
    PRIMARY KEY (addr, login)
);
INSERT INTO members_of SELECT DISTINCT addr, login FROM members;
DROP TABLE members;
ALTER TABLE members_of RENAME TO members;
CREATE INDEX members_login ON members (login);
