"""JSON from outside is read strictly, and says in one sentence what is wrong."""

import json
from time import process_time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.errors import MalformedInput
from libs.common.json_input import MAX_DEPTH, decode_json

BAD = {
    "nothing": b"", "spaces": b"  ", "cut off": b"{", "NaN": b'{"a": NaN}', "Infinity": b'{"a": Infinity}',
    "minus Infinity": b"-Infinity", "two values": b"[1] 2", "single quotes": b"'a'", "bare word": b"yes",
    "comma at the end": b'{"a": 1,}', "comment": b"[1] // one", "leading zero": b"01", "plus": b"+1", "hex": b"0x1",
    "not UTF-8": b'"\xff"', "overlong": b'"\xc0\x80"', "half a pair as bytes": b'"\xed\xa0\x80"',
    "half a pair": b'"\\ud800"', "the other half": b'"\\udc00"', "half a pair as a name": b'{"\\ud800": 1}',
    "UTF-16": '{"a": 1}'.encode("utf-16"), "UTF-16 without a mark": '{"a": 1}'.encode("utf-16-le"),
    "byte order mark": b"\xef\xbb\xbf{}", "null byte": b"\0", "null byte behind": b"{}\0", "line break": b'"a\nb"',
    "bare null in a text": b'"a\0b"', "infinite": b"1e999", "long number": b"9" * 5_000,
    "long negative": b"-" + b"9" * 5_000,
    "very long number": b"9" * 1_000_000, "very deep list": b"[" * 100_000, "very deep object": b'{"a":' * 50_000,
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_what_is_not_json_is_refused(name: str) -> None:
    before = process_time()
    with pytest.raises(MalformedInput) as refused:
        decode_json(BAD[name])
    assert refused.value.detail.startswith("The body is")
    assert len(refused.value.detail) < 200
    assert process_time() - before < 2


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        (b" null\r\n", None), (b'"\\ud83d\\ude00"', "\U0001f600"), (b'"a\\u0000b"', "a\0b"), (b"-0", 0), (b"1E5", 1e5),
        (b"123456789012345678901234567890", 123456789012345678901234567890), (b"0.1", 0.1), (b"1e-999", 0.0),
        (b'{"a": 1, "a": 2}', {"a": 2}), (b'{"": {}}', {"": {}}), ('"é\u2028"'.encode(), "é\u2028"),
    ],
)  # fmt: skip
def test_what_is_json_is_read(raw: bytes, value: Any) -> None:
    assert decode_json(raw) == value


JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=5),
)


@given(JSON_VALUES)
def test_whatever_json_can_say_comes_in_as_it_is(value: Any) -> None:
    assert decode_json(json.dumps(value, ensure_ascii=False).encode()) == value
    assert decode_json(json.dumps(value, indent=1).encode()) == value


@given(st.binary(max_size=50))
def test_other_bytes_are_refused_and_never_break_anything(raw: bytes) -> None:
    try:
        value = decode_json(raw)
    except MalformedInput:
        return
    assert value == json.loads(raw)


@pytest.mark.parametrize("opening", ["[", '{"a":'])
def test_depth_is_bounded_exactly(opening: str) -> None:
    def nested(depth: int) -> bytes:
        return (opening * depth + "1" + ("]" if opening == "[" else "}") * depth).encode()

    decode_json(nested(MAX_DEPTH))
    with pytest.raises(MalformedInput, match="deeper than 64 levels"):
        decode_json(nested(MAX_DEPTH + 1))


def test_depth_is_found_beside_much_that_is_shallow() -> None:
    deep = "[" * (MAX_DEPTH - 1) + "[]" + "]" * (MAX_DEPTH - 1)
    with pytest.raises(MalformedInput, match="deeper"):
        decode_json(f'{{"a": [[], {{}}, 1], "b": {{"c": {deep}}}}}'.encode())


def test_many_shallow_values_are_no_depth() -> None:
    assert len(decode_json(b"[" + b"[[]]," * 5_000 + b"[]]")) == 5_001
    assert decode_json(b'"' + b"[{" * 1_000 + b'"') == "[{" * 1_000
