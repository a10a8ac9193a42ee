"""The config of an action by the type that says what it may hold: a struct, or a union of structs told apart by a tag.

It is read twice. In a definition, a text with a template may stand wherever a value will be, but for the tag; what is
no template is checked already. Rendered, it must be the value: a number where text is wanted is written as text, a
text that is a number is read as one. Both times every fault is found, and no message holds a value: it may be secret.
"""

from collections.abc import Iterator, Sequence
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import msgspec

from libs.common.domain.execution import Failure
from libs.common.domain.faults import is_array, is_object, join_path, value_faults
from libs.common.domain.functions import plain_text
from libs.common.domain.paths import near_names
from libs.common.domain.pure_actions import ActionFailed
from libs.common.domain.templates import has_template
from libs.common.errors import Fault

INVALID_CONFIG = "invalid_config"
"""The class of the failure of an action whose rendered config is not what it takes."""

_MOST_TOLD = 10


def config_faults(raw: dict[str, Any], wanted: Any, path: str) -> list[Fault]:
    """Every fault of the config of a definition, templates not yet rendered."""
    return _faults(raw, wanted, path, rendered=False)


def read_config(rendered: dict[str, Any], wanted: Any) -> Any:
    """The struct of a rendered config. Raises `ActionFailed` with every fault, of the class `invalid_config`."""
    fitted = _fitted(rendered, wanted)
    faults = _faults(fitted, wanted, "", rendered=True)
    if faults:
        raise ActionFailed(invalid_config(faults))
    return msgspec.convert(fitted, wanted)


def invalid_config(faults: Sequence[Fault]) -> Failure:
    """The faults as one failure."""
    return Failure(INVALID_CONFIG, "; ".join(f"{fault.path} {fault.message}" for fault in faults[:_MOST_TOLD]))


def structs_of(wanted: Any) -> list[type[msgspec.Struct]]:
    """The structs that a type offers."""
    return [base for base, _ in _members(wanted) if isinstance(base, type) and issubclass(base, msgspec.Struct)]


def _members(wanted: Any) -> Iterator[tuple[Any, Sequence[Any]]]:
    """Every type of a union, or the type itself, with what `Annotated` says of it."""
    notes: Sequence[Any] = ()
    if get_origin(wanted) is Annotated:
        wanted, *notes = get_args(wanted)
    if get_origin(wanted) in (Union, UnionType):
        for member in get_args(wanted):
            yield from _members(member)
    else:
        yield wanted, notes


def _faults(value: Any, wanted: Any, path: str, *, rendered: bool) -> list[Fault]:
    if not rendered and isinstance(value, str) and has_template(value):
        return []
    for base, notes in _members(wanted):
        if base is Any:
            return []
        if get_origin(base) is dict and is_object(value):
            kind = get_args(base)[1]
            items = [(join_path(path, name[:64]), item) for name, item in value.items()]
            return [fault for here, item in items for fault in _faults(item, kind, here, rendered=rendered)]
        if get_origin(base) is list and is_array(value):
            kind = get_args(base)[0]
            inside = [_faults(item, kind, f"{path}[{place}]", rendered=rendered) for place, item in enumerate(value)]
            return _length_faults(value, notes, path) + [fault for faults in inside for fault in faults]
        if get_origin(base) is Literal and isinstance(value, str):
            choices = get_args(base)
            return [] if value in choices else [Fault(path, f"must be one of {', '.join(map(str, choices))}")]
    if is_object(value) and (structs := structs_of(wanted)):
        return _struct_faults(value, structs, path, rendered=rendered)
    return value_faults(value, wanted, path)


def _length_faults(value: Sequence[Any], notes: Sequence[Any], path: str) -> list[Fault]:
    for note in notes:
        if isinstance(note, msgspec.Meta) and len(value) > (note.max_length or len(value)):
            return [Fault(path, f"has more than {note.max_length} items")]
        if isinstance(note, msgspec.Meta) and len(value) < (note.min_length or 0):
            return [Fault(path, f"has fewer than {note.min_length} items")]
    return []


def _struct_faults(
    value: dict[str, Any], structs: list[type[msgspec.Struct]], path: str, *, rendered: bool
) -> list[Fault]:
    tag = structs[0].__struct_config__.tag_field
    if tag is not None and tag not in value:
        return [Fault(join_path(path, tag), f"is required: one of {_tags(structs)}")]
    struct = _chosen(value, structs)
    if struct is None:
        return [Fault(join_path(path, tag or ""), f"must be one of {_tags(structs)}, and no template")]
    fields = {field.encode_name: field for field in msgspec.structs.fields(struct)}
    known = [*fields, tag]
    faults = [
        Fault(join_path(path, name[:64]), f"is not a field of this action{near_names(name[:64], fields)}")
        for name in value
        if name not in known
    ]
    for name, field in fields.items():
        if name in value:
            faults += _faults(value[name], field.type, join_path(path, name), rendered=rendered)
        elif field.required:
            faults.append(Fault(join_path(path, name), "is required"))
    return faults


def _chosen(value: dict[str, Any], structs: Sequence[type[msgspec.Struct]]) -> type[msgspec.Struct] | None:
    """The struct that the tag names."""
    tag = structs[0].__struct_config__.tag_field
    named = value.get(tag) if tag is not None else None
    return next((struct for struct in structs if struct.__struct_config__.tag == named), None)


def _tags(structs: Sequence[type[msgspec.Struct]]) -> str:
    return ", ".join(str(struct.__struct_config__.tag) for struct in structs)


def _fitted(value: Any, wanted: Any) -> Any:
    """The value with numbers and texts as the type wants them; what does not fit stays as it is."""
    members = [base for base, _ in _members(wanted)]
    if is_object(value):
        structs = structs_of(wanted)
        struct = _chosen(value, structs) if structs else None
        fields = {field.encode_name: field.type for field in msgspec.structs.fields(struct)} if struct else {}
        rest = next((get_args(base)[1] for base in members if get_origin(base) is dict), Any)
        return {name: _fitted(item, fields.get(name, rest)) for name, item in value.items()}
    if is_array(value):
        kind = next((get_args(base)[0] for base in members if get_origin(base) is list), Any)
        return [_fitted(item, kind) for item in value]
    return _fitted_scalar(value, frozenset(base for base in members if base in _SCALARS), any_other=Any in members)


_SCALARS = (str, int, float, bool, NoneType)


def _fitted_scalar(value: Any, kinds: frozenset[Any], *, any_other: bool) -> Any:
    if any_other or value is None or isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        if str in kinds and not kinds & {int, float}:
            return plain_text(value)
        return _whole(value) if float not in kinds else value
    if not isinstance(value, str) or str in kinds:
        return value
    if bool in kinds and value in ("true", "false"):
        return value == "true"
    return _number(value) if kinds & {int, float} else value


def _number(text: str) -> Any:
    """The number that the text is; else the text."""
    try:
        number = msgspec.json.decode(text.strip())
    except (msgspec.DecodeError, UnicodeEncodeError):
        return text
    if not isinstance(number, int | float) or isinstance(number, bool):
        return text
    return _whole(number)


def _whole(number: int | float) -> int | float:
    """The number as an int, if it is a whole one."""
    return int(number) if isinstance(number, float) and number.is_integer() else number
