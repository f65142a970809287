-- What became of it when something was last asked for: `answered` (what `failed` says is then not in the answer),
-- `unanswered`, or `refused` until somebody grants something.
ALTER TABLE missed_sources ADD COLUMN state text NOT NULL DEFAULT 'answered';
