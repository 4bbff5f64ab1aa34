-- +goose Up
-- Of several hosts one sends a campaign; another may once host_until is over.
ALTER TABLE campaigns ADD COLUMN host TEXT NOT NULL DEFAULT '';
ALTER TABLE campaigns ADD COLUMN host_until BIGINT NOT NULL DEFAULT 0;
ALTER TABLE campaigns ADD COLUMN tried BIGINT NOT NULL DEFAULT 0; -- mails that were taken or refused
ALTER TABLE campaigns ADD COLUMN failed BIGINT NOT NULL DEFAULT 0; -- of them, refused, returned or complained about

-- The talk that a campaign's mail led to is an inquiry like every other.
ALTER TABLE inquiries ADD COLUMN campaign TEXT NOT NULL DEFAULT '';
CREATE INDEX inquiries_campaign ON inquiries (shop, campaign);
ALTER TABLE campaign_members DROP COLUMN talked;

-- A mark for each batch of mails that was sent, in the order of time: store/marks.go.
CREATE TABLE sent_marks (mark TEXT PRIMARY KEY);
DELETE FROM settings WHERE name IN ('publicity.mark', 'publicity.mark.before');

-- +goose Down
DROP TABLE sent_marks;
ALTER TABLE campaign_members ADD COLUMN talked BIGINT NOT NULL DEFAULT 0;
DROP INDEX inquiries_campaign;
ALTER TABLE inquiries DROP COLUMN campaign;
ALTER TABLE campaigns DROP COLUMN failed;
ALTER TABLE campaigns DROP COLUMN tried;
ALTER TABLE campaigns DROP COLUMN host_until;
ALTER TABLE campaigns DROP COLUMN host;
