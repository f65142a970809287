-- The audit looks at every reversal, and there are few among many events.
CREATE INDEX events_reversals ON events (position)
    WHERE aggregate_type = 'account' AND event_type = 'reversed';
