-- Who answers which question of the chat just now. Not history: an expired lease is taken by another worker.
CREATE TABLE reply_leases (
    reply       uuid        PRIMARY KEY,
    owner       uuid        NOT NULL,
    lease_until timestamptz NOT NULL
);

-- Every time that something was said in chat: the rate limit follows from these rows, for all workers together and over
-- restarts.
CREATE TABLE reply_sendings (
    id      uuid        PRIMARY KEY,
    reply   uuid        NOT NULL,
    sent_at timestamptz NOT NULL
);
CREATE INDEX reply_sendings_sent ON reply_sendings (sent_at);

-- Viewers are named in chat by what they are called, in whatever letters.
CREATE INDEX viewer_names_login ON viewer_names (lower(login)) WHERE login IS NOT NULL;
CREATE INDEX viewer_names_name ON viewer_names (lower(name)) WHERE name IS NOT NULL;

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'tapedeck') THEN
        GRANT SELECT, INSERT, UPDATE, DELETE ON reply_leases, reply_sendings TO tapedeck;
    END IF;
END $$;
