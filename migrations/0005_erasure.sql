-- Where a viewer was erased the row stays without names, so that names seen later are not kept.
ALTER TABLE viewer_names ADD COLUMN erased_at timestamptz,
    ADD CHECK (erased_at IS NULL OR (login IS NULL AND name IS NULL));
