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
    CONSTRAINT decided_iff_decision CHECK ((decided_at IS NOT NULL) = (decision IS NOT NULL))
);
CREATE INDEX approvals_open ON approvals (tenant_id, id) WHERE decided_at IS NULL;

-- Every event with what it did: `outcomes` has one entry for each trigger whose pattern fits and each execution that was
-- told. `execution_id`: which execution raised it.
CREATE TABLE events (
    tenant_id    uuid NOT NULL,
    id           uuid NOT NULL,
    type         text NOT NULL,
    data         json NOT NULL,
    source       text NOT NULL CHECK (source IN ('api', 'action', 'record', 'execution')),
    depth        integer NOT NULL,
    execution_id uuid,
    dedupe_id    text,
    actor        text,
    started      integer NOT NULL,
    told         integer NOT NULL,
    outcomes     json NOT NULL,
    PRIMARY KEY (tenant_id, id)
) PARTITION BY RANGE (id);
CREATE INDEX events_by_type ON events (tenant_id, type, id);

-- What senders call their events, for 24 hours.
CREATE TABLE event_ids (
    tenant_id    uuid NOT NULL,
    dedupe_id    text NOT NULL,
    request_hash bytea NOT NULL,
    event_id     uuid NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, dedupe_id)
);
CREATE INDEX event_ids_age ON event_ids (created_at);

CREATE INDEX triggers_by_event ON triggers (tenant_id, (config ->> 'event')) WHERE type = 'event';
