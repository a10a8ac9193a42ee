-- Schedules that are accounted for: pausing, overlap, arrears, back-filling.

-- paused_at: its slots are suppressed. resumed_at: failures before it count no more. runs: how many slots have run, for
-- max_runs. last_lag_ms: how late the newest of them was.
ALTER TABLE triggers ADD COLUMN paused_at timestamptz;
ALTER TABLE triggers ADD COLUMN paused_note text;
ALTER TABLE triggers ADD COLUMN paused_by text;
ALTER TABLE triggers ADD COLUMN resumed_at timestamptz;
ALTER TABLE triggers ADD COLUMN runs integer NOT NULL DEFAULT 0;
ALTER TABLE triggers ADD COLUMN last_lag_ms bigint;

-- A slot without an outcome waits for the run before it to end. kind 'manual': no slot, somebody fired it by hand.
ALTER TABLE firings ALTER COLUMN outcome DROP NOT NULL;
ALTER TABLE firings ADD COLUMN kind text NOT NULL DEFAULT 'slot' CHECK (kind IN ('slot', 'manual'));

-- What overlap is judged by: the runs of schedules whose policy is not `allow`, and the firings that wait for their turn.
-- A run that has ended is known by its execution, and its row goes with the next look. No foreign key: rows of a trigger
-- that is gone are found by the scheduler. id: the execution's, or of what waits, in the order of coming.
CREATE TABLE schedule_runs (
    tenant_id  uuid NOT NULL,
    trigger_id uuid NOT NULL,
    id         uuid NOT NULL,
    waits      boolean NOT NULL,
    planned_at timestamptz NOT NULL,
    input      json,
    actor      text,
    PRIMARY KEY (tenant_id, trigger_id, id)
);
CREATE INDEX schedule_runs_waiting ON schedule_runs (tenant_id, trigger_id, id) WHERE waits;

-- Slots that nobody looked at in time, from from_at until before until_at: written into the ledger a batch at a time,
-- so that a long time away delays no slot of now. written: how many of them are.
CREATE TABLE schedule_gaps (
    tenant_id  uuid NOT NULL,
    trigger_id uuid NOT NULL,
    id         uuid NOT NULL,
    config     json NOT NULL,
    from_at    timestamptz NOT NULL,
    until_at   timestamptz NOT NULL,
    outcome    text NOT NULL CHECK (outcome IN ('missed', 'suppressed')),
    reason     text NOT NULL,
    written    integer NOT NULL DEFAULT 0,
    PRIMARY KEY (tenant_id, trigger_id, id)
);
CREATE INDEX schedule_gaps_order ON schedule_gaps (id);

-- Slots of the past that shall run after all, some a second. Shown as jobs. from_at: how far it is.
CREATE TABLE backfills (
    tenant_id   uuid NOT NULL REFERENCES tenants ON DELETE CASCADE,
    id          uuid NOT NULL,
    trigger_id  uuid NOT NULL,
    from_at     timestamptz NOT NULL,
    until_at    timestamptz NOT NULL,
    due_at      timestamptz NOT NULL DEFAULT now(),
    done        integer NOT NULL DEFAULT 0,
    passed_over integer NOT NULL DEFAULT 0,
    actor       text,
    created_at  timestamptz NOT NULL DEFAULT now(),
    finished_at timestamptz,
    PRIMARY KEY (tenant_id, id)
);
CREATE INDEX backfills_open ON backfills (due_at) WHERE finished_at IS NULL;
