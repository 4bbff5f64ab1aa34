-- +goose Up
-- A transaction that has named its shop (store.OfShop) sees and writes that shop's
-- rows only. One that has not is a customer's, the operator's or the mall's own. In
-- tables whose shop may be empty, those rows are the whole mall's: everybody reads
-- them, and no shop writes them. The policies hold for the owner of the tables too,
-- which the mall is; not for a superuser.
-- +goose StatementBegin
DO $$
DECLARE
    name TEXT;
    free CONSTANT TEXT := 'COALESCE(current_setting(''mall.shop'', TRUE), '''') IN ('''', %s)';
BEGIN
    FOREACH name IN ARRAY ARRAY['staff', 'shop_keys', 'shop_origins', 'shop_notes', 'goods', 'variants', 'pictures',
        'bookmarks', 'basket', 'inquiries', 'orders', 'order_lines', 'order_events', 'payments',
        'campaigns', 'campaign_goods', 'campaign_members']
    LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
        EXECUTE format('CREATE POLICY one_shop ON %I USING (' || format(free, 'shop') || ')', name);
    END LOOP;
    FOREACH name IN ARRAY ARRAY['consents', 'audit', 'suppressions']
    LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
        EXECUTE format('CREATE POLICY one_shop ON %I USING (shop = '''' OR ' || format(free, 'shop')
            || ') WITH CHECK (' || format(free, 'shop') || ')', name);
    END LOOP;
    ALTER TABLE shops ENABLE ROW LEVEL SECURITY;
    ALTER TABLE shops FORCE ROW LEVEL SECURITY;
    EXECUTE 'CREATE POLICY one_shop ON shops USING (' || format(free, 'id') || ')';
END
$$;
-- +goose StatementEnd

-- +goose Down
-- +goose StatementBegin
DO $$
DECLARE
    name TEXT;
BEGIN
    FOR name IN SELECT tablename FROM pg_policies WHERE policyname = 'one_shop' AND schemaname = current_schema()
    LOOP
        EXECUTE format('DROP POLICY one_shop ON %I', name);
        EXECUTE format('ALTER TABLE %I NO FORCE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE %I DISABLE ROW LEVEL SECURITY', name);
    END LOOP;
END
$$;
-- +goose StatementEnd
