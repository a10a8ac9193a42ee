-- Who listens to the ends of executions: executors ask for the tenants every second.
CREATE INDEX triggers_on_ends ON triggers (tenant_id) WHERE type = 'event' AND config ->> 'event' LIKE 'execution.%';
CREATE INDEX event_waits_on_ends ON event_waits (tenant_id) WHERE event LIKE 'execution.%';

-- The readable part of a webhook's address, after the tenant's slug.
ALTER TABLE triggers ADD COLUMN slug text;
CREATE UNIQUE INDEX triggers_slug ON triggers (tenant_id, slug) WHERE slug IS NOT NULL;
