-- The spine: tenants, their workflows and triggers, executions and the record of every attempt.
-- Every key starts with tenant_id. Documents are `json`, not `jsonb`: what a tenant sends is kept to the letter (U+0000 and
-- very large numbers included, which jsonb refuses or inflates) and costs no conversion on the hot path.

CREATE TABLE tenants (
    tenant_id  uuid PRIMARY KEY,
    slug       text NOT NULL UNIQUE,
    name       text NOT NULL,
    status     text NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'suspended')),
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE api_keys (
    tenant_id  uuid NOT NULL REFERENCES tenants ON DELETE CASCADE,
    id         uuid NOT NULL,
    name       text NOT NULL,
    role       text NOT NULL CHECK (role IN ('owner', 'editor', 'viewer')),
    prefix     text NOT NULL,
    hash       bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz,
    revoked_at timestamptz,
    PRIMARY KEY (tenant_id, id)
);
-- A credential names its tenant, so it is looked up before any tenant is known.
CREATE UNIQUE INDEX api_keys_hash ON api_keys (hash);

CREATE TABLE workflows (
    tenant_id   uuid NOT NULL REFERENCES tenants ON DELETE CASCADE,
    id          uuid NOT NULL,
    name        text NOT NULL,
    enabled     boolean NOT NULL,
    version     integer NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    updated_at  timestamptz NOT NULL DEFAULT now(),
    deleted_at  timestamptz,
    PRIMARY KEY (tenant_id, id)
);
CREATE UNIQUE INDEX workflows_living_name ON workflows (tenant_id, name) WHERE deleted_at IS NULL;

-- Immutable. The definition holds no secret value: those are sealed in triggers.
CREATE TABLE workflow_versions (
    tenant_id   uuid NOT NULL,
    workflow_id uuid NOT NULL,
    version     integer NOT NULL,
    definition  json NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    created_by  text,
    PRIMARY KEY (tenant_id, workflow_id, version),
    FOREIGN KEY (tenant_id, workflow_id) REFERENCES workflows ON DELETE CASCADE
);

CREATE TABLE triggers (
    tenant_id      uuid NOT NULL,
    id             uuid NOT NULL,
    workflow_id    uuid NOT NULL,
    key            text NOT NULL,
    type           text NOT NULL CHECK (type IN ('manual', 'schedule', 'webhook', 'event')),
    config         json NOT NULL,
    conditions     json,
    enabled        boolean NOT NULL,
    token          text,
    sealed_secrets bytea,
    next_run_at    timestamptz,
    created_at     timestamptz NOT NULL DEFAULT now(),
    updated_at     timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, id),
    FOREIGN KEY (tenant_id, workflow_id) REFERENCES workflows ON DELETE CASCADE,
    UNIQUE (tenant_id, workflow_id, key)
);
-- A webhook call names only the trigger; the tenant follows from it.
CREATE UNIQUE INDEX triggers_id ON triggers (id);
CREATE INDEX triggers_due ON triggers (next_run_at) WHERE next_run_at IS NOT NULL;

