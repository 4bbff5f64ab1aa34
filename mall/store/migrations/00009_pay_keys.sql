-- +goose Up
-- The payment providers that a shop takes notices from. A key itself is not kept: it
-- follows from the mall's secret and the row.
CREATE TABLE pay_keys (
    shop     TEXT NOT NULL REFERENCES shops (id) ON DELETE CASCADE,
    provider TEXT NOT NULL,
    id       TEXT NOT NULL, -- another one with every key
    created  BIGINT NOT NULL,
    PRIMARY KEY (shop, provider)
);

-- What waits for the shop is counted and listed by itself.
CREATE INDEX inquiries_open ON inquiries (shop, answered, id);

-- +goose Down
DROP INDEX inquiries_open;
DROP TABLE pay_keys;
