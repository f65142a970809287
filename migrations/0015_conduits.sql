-- The conduit of a channel at Twitch, found again by its id, and how its shards are shared between processes.
CREATE TABLE eventsub_conduits (
    broadcaster text        PRIMARY KEY,
    conduit     text        NOT NULL,
    noted_at    timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- The processes that can hold shards. One that says nothing any more is dead; one that is leaving gets none, and its own are
-- given to others while it still listens.
CREATE TABLE eventsub_holders (
    holder      uuid        PRIMARY KEY,
    broadcaster text        NOT NULL,
    seen_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    leaving     boolean     NOT NULL DEFAULT false
);

CREATE TABLE eventsub_shards (
    broadcaster text        NOT NULL,
    shard       integer     NOT NULL CHECK (shard >= 0),
    -- Who is to hold it, and the session that they have opened for it.
    holder      uuid,
    session     text,
    -- The session that Twitch was told: over this one it tells us. While a shard changes hands it is the former holder's.
    assigned    text,
    -- All that was told over it before this is stored.
    heard_at    timestamptz,
    -- Since when what was told over it may not have reached us, until Twitch was told another session; and why.
    lost_at     timestamptz,
    why         text,
    PRIMARY KEY (broadcaster, shard)
);

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'tapedeck') THEN
        GRANT SELECT, INSERT, UPDATE ON eventsub_conduits TO tapedeck;
        GRANT SELECT, INSERT, UPDATE, DELETE ON eventsub_holders, eventsub_shards TO tapedeck;
    END IF;
END $$;
