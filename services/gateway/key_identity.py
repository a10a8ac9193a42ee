"""Identity by API key: looked up by its hash, and remembered for `cache_seconds`: a revoked key may work so long."""

from libs.common.clock import Clock
from libs.common.db.api_keys import Credential, find_credential
from libs.common.db.pool import Database
from libs.common.errors import Unauthenticated
from libs.common.security.credentials import hash_key
from services.gateway.identity import Identity, Remembered
from services.gateway.key_uses import KeyUses, UsedKey


class KeyIdentities:
    """Knows whose API key it is."""

    def __init__(self, database: Database, clock: Clock, cache_seconds: float, uses: KeyUses) -> None:
        self._database, self._clock, self._uses = database, clock, uses
        self._known = Remembered[Credential](clock, cache_seconds)

    async def identify(self, key: str) -> Identity:
        """Whose key it is, and a note that it is used. Raises `Unauthenticated`."""
        now, hashed = self._clock.now(), hash_key(key)
        credential = self._known.get(hashed)
        if credential is None:
            credential = await self._look_up(hashed)
            self._known.put(hashed, credential)
        if credential.expires_at is not None and credential.expires_at <= now:
            raise Unauthenticated("This credential has expired.")
        self._uses.note(UsedKey(credential.tenant_id, credential.key_id), now)
        return Identity(
            credential.tenant_id, credential.tenant_slug, credential.tenant_status, credential.role, credential.key_id,
            credential.scopes,
        )  # fmt: skip

    async def _look_up(self, hashed: bytes) -> Credential:
        async with self._database.connection() as connection:
            credential = await find_credential(connection, hashed)
        if credential is None:
            self._known.drop(hashed)
            raise Unauthenticated("This credential is unknown or was revoked.")
        return credential
