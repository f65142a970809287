-- Over webhooks, `heard_at` is when somebody last said that they are taken in. Since `lost_since` some may be lost: nobody
-- took them in for longer than Twitch sends them again, and the gap is not recorded yet.
ALTER TABLE eventsub_feeds ADD COLUMN lost_since timestamptz;

-- It was the time of the last look.
UPDATE eventsub_feeds SET heard_at = NULL WHERE transport = 'webhook';
