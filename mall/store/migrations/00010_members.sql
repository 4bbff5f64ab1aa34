-- +goose Up
-- Whether the member's account was made by the mall, so that an erasure takes it away.
ALTER TABLE members ADD COLUMN made BOOLEAN NOT NULL DEFAULT FALSE;
-- Whether they registered by a passkey alone, so that they have no password of their own.
ALTER TABLE members ADD COLUMN bare BOOLEAN NOT NULL DEFAULT FALSE;
CREATE INDEX members_state ON members (state, id);
CREATE INDEX orders_id ON orders (id);
CREATE INDEX uses_at ON uses (at);
CREATE INDEX audit_about ON audit (about, id);

-- +goose Down
DROP INDEX audit_about;
DROP INDEX uses_at;
DROP INDEX orders_id;
DROP INDEX members_state;
ALTER TABLE members DROP COLUMN bare;
ALTER TABLE members DROP COLUMN made;
