-- Executions that another execution started: where in its parent one is waited for; null: nobody waits.
ALTER TABLE executions ADD COLUMN parent_position integer;
ALTER TABLE executions ADD COLUMN parent_iteration integer;
CREATE INDEX executions_by_parent ON executions (tenant_id, parent_id) WHERE parent_id IS NOT NULL;
