-- +goose Up
-- SQL for SQLite and PostgreSQL alike: ids are texts made by the program, times are
-- microseconds since 1970 in UTC, money is integers of the currency's smallest unit.

CREATE TABLE settings (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
);

CREATE TABLE shops (
    id             TEXT PRIMARY KEY,
    slug           TEXT NOT NULL UNIQUE, -- of its address in the mall
    name           TEXT NOT NULL,
    addr           TEXT NOT NULL UNIQUE, -- the group that its mails and rings go to
    about          TEXT NOT NULL DEFAULT '', -- Markdown
    postal         TEXT NOT NULL DEFAULT '', -- of its mails' footer
    lang           TEXT NOT NULL DEFAULT 'en',
    currency       TEXT NOT NULL DEFAULT 'KRW',
    hours          TEXT NOT NULL DEFAULT '', -- JSON of store.Hours
    transfer       TEXT NOT NULL DEFAULT '', -- where money is transferred to
    show_questions BOOLEAN NOT NULL DEFAULT FALSE,
    state          TEXT NOT NULL, -- applied, open, closed, refused
    created        BIGINT NOT NULL
);

CREATE TABLE staff (
    shop    TEXT NOT NULL REFERENCES shops (id) ON DELETE CASCADE,
    login   TEXT NOT NULL,
    role    TEXT NOT NULL, -- owner, manager, agent
    created BIGINT NOT NULL,
    PRIMARY KEY (shop, login)
);
CREATE INDEX staff_login ON staff (login);

-- Keys of a shop's API: the SHA-256 alone.
CREATE TABLE shop_keys (
    shop    TEXT NOT NULL REFERENCES shops (id) ON DELETE CASCADE,
    id      TEXT NOT NULL,
    name    TEXT NOT NULL,
    hash    TEXT NOT NULL UNIQUE,
    created BIGINT NOT NULL,
    used    BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (shop, id)
);

-- Web origins whose pages may show the shop's buttons.
CREATE TABLE shop_origins (
    shop   TEXT NOT NULL REFERENCES shops (id) ON DELETE CASCADE,
    origin TEXT NOT NULL,
    PRIMARY KEY (shop, origin)
);

CREATE TABLE categories (
    id       TEXT PRIMARY KEY,
    parent   TEXT NOT NULL DEFAULT '',
    name_en  TEXT NOT NULL,
    name_ko  TEXT NOT NULL,
    place    INTEGER NOT NULL DEFAULT 0 -- among its siblings
);

CREATE TABLE goods (
    shop     TEXT NOT NULL REFERENCES shops (id) ON DELETE CASCADE,
    id       TEXT NOT NULL UNIQUE,
    sku      TEXT NOT NULL,
    title    TEXT NOT NULL,
    text     TEXT NOT NULL DEFAULT '', -- Markdown
    category TEXT NOT NULL DEFAULT '',
    state    TEXT NOT NULL, -- draft, shown, gone
    price    BIGINT NOT NULL, -- the lowest of its variants, for lists
    created  BIGINT NOT NULL,
    changed  BIGINT NOT NULL,
    PRIMARY KEY (shop, id),
    UNIQUE (shop, sku)
);
CREATE INDEX goods_new ON goods (state, id);
CREATE INDEX goods_category ON goods (category, state, id);

-- What can be bought: every goods has at least one.
CREATE TABLE variants (
    shop   TEXT NOT NULL,
    goods  TEXT NOT NULL,
    id     TEXT NOT NULL,
    name   TEXT NOT NULL DEFAULT '', -- empty: the only one
    price  BIGINT NOT NULL,
    stock  BIGINT NOT NULL CHECK (stock >= 0),
    place  INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (shop, goods, id),
    FOREIGN KEY (shop, goods) REFERENCES goods (shop, id) ON DELETE CASCADE
);

CREATE INDEX variants_goods ON variants (goods);

-- Pictures of goods; the files are named by their hash.
CREATE TABLE pictures (
    shop   TEXT NOT NULL,
    goods  TEXT NOT NULL,
    hash   TEXT NOT NULL,
    width  INTEGER NOT NULL,
    height INTEGER NOT NULL,
    alt    TEXT NOT NULL DEFAULT '',
    place  INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (shop, goods, hash),
    FOREIGN KEY (shop, goods) REFERENCES goods (shop, id) ON DELETE CASCADE
);

CREATE INDEX pictures_goods ON pictures (goods, place);

-- Pairs of neighbouring letters in what goods are found by.
CREATE TABLE grams (
    gram  TEXT NOT NULL,
    goods TEXT NOT NULL REFERENCES goods (id) ON DELETE CASCADE,
    PRIMARY KEY (gram, goods)
);
CREATE INDEX grams_goods ON grams (goods);

-- +goose Down
DROP TABLE grams;
DROP TABLE pictures;
DROP TABLE variants;
DROP TABLE goods;
DROP TABLE categories;
DROP TABLE shop_origins;
DROP TABLE shop_keys;
DROP TABLE staff;
DROP TABLE shops;
DROP TABLE settings;
