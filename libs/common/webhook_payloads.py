"""The body of a webhook call as a value, by its content type: JSON, a form, XML, text, or base64 of anything else.

Everything is bounded before it is read: depth, the number of elements, what compressed bytes may grow to. A body that
cannot be read is `MalformedInput`; one that is not read here at all `UnsupportedType`.
"""

import base64
import zlib
from typing import Any
from urllib.parse import parse_qsl
from xml.parsers import expat

import msgspec

from libs.common.errors import MalformedInput, TooLarge, UnsupportedType
from libs.common.json_input import MAX_DEPTH, check_unique_names, decode_json

MAX_ELEMENTS = 20_000
MAX_RATIO = 100
"""Compressed bytes grow to so many times their size at most."""

_IDENTITY = frozenset({"", "identity"})
_ENCODINGS = frozenset({*_IDENTITY, "gzip"})
_JSON = frozenset({"", "application/json", "text/json"})
_FORM = "application/x-www-form-urlencoded"
_SAID_BY_TOOLS = frozenset({_FORM, "application/octet-stream"})
"""What curl and HTTP libraries say of a body when nobody tells them."""

_encode = msgspec.json.Encoder().encode


class Payload(msgspec.Struct, frozen=True):
    """A body as a value, and the same as JSON text."""

    value: Any
    json: bytes


NOTHING = Payload(None, b"null")


def media_type(content_type: str) -> str:
    """The type without its parameters, in lower case."""
    return content_type.partition(";")[0].strip().lower()


def check_readable(content_type: str, encoding: str) -> None:
    """Raises `UnsupportedType` for what is never read: bodies in parts, and encodings other than gzip."""
    if encoding.strip().lower() not in _ENCODINGS:
        raise UnsupportedType("A body may be sent as it is or as gzip.")
    if media_type(content_type).startswith("multipart/"):
        raise UnsupportedType("A body in several parts is not read here.")


def read_payload(content_type: str, encoding: str, body: bytes, limit_bytes: int) -> Payload:
    """The body as a value. Raises `MalformedInput`, `TooLarge`, or as `check_readable`."""
    check_readable(content_type, encoding)
    if encoding.strip().lower() not in _IDENTITY:
        body = _unpacked(body, limit_bytes)
    if not body:
        return NOTHING
    kind = media_type(content_type)
    if kind in _JSON or kind.endswith("+json"):
        value = decode_json(body)
        check_unique_names(body, value)
        return Payload(value, body)
    if kind in _SAID_BY_TOOLS and (payload := _json_after_all(body)) is not None:
        return payload
    value = _value(kind, body)
    return Payload(value, _encode(value))


def _json_after_all(body: bytes) -> Payload | None:
    """A JSON object or list whose sender left it to a tool to say what it sends; None for anything else."""
    if not body.lstrip().startswith((b"{", b"[")):
        return None
    try:
        value = decode_json(body)
    except MalformedInput:
        return None
    check_unique_names(body, value)
    return Payload(value, body)


def _value(kind: str, body: bytes) -> Any:
    if kind == _FORM:
        return _form(_text(body))
    if kind.endswith(("/xml", "+xml")):
        return _xml(body)
    return _text(body) if kind.startswith("text/") else base64.b64encode(body).decode()


def _form(text: str) -> dict[str, Any]:
    """By name; a name that stands several times has the list of its values."""
    try:
        pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=MAX_ELEMENTS)
    except ValueError:
        raise MalformedInput(f"The form has more than {MAX_ELEMENTS} fields.") from None
    form: dict[str, Any] = {}
    several: dict[str, list[str]] = {}
    for name, value in pairs:
        if name in form:
            form[name] = several.setdefault(name, [form[name]])
            several[name].append(value)
        else:
            form[name] = value
    return form


def _text(body: bytes) -> str:
    try:
        return body.decode()
    except UnicodeDecodeError:
        raise MalformedInput("The body is not UTF-8.") from None


def _unpacked(body: bytes, limit_bytes: int) -> bytes:
    unpacking = zlib.decompressobj(wbits=31)
    most = min(limit_bytes, MAX_RATIO * len(body))
    try:
        unpacked = unpacking.decompress(body, most + 1)
    except zlib.error:
        raise MalformedInput("The body is not gzip.") from None
    if len(unpacked) > most:
        raise TooLarge(most)
    if not unpacking.eof or unpacking.unused_data:
        raise MalformedInput("The body is not one whole gzip stream.")
    return unpacked


def _xml(body: bytes) -> Any:
    """`{"root": …}`: attributes as `@name`, text as `#text` (alone: as the value itself), children by their names,
    several of one name as a list.
    """
    reader = _XmlReader()
    try:
        reader.parser.Parse(body, True)
    except (expat.ExpatError, UnicodeError, LookupError) as error:
        raise MalformedInput(f"The body is not XML: {str(error)[:100]}.") from None
    return reader.root


class _XmlReader:
    """Builds the value while the parser goes through the document."""

    def __init__(self) -> None:
        self.root: dict[str, Any] = {}
        self._open: list[tuple[dict[str, Any], list[str]]] = []
        self._elements = 0
        self.parser = expat.ParserCreate()
        self.parser.buffer_text = True
        self.parser.StartDoctypeDeclHandler = self._refuse_type
        self.parser.StartElementHandler = self._start
        self.parser.CharacterDataHandler = self._characters
        self.parser.EndElementHandler = self._end

    def _refuse_type(self, *_: object) -> None:
        raise MalformedInput("A document type is not taken.")

    def _start(self, _: str, attributes: dict[str, str]) -> None:
        self._elements += 1 + len(attributes)
        if self._elements > MAX_ELEMENTS:
            raise MalformedInput(f"The document has more than {MAX_ELEMENTS} elements and attributes.")
        if len(self._open) >= MAX_DEPTH:
            raise MalformedInput(f"The body is nested deeper than {MAX_DEPTH} levels.")
        self._open.append(({f"@{key}": value for key, value in attributes.items()}, []))

    def _characters(self, text: str) -> None:
        self._open[-1][1].append(text)

    def _end(self, name: str) -> None:
        value, texts = self._open.pop()
        text = "".join(texts).strip()
        ended: Any = ({**value, "#text": text} if text else value) if value else (text or None)
        parent = self._open[-1][0] if self._open else self.root
        if name not in parent:
            parent[name] = ended
        elif isinstance(parent[name], list):
            parent[name].append(ended)
        else:
            parent[name] = [parent[name], ended]
