-- How far Twitch has been asked for what it did not tell, by what it is asked for: `live`, `followers`, `redemptions`,
-- `subscribers`. All that happened between `began_at` and `covered_to` was told, or was looked for.
CREATE TABLE missed_sources (
    broadcaster  text        NOT NULL,
    source       text        NOT NULL,
    began_at     timestamptz NOT NULL,
    covered_to   timestamptz NOT NULL,
    -- When Twitch answered last, and why it does not, where it does not.
    succeeded_at timestamptz,
    failed       text,
    -- Since when Twitch and history disagree about whether the channel is live, and about what.
    doubt        json,
    PRIMARY KEY (broadcaster, source)
);

-- What was found by asking: written down before it is sent, so that a death in between does not make it forgotten how
-- much of a gap was found. It happened between `at` and `until`, which are one moment once its gap is known.
CREATE TABLE missed_finds (
    command_id  uuid        PRIMARY KEY,
    broadcaster text        NOT NULL,
    kind        text        NOT NULL,
    at          timestamptz NOT NULL,
    until       timestamptz NOT NULL,
    found_at    timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX missed_finds_at ON missed_finds (broadcaster, kind, at);

-- Who was subscribed when Twitch was last asked: whoever is new was told of, or missed.
CREATE TABLE missed_subscribers (
    broadcaster text NOT NULL,
    viewer      text NOT NULL,
    PRIMARY KEY (broadcaster, viewer)
);

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'tapedeck') THEN
        GRANT SELECT, INSERT, UPDATE ON missed_sources TO tapedeck;
        GRANT SELECT, INSERT, UPDATE, DELETE ON missed_finds TO tapedeck;
        GRANT SELECT, INSERT, DELETE ON missed_subscribers TO tapedeck;
    END IF;
END $$;
