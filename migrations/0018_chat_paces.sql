-- When an account that speaks over IRC spoke in the last half minute: Twitch counts the lines of an account, whichever
-- process says them.
CREATE TABLE chat_paces (
    -- The Twitch user id.
    account    text          PRIMARY KEY,
    sent       timestamptz[] NOT NULL DEFAULT '{}',
    -- Twitch has said that it was too much: nobody speaks before then.
    rest_until timestamptz
);

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'tapedeck') THEN
        GRANT SELECT, INSERT, UPDATE ON chat_paces TO tapedeck;
    END IF;
END $$;
