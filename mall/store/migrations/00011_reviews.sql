-- +goose Up
-- When it is looked whether the call of a conversation from an advertisement was answered
-- and not charged; 0: it need not be looked at any more.
ALTER TABLE advert_talks ADD COLUMN look BIGINT NOT NULL DEFAULT 0;
CREATE INDEX advert_talks_look ON advert_talks (look);
CREATE INDEX advert_days_day ON advert_days (day);
CREATE INDEX advert_talks_came ON advert_talks (came);

-- Why the mall's operator refused the shop.
ALTER TABLE shops ADD COLUMN why TEXT NOT NULL DEFAULT '';

-- Title and SKU without case and width, by which a shop finds its goods; empty: Store.Open
-- fills it.
ALTER TABLE goods ADD COLUMN folded TEXT NOT NULL DEFAULT '';

-- +goose Down
ALTER TABLE goods DROP COLUMN folded;
ALTER TABLE shops DROP COLUMN why;
DROP INDEX advert_talks_came;
DROP INDEX advert_days_day;
DROP INDEX advert_talks_look;
ALTER TABLE advert_talks DROP COLUMN look;
