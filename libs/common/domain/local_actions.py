"""What the actions on the tenant's own data want: from a type and its rendered config to one of a few wishes, and from
a record and a wish to the record that comes of it.

Pure; `libs.common.db.local_writes` carries the wishes out.
"""

import re
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime
from typing import Any, TypeAlias, get_args
from uuid import UUID

import msgspec

from libs.common.domain.configs.records import MAX_FOUND
from libs.common.domain.execution import Failure
from libs.common.domain.faults import is_object
from libs.common.domain.json_merge import merge_patch
from libs.common.domain.json_schema import instance_faults
from libs.common.domain.notifications import EVERYBODY, MAX_LINK, MAX_MESSAGE, MAX_TITLE, MAX_USER, Level
from libs.common.domain.pure_actions import ActionFailed
from libs.common.domain.record_filters import (
    NEWEST_FIRST,
    RecordFilter,
    RecordOrder,
    read_field,
    read_filter,
    read_order,
)
from libs.common.domain.records import Record, RecordKey, data_faults, is_same, revised, tags_faults, united
from libs.common.domain.rendered_config import RenderedConfig, failure_of
from libs.common.errors import Fault

_MAX_TEXT = 1_000
_ANY_TIME = datetime(2000, 1, 1, tzinfo=UTC)
_MAX_DESCRIPTION = 20_000


class Create(msgspec.Struct, frozen=True):
    """A new record."""

    collection: str
    data: dict[str, Any]
    tags: list[str]


class Change(msgspec.Struct, frozen=True):
    """Another version of a record: `patch` is merged, `tags` replace those that are there, `more_tags` come to them."""

    collection: str
    id: UUID
    patch: dict[str, Any]
    tags: list[str] | None = None
    more_tags: list[str] = []
    version: int | None = None


class Remove(msgspec.Struct, frozen=True):
    """No record."""

    collection: str
    id: UUID
    version: int | None = None
    missing_ok: bool = False


class Find(msgspec.Struct, frozen=True):
    """Records that are there."""

    collection: str
    filter: RecordFilter
    order: RecordOrder
    limit: int


class Notify(msgspec.Struct, frozen=True):
    """A notification."""

    user_id: str
    level: Level
    title: str
    message: str
    link: str | None


Wish: TypeAlias = Create | Change | Remove | Find | Notify


def read_wish(type_name: str, config: Mapping[str, Any], now: datetime) -> Wish:
    """What an action wants by its rendered config. Raises `ActionFailed` with every fault."""
    rendered = RenderedConfig(config)
    wish = _READERS[type_name](rendered, now)
    rendered.done()
    return wish


