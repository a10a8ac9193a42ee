-- Limits of tenants: the plan that each has, what it overrides, and what its stored rows weigh.
ALTER TABLE tenants ADD COLUMN plan text;
ALTER TABLE tenants ADD COLUMN quota json NOT NULL DEFAULT '{}';
ALTER TABLE tenants ADD COLUMN stored_bytes bigint NOT NULL DEFAULT 0;
ALTER TABLE tenants ADD COLUMN weighed_at timestamptz;

-- A limit of which four fifths were used, once a day; raised_at: when the event was.
CREATE TABLE limit_warnings (
    tenant_id  uuid NOT NULL REFERENCES tenants ON DELETE CASCADE,
    name       text NOT NULL,
    day        date NOT NULL,
    value      bigint NOT NULL,
    used       bigint NOT NULL,
    raised_at  timestamptz,
    PRIMARY KEY (tenant_id, name, day)
);
CREATE INDEX limit_warnings_open ON limit_warnings (day) WHERE raised_at IS NULL;

ALTER TABLE events DROP CONSTRAINT events_source_check;
ALTER TABLE events ADD CONSTRAINT events_source_check
    CHECK (source IN ('api', 'action', 'record', 'execution', 'schedule', 'webhook', 'bus', 'limit'));

-- What tenants have used, hour by hour. Rows are only added: what comes late adds another one for its hour. `number`
-- grows with the order of the commits, because one writer at a time holds the row of usage_progress.
CREATE TABLE usage (
    tenant_id      uuid NOT NULL REFERENCES tenants ON DELETE CASCADE,
    hour           timestamptz NOT NULL,
    number         bigint GENERATED ALWAYS AS IDENTITY,
    executions     bigint NOT NULL,
    actions        bigint NOT NULL,
    action_seconds numeric NOT NULL,
    calls          bigint NOT NULL,
    bytes          bigint NOT NULL,
    mails          bigint NOT NULL,
    tokens         numeric NOT NULL,
    cost           numeric NOT NULL,
    created_at     timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, hour, number)
);
CREATE INDEX usage_numbers ON usage (number);
CREATE INDEX usage_hours ON usage (hour, number);

-- Up to which hour everything is metered, and up to which it was looked at once more for what came late. The rows are
-- made by the first look: what ended before is not metered.
CREATE TABLE usage_progress (
    pass     text PRIMARY KEY CHECK (pass IN ('first', 'late')),
    metered  timestamptz NOT NULL
);

-- For the hour's ended executions. A block range index: an end costs it next to nothing, and a day's ends are in order.
-- Partial, so that no statement that looks for unfinished ones is planned with it.
CREATE INDEX executions_ended ON executions USING brin (finished_at) WITH (pages_per_range = 32, autosummarize = on)
    WHERE finished_at IS NOT NULL;
