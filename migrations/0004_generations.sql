-- Who makes the picture of which request just now. Not history: an expired lease is taken by another worker.
CREATE TABLE generation_leases (
    request     uuid        PRIMARY KEY,
    owner       uuid        NOT NULL,
    lease_until timestamptz NOT NULL,
    started_at  timestamptz NOT NULL
);

-- Every time that a provider was asked, what it cost (while it runs, the most it may cost) and what came of it: from
-- these rows follow the rate limit, the daily budget and the breaker, for all workers together and over restarts.
-- `picture` is what was made, from before it is reported, so that a worker that dies in between has it made once.
CREATE TABLE generation_makings (
    id          uuid        PRIMARY KEY,
    request     uuid        NOT NULL,
    attempt     integer     NOT NULL CHECK (attempt >= 1),
    started_at  timestamptz NOT NULL,
    ended_at    timestamptz,
    result      text        CHECK (result IN ('made', 'refused', 'retry', 'broken', 'dead')),
    resume_at   timestamptz,
    cost_micros bigint      NOT NULL CHECK (cost_micros >= 0),
    picture     json
);
CREATE INDEX generation_makings_started ON generation_makings (started_at);
CREATE INDEX generation_makings_ended ON generation_makings (ended_at) WHERE ended_at IS NOT NULL;
CREATE INDEX generation_makings_request ON generation_makings (request, attempt);

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'tapedeck') THEN
        GRANT SELECT, INSERT, UPDATE, DELETE ON generation_leases, generation_makings TO tapedeck;
    END IF;
END $$;
