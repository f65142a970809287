-- The accounts that Tapedeck asks Twitch with: the broadcaster's, the bot's, and the application itself. What each has
-- granted is sealed with a key that is not in the database. A row is locked while its grant is replaced, so that of all
-- processes one replaces it; `edition` counts the grants, so that nothing is written over one that took its place.
CREATE TABLE twitch_accounts (
    role       text        PRIMARY KEY CHECK (role IN ('broadcaster', 'bot', 'app')),
    state      text        NOT NULL DEFAULT 'none' CHECK (state IN ('none', 'good', 'unreachable', 'taken_back')),
    since      timestamptz NOT NULL DEFAULT clock_timestamp(),
    why        text,
    -- To which application it was granted, and by whom; the application itself is nobody.
    client_id  text        NOT NULL DEFAULT '',
    user_id    text        NOT NULL DEFAULT '',
    login      text        NOT NULL DEFAULT '',
    scopes     text[]      NOT NULL DEFAULT '{}',
    granted    bytea,
    edition    bigint      NOT NULL DEFAULT 0,
    granted_at timestamptz,
    expires_at timestamptz,
    -- When Twitch last said that it is good, and when it is to be asked next.
    checked_at timestamptz,
    check_at   timestamptz,
    CHECK ((granted IS NULL) = (state IN ('none', 'taken_back')))
);
-- There is one row for each, always.
INSERT INTO twitch_accounts (role) VALUES ('broadcaster'), ('bot'), ('app');

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'tapedeck') THEN
        GRANT SELECT, UPDATE ON twitch_accounts TO tapedeck;
    END IF;
END $$;
