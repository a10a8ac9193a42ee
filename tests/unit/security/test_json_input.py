"""JSON from outside is read strictly, and says in one sentence what is wrong."""

import pytest

from libs.common.errors import MalformedInput
from libs.common.json_input import MAX_DEPTH, decode_json


@pytest.mark.parametrize(
    "raw",
    [
        b"", b"{", b'{"a": NaN}', b'{"a": Infinity}', b"[1] 2", b"'a'", b'"\xff"', b'"\xed\xa0\x80"', b'{"a": 1,}',
        b"[" * 100_000, b'{"a":' * 50_000, b"\x00", b"\xef\xbb\xbf{}",
    ],
)  # fmt: skip
def test_what_is_not_json_is_refused(raw: bytes) -> None:
    with pytest.raises(MalformedInput) as refused:
        decode_json(raw)
    assert refused.value.detail.startswith("The body is")
    assert len(refused.value.detail) < 200


@pytest.mark.parametrize("opening", ["[", '{"a":'])
def test_depth_is_bounded_exactly(opening: str) -> None:
    def nested(depth: int) -> bytes:
        return (opening * depth + "1" + ("]" if opening == "[" else "}") * depth).encode()

    decode_json(nested(MAX_DEPTH))
    with pytest.raises(MalformedInput, match="deeper"):
        decode_json(nested(MAX_DEPTH + 1))


def test_many_shallow_values_are_no_depth() -> None:
    assert len(decode_json(b"[" + b"[[]]," * 5_000 + b"[]]")) == 5_001
