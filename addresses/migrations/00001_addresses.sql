-- +goose Up
-- SQL for SQLite and PostgreSQL alike. Addresses and domains are in lower case, times are
-- microseconds since 1970 in UTC.

-- Domains that are served besides those of the configuration.
CREATE TABLE domains (
    name TEXT PRIMARY KEY
);

-- Whose mail an address is. "@mall.example" is every address of the domain that is
-- nobody's.
CREATE TABLE aliases (
    addr   TEXT NOT NULL,
    member TEXT NOT NULL,
    PRIMARY KEY (addr, member)
);
CREATE INDEX aliases_member ON aliases (member);

-- What is set for a login. Who has nothing set has no row.
CREATE TABLE people (
    login    TEXT PRIMARY KEY,
    disabled BOOLEAN NOT NULL DEFAULT FALSE,
    reason   TEXT NOT NULL DEFAULT '', -- why, for its owner
    quota    BIGINT,                   -- octets; 0: no bound; NULL: as the configuration says
    rules    TEXT NOT NULL DEFAULT ''  -- JSON of addresses.Rules
);

-- Senders whom a login's vacation notice has answered, and when.
CREATE TABLE answered (
    login  TEXT NOT NULL,
    sender TEXT NOT NULL,
    at     BIGINT NOT NULL,
    PRIMARY KEY (login, sender)
);
CREATE INDEX answered_at ON answered (at);

CREATE TABLE secrets (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
);

-- +goose Down
DROP TABLE secrets;
DROP TABLE answered;
DROP TABLE people;
DROP TABLE aliases;
DROP TABLE domains;
