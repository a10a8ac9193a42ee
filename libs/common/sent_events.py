"""Events as senders write them, one or many at once: over HTTP, and into an exchange of the platform.

Every fault is named by its path, and nothing of a body with a fault is raised.
"""

from collections.abc import Mapping
from typing import Annotated, Any, TypeAlias
from uuid import UUID

import msgspec

from libs.common.clock import new_id
from libs.common.domain.event_names import NAME
from libs.common.domain.events import MAX_DATA_BYTES, EventSource, NewEvent
from libs.common.domain.faults import is_array, is_object, join_path, struct_faults
from libs.common.errors import Fault, InvalidInput

MAX_BATCH = 100

EventType: TypeAlias = Annotated[str, msgspec.Meta(pattern=NAME)]
_encode = msgspec.json.Encoder().encode


class RaiseEvent(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An event: its name, its data (at most 256 KiB), and what the sender calls it. The same `id` within 24 hours is
    the same event.
    """

    type: EventType
    data: dict[str, Any] = {}
    id: Annotated[str, msgspec.Meta(pattern=r"^[^\x00-\x1f\x7f]{1,255}$(?!\n)")] | None = None


class RaiseEvents(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Several events that are raised together, all or none."""

    events: Annotated[list[RaiseEvent], msgspec.Meta(min_length=1, max_length=MAX_BATCH)]


def read_events(body: dict[str, Any] | list[Any]) -> dict[str, RaiseEvent]:
    """The events of a body by their paths in it; a single one has none. Raises `InvalidInput` with every fault."""
    places = _places(body)
    faults = [fault for path, raw in places.items() for fault in _event_faults(raw, path)]
    if faults:
        raise InvalidInput(faults)
    return {path: msgspec.convert(raw, RaiseEvent) for path, raw in places.items()}


def new_events(
    sent: Mapping[str, RaiseEvent], tenant_id: UUID, source: EventSource, *, key: str | None = None,
    actor: str | None = None, traceparent: str = "",
) -> dict[str, NewEvent]:  # fmt: skip
    """The events as they are raised, by their paths. `key`, with the path, stands for the `id` of those without one."""
    return {
        path: NewEvent(
            tenant_id=tenant_id,
            id=new_id(),
            type=event.type,
            data=_encode(event.data).decode(),
            source=source,
            dedupe_id=event.id if event.id is not None or key is None else key + path,
            actor=actor,
            traceparent=traceparent,
        )
        for path, event in sent.items()
    }


def _places(body: dict[str, Any] | list[Any]) -> dict[str, Any]:
    if is_object(body) and "events" not in body:
        return {"": body}
    events, path = (body["events"], "events") if is_object(body) else (body, "")
    faults = [Fault(name[:64], "may not stand beside events") for name in body if is_object(body) and name != "events"]
    if not is_array(events) or not 1 <= len(events) <= MAX_BATCH:
        faults.append(Fault(path, f"must be a list of 1 to {MAX_BATCH} events"))
    if faults:
        raise InvalidInput(faults)
    return {f"{path}[{index}]": event for index, event in enumerate(events)}


def _event_faults(raw: object, path: str) -> list[Fault]:
    faults = struct_faults(raw, RaiseEvent, path)
    if is_object(raw) and is_object(data := raw.get("data")) and len(_encode(data)) > MAX_DATA_BYTES:
        faults.append(Fault(join_path(path, "data"), f"is larger than {MAX_DATA_BYTES // 1024} KiB"))
    return faults
