-- Behind the policy of a tenant a condition is one of an index only if it cannot tell of other rows: the equality of two
-- texts may be, what is taken out of a document may not. So the event of a trigger is a column.
ALTER TABLE triggers ADD COLUMN event text GENERATED ALWAYS AS (config ->> 'event') STORED;
CREATE INDEX triggers_of_event ON triggers (tenant_id, event) WHERE type = 'event';
DROP INDEX triggers_by_event;
