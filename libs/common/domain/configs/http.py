"""The config of an HTTP request, as a definition holds it."""

from typing import Annotated, Any, Literal, TypeAlias

import msgspec
from msgspec import Meta

from libs.common.domain.faults import is_array, is_object
from libs.common.domain.templates import has_template
from libs.common.errors import Fault

HTTP_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
MAX_RESPONSE_BYTES = 5 * 1_048_576
BODIES = ("body", "form", "multipart", "text", "base64")

GoodStatus: TypeAlias = (
    Annotated[int, Meta(ge=100, le=599)] | Annotated[str, Meta(pattern="^([1-5]xx|[1-5][0-9][0-9])$")]
)


class BearerAuth(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="type", tag="bearer"):
    """`Authorization: Bearer <token>`."""

    token: str


class BasicAuth(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="type", tag="basic"):
    """`Authorization: Basic …` (RFC 7617), in UTF-8."""

    username: str
    password: str = ""


class HeaderAuth(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="type", tag="header"):
    """A credential in a header of any name."""

    name: str
    value: str


HttpAuth: TypeAlias = BearerAuth | BasicAuth | HeaderAuth


class FormPart(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One part of a multipart body: a `value` (a list or object is sent as JSON) or a file's content in `base64`."""

    name: Annotated[str, Meta(min_length=1)]
    value: Any = None
    base64: str | None = None
    filename: str | None = None
    content_type: str | None = None


class HttpRequestConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An HTTP request, with at most one of the bodies."""

    url: Annotated[str, Meta(description="`http://` or `https://`, without user name and password")]
    method: Annotated[str, Meta(description=", ".join(HTTP_METHODS))] = "POST"
    headers: Annotated[dict[str, Any], Meta(description="names to values; null: not sent")] = {}
    query: Annotated[
        dict[str, Any], Meta(description="added to the URL; a list: once for each item; null: not sent")
    ] = {}
    body: Annotated[Any, Meta(description="sent as JSON")] = None
    form: Annotated[dict[str, Any] | None, Meta(description="sent url-encoded; a list: once for each item")] = None
    multipart: Annotated[list[FormPart] | None, Meta(description="sent as `multipart/form-data`")] = None
    text: Annotated[str | None, Meta(description="sent as it is; `Content-Type` from `headers`, or plain text")] = None
    base64: Annotated[str | None, Meta(description="bytes to send as they are")] = None
    auth: Annotated[HttpAuth | None, Meta(description="credential; wins over `headers`")] = None
    response: Annotated[
        Literal["auto", "json", "text", "bytes"],
        Meta(description="how to read the answer; auto: by its `Content-Type`; bytes: as base64"),
    ] = "auto"
    success_status: Annotated[
        list[GoodStatus] | None, Meta(description="what is no failure: statuses and groups (`2xx`); else all below 400")
    ] = None
    max_response_bytes: Annotated[
        int, Meta(ge=0, le=MAX_RESPONSE_BYTES, description="a larger answer is a failure of the class `too_large`")
    ] = MAX_RESPONSE_BYTES
    follow_redirects: Annotated[
        bool, Meta(description="go where the answer points, 5 times at most; credentials stay on their origin")
    ] = False
    verify_tls: Annotated[bool, Meta(description="false: take any certificate")] = True


def http_rules(config: dict[str, Any], path: str) -> list[Fault]:
    """What the fields of an `http_request` alone cannot say."""
    faults: list[Fault] = []
    method = config.get("method", "POST")
    if not has_template(method) and method.upper() not in HTTP_METHODS:
        faults.append(Fault(f"{path}.method", f"must be one of {', '.join(HTTP_METHODS)}"))
    faults += url_faults(config["url"], f"{path}.url")
    bodies = [name for name in BODIES if config.get(name) is not None]
    if len(bodies) > 1:
        faults.append(Fault(f"{path}.{bodies[1]}", f"only one of {', '.join(bodies)} may be given"))
    parts = config.get("multipart")
    for place, part in enumerate(parts if is_array(parts) else ()):
        if is_object(part) and (part.get("value") is None) == (part.get("base64") is None):
            faults.append(Fault(f"{path}.multipart[{place}]", "needs either value or base64"))
    return faults


def url_faults(url: str, path: str) -> list[Fault]:
    """The fault of a URL that is there already."""
    if has_template(url) or url.lower().startswith(("http://", "https://")):
        return []
    return [Fault(path, "must start with http:// or https://")]
