-- Logins that were begun and are not finished. A row is taken away by the one callback that it is good for.
CREATE TABLE login_attempts (
    state_hash   bytea       PRIMARY KEY CHECK (length(state_hash) = 32),
    browser_hash bytea       NOT NULL CHECK (length(browser_hash) = 32),
    return_to    text        NOT NULL,
    expires_at   timestamptz NOT NULL,
    -- The session that the browser had when it began, which the new one takes the place of.
    session      uuid
);
CREATE INDEX login_attempts_expired ON login_attempts (expires_at);

-- Who is logged in. Our own secret is kept as a hash, Twitch's grant sealed with a key that is not in the database; it is
-- gone once it was revoked at Twitch. `check_at` is when Twitch is to be asked next, or asked again, about the grant.
CREATE TABLE sessions (
    id            uuid        PRIMARY KEY,
    hash          bytea       NOT NULL CHECK (length(hash) = 32),
    old_hash      bytea,
    old_until     timestamptz,
    -- What the next secret is made of, with the present one.
    salt          text        NOT NULL,
    viewer        text        NOT NULL,
    logged_in_at  timestamptz NOT NULL,
    expires_at    timestamptz NOT NULL,
    ended_at      timestamptz,
    ended_by      text        CHECK (ended_by IN ('logout', 'replaced', 'revoked')),
    granted       bytea,
    grant_scopes  text[]      NOT NULL,
    check_at      timestamptz NOT NULL,
    checked_at    timestamptz NOT NULL
);
CREATE INDEX sessions_of_viewer ON sessions (viewer);
CREATE INDEX sessions_to_check ON sessions (check_at) WHERE granted IS NOT NULL;

-- Moderators of the channel as Twitch last listed them; the configuration may name others.
CREATE TABLE moderators (
    viewer    text        PRIMARY KEY,
    listed_at timestamptz NOT NULL
);
-- A list that nobody renews, because the broadcaster's session is over, makes nobody a moderator after a day.
CREATE VIEW listed_moderators AS
    SELECT viewer FROM moderators WHERE listed_at > clock_timestamp() - interval '24 hours';

-- The keys that sign credentials of services. A new one is published some time before it signs, and the one before signs so
-- long. Each verifies until its grace is over.
CREATE TABLE service_keys (
    kid            text        PRIMARY KEY,
    public         bytea       NOT NULL CHECK (length(public) = 32),
    secret         bytea       NOT NULL,
    created_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    retired_at     timestamptz,
    verifies_until timestamptz,
    signs_from     timestamptz NOT NULL DEFAULT clock_timestamp()
);
-- Only one is there to stay, whoever makes it first.
CREATE UNIQUE INDEX service_keys_signing ON service_keys ((true)) WHERE retired_at IS NULL;

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'tapedeck') THEN
        GRANT SELECT, INSERT, DELETE ON login_attempts TO tapedeck;
        GRANT SELECT, INSERT, UPDATE, DELETE ON sessions, moderators, service_keys TO tapedeck;
        GRANT SELECT ON listed_moderators TO tapedeck;
    END IF;
END $$;
