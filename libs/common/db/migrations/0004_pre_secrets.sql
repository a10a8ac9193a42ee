-- Secrets of tenants: named values that only the vault opens.

-- key_id: the master key that sealed the value, so that a rotation finds what is left to do. version counts the values
-- there were. last_used_at is written at most once an hour, however often a secret is used.
CREATE TABLE secrets (
    tenant_id    uuid NOT NULL REFERENCES tenants ON DELETE CASCADE,
    name         text NOT NULL CHECK (name ~ '^[A-Za-z_][A-Za-z0-9_]{0,63}$'),
    sealed       bytea NOT NULL,
    key_id       text NOT NULL,
    version      integer NOT NULL DEFAULT 1,
    created_at   timestamptz NOT NULL DEFAULT now(),
    updated_at   timestamptz NOT NULL DEFAULT now(),
    last_used_at timestamptz,
    PRIMARY KEY (tenant_id, name)
);
