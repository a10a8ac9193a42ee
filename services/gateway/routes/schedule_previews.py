"""When a schedule is due next: of a draft, and of one that is stored; in words, in its own zone and in UTC.

Nothing is changed here; what the scheduler does with a slot that is due is its own affair.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Annotated, Literal, TypeAlias
from uuid import UUID

import msgspec
from litestar import Router, get, post
from litestar.params import FromPath, QueryParameter

from libs.common.db.triggers import find_trigger
from libs.common.domain.dates import read_zone
from libs.common.domain.faults import struct_faults
from libs.common.domain.schedule import Slot, slots
from libs.common.domain.schedule_config import ScheduleConfig
from libs.common.domain.schedule_text import describe
from libs.common.domain.schedule_validation import schedule_faults
from libs.common.domain.trigger import TriggerSpec, schedule_config
from libs.common.errors import Conflict, Fault, InvalidInput, NotFound
from services.gateway.auth import caller_of, parts_of, require_member, require_reader, tenant_of
from services.gateway.bodies import AnyRequest, read_object
from services.gateway.documents import TENANT_SECURITY, problems, takes

Count: TypeAlias = Annotated[int, QueryParameter(ge=1, le=100, description="How many run times")]


class Draft(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A schedule that is not stored, as the `config` of a trigger would hold it."""

    config: ScheduleConfig
    count: Annotated[int, msgspec.Meta(ge=1, le=100)] = 5


class RunTime(msgspec.Struct, frozen=True):
    """One run time, in the schedule's zone and in UTC.

    `mark`: the clock left its local time out and it comes right after the `gap`, or the local time comes twice
    (`fold`).
    """

    local: datetime
    utc: datetime
    mark: Literal["gap", "fold"] | None


class RunTimes(msgspec.Struct, frozen=True):
    """A schedule as a sentence and its coming run times; none when it is disabled or has come to its end."""

    description: str
    items: list[RunTime]


BODIES = (Draft,)


@post(
    "/schedules/preview", operation_class=takes(Draft), status_code=200, guards=[require_reader],
    responses=problems(400, 403, 415, 422), summary="Preview a schedule",
)  # fmt: skip
async def preview(request: AnyRequest) -> RunTimes:
    """The next run times of a draft, with all its faults if it has any; nothing is stored."""
    raw = await read_object(request)
    faults = struct_faults(raw, Draft, "", skip=("config",))
    faults += schedule_faults(raw["config"], "config") if "config" in raw else [Fault("config", "is required")]
    if faults:
        raise InvalidInput(faults, "The schedule has faults.")
    draft = msgspec.convert(raw, Draft)
    try:
        return _run_times(draft.config, parts_of(request).clock.now(), draft.count)
    except ValueError as error:  # from here on, exclusions leave out more than is looked at
        raise InvalidInput([Fault("config.exclude", str(error))], "The schedule has faults.") from None


@get(
    "/triggers/{trigger_id:uuid}/next-runs", guards=[require_member],
    responses=problems(400, 403, 404, 409, 422), summary="Show next run times",
)  # fmt: skip
async def show_next_runs(request: AnyRequest, trigger_id: FromPath[UUID], count: Count = 5) -> RunTimes:
    """When a stored schedule fires next. A slot that is due and not yet fired comes first."""
    caller = caller_of(request)
    async with tenant_of(request).transaction() as connection:
        row = await find_trigger(connection, caller.tenant_id, trigger_id)
    if row is None:
        raise NotFound("There is no such trigger.")
    if row.type != "schedule":
        raise Conflict("This trigger is not a schedule.")
    config = schedule_config(TriggerSpec(row.key, "schedule", msgspec.json.decode(row.config)))
    if row.next_run_at is None:
        return RunTimes(describe(config), [])
    return _run_times(config, row.next_run_at - timedelta(microseconds=1), count)


def _run_times(config: ScheduleConfig, after: datetime, count: int) -> RunTimes:
    """Raises `ValueError` when exclusions leave nothing in sight."""
    zone = read_zone(config.timezone)
    found = _slots(config, after, min(count, config.max_runs or count))
    rows = [RunTime(slot.instant.astimezone(zone), slot.instant, slot.mark) for slot in found]
    return RunTimes(describe(config), rows)


def _slots(config: ScheduleConfig, after: datetime, count: int) -> Iterator[Slot]:
    """Up to `count` slots; those before the first long stretch that is excluded, if there are any."""
    found = slots(config, after)
    for number in range(count):
        try:
            slot = next(found, None)
        except ValueError:
            if number == 0:
                raise
            return
        if slot is None:
            return
        yield slot


ROUTER = Router("/api/v1", route_handlers=[preview, show_next_runs], security=TENANT_SECURITY, tags=["Schedules"])
