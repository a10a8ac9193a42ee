-- Webhook calls: what each was answered, replays, floods that are sampled, and which deliveries are known.

-- detail: why it was refused. answer: JSON of status, headers and body when it was no ordinary one. body_bytes: how long
-- the body was, of which a refused call keeps the beginning. stands_for: how many calls this row is the sample of.
ALTER TABLE webhook_logs ADD COLUMN detail text NOT NULL DEFAULT '';
ALTER TABLE webhook_logs ADD COLUMN answer json;
ALTER TABLE webhook_logs ADD COLUMN body_bytes integer;
ALTER TABLE webhook_logs ADD COLUMN stands_for integer NOT NULL DEFAULT 1;
ALTER TABLE webhook_logs ADD COLUMN version integer;
ALTER TABLE webhook_logs ADD COLUMN replay_of uuid;

-- What senders call their deliveries, by its SHA-256, for seven days: senders sign anew what they send again.
CREATE TABLE webhook_deliveries (
    tenant_id    uuid NOT NULL,
    trigger_id   uuid NOT NULL,
    delivery     bytea NOT NULL,
    execution_id uuid NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, trigger_id, delivery)
);
CREATE INDEX webhook_deliveries_age ON webhook_deliveries (created_at);

ALTER TABLE events DROP CONSTRAINT events_source_check;
ALTER TABLE events ADD CONSTRAINT events_source_check
    CHECK (source IN ('api', 'action', 'record', 'execution', 'schedule', 'webhook', 'bus'));
