-- +goose Up
CREATE TABLE orders (
    shop     TEXT NOT NULL REFERENCES shops (id),
    id       TEXT NOT NULL,
    number   TEXT NOT NULL UNIQUE, -- what people say
    member   TEXT NOT NULL,
    state    TEXT NOT NULL, -- package order
    currency TEXT NOT NULL,
    total    BIGINT NOT NULL,
    deliver  TEXT NOT NULL DEFAULT '', -- where to, sealed with the id
    inquiry  TEXT NOT NULL DEFAULT '', -- the talk that it was offered in
    basket   TEXT NOT NULL DEFAULT '', -- the same for all orders of one basket
    created  BIGINT NOT NULL,
    changed  BIGINT NOT NULL,
    PRIMARY KEY (shop, id)
);
CREATE INDEX orders_member ON orders (member, id);
CREATE INDEX orders_state ON orders (shop, state, id);

CREATE TABLE order_lines (
    shop     TEXT NOT NULL,
    ordered  TEXT NOT NULL,
    place    INTEGER NOT NULL,
    goods    TEXT NOT NULL,
    variant  TEXT NOT NULL,
    title    TEXT NOT NULL, -- as it was then
    quantity BIGINT NOT NULL CHECK (quantity > 0),
    price    BIGINT NOT NULL, -- of one
    PRIMARY KEY (shop, ordered, place),
    FOREIGN KEY (shop, ordered) REFERENCES orders (shop, id) ON DELETE CASCADE
);

CREATE TABLE order_events (
    shop    TEXT NOT NULL,
    ordered TEXT NOT NULL,
    n       INTEGER NOT NULL,
    at      BIGINT NOT NULL,
    state   TEXT NOT NULL, -- that it came into
    actor   TEXT NOT NULL, -- login, or "payment"
    note    TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (shop, ordered, n),
    FOREIGN KEY (shop, ordered) REFERENCES orders (shop, id) ON DELETE CASCADE
);

-- What a payment provider told; the same notice twice changes nothing.
CREATE TABLE payments (
    shop     TEXT NOT NULL,
    notice   TEXT NOT NULL, -- the provider's id of it
    ordered  TEXT NOT NULL,
    provider TEXT NOT NULL,
    amount   BIGINT NOT NULL,
    at       BIGINT NOT NULL,
    PRIMARY KEY (shop, provider, notice)
);

-- +goose Down
DROP TABLE payments;
DROP TABLE order_events;
DROP TABLE order_lines;
DROP TABLE orders;
