-- Whether EVENTS was ever filled from this history. One that is empty all the same was lost, and with it what would show
-- whether history was cut back in the same stop.
ALTER TABLE head ADD COLUMN published boolean NOT NULL DEFAULT false;
UPDATE head SET published = position > 0;
