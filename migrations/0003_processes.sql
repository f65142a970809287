-- How far each process has answered the journal with commands. A new process begins at the head of that moment, so that
-- old history asks for nothing; `registered` is where that was, and no process ever goes back before it.
CREATE TABLE processes (
    name       text        PRIMARY KEY,
    position   bigint      NOT NULL,
    registered bigint      NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (fillfactor = 50);

-- What a process could not answer is a dead letter too.
ALTER TABLE dead_letters DROP CONSTRAINT dead_letters_source_check,
    ADD CONSTRAINT dead_letters_source_check CHECK (source IN ('command', 'projection', 'process'));

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'tapedeck') THEN
        GRANT SELECT, INSERT, UPDATE, DELETE ON processes TO tapedeck;
    END IF;
END $$;
