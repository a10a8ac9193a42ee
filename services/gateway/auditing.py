"""Who changed what: one line in whatever changes something, inside of its transaction.

    async with … .transaction() as connection:
        …
        await note(connection, "collection.changed", name, before, after)

Who asks is known from the request that is being answered, so it need not be handed down. A transaction that fails
takes the row with it; a row that cannot be written fails the change.
"""

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import cast
from uuid import UUID

import msgspec
from litestar.types import HTTPScope

from libs.common.clock import new_id
from libs.common.db.audit import PLATFORM, AuditRow, insert_audit_rows
from libs.common.db.pool import Connection
from libs.common.domain.audit import changes
from libs.common.security.caller_address import caller_address
from libs.common.settings import Network
from services.gateway.parts import Caller

_ACTOR_CHARACTERS = 200

_asked: ContextVar["Asked"] = ContextVar("asked")


class Asked(msgspec.Struct, frozen=True):
    """The request that is being answered. `scope` gets the caller once a guard has let it in."""

    scope: HTTPScope
    address: str
    request_id: str

    @property
    def caller(self) -> Caller | None:
        """Who asks; None before the guards, and for the platform."""
        return cast("Caller | None", self.scope["state"].get("caller"))

    def header(self, name: bytes) -> str:
        """The first header of that lower-case name, or nothing."""
        return next((value.decode("latin-1") for key, value in self.scope["headers"] if key == name), "")


@contextmanager
def answering(scope: HTTPScope, trusted: tuple[Network, ...], request_id: str) -> Generator[Asked]:
    """What is noted inside was asked for by this request."""
    peer = scope["client"][0] if scope["client"] else ""
    asked = Asked(scope, peer, request_id)
    asked = msgspec.structs.replace(asked, address=caller_address(peer, asked.header(b"x-forwarded-for"), trusted))
    token = _asked.set(asked)
    try:
        yield asked
    finally:
        _asked.reset(token)


async def note(
    connection: Connection,
    kind: str,
    subject: object,
    before: object = None,
    after: object = None,
    *,
    tenant_id: UUID | None = None,
) -> None:
    """On record in this transaction. `subject`: the id or name of what is changed; `before`, `after`: its states as
    JSON text, struct or object, None for none. `tenant_id`: whose log has it too, when it is the platform that asks.
    """
    assert connection.is_in_transaction()
    asked = _asked.get()
    caller = asked.caller
    what = msgspec.json.encode(changes(_plain(before), _plain(after))).decode()
    logs = [caller.tenant_id] if caller is not None else [PLATFORM, *([] if tenant_id is None else [tenant_id])]
    actor = claimed_actor(asked) if caller is None else caller.actor
    credential = "platform" if caller is None else caller.credential
    rows = [
        AuditRow(log, new_id(), kind, str(subject), actor, credential, asked.address, asked.request_id, what)
        for log in logs
    ]
    await insert_audit_rows(connection, rows)


def claimed_actor(asked: Asked) -> str | None:
    """Whom `X-User-ID` names, if it can be kept."""
    actor = asked.header(b"x-user-id").strip()
    return actor if actor and actor.isprintable() and len(actor) <= _ACTOR_CHARACTERS else None


def _plain(state: object) -> object:
    return msgspec.json.decode(state) if isinstance(state, str) else msgspec.to_builtins(state)
