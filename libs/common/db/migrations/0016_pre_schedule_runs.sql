-- When the newest slot of a schedule that ran was taken.
ALTER TABLE triggers ADD COLUMN last_run_at timestamptz;
