-- How chat is read over IRC, as the process that reads it knows: all that was said before `heard_at` is stored. What a
-- process that dies has not heard begins there.
CREATE TABLE irc_feeds (
    broadcaster text        PRIMARY KEY,
    -- Who read last: a process that was cut off, and that another has followed, writes nothing here any more.
    reader      uuid        NOT NULL,
    state       text        NOT NULL,
    why         text,
    since       timestamptz NOT NULL,
    heard_at    timestamptz
);

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'tapedeck') THEN
        GRANT SELECT, INSERT, UPDATE ON irc_feeds TO tapedeck;
    END IF;
END $$;
