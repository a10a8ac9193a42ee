"""Credentials in what is recorded: values under telling names, and the values of secrets wherever they stand.

What a secret becomes on common ways is known too: percent-encoded, escaped in JSON or Python, in base64 (also inside
of a longer text, such as `user:password`), trimmed, or cut as errors cut what they quote. What a workflow makes of it
by other means, its capitals or its hash, is not.
"""

import json
import re
from base64 import b64encode
from collections.abc import Collection, Iterator
from functools import lru_cache
from typing import Any, cast

import msgspec

MASK = "***"
WHOLE_BELOW = 4
"""Secrets shorter than this are masked only where they are a whole text: they are part of too many others."""
_QUOTED = 60
"""Errors quote no more than this of a value."""
_LEAST_BASE64 = 6

_encode = msgspec.json.encode

_WORDS = "authorization|token|secret|password|api[-_]?key|cookie"
_TELLING = re.compile(_WORDS, re.IGNORECASE)
_TELLING_PARAMETER = re.compile(rf"(?<=[?&#])([^=&#]*(?:{_WORDS})[^=&#]*=)[^&#]*", re.IGNORECASE)
_USER = re.compile(r"(?<=://)[^/?#]*@")
_AUTH_FIELDS = ("token", "password", "value")


def mask_config(config: dict[str, Any]) -> dict[str, Any]:
    """The config of an effect as its record shows it: telling names masked at any depth and in the address, and the
    value of a header credential.
    """
    masked = cast("dict[str, Any]", _mask(config))
    auth = masked.get("auth")
    if isinstance(auth, dict):
        masked["auth"] = {
            name: MASK if name in _AUTH_FIELDS else value for name, value in cast("dict[str, Any]", auth).items()
        }
    if isinstance(url := masked.get("url"), str):
        masked["url"] = mask_address(url)
    return masked


def mask_address(text: str) -> str:
    """The text, with `***` for the credential of an address and for its parameters of telling names."""
    return _USER.sub(f"{MASK}@", _TELLING_PARAMETER.sub(rf"\1{MASK}", text))


def _mask(value: Any) -> Any:
    if isinstance(value, dict):
        items = cast("dict[str, Any]", value).items()
        return {name: MASK if is_telling(name) and inner is not None else _mask(inner) for name, inner in items}
    if isinstance(value, list):
        return [_mask(inner) for inner in cast("list[Any]", value)]
    return value


@lru_cache(maxsize=4096)
def is_telling(name: str) -> bool:
    """Whether what stands under that name is most likely a credential."""
    return _TELLING.search(name) is not None


def mask_values(value: Any, secrets: Collection[str]) -> Any:
    """The JSON value (or struct) with `***` for every occurrence of a secret, names of objects included.

    Without secrets, or when none occurs, it is the value itself. Who masks more than once for the same secrets keeps
    a `Masker`.
    """
    return Masker(secrets).mask(value) if secrets else value


class Masker:
    """Masks some secrets. Preparing it costs microseconds a secret; a value that holds none costs one encoding."""

    __slots__ = ("_parts", "_wholes")

    def __init__(self, secrets: Collection[str]) -> None:
        parts = {form for secret in secrets if len(secret) >= WHOLE_BELOW for form in _forms(secret)}
        # The longest first: a secret may begin with another one.
        self._parts = [(form, _encode(form)[1:-1]) for form in sorted(parts, key=lambda form: (-len(form), form))]
        self._wholes = [(secret, _encode(secret)) for secret in secrets if 0 < len(secret) < WHOLE_BELOW]

    def mask(self, value: Any) -> Any:
        """As `mask_values`. What cannot be written as JSON, as it is too deep or no Unicode, is masked as a whole."""
        if not self._parts and not self._wholes:
            return value
        try:
            encoded = _encode(value)
            parts = [form for form, needle in self._parts if needle in encoded]
            wholes = frozenset(secret for secret, needle in self._wholes if needle in encoded)
            return _replace(value, parts, wholes) if parts or wholes else value
        except (RecursionError, UnicodeEncodeError):
            return MASK


