-- +goose Up
-- Who advertises is a shop, perhaps one that sells nothing here. Nothing was ever
-- written into the tables before.
DROP TABLE advert_talks;
DROP TABLE advert_days;
DROP TABLE adverts;
DROP TABLE companies;

-- It advertises, and has no goods: lists of shops leave it out.
ALTER TABLE shops ADD COLUMN company BOOLEAN NOT NULL DEFAULT FALSE;

CREATE TABLE adverts (
    shop       TEXT NOT NULL REFERENCES shops (id) ON DELETE CASCADE, -- who pays
    id         TEXT NOT NULL UNIQUE,
    title      TEXT NOT NULL,
    text       TEXT NOT NULL,
    picture    TEXT NOT NULL DEFAULT '', -- hash
    width      INTEGER NOT NULL DEFAULT 0, -- of its largest file
    height     INTEGER NOT NULL DEFAULT 0,
    alt        TEXT NOT NULL DEFAULT '',
    target     TEXT NOT NULL, -- /goods/ID or /shops/SLUG of the mall, or an https address
    rings      TEXT NOT NULL, -- the shop whose answered "Chat now" is charged
    places     TEXT NOT NULL DEFAULT '', -- front, list, goods, search; space-separated, empty: all
    categories TEXT NOT NULL DEFAULT '', -- the same
    starts     BIGINT NOT NULL,
    ends       BIGINT NOT NULL,
    weight     INTEGER NOT NULL DEFAULT 1,
    budget     BIGINT NOT NULL, -- in all
    spent      BIGINT NOT NULL DEFAULT 0 CHECK (spent <= budget),
    price      BIGINT NOT NULL CHECK (price > 0), -- of a talk that was rung and answered
    max_views  BIGINT NOT NULL DEFAULT 0, -- a day; 0: no limit
    state      TEXT NOT NULL, -- draft, review, shown, paused, refused, ended
    why        TEXT NOT NULL DEFAULT '', -- it was refused
    created    BIGINT NOT NULL,
    PRIMARY KEY (shop, id)
);
CREATE INDEX adverts_state ON adverts (state, id);

CREATE TABLE advert_days (
    shop    TEXT NOT NULL,
    advert  TEXT NOT NULL,
    day     TEXT NOT NULL, -- 2006-01-02, in UTC
    place   TEXT NOT NULL,
    views   BIGINT NOT NULL DEFAULT 0,
    presses BIGINT NOT NULL DEFAULT 0,
    talks   BIGINT NOT NULL DEFAULT 0,
    spent   BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (shop, advert, day, place),
    FOREIGN KEY (shop, advert) REFERENCES adverts (shop, id) ON DELETE CASCADE
);

-- Conversations that somebody opened who came from an advertisement; charged once.
CREATE TABLE advert_talks (
    room     TEXT PRIMARY KEY,
    shop     TEXT NOT NULL,
    advert   TEXT NOT NULL,
    place    TEXT NOT NULL,
    came     BIGINT NOT NULL, -- when "Chat now" was pressed
    answered BIGINT NOT NULL DEFAULT 0,
    charged  BIGINT NOT NULL DEFAULT 0,
    FOREIGN KEY (shop, advert) REFERENCES adverts (shop, id) ON DELETE CASCADE
);
CREATE INDEX advert_talks_advert ON advert_talks (shop, advert);

-- +goose Down
DROP TABLE advert_talks;
DROP TABLE advert_days;
DROP TABLE adverts;
ALTER TABLE shops DROP COLUMN company;
CREATE TABLE companies (
    id      TEXT PRIMARY KEY,
    name    TEXT NOT NULL,
    login   TEXT NOT NULL,
    created BIGINT NOT NULL
);
CREATE INDEX companies_login ON companies (login);
CREATE TABLE adverts (
    company    TEXT NOT NULL REFERENCES companies (id) ON DELETE CASCADE,
    id         TEXT NOT NULL UNIQUE,
    title      TEXT NOT NULL,
    text       TEXT NOT NULL,
    picture    TEXT NOT NULL DEFAULT '',
    target     TEXT NOT NULL,
    shop       TEXT NOT NULL DEFAULT '',
    places     TEXT NOT NULL DEFAULT '',
    categories TEXT NOT NULL DEFAULT '',
    starts     BIGINT NOT NULL,
    ends       BIGINT NOT NULL,
    weight     INTEGER NOT NULL DEFAULT 1,
    budget     BIGINT NOT NULL,
    spent      BIGINT NOT NULL DEFAULT 0 CHECK (spent <= budget),
    price      BIGINT NOT NULL,
    max_views  BIGINT NOT NULL DEFAULT 0,
    state      TEXT NOT NULL,
    why        TEXT NOT NULL DEFAULT '',
    created    BIGINT NOT NULL,
    PRIMARY KEY (company, id)
);
CREATE INDEX adverts_state ON adverts (state, ends);
CREATE TABLE advert_days (
    advert  TEXT NOT NULL REFERENCES adverts (id) ON DELETE CASCADE,
    day     TEXT NOT NULL,
    place   TEXT NOT NULL,
    views   BIGINT NOT NULL DEFAULT 0,
    presses BIGINT NOT NULL DEFAULT 0,
    talks   BIGINT NOT NULL DEFAULT 0,
    spent   BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (advert, day, place)
);
CREATE TABLE advert_talks (
    room   TEXT PRIMARY KEY,
    advert TEXT NOT NULL REFERENCES adverts (id) ON DELETE CASCADE,
    at     BIGINT NOT NULL
);
