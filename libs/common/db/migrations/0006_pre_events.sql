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
