-- Which executions of a workflow may run side by side: those of one (tenant, workflow, key) hold slots or queue for them.

-- One row an execution, from before its first action to its end. No foreign key: an execution that is gone is found by
-- the scheduler. capacity: the limit of the version that it runs; that of the newest row of a key counts. replaced_by:
-- the newer execution for whose sake this one is cancelled. told_at: when its executor was told that it holds; until
-- then somebody has to wake it. watched: the scheduler looks at it; a column, so that no statement about what is held
-- takes the index of those for the one by key.
CREATE TABLE concurrency_slots (
    tenant_id    uuid NOT NULL,
    execution_id uuid NOT NULL,
    workflow_id  uuid NOT NULL,
    key          text NOT NULL,
    state        text NOT NULL CHECK (state IN ('held', 'queued')),
    capacity     integer NOT NULL CHECK (capacity BETWEEN 1 AND 1000),
    replaced_by  uuid,
    since        timestamptz NOT NULL DEFAULT now(),
    told_at      timestamptz,
    watched      boolean NOT NULL GENERATED ALWAYS AS (state = 'held' OR replaced_by IS NOT NULL) STORED,
    PRIMARY KEY (tenant_id, execution_id)
);
CREATE INDEX concurrency_slots_by_key ON concurrency_slots (tenant_id, workflow_id, key, state, execution_id);
CREATE INDEX concurrency_slots_watched ON concurrency_slots (tenant_id, execution_id)
    WHERE watched;
