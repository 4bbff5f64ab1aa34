-- +goose Up
CREATE TABLE members (
    id         TEXT PRIMARY KEY,
    login      TEXT NOT NULL UNIQUE, -- of their mailbox and chats; after an erasure "erased:ID"
    addr_hash  TEXT NOT NULL UNIQUE, -- keyed hash of their own e-mail address
    sealed     TEXT NOT NULL, -- JSON of store.Personal, sealed with the member's id
    lang       TEXT NOT NULL DEFAULT 'en',
    state      TEXT NOT NULL, -- active, erased
    record     BOOLEAN NOT NULL DEFAULT FALSE, -- whether their use of the mall is recorded
    publicity  BOOLEAN NOT NULL DEFAULT FALSE, -- whether hosts may mail them about goods
    created    BIGINT NOT NULL
);

-- Proof of each consent, given or taken back.
CREATE TABLE consents (
    id      TEXT PRIMARY KEY,
    member  TEXT NOT NULL REFERENCES members (id) ON DELETE CASCADE,
    shop    TEXT NOT NULL DEFAULT '', -- empty: the mall
    what    TEXT NOT NULL, -- record, publicity
    given   BOOLEAN NOT NULL,
    at      BIGINT NOT NULL,
    addr    TEXT NOT NULL, -- of the browser
    wording TEXT NOT NULL  -- that was agreed to
);
CREATE INDEX consents_member ON consents (member);

-- Registrations whose address is not confirmed yet; the SHA-256 of the mailed link.
CREATE TABLE registrations (
    hash     TEXT PRIMARY KEY,
    sealed   TEXT NOT NULL, -- JSON of what was typed, sealed with the hash
    password TEXT NOT NULL, -- its hash
    expires  BIGINT NOT NULL
);

CREATE TABLE passkeys (
    id         TEXT PRIMARY KEY, -- the credential's
    member     TEXT NOT NULL REFERENCES members (id) ON DELETE CASCADE,
    credential TEXT NOT NULL, -- JSON of webauthn.Credential
    name       TEXT NOT NULL DEFAULT '',
    created    BIGINT NOT NULL
);
CREATE INDEX passkeys_member ON passkeys (member);

CREATE TABLE sessions (
    hash    TEXT PRIMARY KEY, -- SHA-256 of the cookie
    login   TEXT NOT NULL, -- a member's, or that of staff
    created BIGINT NOT NULL,
    seen    BIGINT NOT NULL
);
CREATE INDEX sessions_login ON sessions (login);

-- What members looked at, of those who agreed.
CREATE TABLE uses (
    member TEXT NOT NULL REFERENCES members (id) ON DELETE CASCADE,
    at     BIGINT NOT NULL,
    what   TEXT NOT NULL, -- goods, search, shop
    about  TEXT NOT NULL,
    PRIMARY KEY (member, at, what)
);

CREATE TABLE bookmarks (
    member  TEXT NOT NULL REFERENCES members (id) ON DELETE CASCADE,
    shop    TEXT NOT NULL,
    goods   TEXT NOT NULL REFERENCES goods (id) ON DELETE CASCADE,
    created BIGINT NOT NULL,
    PRIMARY KEY (member, goods)
);

CREATE TABLE basket (
    member   TEXT NOT NULL REFERENCES members (id) ON DELETE CASCADE,
    shop     TEXT NOT NULL,
    goods    TEXT NOT NULL REFERENCES goods (id) ON DELETE CASCADE,
    variant  TEXT NOT NULL,
    quantity BIGINT NOT NULL CHECK (quantity > 0),
    created  BIGINT NOT NULL,
    PRIMARY KEY (member, goods, variant)
);

-- What members asked a shop, by mail or by "Chat now": the rooms that belong to it.
CREATE TABLE inquiries (
    shop     TEXT NOT NULL REFERENCES shops (id) ON DELETE CASCADE,
    id       TEXT NOT NULL,
    member   TEXT NOT NULL,
    goods    TEXT NOT NULL DEFAULT '',
    ordered  TEXT NOT NULL DEFAULT '', -- the order it is about
    room     TEXT NOT NULL DEFAULT '',
    mail     TEXT NOT NULL DEFAULT '', -- Message-ID; empty: a chat without a mail
    subject  TEXT NOT NULL,
    created  BIGINT NOT NULL,
    rung     BIGINT NOT NULL DEFAULT 0,
    answered BIGINT NOT NULL DEFAULT 0, -- first answer by words
    public   BOOLEAN NOT NULL DEFAULT FALSE, -- the shop shows question and answer on the goods
    question TEXT NOT NULL DEFAULT '',
    answer   TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (shop, id)
);
CREATE INDEX inquiries_member ON inquiries (member, id);
CREATE INDEX inquiries_room ON inquiries (room);

-- Acts of administrators, hosts and members' pages on other people's data.
CREATE TABLE audit (
    id     TEXT PRIMARY KEY,
    at     BIGINT NOT NULL,
    actor  TEXT NOT NULL, -- login
    role   TEXT NOT NULL, -- operator, host, member
    act    TEXT NOT NULL, -- such as member.read
    about  TEXT NOT NULL, -- id of the member, shop or order
    shop   TEXT NOT NULL DEFAULT ''
);
CREATE INDEX audit_at ON audit (at);

-- +goose Down
DROP TABLE audit;
DROP TABLE inquiries;
DROP TABLE basket;
DROP TABLE bookmarks;
DROP TABLE uses;
DROP TABLE sessions;
DROP TABLE passkeys;
DROP TABLE registrations;
DROP TABLE consents;
DROP TABLE members;
