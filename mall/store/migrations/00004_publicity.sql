-- +goose Up
CREATE TABLE campaigns (
    shop     TEXT NOT NULL REFERENCES shops (id) ON DELETE CASCADE,
    id       TEXT NOT NULL,
    subject  TEXT NOT NULL,
    text     TEXT NOT NULL, -- Markdown
    lang     TEXT NOT NULL DEFAULT 'en',
    segment  TEXT NOT NULL DEFAULT 'all', -- all, asked, bookmarked, bought
    state    TEXT NOT NULL, -- draft, scheduled, sending, paused, stopped, done
    why      TEXT NOT NULL DEFAULT '', -- it stopped
    at       BIGINT NOT NULL DEFAULT 0, -- when it begins
    per_hour BIGINT NOT NULL DEFAULT 0, -- 0: as the queue bears
    by_staff BOOLEAN NOT NULL DEFAULT FALSE, -- paced by how many are there to answer
    ad_mark  BOOLEAN NOT NULL DEFAULT TRUE, -- the subject begins with the word that the law asks for
    night    BOOLEAN NOT NULL DEFAULT FALSE, -- also sent between 21:00 and 08:00 in Korea
    reached  TEXT NOT NULL DEFAULT '', -- the last member who was chosen, in the order of their ids
    chosen   BOOLEAN NOT NULL DEFAULT FALSE, -- all members are
    created  BIGINT NOT NULL,
    changed  BIGINT NOT NULL,
    PRIMARY KEY (shop, id)
);
CREATE INDEX campaigns_due ON campaigns (state, at);

CREATE TABLE campaign_goods (
    shop     TEXT NOT NULL,
    campaign TEXT NOT NULL,
    goods    TEXT NOT NULL,
    place    INTEGER NOT NULL,
    PRIMARY KEY (shop, campaign, goods),
    FOREIGN KEY (shop, campaign) REFERENCES campaigns (shop, id) ON DELETE CASCADE
);

-- One row a member that a campaign goes to.
CREATE TABLE campaign_members (
    shop     TEXT NOT NULL,
    campaign TEXT NOT NULL,
    member   TEXT NOT NULL,
    state    TEXT NOT NULL, -- see store/campaigns.go: waiting, handing, queued, refused, bounced, complained, unsubscribed, left-out
    mail     TEXT NOT NULL DEFAULT '', -- Message-ID
    at       BIGINT NOT NULL DEFAULT 0, -- of its state; waiting: not before
    tries    INTEGER NOT NULL DEFAULT 0,
    reason   TEXT NOT NULL DEFAULT '',
    room     TEXT NOT NULL DEFAULT '',
    talked   BIGINT NOT NULL DEFAULT 0, -- when they opened the chat
    PRIMARY KEY (shop, campaign, member),
    FOREIGN KEY (shop, campaign) REFERENCES campaigns (shop, id) ON DELETE CASCADE
);
CREATE INDEX campaign_members_state ON campaign_members (shop, campaign, state, at);
CREATE INDEX campaign_members_room ON campaign_members (room);
CREATE INDEX campaign_members_member ON campaign_members (member);
CREATE INDEX campaign_members_mail ON campaign_members (mail);

-- Addresses that get no publicity, by the keyed hash of the address.
CREATE TABLE suppressions (
    addr_hash TEXT NOT NULL,
    shop      TEXT NOT NULL DEFAULT '', -- empty: of every shop
    why       TEXT NOT NULL, -- bounced, complained, unsubscribed
    at        BIGINT NOT NULL,
    expires   BIGINT NOT NULL DEFAULT 0, -- 0: never
    PRIMARY KEY (addr_hash, shop)
);

-- +goose Down
DROP TABLE suppressions;
DROP TABLE campaign_members;
DROP TABLE campaign_goods;
DROP TABLE campaigns;
