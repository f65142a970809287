-- The record. Everything else that Tapedeck knows can be made again from these tables.

-- The columns up to metadata are those of postgres-es, so that cqrs-es tooling can read them. payload and metadata
-- stay json: the stored bytes are the hashed bytes.
CREATE TABLE events (
    aggregate_type text        NOT NULL,
    aggregate_id   text        NOT NULL,
    sequence       bigint      NOT NULL CHECK (sequence >= 1),
    event_type     text        NOT NULL,
    event_version  text        NOT NULL,
    payload        json        NOT NULL,
    metadata       json        NOT NULL,
    position       bigint      NOT NULL CHECK (position >= 1),
    event_id       uuid        NOT NULL,
    command_id     uuid        NOT NULL,
    recorded_at    timestamptz NOT NULL,
    hash           bytea       NOT NULL CHECK (length(hash) = 32),
    PRIMARY KEY (aggregate_type, aggregate_id, sequence)
);
CREATE UNIQUE INDEX events_position ON events (position);

-- The one row that orders all commits: taken last, it makes positions dense and in commit order.
-- The epoch names this line of history; it changes when history was cut back (a restored dump).
CREATE TABLE head (
    id       smallint PRIMARY KEY CHECK (id = 1),
    position bigint   NOT NULL,
    hash     bytea    NOT NULL,
    epoch    uuid     NOT NULL,
    recorded_at timestamptz NOT NULL
) WITH (fillfactor = 10);
INSERT INTO head VALUES (1, 0, decode(repeat('00', 32), 'hex'), gen_random_uuid(), '-infinity');

-- What became of every command, for ever: the same command again gets the same answer.
CREATE TABLE command_outcomes (
    command_id      uuid        PRIMARY KEY,
    outcome         text        NOT NULL CHECK (outcome IN ('accepted', 'rejected', 'dead')),
    reason          text,
    first_position  bigint,
    events          integer     NOT NULL,
    aggregate_type  text        NOT NULL,
    aggregate_id    text        NOT NULL,
    partition       smallint    NOT NULL,
    stream_sequence bigint      NOT NULL,
    decided_at      timestamptz NOT NULL
);

-- How far each partition of COMMANDS has been decided, and by whom. The epoch fences off a former owner.
CREATE TABLE partitions (
    partition   smallint PRIMARY KEY CHECK (partition BETWEEN 0 AND 63),
    cursor      bigint NOT NULL DEFAULT 0,
    owner       uuid,
    epoch       bigint NOT NULL DEFAULT 0,
    lease_until timestamptz
) WITH (fillfactor = 50);
INSERT INTO partitions (partition) SELECT generate_series(0, 63);

-- Which COMMANDS stream the cursors count in: a stream that was made anew starts its sequences again.
CREATE TABLE commands_stream (
    id         smallint PRIMARY KEY CHECK (id = 1),
    created_at text
);
INSERT INTO commands_stream VALUES (1, NULL);

-- The processors that are alive, so that they can share the partitions.
CREATE TABLE processors (
    owner      uuid PRIMARY KEY,
    seen_until timestamptz NOT NULL
);

CREATE TABLE snapshots (
    aggregate_type text   NOT NULL,
    aggregate_id   text   NOT NULL,
    last_sequence  bigint NOT NULL,
    schema_version integer NOT NULL,
    payload        json   NOT NULL,
    PRIMARY KEY (aggregate_type, aggregate_id)
);

-- What could not be decided, folded or answered by a process, with all that is needed to try again.
CREATE TABLE dead_letters (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    source      text        NOT NULL CHECK (source IN ('command', 'projection', 'process')),
    name        text        NOT NULL,
    key         text        NOT NULL,
    command_id  uuid,
    position    bigint      NOT NULL,
    reason      text        NOT NULL,
    payload     bytea       NOT NULL,
    at          timestamptz NOT NULL DEFAULT clock_timestamp(),
    resolved_at timestamptz,
    resolution  text
);
CREATE INDEX dead_letters_open ON dead_letters (source, name, key) WHERE resolved_at IS NULL;

-- Display names, by Twitch user id. Not part of history: rows can be changed and erased. Where a viewer was erased the
-- row stays without names, so that names seen later are not kept.
CREATE TABLE viewer_names (
    viewer_id text PRIMARY KEY,
    login     text,
    name      text,
    seen_at   timestamptz NOT NULL,
    erased_at timestamptz,
    CHECK (erased_at IS NULL OR (login IS NULL AND name IS NULL))
);

-- How far each projection has folded the journal. One generation of a name is live; others are being built.
CREATE TABLE checkpoints (
    name       text     NOT NULL,
    generation integer  NOT NULL,
    version    integer  NOT NULL,
    schema     text     NOT NULL,
    position   bigint   NOT NULL DEFAULT 0,
    status     text     NOT NULL CHECK (status IN ('building', 'live', 'retired')),
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (name, generation)
) WITH (fillfactor = 50);
CREATE UNIQUE INDEX checkpoints_live ON checkpoints (name) WHERE status = 'live';

-- How far each process has answered the journal with commands. A new process begins at the head of that moment, so that
-- old history asks for nothing.
CREATE TABLE processes (
    name       text        PRIMARY KEY,
    position   bigint      NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (fillfactor = 50);

-- Keys of the HTTP API and the feed, hashed at rest.
CREATE TABLE api_keys (
    id         uuid        PRIMARY KEY,
    name       text        NOT NULL,
    hash       bytea       NOT NULL,
    scopes     text[]      NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    revoked_at timestamptz
);

-- Where projections show their live generation, as views.
CREATE SCHEMA projections;

-- History is added to, never edited: not even by the owner of the tables.
CREATE FUNCTION refuse_to_rewrite_history() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'events are never changed or deleted';
END $$;
CREATE TRIGGER events_are_final BEFORE UPDATE OR DELETE ON events
    FOR EACH ROW EXECUTE FUNCTION refuse_to_rewrite_history();
CREATE TRIGGER events_are_not_truncated BEFORE TRUNCATE ON events
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_to_rewrite_history();

-- The runtime role may add to the record and read it; it may not change it. It exists where `tapedeck up` or the
-- operator made it; elsewhere the owner runs the service.
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'tapedeck') THEN
        GRANT USAGE ON SCHEMA public TO tapedeck;
        GRANT SELECT, INSERT ON events, command_outcomes TO tapedeck;
        -- Only an outcome 'dead' is ever replaced, by the outcome of its retry.
        GRANT UPDATE ON command_outcomes TO tapedeck;
        GRANT SELECT, UPDATE ON head, partitions, commands_stream TO tapedeck;
        GRANT SELECT, INSERT, UPDATE, DELETE
            ON processors, snapshots, dead_letters, viewer_names, checkpoints, processes, api_keys
            TO tapedeck;
        GRANT USAGE, CREATE ON SCHEMA projections TO tapedeck;
        EXECUTE format('GRANT CREATE, TEMPORARY ON DATABASE %I TO tapedeck', current_database());
    END IF;
END $$;
