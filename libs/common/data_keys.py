"""The data keys of tenants: what the secrets of a tenant are sealed with. Made with the first secret; nothing else
opens them, so whoever destroys the key destroys them all.
"""

from uuid import UUID

from libs.common.db.pool import Connection
from libs.common.db.tenants import claim_data_key, find_data_key
from libs.common.errors import TenantErased
from libs.common.security.encryption import Vault


async def data_key_of(connection: Connection, tenant_id: UUID, vault: Vault) -> bytes:
    """The tenant's data key, sealed; made when there is none. Raises `TenantErased`, and `OperatorError` without any
    master key.
    """
    found = await find_data_key(connection, tenant_id)
    if found is None:
        found = await claim_data_key(connection, tenant_id, vault.new_data_key(tenant_id))
    if found is None:
        raise TenantErased("This tenant is being erased.")
    return found
