"""Local actions: writes to our own data in the journal's transaction.

Many executions' actions at once, in a handful of statements: the collections are held, the records are locked, what
comes of every action is decided in order over them in memory, and what has become different is written in sets. An
action that cannot be done has a failure for its result and changes nothing; no value of a tenant is an error to the
database, which would undo everybody's actions. What was done is remembered by its key in the same transaction, so
that nothing is done twice when the journal tries the transaction again.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

import msgspec
import structlog

from libs.common.clock import new_id
from libs.common.db.collections import Collection, CollectionKey, hold_collections
from libs.common.db.local_results import ResultKey, find_results, keep_results
from libs.common.db.notifications import insert_notifications
from libs.common.db.pool import Connection
from libs.common.db.records import lock_records, write_records
from libs.common.domain.execution import Failure
from libs.common.domain.local_actions import (
    Change,
    Create,
    Notify,
    Remove,
    Wish,
    changed,
    check_version,
    created,
    read_wish,
)
from libs.common.domain.notifications import Notification
from libs.common.domain.pure_actions import ActionFailed
from libs.common.domain.records import Record, RecordChange, RecordKey, record_document

_log = structlog.get_logger(__name__)
Made = TypeVar("Made")


class LocalWrite(msgspec.Struct, frozen=True):
    """One local action. `key`: its idempotency key within the execution; `config`: rendered; `actor`: the tenant's user
    for whom the execution runs, if known.
    """

    tenant_id: UUID
    execution_id: UUID
    key: str
    type: str
    config: dict[str, Any]
    actor: str | None
    now: datetime


class LocalResult(msgspec.Struct, frozen=True):
    """What a local action gave, or why it failed. `change`: what became of a record, if something did."""

    output: Any = None
    failure: Failure | None = None
    change: RecordChange | None = None


async def perform_local_writes(connection: Connection, writes: Sequence[LocalWrite]) -> list[LocalResult]:
    """Do the actions, in the caller's transaction; results in the order of the writes.

    Writes to one record are done in order.
    """
    keys = [(write.tenant_id, write.execution_id, write.key) for write in writes]
    known = await find_results(connection, keys)
    results: dict[ResultKey, LocalResult] = {key: LocalResult(output) for key, output in known.items()}
    wishes: dict[ResultKey, tuple[LocalWrite, Wish]] = {}
    for key, write in zip(keys, writes, strict=True):
        if key not in results and key not in wishes:
            wish = _guarded(write, lambda write=write: read_wish(write.type, write.config, write.now))
            if isinstance(wish, Failure):
                results[key] = LocalResult(failure=wish)
            else:
                wishes[key] = write, wish
    results |= await _carry_out(connection, wishes)
    return [results[key] for key in keys]


async def _carry_out(
    connection: Connection, wishes: Mapping[ResultKey, tuple[LocalWrite, Wish]]
) -> dict[ResultKey, LocalResult]:
    table = await _open_table(connection, list(wishes.values()))
    results: dict[ResultKey, LocalResult] = {}
    for key, (write, wish) in wishes.items():
        if isinstance(wish, Create | Change | Remove):
            result = _guarded(write, lambda write=write, wish=wish: table.perform(write, wish))
            results[key] = LocalResult(failure=result) if isinstance(result, Failure) else result
    await write_records(connection, table.changes())
    results |= await _notify(connection, wishes)
    await keep_results(connection, [(key, result.output) for key, result in results.items() if result.failure is None])
    return results


class _Table:
    """The records that a batch is about, as they become by one action after the other."""

    def __init__(self, collections: Mapping[CollectionKey, Collection], locked: Mapping[RecordKey, Record]) -> None:
        self.collections = collections
        self._before = locked
        self._after: dict[RecordKey, Record | None] = dict(locked)

    def perform(self, write: LocalWrite, wish: Create | Change | Remove) -> LocalResult:
        """What comes of one action. Raises `ActionFailed`."""
        match wish:
            case Create():
                return self._create(write, wish)
            case Change():
                return self._change(write, wish)
            case Remove():
                return self._remove(write, wish)

    def changes(self) -> list[RecordChange]:
        """What is different in the end, one change a record."""
        pairs = [(self._before.get(key), new) for key, new in self._after.items()]
        return [RecordChange(old, new) for old, new in pairs if old is not new]

    def _create(self, write: LocalWrite, wish: Create) -> LocalResult:
        collection = self._collection(write, wish.collection)
        key = RecordKey(write.tenant_id, wish.collection, new_id())
        return self._put(None, created(wish, key, collection.schema, _actor(write), write.now))

    def _change(self, write: LocalWrite, wish: Change) -> LocalResult:
        collection, old = self._collection(write, wish.collection), self._old(write, wish)
        if old is None:
            raise ActionFailed(_missing(wish))
        return self._put(old, changed(wish, old, collection.schema, _actor(write), write.now))

    def _remove(self, write: LocalWrite, wish: Remove) -> LocalResult:
        old = self._old(write, wish)
        output = {"id": str(wish.id), "collection": wish.collection, "deleted": old is not None}
        if old is None:
            if wish.missing_ok:
                return LocalResult(output)
            raise ActionFailed(_missing(wish))
        check_version(wish.version, old)
        self._after[old.key] = None
        return LocalResult(output, change=RecordChange(old, None))

    def _put(self, old: Record | None, new: Record) -> LocalResult:
        self._after[new.key] = new
        return LocalResult(record_document(new), change=None if new is old else RecordChange(old, new))

    def _old(self, write: LocalWrite, wish: Change | Remove) -> Record | None:
        return self._after.get(RecordKey(write.tenant_id, wish.collection, wish.id))

    def _collection(self, write: LocalWrite, name: str) -> Collection:
        collection = self.collections.get((write.tenant_id, name))
        if collection is None:
            raise ActionFailed(_no_collection(name))
        return collection


async def _open_table(connection: Connection, batch: Sequence[tuple[LocalWrite, Wish]]) -> _Table:
    wanted = {(write.tenant_id, wish.collection) for write, wish in batch if not isinstance(wish, Notify)}
    if not wanted:
        return _Table({}, {})
    made = {(write.tenant_id, wish.collection) for write, wish in batch if isinstance(wish, Create)}
    collections = await hold_collections(connection, wanted, made, batch[0][0].now)
    keys = [
        RecordKey(write.tenant_id, wish.collection, wish.id)
        for write, wish in batch
        if isinstance(wish, Change | Remove)
    ]
    return _Table(collections, await lock_records(connection, keys))


async def _notify(
    connection: Connection, wishes: Mapping[ResultKey, tuple[LocalWrite, Wish]]
) -> dict[ResultKey, LocalResult]:
    notifications = {
        key: Notification(
            write.tenant_id, new_id(), wish.user_id, wish.level, wish.title, wish.message, wish.link,
            write.execution_id, write.now,
        )
        for key, (write, wish) in wishes.items() if isinstance(wish, Notify)
    }  # fmt: skip
    if not notifications:
        return {}
    stored = await insert_notifications(connection, list(notifications.values()))
    return {
        key: LocalResult({"id": str(one.id), "user": one.user_id or None})
        if one.id in stored
        else LocalResult(failure=Failure("not_found", "the tenant is gone"))
        for key, one in notifications.items()
    }


def _guarded(write: LocalWrite, step: Callable[[], Made]) -> Made | Failure:
    """What a step over values gives, or why it failed. One that breaks must not take the others' actions with it."""
    try:
        return step()
    except ActionFailed as error:
        return error.failure
    except Exception as error:  # noqa: BLE001 - whatever it was, the other actions of the batch go on
        _log.exception("local action broke", action_type=write.type, execution_id=write.execution_id)
        return Failure("internal", f"the action broke: {type(error).__name__}")


def _actor(write: LocalWrite) -> str:
    return write.actor or f"execution:{write.execution_id}"


def _missing(wish: Change | Remove) -> Failure:
    return Failure("not_found", f"there is no record {wish.id} in {wish.collection!r}")


def _no_collection(name: str) -> Failure:
    return Failure("not_found", f"there is no collection {name!r}")
