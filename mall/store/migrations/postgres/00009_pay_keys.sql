-- +goose Up
ALTER TABLE pay_keys ENABLE ROW LEVEL SECURITY;
ALTER TABLE pay_keys FORCE ROW LEVEL SECURITY;
CREATE POLICY one_shop ON pay_keys USING (COALESCE(current_setting('mall.shop', TRUE), '') IN ('', shop));

-- +goose Down
DROP POLICY one_shop ON pay_keys;
ALTER TABLE pay_keys NO FORCE ROW LEVEL SECURITY;
ALTER TABLE pay_keys DISABLE ROW LEVEL SECURITY;
