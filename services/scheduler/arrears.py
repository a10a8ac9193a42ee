"""Duty: writes into the ledger what lies before the catch-up windows, a bounded batch at a time, oldest gap first.

Rows and the gap's new beginning are one transaction, and a row that is there stays as it is: a kill repeats nothing.
"""

from collections.abc import Sequence
from datetime import datetime
from itertools import islice

import msgspec

from libs.common.accept import Acceptor
from libs.common.db.partitions import make_days_of_firings
from libs.common.db.pool import Database
from libs.common.db.schedule_gaps import Gap, advance_gaps, claim_gaps
from libs.common.db.schedules import FiringRow, write_firings
from libs.common.domain.firing_policy import due_slots, read_schedule
from libs.common.schedule_alerts import Alert, raise_alerts
from libs.common.telemetry import metrics

_GAPS = 500
_SLOTS = 5_000


class Arrears:
    """Accounts for slots that nobody looked at in time."""

    name = "arrears"
    least = 0.25
    most = 5.0

    def __init__(self, database: Database, acceptor: Acceptor) -> None:
        self._database, self._acceptor = database, acceptor

    async def work(self) -> bool:
        """One batch; more while there is a gap."""
        async with self._database.transaction() as connection:
            gaps, now = await claim_gaps(connection, _GAPS)
            if now is None:
                return False
            rows: list[FiringRow] = []
            alerts: list[Alert] = []
            advanced: list[Gap] = []
            closed: list[Gap] = []
            for gap in gaps:
                found, after = _next_slots(gap, now, _SLOTS - len(rows))
                rows += found
                alerts += _alerts(gap, found)
                written = gap.written + len(found)
                (closed if after is None else advanced).append(
                    msgspec.structs.replace(gap, from_at=after or gap.until_at, written=written)
                )
                if len(rows) == _SLOTS:
                    break
            await make_days_of_firings(connection, {row.planned_at for row in rows})
            await write_firings(connection, rows)
            await advance_gaps(connection, advanced, closed)
            raised = await raise_alerts(connection, alerts)
        self._acceptor.announce_raised(raised)
        for row in rows:
            metrics.observe_firing(row.trigger_id, row.outcome or "")
        return True


def _alerts(gap: Gap, found: Sequence[FiringRow]) -> list[Alert]:
    if not found or gap.outcome != "missed":
        return []
    first, last = found[0].planned_at, found[-1].planned_at
    return [Alert(gap.tenant_id, gap.trigger_id, "schedule.missed", len(found), first, last)]


def _next_slots(gap: Gap, now: datetime, most: int) -> tuple[list[FiringRow], datetime | None]:
    """The next rows of a gap, and where it begins after them; None: nowhere."""
    found, after = list[FiringRow](), None
    for slot, following in islice(due_slots(read_schedule(gap.config), gap.from_at, gap.until_at), most):
        if slot >= gap.until_at:
            return found, None
        found.append(FiringRow(gap.tenant_id, gap.trigger_id, slot, now, gap.outcome, None, gap.reason))
        after = following
    return found, after if after is not None and after < gap.until_at else None
