"""Request bodies: from bytes to values, strictly.

Unreadable JSON is refused with one sentence (400), a wrong content type with 415, and a readable body of the wrong
shape with every fault by its path (422). Nothing that comes out of here names one key twice.
"""

from typing import Annotated, Any, TypeAlias, TypeVar

import msgspec
from litestar import Request
from litestar.datastructures import State

from libs.common.domain.faults import is_array, is_object, struct_faults
from libs.common.errors import InvalidInput, MalformedInput, UnsupportedType
from libs.common.json_input import check_unique_names, decode_json

JSON_TYPES = frozenset({"application/json", "application/merge-patch+json", "text/json"})

AnyRequest: TypeAlias = Request[Any, Any, State]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=200, pattern=r"^[^\x00]*$")]
"""A name that PostgreSQL can keep: its `text` has no U+0000."""
Shape = TypeVar("Shape", bound=msgspec.Struct)


async def read_struct(request: AnyRequest, shape: type[Shape]) -> Shape:
    """The body as a struct. Raises `MalformedInput`, `UnsupportedType`, `TooLarge`, or `InvalidInput` with every
    fault.
    """
    return to_struct(await read_object(request), shape)


async def read_object(request: AnyRequest) -> dict[str, Any]:
    """The body as a JSON object. Raises as `read_struct`, but checks no field."""
    _check_content_type(request.headers.get("content-type"))
    return parse_object(await request.body())


async def read_object_or_list(request: AnyRequest) -> dict[str, Any] | list[Any]:
    """The body as a JSON object or a list. Raises as `read_struct`, but checks no field."""
    _check_content_type(request.headers.get("content-type"))
    value = _parse(await request.body())
    if not is_object(value) and not is_array(value):
        raise MalformedInput("The body must be a JSON object or a list.")
    return value


def parse_object(raw: bytes) -> dict[str, Any]:
    """JSON text as an object. Raises `MalformedInput`."""
    value = _parse(raw)
    if not is_object(value):
        raise MalformedInput("The body must be a JSON object.")
    return value


def _parse(raw: bytes) -> Any:
    if not raw.strip():
        raise MalformedInput("The body is empty; a JSON object is expected.")
    value: Any = decode_json(raw)
    check_unique_names(raw, value)
    return value


def to_struct(values: dict[str, Any], shape: type[Shape]) -> Shape:
    """An object as a struct: unknown, missing and wrong fields are all named. Raises `InvalidInput`."""
    faults = struct_faults(values, shape, "")
    if faults:
        raise InvalidInput(faults)
    return msgspec.convert(values, shape)


def _check_content_type(header: str | None) -> None:
    if header is None:
        return
    media_type, _, parameters = header.partition(";")
    if media_type.strip().lower() not in JSON_TYPES:
        raise UnsupportedType("The body must be application/json.")
    for parameter in parameters.split(";"):
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "charset" and value.strip(' "').lower() not in ("utf-8", "utf8"):
            raise UnsupportedType("The body must be UTF-8.")
