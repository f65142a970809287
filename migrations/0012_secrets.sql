-- The secrets with which Twitch signs webhooks. Each is a version, sealed with a key that is not in the database; the
-- callback of every subscription that is made with one ends with its name, so that Twitch's own list says which it is.
CREATE TABLE eventsub_secrets (
    version     bigint      PRIMARY KEY CHECK (version > 0),
    name        text        NOT NULL UNIQUE CHECK (name ~ '^[0-9a-f]{8}$'),
    -- It stands in somebody's configuration; else it is one that we made.
    configured  boolean     NOT NULL,
    secret      bytea       NOT NULL,
    made_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    replaced_at timestamptz,
    -- Until when a replaced one is believed; not known while subscriptions are left that were made with it.
    until       timestamptz
);
-- One is the one that subscriptions are made with.
CREATE UNIQUE INDEX eventsub_secrets_current ON eventsub_secrets ((true)) WHERE replaced_at IS NULL;

-- While subscriptions of two secrets overlap, Twitch tells of everything twice, under two message ids. Which of them name
-- the same deed is kept here: `taken_as` is the message id that it counts under.
CREATE TABLE eventsub_twins (
    message_id   text        PRIMARY KEY,
    -- What was told, as a hash of its type and content.
    content      bytea       NOT NULL CHECK (length(content) = 32),
    subscription text        NOT NULL,
    sent_at      timestamptz NOT NULL,
    taken_as     text        NOT NULL,
    noted_at     timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX eventsub_twins_content ON eventsub_twins (content);
CREATE INDEX eventsub_twins_noted ON eventsub_twins (noted_at);

-- The points that an account has left at Helix, for all processes together: each call takes one before it is made.
CREATE TABLE helix_points (
    account  text        PRIMARY KEY,
    -- Nobody has taken these. NULL where Twitch has not said.
    free     bigint,
    -- How many there are after a reset.
    most     bigint,
    -- When Twitch fills the bucket again, as it last said.
    reset_at timestamptz,
    -- Somebody asks how it is since then, and the others wait for what comes of it.
    asked_at timestamptz,
    -- Nobody asks before then.
    rest_until timestamptz
);

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'tapedeck') THEN
        GRANT SELECT, INSERT, UPDATE, DELETE ON eventsub_secrets, eventsub_twins TO tapedeck;
        GRANT SELECT, INSERT, UPDATE ON helix_points TO tapedeck;
    END IF;
END $$;
