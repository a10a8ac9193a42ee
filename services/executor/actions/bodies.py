"""Bodies of outgoing requests: from a rendered config to bytes and their type. Raises `ActionFailed` for what cannot be
written.
"""

import base64
import binascii
import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

import msgspec

from libs.common.domain.action_config import invalid_config
from libs.common.domain.configs.http import FormPart, HttpRequestConfig
from libs.common.domain.pure_actions import ActionFailed
from libs.common.errors import Fault

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_NAME_ESCAPES = {ord('"'): "%22", ord("\r"): "%0D", ord("\n"): "%0A"}
"""How browsers write names in a multipart body (HTML standard, multipart/form-data encoding)."""


def encode_body(wanted: HttpRequestConfig) -> tuple[bytes | None, str]:
    """The body that the config asks for and its content type; None and nothing when it asks for none."""
    if wanted.form is not None:
        return urlencode(pairs(wanted.form), doseq=True).encode(), "application/x-www-form-urlencoded"
    if wanted.multipart is not None:
        return _multipart(wanted.multipart)
    if wanted.text is not None:
        return wanted.text.encode(), "text/plain; charset=utf-8"
    if wanted.base64 is not None:
        return decode_base64(wanted.base64, "base64"), "application/octet-stream"
    if wanted.body is not None:
        return msgspec.json.encode(wanted.body), "application/json"
    return None, ""


def pairs(fields: Mapping[str, Any]) -> dict[str, str | list[str]]:
    """Names and values as they are sent: a list is sent once for each item, null not at all."""
    return {
        name: [as_text(item) for item in value] if isinstance(value, list) else as_text(value)  # pyright: ignore[reportUnknownVariableType]
        for name, value in fields.items()
        if value is not None
    }


def as_text(value: Any) -> str:
    """A text as it is, anything else as JSON."""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def decode_base64(text: str, path: str) -> bytes:
    """The bytes of base64, in either alphabet, padded or not. Raises `ActionFailed`."""
    plain = "".join(text.split()).replace("-", "+").replace("_", "/").rstrip("=")
    try:
        return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise ActionFailed(invalid_config([Fault(path, "is not base64")])) from None


def _multipart(parts: Sequence[FormPart]) -> tuple[bytes, str]:
    """As RFC 7578 says. The boundary is a hash of all contents, so none of them holds it; a retry sends the same."""
    bodies = [_part(part, f"multipart[{place}]") for place, part in enumerate(parts)]
    boundary = f"signalbox-{hashlib.sha256(b''.join(bodies)).hexdigest()[:40]}"
    lines = b"".join(b"--%s\r\n%s\r\n" % (boundary.encode(), body) for body in bodies)
    return lines + b"--%s--\r\n" % boundary.encode(), f"multipart/form-data; boundary={boundary}"


def _part(part: FormPart, path: str) -> bytes:
    content = as_text(part.value).encode() if part.base64 is None else decode_base64(part.base64, f"{path}.base64")
    head = f'Content-Disposition: form-data; name="{part.name.translate(_NAME_ESCAPES)}"'
    if part.filename is not None:
        head += f'; filename="{part.filename.translate(_NAME_ESCAPES)}"'
    if content_type := part.content_type or _type_of(part):
        if _CONTROL.search(content_type):
            raise ActionFailed(invalid_config([Fault(f"{path}.content_type", "must be one line")]))
        head += f"\r\nContent-Type: {content_type}"
    return head.encode() + b"\r\n\r\n" + content


def _type_of(part: FormPart) -> str:
    if part.base64 is not None or part.filename is not None:
        return "application/octet-stream"
    return "application/json" if isinstance(part.value, dict | list) else ""