def _replace(value: Any, parts: list[str], wholes: frozenset[str]) -> Any:
    if isinstance(value, str):
        return _replace_text(value, parts, wholes)
    if isinstance(value, dict):
        return _replace_items(cast("dict[str, Any]", value), parts, wholes)
    if isinstance(value, list | tuple):
        return [_replace(item, parts, wholes) for item in cast("list[Any]", value)]
    if isinstance(value, int | float) and not isinstance(value, bool):
        text = _encode(value).decode()
        return MASK if any(form in text for form in parts) else value
    if isinstance(value, msgspec.Struct):
        return _replace_fields(value, parts, wholes)
    return value


def _replace_fields(value: msgspec.Struct, parts: list[str], wholes: frozenset[str]) -> msgspec.Struct:
    """A struct, such as a `Failure`; its numbers stay, as its types want numbers."""
    fields = {name: getattr(value, name) for name in value.__struct_fields__}
    changed = {
        name: _replace(item, parts, wholes) for name, item in fields.items() if not isinstance(item, int | float)
    }
    return msgspec.structs.replace(value, **changed)


def _replace_items(items: dict[str, Any], parts: list[str], wholes: frozenset[str]) -> dict[str, Any]:
    replaced: dict[str, Any] = {}
    for name, item in items.items():
        shown = _replace_text(name, parts, wholes)
        while shown in replaced:  # two names that differ in a secret only
            shown += "*"
        replaced[shown] = _replace(item, parts, wholes)
    return replaced


def _replace_text(text: str, parts: list[str], wholes: frozenset[str]) -> str:
    if text in wholes:
        return MASK
    for form in parts:
        if form in text:
            text = text.replace(form, MASK)
    return text


def _forms(secret: str) -> Iterator[str]:
    """The texts as which a secret occurs."""
    plain = {secret, secret.strip(), secret[:_QUOTED]}
    for text in plain:
        if len(text) >= WHOLE_BELOW:
            yield text
            yield repr(text)[1:-1]
            yield from _json_forms(text)
            yield from _percent_forms(text)
            yield from _base64_forms(text.encode())


def _json_forms(text: str) -> Iterator[str]:
    for escaped in (_encode(text).decode()[1:-1], json.dumps(text)[1:-1]):
        yield escaped
        yield escaped.replace("/", "\\/")


_UNRESERVED = "-._~"
_PERCENT_SAFE = (
    _UNRESERVED, _UNRESERVED + "/", _UNRESERVED + "!*'()", _UNRESERVED + "!$'()*,:@/?", _UNRESERVED + "!$&'()*+,;=:@/",
)  # fmt: skip
"""What encoders leave as it is beside letters and digits: by the book, Python's, JavaScript's, in queries, in paths."""


def _percent_forms(text: str) -> Iterator[str]:
    if text.isascii() and text.replace("-", "").replace("_", "").replace(".", "").isalnum():
        return
    for safe in _PERCENT_SAFE:
        keep = frozenset(safe)
        for pattern in ("%{:02X}", "%{:02x}"):
            encoded = "".join(
                chr(byte) if byte < 128 and (chr(byte).isalnum() or chr(byte) in keep) else pattern.format(byte)
                for byte in text.encode()
            )
            yield encoded
            yield encoded.replace("%20", "+")


def _base64_forms(data: bytes) -> Iterator[str]:
    """In base64 as it is, and what is certain of it behind any number of other bytes, in both alphabets."""
    found = [b64encode(data).decode().rstrip("=")]
    for before in range(3):
        first, end = -(-8 * before // 6), 8 * (before + len(data)) // 6
        found.append(b64encode(bytes(before) + data).decode()[first:end])
    for text in found:
        if len(text) >= _LEAST_BASE64:
            yield text
            yield text.replace("+", "-").replace("/", "_")
