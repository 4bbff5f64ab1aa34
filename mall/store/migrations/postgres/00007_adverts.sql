-- +goose Up
-- A shop sees and writes its own advertisements and their figures only; see 00001_walls.sql.
-- +goose StatementBegin
DO $$
DECLARE
    name TEXT;
BEGIN
    FOREACH name IN ARRAY ARRAY['adverts', 'advert_days', 'advert_talks']
    LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
        EXECUTE format('CREATE POLICY one_shop ON %I USING'
            || ' (COALESCE(current_setting(''mall.shop'', TRUE), '''') IN ('''', shop))', name);
    END LOOP;
END
$$;
-- +goose StatementEnd

-- +goose Down
DROP POLICY one_shop ON advert_talks;
DROP POLICY one_shop ON advert_days;
DROP POLICY one_shop ON adverts;
