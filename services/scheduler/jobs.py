"""Duty: background jobs, a batch at a time; batch and progress are one transaction, so a kill repeats nothing."""

from collections.abc import Sequence
from uuid import UUID

import msgspec

from libs.common.announce import Announcer
from libs.common.bus.messages import Ready
from libs.common.clock import id_time, new_id
from libs.common.db.controlling import cancel_executions
from libs.common.db.jobs import JobFilter, OpenJob, advance_job, claim_job, next_executions
from libs.common.db.pool import Connection, Database
from libs.common.db.rerunning import Repeatable, find_repeatable, repeat_execution
from libs.common.db.workflows import find_version
from libs.common.domain.workflow import Definition, action_places
from libs.common.telemetry.spans import first_place, record_beginning

_BATCH = 100

_decode_filter = msgspec.json.Decoder(JobFilter).decode
_decode_definition = msgspec.json.Decoder(Definition).decode


class Jobs:
    """Works off what is to be done to many executions."""

    name = "jobs"
    least = 0.25
    most = 2.0

    def __init__(self, database: Database, announcer: Announcer) -> None:
        self._database, self._announcer = database, announcer

    async def work(self) -> bool:
        """One batch of one job; more while there is a job."""
        async with self._database.transaction() as connection:
            job = await claim_job(connection)
            if job is None:
                return False
            ids = await next_executions(connection, job, _decode_filter(job.filter), _BATCH)
            ready: list[Ready] = []
            if job.kind == "cancel":
                done = len(await cancel_executions(connection, job.tenant_id, ids))
            else:
                ready = await _repeat_all(connection, job, ids)
                done = len(ready)
            await advance_job(
                connection, job, ids[-1] if ids else job.position, done=done, passed_over=len(ids) - done,
                finished=len(ids) < _BATCH,
            )  # fmt: skip
        self._announcer.announce(ready)
        return True


async def _repeat_all(connection: Connection, job: OpenJob, ids: Sequence[UUID]) -> list[Ready]:
    """New executions for those that can be run again on their original version."""
    places: dict[tuple[UUID, int], list[tuple[int, str, str]] | None] = {}
    ready: list[Ready] = []
    for execution_id in ids:
        source = await find_repeatable(connection, job.tenant_id, execution_id)
        if source is None:
            continue
        version = (source.workflow_id, source.version)
        if version not in places:
            places[version] = await _places(connection, job.tenant_id, source)
        actions = places[version]
        if actions is None:
            continue
        fresh_id = new_id()
        traceparent = first_place(fresh_id)
        await repeat_execution(
            connection, job.tenant_id, execution_id, new_id=fresh_id, version=source.version,
            input_json=source.input, actor=job.actor, traceparent=traceparent, actions=actions,
        )  # fmt: skip
        record_beginning("repeat", traceparent, id_time(fresh_id), tenant=job.tenant_id, execution=fresh_id)
        ready.append(Ready(job.tenant_id, fresh_id, 0, source.workflow_id, source.version, b"", traceparent))
    return ready


async def _places(connection: Connection, tenant_id: UUID, source: Repeatable) -> list[tuple[int, str, str]] | None:
    stored = await find_version(connection, tenant_id, source.workflow_id, source.version)
    return None if stored is None else action_places(_decode_definition(stored.definition))
