-- Who: what an API key may do besides its role, and when it was last used; tenants on their way out; a data key each.

-- scopes: null for all that the role allows. last_used_at is right to the minute.
ALTER TABLE api_keys ADD COLUMN scopes text[];
ALTER TABLE api_keys ADD COLUMN last_used_at timestamptz;

-- data_key: what the secrets of the tenant are sealed with, itself sealed with a master key. Without it nothing opens them.
ALTER TABLE tenants ADD COLUMN data_key bytea;
ALTER TABLE tenants DROP CONSTRAINT tenants_status_check;
ALTER TABLE tenants ADD CONSTRAINT tenants_status_check CHECK (status IN ('active', 'suspended', 'erasing'));

-- The receipts of the platform: one for each tenant that is being erased or was. id: the tenant's. counts: rows of each
-- table that are gone.
CREATE TABLE erasures (
    id           uuid PRIMARY KEY,
    slug         text NOT NULL,
    name         text NOT NULL,
    requested_by text,
    requested_at timestamptz NOT NULL DEFAULT now(),
    key_gone_at  timestamptz NOT NULL DEFAULT now(),
    counts       jsonb NOT NULL DEFAULT '{}',
    finished_at  timestamptz
);
CREATE INDEX erasures_open ON erasures (requested_at) WHERE finished_at IS NULL;
