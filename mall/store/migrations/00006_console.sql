-- +goose Up
-- What a shop's staff wrote down about a member.
CREATE TABLE shop_notes (
    shop   TEXT NOT NULL REFERENCES shops (id) ON DELETE CASCADE,
    id     TEXT NOT NULL,
    member TEXT NOT NULL REFERENCES members (id) ON DELETE CASCADE,
    login  TEXT NOT NULL,
    text   TEXT NOT NULL,
    at     BIGINT NOT NULL,
    PRIMARY KEY (shop, id)
);
CREATE INDEX shop_notes_member ON shop_notes (member, shop, id);
CREATE INDEX orders_inquiry ON orders (shop, inquiry);
CREATE INDEX audit_shop ON audit (shop, id);

-- +goose Down
DROP INDEX audit_shop;
DROP INDEX orders_inquiry;
DROP TABLE shop_notes;
