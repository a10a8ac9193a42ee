-- Fair dispatch: what a tenant may have on the bus or running, and what waits for its turn.

-- weight: executions a turn. run_window: executions on the bus or running; null: as the installation has it.
ALTER TABLE tenants ADD COLUMN weight integer NOT NULL DEFAULT 1 CHECK (weight BETWEEN 1 AND 100);
ALTER TABLE tenants ADD COLUMN run_window integer CHECK (run_window BETWEEN 1 AND 1000000);

-- priority: as the call that started it said; null: as its trigger or workflow has it. queue_rank: it is held back, and
-- the earliest of its tenant goes first; wake_at is infinity meanwhile.
ALTER TABLE executions ADD COLUMN priority smallint CHECK (priority BETWEEN -10 AND 10);
ALTER TABLE executions ADD COLUMN queue_rank timestamptz;
CREATE INDEX executions_queued ON executions (tenant_id, queue_rank, id)
    WHERE status = 'pending' AND queue_rank IS NOT NULL;
