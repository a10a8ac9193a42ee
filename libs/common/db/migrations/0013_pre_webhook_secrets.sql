-- What may be shown of the secrets of webhook triggers. The values are sealed in triggers.sealed_secrets: the one that
-- counts (valid_until IS NULL), and until its end the one before.
CREATE TABLE webhook_secrets (
    tenant_id    uuid NOT NULL,
    trigger_id   uuid NOT NULL,
    id           uuid NOT NULL,
    prefix       text NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    valid_until  timestamptz,
    last_used_at timestamptz,
    PRIMARY KEY (tenant_id, trigger_id, id),
    FOREIGN KEY (tenant_id, trigger_id) REFERENCES triggers ON DELETE CASCADE
);
-- A secret from before secrets had ids goes by the id of its trigger.
INSERT INTO webhook_secrets (tenant_id, trigger_id, id, prefix, created_at)
SELECT tenant_id, id, id, '', created_at FROM triggers WHERE type = 'webhook' AND sealed_secrets IS NOT NULL;
