-- The schema of Signalbox spread over a Citus cluster by tenant_id: everything of a tenant lies on one node, so what the
-- product asks for one tenant stays one node's work, in one transaction.
--
-- Run once on the coordinator, in an empty database: CREATE EXTENSION citus; signalbox migrate; then this file as the role
-- that owns the tables. Read "Citus" in docs/scale.md first: five statements of the scheduler go over all tenants in a
-- way that Citus refuses, so this is the layout for a cluster, not yet a switch to turn on.
\set ON_ERROR_STOP on
BEGIN;

-- What comes within a transaction (role, tenant) goes to the nodes with it: row-level security reads it there.
SET citus.propagate_set_commands TO 'local';
-- The audit log's triggers look at no other row; they refuse what would change one.
SET citus.enable_unsafe_triggers TO on;

-- Few rows, read by everything, or looked up before the tenant is known: a copy on every node. Their keys stay unique.
SELECT create_reference_table('tenants');
SELECT create_reference_table('api_keys');
SELECT create_reference_table('erasures');
SELECT create_reference_table('workers');
SELECT create_reference_table('usage_progress');

-- An id is unique as it is made (UUIDv7); a distributed table can hold only keys with tenant_id to it.
DROP INDEX triggers_id;
CREATE INDEX triggers_id ON triggers (id);

-- One group of shards: rows of a tenant in all of these lie together. Who is referred to comes first.
SELECT create_distributed_table('workflows', 'tenant_id', colocate_with => 'none', shard_count => 128);
SELECT create_distributed_table('workflow_versions', 'tenant_id', colocate_with => 'workflows');
SELECT create_distributed_table('triggers', 'tenant_id', colocate_with => 'workflows');
SELECT create_distributed_table('webhook_secrets', 'tenant_id', colocate_with => 'workflows');
SELECT create_distributed_table('secrets', 'tenant_id', colocate_with => 'workflows');
SELECT create_distributed_table('executions', 'tenant_id', colocate_with => 'workflows');
SELECT create_distributed_table('action_executions', 'tenant_id', colocate_with => 'workflows');
SELECT create_distributed_table('webhook_logs', 'tenant_id', colocate_with => 'workflows');
SELECT create_distributed_table('webhook_deliveries', 'tenant_id', colocate_with => 'workflows');
SELECT create_distributed_table('idempotency_keys', 'tenant_id', colocate_with => 'workflows');
SELECT create_distributed_table('local_results', 'tenant_id', colocate_with => 'workflows');
SELECT create_distributed_table('concurrency_slots', 'tenant_id', colocate_with => 'workflows');
SELECT create_distributed_table('signals', 'tenant_id', colocate_with => 'workflows');
SELECT create_distributed_table('approvals', 'tenant_id', colocate_with => 'workflows');
SELECT create_distributed_table('events', 'tenant_id', colocate_with => 'workflows');
SELECT create_distributed_table('event_ids', 'tenant_id', colocate_with => 'workflows');
SELECT create_distributed_table('event_waits', 'tenant_id', colocate_with => 'workflows');
SELECT create_distributed_table('firings', 'tenant_id', colocate_with => 'workflows');
SELECT create_distributed_table('schedule_gaps', 'tenant_id', colocate_with => 'workflows');
SELECT create_distributed_table('schedule_runs', 'tenant_id', colocate_with => 'workflows');
SELECT create_distributed_table('backfills', 'tenant_id', colocate_with => 'workflows');
SELECT create_distributed_table('jobs', 'tenant_id', colocate_with => 'workflows');
SELECT create_distributed_table('collections', 'tenant_id', colocate_with => 'workflows');
SELECT create_distributed_table('records', 'tenant_id', colocate_with => 'workflows');
SELECT create_distributed_table('notifications', 'tenant_id', colocate_with => 'workflows');
SELECT create_distributed_table('audit_log', 'tenant_id', colocate_with => 'workflows');
SELECT create_distributed_table('usage', 'tenant_id', colocate_with => 'workflows');
SELECT create_distributed_table('limit_warnings', 'tenant_id', colocate_with => 'workflows');

COMMIT;