-- The execution row is also the outbox: while it is pending, wake_at says when to publish it (again).
CREATE TABLE executions (
    tenant_id    uuid NOT NULL,
    id           uuid NOT NULL,
    workflow_id  uuid NOT NULL,
    version      integer NOT NULL,
    trigger_id   uuid,
    trigger_type text NOT NULL,
    status       text NOT NULL DEFAULT 'pending'
        CHECK (status IN ('pending', 'running', 'waiting', 'completed', 'failed', 'cancelled', 'timed_out')),
    epoch        integer NOT NULL DEFAULT 0,
    worker       uuid,
    wake_at      timestamptz,
    input        json NOT NULL,
    output       json,
    error        json,
    total        integer NOT NULL DEFAULT 0,
    executed     integer NOT NULL DEFAULT 0,
    failed       integer NOT NULL DEFAULT 0,
    skipped      integer NOT NULL DEFAULT 0,
    actor        text,
    traceparent  text NOT NULL DEFAULT '',
    parent_id    uuid,
    started_at   timestamptz,
    finished_at  timestamptz,
    PRIMARY KEY (tenant_id, id),
    CONSTRAINT finished_iff_terminal
        CHECK ((finished_at IS NOT NULL) = (status IN ('completed', 'failed', 'cancelled', 'timed_out'))),
    CONSTRAINT woken_iff_parked CHECK ((wake_at IS NOT NULL) = (status IN ('pending', 'waiting'))),
    CONSTRAINT owned_iff_running CHECK ((worker IS NOT NULL) = (status = 'running'))
) PARTITION BY RANGE (id);
CREATE INDEX executions_by_workflow ON executions (tenant_id, workflow_id, id);
CREATE INDEX executions_due ON executions (wake_at) WHERE wake_at IS NOT NULL;
CREATE INDEX executions_owned ON executions (worker) WHERE worker IS NOT NULL;

-- One row an attempt. wake_at: when a delayed action starts, or when a failed attempt is tried again.
CREATE TABLE action_executions (
    tenant_id    uuid NOT NULL,
    execution_id uuid NOT NULL,
    position     integer NOT NULL,
    iteration    integer NOT NULL DEFAULT 0,
    attempt      integer NOT NULL,
    key          text NOT NULL,
    type         text NOT NULL,
    status       text NOT NULL
        CHECK (status IN ('started', 'completed', 'failed', 'skipped', 'cancelled', 'waiting', 'unknown')),
    input        json,
    output       json,
    error        json,
    started_at   timestamptz NOT NULL,
    finished_at  timestamptz,
    wake_at      timestamptz,
    PRIMARY KEY (tenant_id, execution_id, position, iteration, attempt)
) PARTITION BY RANGE (execution_id);

-- Every call to a trigger that exists, refused ones too. Headers are redacted before they come here.
CREATE TABLE webhook_logs (
    tenant_id    uuid NOT NULL,
    id           uuid NOT NULL,
    trigger_id   uuid NOT NULL,
    execution_id uuid,
    outcome      text NOT NULL,
    status       smallint NOT NULL,
    method       text NOT NULL,
    query        text NOT NULL,
    headers      json NOT NULL,
    body         bytea,
    ip           text NOT NULL,
    user_agent   text NOT NULL,
    microseconds integer NOT NULL,
    PRIMARY KEY (tenant_id, id)
) PARTITION BY RANGE (id);
CREATE INDEX webhook_logs_by_trigger ON webhook_logs (tenant_id, trigger_id, id);

-- The schedule ledger: exactly one row per due slot.
CREATE TABLE firings (
    tenant_id    uuid NOT NULL,
    trigger_id   uuid NOT NULL,
    planned_at   timestamptz NOT NULL,
    actual_at    timestamptz NOT NULL,
    outcome      text NOT NULL
        CHECK (outcome IN ('fired', 'late', 'caught_up', 'skipped_overlap', 'missed', 'suppressed')),
    execution_id uuid,
    reason       text,
    PRIMARY KEY (tenant_id, trigger_id, planned_at)
) PARTITION BY RANGE (planned_at);

CREATE TABLE idempotency_keys (
    tenant_id    uuid NOT NULL REFERENCES tenants ON DELETE CASCADE,
    key          text NOT NULL,
    request_hash bytea NOT NULL,
    execution_id uuid NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, key)
);
CREATE INDEX idempotency_keys_age ON idempotency_keys (created_at);

-- Who is alive: one row a worker process, so that a heartbeat touches no hot row.
CREATE TABLE workers (
    id         uuid PRIMARY KEY,
    service    text NOT NULL,
    started_at timestamptz NOT NULL DEFAULT now(),
    beat_at    timestamptz NOT NULL DEFAULT now()
);
