"""Events that schedules raise, so that other workflows can act on them: `schedule.missed`, `schedule.late`,
`schedule.auto_paused`.

Raised in the transaction of what they tell of. In a bad hour there may be one for every schedule, so only a tenant in
which something listens gets them; the ledger has it all anyway.
"""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import msgspec

from libs.common.clock import id_time, new_id
from libs.common.db.event_triggers import listening_tenants
from libs.common.db.events import RaisedEvent, raise_events
from libs.common.db.pool import Connection
from libs.common.domain.event_names import patterns_for
from libs.common.domain.events import NewEvent
from libs.common.telemetry.spans import first_place, record_beginning


class Alert(msgspec.Struct, frozen=True):
    """What is told: the number of slots that it is about, the first and the last of them; why, if not plain."""

    tenant_id: UUID
    trigger_id: UUID
    type: str
    slots: int = 0
    first: datetime | None = None
    last: datetime | None = None
    note: str | None = None

    def event(self) -> NewEvent:
        """As it is raised."""
        told = {"slots": self.slots, "first": self.first, "last": self.last, "note": self.note}
        data = {"trigger_id": self.trigger_id, **{name: value for name, value in told.items() if value}}
        event_id, text = new_id(), msgspec.json.encode(data).decode()
        return NewEvent(self.tenant_id, event_id, self.type, text, "schedule", traceparent=first_place(event_id))


async def raise_alerts(connection: Connection, alerts: Sequence[Alert]) -> list[RaisedEvent]:
    """The alerts for which somebody listens are raised; announce what they start after the commit."""
    raised: list[RaisedEvent] = []
    for kind in sorted({alert.type for alert in alerts}):
        told = [alert for alert in alerts if alert.type == kind]
        tenants = sorted({alert.tenant_id for alert in told})
        listening = await listening_tenants(connection, tenants, sorted(patterns_for(kind)))
        wanted = [alert.event() for alert in told if alert.tenant_id in listening]
        raised += await raise_events(connection, wanted) if wanted else []
        for event in wanted:
            record_beginning("alert", event.traceparent, id_time(event.id), tenant=event.tenant_id, event=event.id)
    return raised
