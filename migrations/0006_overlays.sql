-- The overlays that are connected, one row per connection, each with the process that holds its socket. Not history: it
-- tells the director of a stage who could show an alert (`seen_at` moves while the process lives), and to whom the start
-- of which alert was sent, which is noted before it is sent. A connection that ended keeps its row for a while, so that
-- it is known whether the same overlay came back.
CREATE TABLE overlays (
    connection    uuid        PRIMARY KEY,
    stage         text        NOT NULL,
    overlay       uuid        NOT NULL,
    layer         text        NOT NULL CHECK (layer IN ('all', 'normal', 'screen')),
    kinds         text[]      NOT NULL,
    process       uuid        NOT NULL,
    key           uuid        NOT NULL,
    since         timestamptz NOT NULL DEFAULT clock_timestamp(),
    seen_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    gone_at       timestamptz,
    sent_alert    uuid,
    sent_attempt  bigint,
    painted_alert uuid,
    painted_at    timestamptz
);
CREATE INDEX overlays_stage ON overlays (stage);
CREATE INDEX overlays_process ON overlays (process) WHERE gone_at IS NULL;

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'tapedeck') THEN
        GRANT SELECT, INSERT, UPDATE, DELETE ON overlays TO tapedeck;
    END IF;
END $$;
