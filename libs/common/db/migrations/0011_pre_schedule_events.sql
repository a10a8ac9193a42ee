-- Schedules raise events of their own.
ALTER TABLE events DROP CONSTRAINT events_source_check;
ALTER TABLE events ADD CONSTRAINT events_source_check
    CHECK (source IN ('api', 'action', 'record', 'execution', 'schedule'));
