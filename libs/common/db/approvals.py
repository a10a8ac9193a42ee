"""Approvals: what executions ask people, and what was decided.

A decision and the signal to the execution are one transaction. An approval is decided once; not any more when its time
is over or when its execution has ended.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Literal
from uuid import UUID

import msgspec

from libs.common.db.pool import Connection, Record
from libs.common.db.signals import Signal, send_signals
from libs.common.errors import Conflict, NotFound

Decision = Literal["approve", "reject"]
ApprovalStatus = Literal["pending", "approved", "rejected", "expired", "withdrawn"]

_HIGHEST = UUID(int=2**128 - 1)


class NewApproval(msgspec.Struct, frozen=True):
    """What the action at a place asks. `expires_at`: until when it can be decided; None as long as it waits."""

    tenant_id: UUID
    id: UUID
    execution_id: UUID
    position: int
    iteration: int
    title: str
    message: str
    expires_at: datetime | None


class Approval(msgspec.Struct, frozen=True):
    """An approval as it stands. `withdrawn`: its execution has ended without it."""

    id: UUID
    execution_id: UUID
    workflow_id: UUID
    title: str
    message: str
    asked_at: datetime
    expires_at: datetime | None
    decided_at: datetime | None
    decision: Decision | None
    comment: str | None
    actor: str | None
    status: ApprovalStatus


_ASK = """
INSERT INTO approvals (tenant_id, id, execution_id, position, iteration, title, message, expires_at, workflow_id)
SELECT n.*, e.workflow_id
  FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::int[], $5::int[], $6::text[], $7::text[], $8::timestamptz[])
    AS n (tenant_id, id, execution_id, position, iteration, title, message, expires_at)
  JOIN executions e ON e.tenant_id = n.tenant_id AND e.id = n.execution_id
ON CONFLICT (tenant_id, id) DO NOTHING
"""


async def ask_approvals(connection: Connection, rows: Sequence[NewApproval]) -> None:
    """The approvals are asked for. For whoever parks the executions, in the same transaction. Doing it again changes
    nothing."""
    if rows:
        columns = zip(*[msgspec.structs.astuple(row) for row in rows], strict=True)
        await connection.execute(_ASK, *[list(column) for column in columns])


_FIND = """
SELECT a.id, a.execution_id, a.workflow_id, a.title, a.message, a.asked_at, a.expires_at, a.decided_at, a.decision,
       a.comment, a.actor, e.id IS NULL OR e.finished_at IS NOT NULL AS ended, a.expires_at <= now() AS expired
  FROM approvals a LEFT JOIN executions e ON e.tenant_id = a.tenant_id AND e.id = a.execution_id
 WHERE a.tenant_id = $1 AND a.id = $2
"""


async def find_approval(connection: Connection, tenant_id: UUID, approval_id: UUID) -> Approval | None:
    """The approval of that id."""
    row = await connection.fetchrow(_FIND, tenant_id, approval_id)
    return None if row is None else _read(row)


# Whether an execution has ended is asked for a row at a time, as a join would be planned over all of the tenant's.
_LIST = """
SELECT a.id, a.execution_id, a.workflow_id, a.title, a.message, a.asked_at, a.expires_at, a.decided_at, a.decision,
       a.comment, a.actor,
       a.decided_at IS NULL AND coalesce((SELECT e.finished_at IS NOT NULL FROM executions e
                                           WHERE e.tenant_id = $1 AND e.id = a.execution_id), true) AS ended,
       a.expires_at <= now() AS expired
  FROM approvals a
 WHERE a.tenant_id = $1 AND a.id < $2 AND ($3::text IS NULL OR a.decision = $3)
 ORDER BY a.id DESC LIMIT $4 OFFSET $5
"""
_LIST_OPEN = """
SELECT a.id, a.execution_id, a.workflow_id, a.title, a.message, a.asked_at, a.expires_at, a.decided_at, a.decision,
       a.comment, a.actor, a.status = 'withdrawn' AS ended, a.expires_at <= now() AS expired
  FROM (SELECT *, CASE WHEN coalesce((SELECT e.finished_at IS NOT NULL FROM executions e
                                       WHERE e.tenant_id = $1 AND e.id = o.execution_id), true) THEN 'withdrawn'
                       WHEN expires_at <= now() THEN 'expired' ELSE 'pending' END AS status
          FROM approvals o WHERE tenant_id = $1 AND id < $2 AND decided_at IS NULL) AS a
 WHERE a.status = $3
 ORDER BY a.id DESC LIMIT $4 OFFSET $5
"""
_DECISION: dict[ApprovalStatus, Decision] = {"approved": "approve", "rejected": "reject"}
_STATUS: dict[Decision, ApprovalStatus] = {"approve": "approved", "reject": "rejected"}


async def list_approvals(
    connection: Connection, tenant_id: UUID, status: ApprovalStatus | None, *, after: UUID | None, limit: int,
    offset: int,
) -> list[Approval]:  # fmt: skip
    """Newest first. Those that are open have an index of their own: they are few, the decided ones stay."""
    before = after or _HIGHEST
    if status in ("pending", "expired", "withdrawn"):
        rows = await connection.fetch(_LIST_OPEN, tenant_id, before, status, limit, offset)
    else:
        decision = None if status is None else _DECISION[status]
        rows = await connection.fetch(_LIST, tenant_id, before, decision, limit, offset)
    return [_read(row) for row in rows]


_DECIDE = """
UPDATE approvals SET decided_at = now(), decision = $3, comment = $4, actor = $5
 WHERE tenant_id = $1 AND id = $2 AND decided_at IS NULL AND (expires_at IS NULL OR expires_at > now())
RETURNING execution_id, position, iteration, decided_at
"""


async def decide(
    connection: Connection, tenant_id: UUID, approval_id: UUID, decision: Decision, comment: str | None,
    actor: str | None,
) -> Approval:  # fmt: skip
    """The approval is decided and its execution told, both with the caller's transaction, which there must be. Raises
    `NotFound`, and `Conflict` when it was decided before, its time is over or its execution has ended.
    """
    row = await connection.fetchrow(_DECIDE, tenant_id, approval_id, decision, comment, actor)
    if row is not None:
        told = {"id": approval_id, "decision": decision, "comment": comment, "actor": actor, "at": row["decided_at"]}
        value = msgspec.json.encode(told).decode()
        place = (tenant_id, row["execution_id"], row["position"], row["iteration"])
        if not await send_signals(connection, [Signal(*place, "approval", value)]):
            raise Conflict("The execution that asked has ended or goes on without it.")
    approval = await find_approval(connection, tenant_id, approval_id)
    if approval is None:
        raise NotFound("There is no such approval.")
    if row is None:
        raise Conflict(f"The approval cannot be decided any more: it is {approval.status}.")
    return approval


def _read(row: Record) -> Approval:
    *fields, ended, expired = row.values()
    undecided: ApprovalStatus = "withdrawn" if ended else "expired" if expired else "pending"
    return Approval(*fields, status=_STATUS[row["decision"]] if row["decision"] else undecided)
