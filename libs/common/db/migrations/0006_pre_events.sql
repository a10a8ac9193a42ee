-- What an execution is told from outside while it runs or waits.

-- The durable mailbox: at most one signal for a place of an execution, the first one. Cut by the execution's day.
CREATE TABLE signals (
    tenant_id    uuid NOT NULL,
    execution_id uuid NOT NULL,
    position     integer NOT NULL,
    iteration    integer NOT NULL DEFAULT 0,
    kind         text NOT NULL,
    value        json NOT NULL,
    sent_at      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, execution_id, position, iteration)
) PARTITION BY RANGE (execution_id);

-- What executions wait for. `event`: a name, or the beginning of names with a star; `match`: JSON of a template or of
-- conditions; `scope`: what the match needs of the run.
CREATE TABLE event_waits (
    tenant_id    uuid NOT NULL,
    execution_id uuid NOT NULL,
    position     integer NOT NULL,
    iteration    integer NOT NULL DEFAULT 0,
    event        text NOT NULL,
    match        json,
    scope        json NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, execution_id, position, iteration)
);
CREATE INDEX event_waits_by_event ON event_waits (tenant_id, event);

-- What executions ask people. Kept after the decision: who decided what, and when.
CREATE TABLE approvals (
    tenant_id    uuid NOT NULL,
    id           uuid NOT NULL,
    execution_id uuid NOT NULL,
    workflow_id  uuid NOT NULL,
    position     integer NOT NULL,
    iteration    integer NOT NULL DEFAULT 0,
    title        text NOT NULL,
    message      text NOT NULL,
    asked_at     timestamptz NOT NULL DEFAULT now(),
    expires_at   timestamptz,
    decided_at   timestamptz,
    decision     text CHECK (decision IN ('approve', 'reject')),
    comment      text,
    actor        text,
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, execution_id, position, iteration),
    CONSTRAINT decided_iff_decision CHECK ((decided_at IS NOT NULL) = (decision IS NOT NULL))
);
CREATE INDEX approvals_open ON approvals (tenant_id, id) WHERE decided_at IS NULL;
