-- What Twitch tells us of a channel, as the process that listens knows it. All that it told before `heard_at` of the types
-- in `kinds` is stored: what a process that dies has not heard begins there.
CREATE TABLE eventsub_feeds (
    broadcaster text        PRIMARY KEY,
    -- Who listened last: a process that was cut off goes on only where nobody else has begun meanwhile.
    listener    uuid        NOT NULL,
    transport   text        NOT NULL,
    state       text        NOT NULL,
    why         text,
    since       timestamptz NOT NULL,
    heard_at    timestamptz,
    kinds       text[]      NOT NULL DEFAULT '{}',
    -- Somebody wants all subscriptions looked at while this is more than `answered`.
    asked       bigint      NOT NULL DEFAULT 0,
    answered    bigint      NOT NULL DEFAULT 0,
    -- What the last look came to.
    report      json
);

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'tapedeck') THEN
        GRANT SELECT, INSERT, UPDATE ON eventsub_feeds TO tapedeck;
    END IF;
END $$;
