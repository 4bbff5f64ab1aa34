-- +goose Up
CREATE TABLE companies (
    id      TEXT PRIMARY KEY,
    name    TEXT NOT NULL,
    login   TEXT NOT NULL, -- who sees its figures
    created BIGINT NOT NULL
);
CREATE INDEX companies_login ON companies (login);

CREATE TABLE adverts (
    company    TEXT NOT NULL REFERENCES companies (id) ON DELETE CASCADE,
    id         TEXT NOT NULL UNIQUE,
    title      TEXT NOT NULL,
    text       TEXT NOT NULL,
    picture    TEXT NOT NULL DEFAULT '', -- hash
    target     TEXT NOT NULL, -- goods or shop in the mall, or an https address
    shop       TEXT NOT NULL DEFAULT '', -- whose "Chat now" is counted
    places     TEXT NOT NULL DEFAULT '', -- front, list, goods, search; space-separated, empty: all
    categories TEXT NOT NULL DEFAULT '',
    starts     BIGINT NOT NULL,
    ends       BIGINT NOT NULL,
    weight     INTEGER NOT NULL DEFAULT 1,
    budget     BIGINT NOT NULL, -- in all
    spent      BIGINT NOT NULL DEFAULT 0 CHECK (spent <= budget),
    price      BIGINT NOT NULL, -- of a talk that was rung and answered
    max_views  BIGINT NOT NULL DEFAULT 0, -- a day; 0: none
    state      TEXT NOT NULL, -- draft, review, shown, refused, ended
    why        TEXT NOT NULL DEFAULT '', -- it was refused
    created    BIGINT NOT NULL,
    PRIMARY KEY (company, id)
);
CREATE INDEX adverts_state ON adverts (state, ends);

CREATE TABLE advert_days (
    advert  TEXT NOT NULL REFERENCES adverts (id) ON DELETE CASCADE,
    day     TEXT NOT NULL, -- 2006-01-02, in UTC
    place   TEXT NOT NULL,
    views   BIGINT NOT NULL DEFAULT 0,
    presses BIGINT NOT NULL DEFAULT 0,
    talks   BIGINT NOT NULL DEFAULT 0,
    spent   BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (advert, day, place)
);

-- Talks that were charged, so that one is charged once.
CREATE TABLE advert_talks (
    room   TEXT PRIMARY KEY,
    advert TEXT NOT NULL REFERENCES adverts (id) ON DELETE CASCADE,
    at     BIGINT NOT NULL
);

-- +goose Down
DROP TABLE advert_talks;
DROP TABLE advert_days;
DROP TABLE adverts;
DROP TABLE companies;
