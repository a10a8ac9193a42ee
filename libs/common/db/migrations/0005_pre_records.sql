-- The tenant's own data: collections of records, in-app notifications, and what local actions gave.

CREATE TABLE collections (
    tenant_id   uuid NOT NULL REFERENCES tenants ON DELETE CASCADE,
    name        text NOT NULL,
    description text NOT NULL DEFAULT '',
    schema      json,
    version     integer NOT NULL DEFAULT 1,
    created_at  timestamptz NOT NULL,
    updated_at  timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, name)
);

-- Here documents are `jsonb`, as they are searched. What jsonb refuses (U+0000) is refused by us before, with its path.
CREATE TABLE records (
    tenant_id  uuid NOT NULL,
    collection text NOT NULL,
    id         uuid NOT NULL,
    version    integer NOT NULL,
    data       jsonb NOT NULL CHECK (jsonb_typeof(data) = 'object'),
    tags       jsonb NOT NULL CHECK (jsonb_typeof(tags) = 'array'),
    created_by text,
    updated_by text,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, collection, id),
    FOREIGN KEY (tenant_id, collection) REFERENCES collections ON DELETE CASCADE
);

-- What a record is found by: its data and tags under the name of its collection. A GIN index on the data alone would
-- hold the equal values of all tenants in one entry; with the tenant in the path, every collection has its own entries.
CREATE FUNCTION record_search(tenant_id uuid, collection text, data jsonb, tags jsonb) RETURNS jsonb
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN jsonb_set('{}', ARRAY[tenant_id::text || '/' || collection],
                     jsonb_set('{}', '{data}', data) || jsonb_set('{}', '{tags}', tags));
CREATE INDEX records_search ON records USING gin (record_search(tenant_id, collection, data, tags) jsonb_path_ops);

-- What a local action gave, kept for a day: a transaction whose answer was lost is tried again, and must not act twice.
CREATE TABLE local_results (
    tenant_id    uuid NOT NULL,
    execution_id uuid NOT NULL,
    key          text NOT NULL,
    output       json NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, execution_id, key)
);
CREATE INDEX local_results_age ON local_results (created_at);

-- user_id '': for everybody of the tenant; such a notification is read when anybody has read it.
CREATE TABLE notifications (
    tenant_id    uuid NOT NULL REFERENCES tenants ON DELETE CASCADE,
    id           uuid NOT NULL,
    user_id      text NOT NULL DEFAULT '',
    level        text NOT NULL CHECK (level IN ('info', 'success', 'warning', 'error')),
    title        text NOT NULL,
    message      text NOT NULL,
    link         text,
    execution_id uuid,
    created_at   timestamptz NOT NULL,
    read_at      timestamptz,
    PRIMARY KEY (tenant_id, id)
);
CREATE INDEX notifications_by_user ON notifications (tenant_id, user_id, id);
CREATE INDEX notifications_unread ON notifications (tenant_id, user_id, id) WHERE read_at IS NULL;
