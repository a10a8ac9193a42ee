"""Messages: what was encoded is decoded, everything else is refused in one way."""

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from libs.common.bus.messages import SCHEMA, Ready, ReadyBatch, UndecodableMessage, decode, encode
from libs.common.clock import new_id

READY = Ready(new_id(), new_id(), 3, new_id(), 7, b"snapshot", "00-" + "a" * 32 + "-" + "b" * 16 + "-01")

ready = st.builds(
    Ready,
    st.uuids(),
    st.uuids(),
    st.integers(0, 2**31),
    st.uuids(),
    st.integers(1, 2**31),
    st.binary(max_size=99),
    st.text(),
)


@given(st.lists(ready, max_size=5))
def test_what_was_encoded_is_decoded(items: list[Ready]) -> None:
    batch = ReadyBatch(items=tuple(items))
    assert decode(encode(batch)) == batch


def test_an_identifier_takes_sixteen_bytes() -> None:
    plain = Ready(READY.tenant_id, READY.execution_id, 0, READY.workflow_id, 1)
    assert len(encode(ReadyBatch(items=(plain,) * 2))) - len(encode(ReadyBatch(items=(plain,)))) < 3 * 18 + 8


@given(st.binary(max_size=200))
@example(b"")
@example(b"\xc1")
@example(b"\x91" * 5000)
@example(b'{"type":"ready"}')
def test_anything_else_is_undecodable(body: bytes) -> None:
    with pytest.raises(UndecodableMessage):
        decode(body)


@given(st.integers(0, 400), st.integers(0, 255))
def test_a_damaged_message_is_decoded_or_refused(position: int, byte: int) -> None:
    body = bytearray(encode(ReadyBatch(items=(READY,))))
    body[position % len(body)] = byte
    try:
        decode(bytes(body))
    except UndecodableMessage as error:
        assert error.detail


@pytest.mark.parametrize("schema", [0, SCHEMA + 1, -1, "1", None])
def test_another_schema_is_undecodable(schema: object) -> None:
    with pytest.raises(UndecodableMessage):
        decode(msgspec.msgpack.encode({"type": "ready", "schema": schema, "items": []}))


def test_fields_of_a_later_version_are_ignored() -> None:
    fields = [*msgspec.to_builtins(READY, builtin_types=(bytes,)), "new"]
    body = msgspec.msgpack.encode({"type": "ready", "schema": 1, "items": [fields], "priority": 3})
    assert decode(body).items == (READY,)


def test_an_older_writer_may_leave_out_what_has_a_default() -> None:
    fields = msgspec.to_builtins(READY)[:5]
    assert decode(msgspec.msgpack.encode({"type": "ready", "items": [fields]})).items[0].snapshot == b""
