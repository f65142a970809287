-- What was on when something was recorded: few events among many, read when a process begins.
CREATE INDEX events_on_air ON events (position)
    WHERE aggregate_type = 'broadcast'
      AND event_type IN ('started', 'resumed', 'ended', 'screening_started', 'screening_ended');

-- How far each publication has said what happened to programs of others, and where its stream ended then. The stream is
-- known by when it was made: one that was made anew begins its sequences again.
CREATE TABLE publications (
    name              text        PRIMARY KEY,
    position          bigint      NOT NULL,
    sequence          bigint      NOT NULL,
    stream_created_at text,
    updated_at        timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (fillfactor = 50);

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'tapedeck') THEN
        GRANT SELECT, INSERT, UPDATE ON publications TO tapedeck;
    END IF;
END $$;
