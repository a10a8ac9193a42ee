"""What travels on the bus, and how it is written down: tagged msgspec structs in MessagePack with a schema number.

A reader understands every schema up to its own. New fields come with defaults, so old and new processes can run side
by side; a change that an old reader must not misread raises `SCHEMA`, and the old reader refuses it. Nothing else
than these structs is ever put on the bus.
"""

from typing import Annotated
from uuid import UUID

import msgspec

from libs.common.errors import SignalboxError

SCHEMA = 1
"""The newest schema that this process writes and reads."""


class UndecodableMessage(SignalboxError):
    """The body is no message of ours, or one of a newer schema. Trying again won't mend it."""

    slug = "undecodable-message"


class Snapshot(msgspec.Struct, frozen=True, array_like=True):
    """What the executor needs of a fresh execution, so that the row need not be read. `input` is JSON text."""

    trigger_id: UUID | None
    trigger_key: str
    trigger_type: str
    input: bytes
    actor: str | None = None


SNAPSHOT_BYTES = 16_384
"""A larger input is not carried by the message; the executor reads it from its row."""
encode_snapshot = msgspec.msgpack.Encoder().encode
decode_snapshot = msgspec.msgpack.Decoder(Snapshot).decode


class Ready(msgspec.Struct, frozen=True, array_like=True):
    """One execution that may be taken. New fields go to the end, with a default: it travels as an array."""

    tenant_id: UUID
    execution_id: UUID
    epoch: int
    """The epoch that the taker must find in the row (compare-and-set); another one means that somebody was faster."""
    workflow_id: UUID
    version: int
    snapshot: bytes = b""
    """What the executor needs to know of a fresh execution; empty: it reads the row."""
    traceparent: str = ""
    """W3C trace context of what fired it, or empty."""


class ReadyBatch(msgspec.Struct, frozen=True, tag="ready"):
    """Some executions that are ready, of any tenants. Publishing one twice is harmless."""

    items: tuple[Ready, ...]
    schema: Annotated[int, msgspec.Meta(ge=1, le=SCHEMA)] = SCHEMA


Message = ReadyBatch

_encoder = msgspec.msgpack.Encoder(uuid_format="bytes")
_decoder = msgspec.msgpack.Decoder(Message)


def encode(message: Message) -> bytes:
    """The body that carries this message."""
    return _encoder.encode(message)


def decode(body: bytes) -> Message:
    """The message that a body carries. Raises `UndecodableMessage` for anything that `encode` did not write."""
    try:
        return _decoder.decode(body)
    except (msgspec.MsgspecError, RecursionError, ValueError) as error:
        raise UndecodableMessage(f"This is no message of Signalbox: {error}") from None