def foretold(type_name: str, config: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    """What of its output is certain before an action is done: of a change, what it changes. Empty for the types that
    are not described here. Raises `ActionFailed` with every fault.
    """
    if type_name not in _READERS:
        return {}
    match read_wish(type_name, config, now):
        case Create(data=data, tags=tags):
            return {"data": data, "tags": tags}
        case Change(id=id_, patch=patch, tags=tags, more_tags=more):
            return {"id": str(id_), "data": merge_patch({}, patch), "tags": more if tags is None else tags}
        case Remove(collection=collection, id=id_):
            return {"id": str(id_), "collection": collection}
        case Find() | Notify():
            return {}


def literal_faults(type_name: str, config: Mapping[str, Any], templated: Collection[str]) -> list[Fault]:
    """What is wrong with a config that is not rendered yet, in the fields that are not in `templated`."""
    rendered = RenderedConfig({name: value for name, value in config.items() if name not in templated}, templated)
    _READERS[type_name](rendered, _ANY_TIME)
    return [fault for fault in rendered.faults if re.split(r"[.\[]", fault.path, maxsplit=1)[0] not in templated]


def created(wish: Create, key: RecordKey, schema: Any, actor: str, now: datetime) -> Record:
    """The new record. Raises `ActionFailed` when it does not fit the schema."""
    _fit(schema, wish.data)
    return Record(
        tenant_id=key.tenant_id, collection=key.collection, id=key.id, version=1, data=wish.data, tags=wish.tags,
        created_by=actor, updated_by=actor, created_at=now, updated_at=now,
    )  # fmt: skip


def changed(wish: Change, old: Record, schema: Any, actor: str, now: datetime) -> Record:
    """The record after the wish; the same as before when nothing is different. Raises `ActionFailed`."""
    check_version(wish.version, old)
    data = merge_patch(old.data, wish.patch)
    tags = united(old.tags if wish.tags is None else wish.tags, wish.more_tags)
    if faults := data_faults(data, "data") + tags_faults(tags, "tags"):
        raise ActionFailed(failure_of(faults, "invalid_config"))
    if is_same(old, data, tags):
        return old
    _fit(schema, data)
    return revised(old, data, tags, actor, now)


def check_version(wanted: int | None, old: Record) -> None:
    """Raises `ActionFailed` when the record is at another version than the one wanted."""
    if wanted is not None and wanted != old.version:
        raise ActionFailed(Failure("conflict", f"the record is at version {old.version}, not {wanted}"))


def _fit(schema: Any, data: dict[str, Any]) -> None:
    faults = [] if schema is None else instance_faults(schema, data, "data")
    if faults:
        raise ActionFailed(failure_of(faults, "schema"))


def _create_record(config: RenderedConfig, _: datetime) -> Wish:
    if not config.gives("data"):
        config.fault("data", "must be an object, not null")
    return Create(config.collection(), config.data(), config.tags())


def _update_record(config: RenderedConfig, _: datetime) -> Wish:
    collection, record_id, version = config.collection(), config.id(), config.version()
    patch = config.data()
    if config.raw.get("field") is not None:
        patch = merge_patch(patch, _field_patch(config))
    tags = config.tags() if config.raw.get("tags") is not None else None
    if not config.gives("data", "field", "tags"):
        config.fault("data", "is required, or a field and its value, or tags")
    return Change(collection, record_id, patch, tags, version=version)


def _field_patch(config: RenderedConfig) -> dict[str, Any]:
    """`{"customer": {"id": value}}` for the field `customer.id`."""
    segments = read_field(config.needed_text("field", _MAX_TEXT))
    if segments is None:
        config.fault("field", "is not the path of a field")
        return {}
    patch: Any = config.raw.get("value")
    for name in reversed(segments):
        patch = {name: patch}
    faults = data_faults(patch, "value")
    config.faults += faults
    return {} if faults else patch


def _delete_record(config: RenderedConfig, _: datetime) -> Wish:
    return Remove(config.collection(), config.id(), config.version(), config.raw.get("missing_ok") is True)


def _find_records(config: RenderedConfig, _: datetime) -> Wish:
    wanted, faults = read_filter(config.raw.get("filter") or {}, "filter")
    config.faults += faults
    sort = config.text("sort", _MAX_TEXT, NEWEST_FIRST)
    order = read_order(sort)
    if order is None:
        config.fault("sort", "is not created_at, updated_at or the path of a field")
    wanted = msgspec.structs.replace(wanted, tags=tuple(config.tags()))
    limit = config.whole("limit", 1, MAX_FOUND, 50)
    return Find(config.collection(), wanted, order or RecordOrder(), limit)


def _add_tag(config: RenderedConfig, _: datetime) -> Wish:
    tags = united(config.tags("tag"), config.tags("tags"))
    if not tags and not config.faults and not config.later:
        config.fault("tag", "must not be empty")
    return Change(config.collection(), config.id(), {}, more_tags=tags)


def _create_task(config: RenderedConfig, now: datetime) -> Wish:
    fields = {
        "title": config.needed_text("title", _MAX_TEXT),
        "description": config.text("description", _MAX_DESCRIPTION) or None,
        "due_date": config.instant("due_date", now),
        "assignee": config.text("assignee", _MAX_TEXT) or None,
        "priority": config.text("priority", _MAX_TEXT) or None,
        "status": config.text("status", _MAX_TEXT, "open"),
    }
    return Create("tasks", _with_fields(config.data(), fields), config.tags())


def _create_deal(config: RenderedConfig, now: datetime) -> Wish:
    contact: object = config.raw.get("contact")
    fields = {
        "title": config.needed_text("title", _MAX_TEXT),
        "amount": config.number("amount"),
        "currency": config.text("currency", _MAX_TEXT) or None,
        "stage": config.text("stage", _MAX_TEXT, "new"),
        "contact": config.data("contact") if is_object(contact) else config.text("contact", _MAX_TEXT) or None,
        "assignee": config.text("assignee", _MAX_TEXT) or None,
        "close_date": config.instant("close_date", now),
        "description": config.text("description", _MAX_DESCRIPTION) or None,
    }
    return Create("deals", _with_fields(config.data(), fields), config.tags())


_LEAD_TEXTS = ("name", "email", "phone", "company", "status", "assignee")


def _update_lead(config: RenderedConfig, _: datetime) -> Wish:
    patch = config.data()
    for name in _LEAD_TEXTS:
        if name in config.raw:
            patch = {**patch, name: None if config.raw[name] is None else config.text(name, _MAX_TEXT)}
    if "score" in config.raw:
        patch = {**patch, "score": config.number("score")}
    tags = config.tags() if config.raw.get("tags") is not None else None
    return Change("leads", config.id(), patch, tags, version=config.version())


def _notify_in_app(config: RenderedConfig, _: datetime) -> Wish:
    # Of the channels of `send_notification` only this one is local.
    level = config.choice("level", get_args(Level), "info")
    return Notify(
        user_id=config.text("user", MAX_USER, EVERYBODY).strip(),
        level=level,  # pyright: ignore[reportArgumentType] - one of the choices
        title=config.text("title", MAX_TITLE),
        message=config.needed_text("message", MAX_MESSAGE),
        link=config.text("link", MAX_LINK) or None,
    )


def _with_fields(data: dict[str, Any], fields: Mapping[str, Any]) -> dict[str, Any]:
    return {**data, **{name: value for name, value in fields.items() if value is not None}}


_READERS: Mapping[str, Callable[[RenderedConfig, datetime], Wish]] = {
    "create_record": _create_record,
    "update_record": _update_record,
    "update_field": _update_record,
    "find_records": _find_records,
    "delete_record": _delete_record,
    "create_task": _create_task,
    "create_deal": _create_deal,
    "update_lead": _update_lead,
    "add_tag": _add_tag,
    "send_notification": _notify_in_app,
}
