-- Work on many executions at once, done in the background by the scheduler, a batch at a time.
CREATE TABLE jobs (
    tenant_id   uuid NOT NULL REFERENCES tenants ON DELETE CASCADE,
    id          uuid NOT NULL,
    kind        text NOT NULL CHECK (kind IN ('cancel', 'retry')),
    filter      json NOT NULL,
    position    uuid NOT NULL,
    done        integer NOT NULL DEFAULT 0,
    passed_over integer NOT NULL DEFAULT 0,
    actor       text,
    created_at  timestamptz NOT NULL DEFAULT now(),
    finished_at timestamptz,
    PRIMARY KEY (tenant_id, id)
);
CREATE INDEX jobs_open ON jobs (created_at) WHERE finished_at IS NULL;
