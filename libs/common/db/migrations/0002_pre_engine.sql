-- The whole engine: what a machine needs to go on from a record, and what somebody wants of a running execution.

-- Only the machine reads it: the items of a loop, what a wait waits for.
ALTER TABLE action_executions ADD COLUMN state json;

-- A wish that the executor has to notice: to cancel, or to pause. A paused execution is parked until infinity.
ALTER TABLE executions ADD COLUMN control text CHECK (control IN ('cancel', 'pause'));

-- A run again: which execution it repeats, and the first one of all. Effects are known downstream by the first one's id.
ALTER TABLE executions ADD COLUMN retry_of uuid;
ALTER TABLE executions ADD COLUMN original_id uuid;
