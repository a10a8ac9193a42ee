-- Scheduled tasks. A task is a workflow that we make of what the tenant wants, with one schedule trigger; to the tenant
-- it is no workflow: not listed, changed or started as one, and its name is free for one.
ALTER TABLE workflows ADD COLUMN kind text NOT NULL DEFAULT 'workflow' CHECK (kind IN ('workflow', 'task'));
DROP INDEX workflows_living_name;
CREATE UNIQUE INDEX workflows_living_name ON workflows (tenant_id, name, kind) WHERE deleted_at IS NULL;

-- task: what the definition of this version was made of, as the tenant sent it.
ALTER TABLE workflow_versions ADD COLUMN task json;

-- What an old execution asked goes with it.
CREATE INDEX approvals_by_execution ON approvals (tenant_id, execution_id);
