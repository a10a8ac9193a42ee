"""Looks for what is stuck in an installation and mends what can be mended without harm.

The services mend all of this by themselves within seconds; what is found here means that one of them does not run, or
that something happened that nobody foresaw. Every look is bounded: `more` says that there is more than was counted.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol
from uuid import UUID

import msgspec

from libs.common.bus.messages import Ready
from libs.common.clock import Clock
from libs.common.db import diseases
from libs.common.db.executions import release_executions_of, wake_due_executions
from libs.common.db.partitions import make_partitions, missing_partitions
from libs.common.db.pool import Database
from libs.common.db.sealed import SealedValue, sealed_data_keys, sealed_secrets, sealed_triggers
from libs.common.db.slots import Place, Watched, watch_slots
from libs.common.errors import Unavailable
from libs.common.security.encryption import DATA_KEY, CannotOpen, Vault
from libs.common.slot_mending import mend_slots, place_of

MOST = 1_000
_EXAMPLES = 5
_SLOT_PAGES = 20
_SEALED_PAGES, _SEALED_ROWS = 100, 200
"""To open a page of secrets takes milliseconds, in which nobody else is served."""
_DEAD_SECONDS = 30.0
"""Three leases: by then the scheduler has long done it."""
_LATE_SECONDS = 120.0


class DeadLetters(Protocol):
    """A bus, as far as it is asked here."""

    async def dead_letters(self) -> int: ...


class Patient(msgspec.Struct, frozen=True):
    """What is looked at. `vault`: with the master keys of this process; `announce` puts executions on the bus; `bus`
    None: nobody can be asked about dead letters.
    """

    database: Database
    vault: Vault
    clock: Clock
    announce: Callable[[Sequence[Ready]], None]
    bus: DeadLetters | None = None


class Finding(msgspec.Struct, frozen=True):
    """One kind of illness. `examples`: ids of at most five; `mended`: how many are well now, null when nothing was
    tried; `remedy`: what mending does, or what a person has to do.
    """

    disease: str
    count: int
    more: bool
    examples: list[str]
    remedy: str
    mended: int | None = None


class Cure(msgspec.Struct, frozen=True):
    """How one disease is found, and mended if that can be done."""

    disease: str
    remedy: str
    find: Callable[[Patient], Awaitable[list[Any]]]
    show: Callable[[Any], str]
    mend: Callable[[Patient, list[Any]], Awaitable[int]] | None = None


async def examine(patient: Patient, *, fix: bool = False) -> list[Finding]:
    """What is ill, in the order in which it is to be mended; nothing when all is well. Raises `Unavailable`."""
    findings: list[Finding] = []
    for cure in CURES:
        found = await cure.find(patient)
        if not found:
            continue
        mended = await cure.mend(patient, found[:MOST]) if fix and cure.mend is not None else None
        examples = [cure.show(one) for one in found[:_EXAMPLES]]
        findings.append(
            Finding(cure.disease, min(len(found), MOST), len(found) > MOST, examples, cure.remedy, mended)
        )  # fmt: skip
    return findings + await _dead_letters(patient)


def is_well(findings: Sequence[Finding]) -> bool:
    """Whether nothing is left to do."""
    return all(one.mended == one.count and not one.more for one in findings)


async def _find_partitions(patient: Patient) -> list[str]:
    async with patient.database.connection() as connection:
        return await missing_partitions(connection, patient.clock.now())


async def _make_partitions(patient: Patient, _: list[str]) -> int:
    async with patient.database.connection() as connection:
        return len(await make_partitions(connection, patient.clock.now()))


async def _find_orphans(patient: Patient) -> list[diseases.Orphan]:
    async with patient.database.connection() as connection:
        return await diseases.find_orphans(connection, _DEAD_SECONDS, MOST + 1)


async def _free_orphans(patient: Patient, orphans: list[diseases.Orphan]) -> int:
    async with patient.database.connection() as connection:
        freed = await release_executions_of(connection, sorted({one.worker for one in orphans}))
    return min(freed, len(orphans))


async def _find_workers(patient: Patient) -> list[Any]:
    async with patient.database.connection() as connection:
        return await diseases.find_dead_workers(connection, _DEAD_SECONDS, MOST + 1)


async def _retire_workers(patient: Patient, workers: list[Any]) -> int:
    async with patient.database.connection() as connection:
        return await diseases.retire_dead_workers(connection, workers, _DEAD_SECONDS)


async def _find_slots(patient: Patient) -> list[Watched]:
    strays, after = list[Watched](), Place(UUID(int=0), UUID(int=0))
    async with patient.database.connection() as connection:
        for _ in range(_SLOT_PAGES):
            watched = await watch_slots(connection, after, MOST)
            strays += [one for one in watched if one.finding is not None]
            if len(watched) < MOST:
                break
            after = place_of(watched[-1])
    return strays


async def _mend_slots(patient: Patient, strays: list[Watched]) -> int:
    await mend_slots(patient.database, strays)
    left = {place_of(one) for one in await _find_slots(patient)}
    return sum(place_of(one) not in left for one in strays)


async def _find_stranded(patient: Patient) -> list[diseases.Stuck]:
    async with patient.database.connection() as connection:
        return await diseases.find_stranded(connection, MOST + 1)


async def _wake_stranded(patient: Patient, stranded: list[diseases.Stuck]) -> int:
    async with patient.database.connection() as connection:
        return await diseases.wake_stranded(connection, stranded)


async def _find_overdue(patient: Patient) -> list[diseases.Stuck]:
    async with patient.database.connection() as connection:
        return await diseases.find_overdue(connection, _LATE_SECONDS, MOST + 1)


async def _publish_overdue(patient: Patient, overdue: list[diseases.Stuck]) -> int:
    async with patient.database.connection() as connection:
        due = await wake_due_executions(connection, MOST, _LATE_SECONDS)
    patient.announce([Ready(d.tenant_id, d.id, d.epoch, d.workflow_id, d.version, b"", d.traceparent) for d in due])
    return len({one.execution_id for one in overdue} & {one.id for one in due})


async def _find_lagging(patient: Patient) -> list[diseases.Lagging]:
    async with patient.database.connection() as connection:
        return await diseases.find_lagging(connection, _LATE_SECONDS, MOST + 1)


async def _find_unreadable(patient: Patient) -> list[SealedValue]:
    """What is sealed and does not open."""
    unreadable: list[SealedValue] = []
    for read in (sealed_data_keys, sealed_secrets, sealed_triggers):
        after: SealedValue | None = None
        for _ in range(_SEALED_PAGES):
            async with patient.database.connection() as connection:
                page = await read(connection, after, _SEALED_ROWS)
            unreadable += [one for one in page if not _opens(patient.vault, one)]
            if len(page) < _SEALED_ROWS or len(unreadable) > MOST:
                break
            after = page[-1]
    return unreadable[: MOST + 1]


def _opens(vault: Vault, one: SealedValue) -> bool:
    try:
        vault.open(one.tenant_id, one.record or DATA_KEY, one.sealed, one.data_key)
    except CannotOpen:
        return False
    return True


def _sealed(one: SealedValue) -> str:
    if isinstance(one.record, UUID):
        return f"secrets of trigger {one.record} of tenant {one.tenant_id}"
    return f"{DATA_KEY if one.record is None else f'secret {one.record}'} of tenant {one.tenant_id}"


async def _dead_letters(patient: Patient) -> list[Finding]:
    if patient.bus is None:
        return []
    try:
        count = await patient.bus.dead_letters()
    except Unavailable:
        return [Finding("bus_away", 1, False, [], "Start the broker. Work is accepted and runs once it is back.")]
    remedy = "Look at them on the broker, then purge the queue: executions that they stood for are published again."
    return [Finding("dead_letters", count, False, [], remedy)] if count else []


def _execution(one: Any) -> str:
    return f"execution {one.execution_id} of tenant {one.tenant_id}"


CURES = (
    Cure("missing_partitions", "Makes the partitions.", _find_partitions, str, _make_partitions),
    Cure(
        "orphaned_executions", "Frees them: they go on elsewhere from their records.",
        _find_orphans, _execution, _free_orphans,
    ),
    Cure("dead_workers", "Counts them as gone.", _find_workers, lambda one: f"worker {one}", _retire_workers),
    Cure("leaked_slots", "Frees slots of what has ended, wakes who holds one.", _find_slots, _execution, _mend_slots),
    Cure("stranded_executions", "Wakes them to look again.", _find_stranded, _execution, _wake_stranded),
    Cure("overdue_executions", "Puts them on the bus.", _find_overdue, _execution, _publish_overdue),
    Cure(
        "lagging_schedules", "Start a scheduler: it fires or records each slot as the schedule says.", _find_lagging,
        lambda one: f"trigger {one.trigger_id} of tenant {one.tenant_id}, due {one.planned_at.isoformat()}",
    ),
    Cure(
        "unreadable_secrets", "Put the master key that sealed them back into SIGNALBOX_MASTER_KEYS, or set them anew.",
        _find_unreadable, _sealed,
    ),
)  # fmt: skip
