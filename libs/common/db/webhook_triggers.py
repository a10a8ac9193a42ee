"""Finding the trigger that a webhook call names. Its tenant follows from it, so this is the one look-up without a
tenant.
"""

from uuid import UUID

import msgspec

from libs.common.db.pool import Connection


class WebhookTriggerRow(msgspec.Struct, frozen=True):
    """A webhook trigger with what accepting a call needs of its workflow and tenant. JSON texts as stored. `suspended`:
    its tenant is. `plan`, `quota` and `stored_bytes` are the tenant's.
    """

    tenant_id: UUID
    id: UUID
    workflow_id: UUID
    key: str
    config: str
    conditions: str | None
    token: str | None
    sealed_secrets: bytes | None
    version: int
    workflow_name: str
    tenant_slug: str
    runnable: bool
    suspended: bool
    input_schema: str | None
    data_key: bytes | None
    plan: str | None = None
    quota: str = "{}"
    stored_bytes: int = 0


_FIND = """
SELECT tr.tenant_id, tr.id, tr.workflow_id, tr.key, tr.config, tr.conditions, tr.token, tr.sealed_secrets, w.version,
       w.name, t.slug, tr.enabled AND w.enabled AS runnable, t.status <> 'active' AS suspended,
       v.definition ->> 'input_schema' AS input_schema, t.data_key, t.plan, t.quota, t.stored_bytes
  FROM triggers tr
  JOIN workflows w ON w.tenant_id = tr.tenant_id AND w.id = tr.workflow_id AND w.deleted_at IS NULL
  JOIN workflow_versions v ON v.tenant_id = w.tenant_id AND v.workflow_id = w.id AND v.version = w.version
  JOIN tenants t ON t.tenant_id = tr.tenant_id AND t.status <> 'erasing'
 WHERE tr.id = $1 AND tr.type = 'webhook'
"""


async def find_webhook_trigger(connection: Connection, trigger_id: UUID) -> WebhookTriggerRow | None:
    """The trigger of that id, if it exists, its workflow lives and its tenant is not being erased."""
    row = await connection.fetchrow(_FIND, trigger_id)
    return None if row is None else WebhookTriggerRow(*row.values())


_FIND_CALLED = """
SELECT tr.tenant_id, tr.id, tr.workflow_id, tr.key, tr.config, tr.conditions, tr.token, tr.sealed_secrets, w.version,
       w.name, t.slug, tr.enabled AND w.enabled AS runnable, t.status <> 'active' AS suspended,
       v.definition ->> 'input_schema' AS input_schema, t.data_key, t.plan, t.quota, t.stored_bytes
  FROM tenants t
  JOIN triggers tr ON tr.tenant_id = t.tenant_id AND tr.slug = $2 AND tr.type = 'webhook'
  JOIN workflows w ON w.tenant_id = tr.tenant_id AND w.id = tr.workflow_id AND w.deleted_at IS NULL
  JOIN workflow_versions v ON v.tenant_id = w.tenant_id AND v.workflow_id = w.id AND v.version = w.version
 WHERE t.slug = $1 AND t.status <> 'erasing'
"""


async def find_webhook_trigger_called(connection: Connection, tenant_slug: str, slug: str) -> WebhookTriggerRow | None:
    """The trigger of that slug in the tenant of that slug; as `find_webhook_trigger`."""
    row = await connection.fetchrow(_FIND_CALLED, tenant_slug, slug)
    return None if row is None else WebhookTriggerRow(*row.values())
