"""Configs of the actions on the tenant's own data, as a definition holds them. What the types cannot say is checked by
the readers in `local_actions`, in a definition and again when the action runs.
"""

from typing import Annotated, Any, TypeAlias

import msgspec
from msgspec import Meta

from libs.common.domain.notifications import Level
from libs.common.domain.record_filters import NEWEST_FIRST
from libs.common.domain.records import MAX_VERSION

MAX_FOUND = 100

CollectionName: TypeAlias = Annotated[str, Meta(description="must exist; `tasks`, `deals` and `leads` always do")]
RecordId: TypeAlias = Annotated[str, Meta(description="id of the record")]
Data: TypeAlias = Annotated[dict[str, Any], Meta(description="the fields of the record")]
Further: TypeAlias = Annotated[dict[str, Any], Meta(description="further fields")]
Tags: TypeAlias = list[str]
Version: TypeAlias = Annotated[int, Meta(ge=1, le=MAX_VERSION)]
Expected: TypeAlias = Annotated[
    Version | None, Meta(description="at another version the action fails with the class `conflict`")
]
Due: TypeAlias = Annotated[
    str | None, Meta(description="a date, a time of RFC 3339, or a shift (`+3 days`, `+1 week`)")
]


class CreateRecordConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A new record."""

    collection: CollectionName
    data: Data
    tags: Tags = []


class UpdateRecordConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Another version of a record: `data` is merged, or one field set, or the tags replaced."""

    collection: CollectionName
    id: RecordId
    data: Annotated[dict[str, Any] | None, Meta(description="merged into the record's; null removes a field")] = None
    field: Annotated[str | None, Meta(description="the one field to set, `customer.id`")] = None
    value: Annotated[Any, Meta(description="what `field` becomes; null removes it")] = None
    tags: Annotated[Tags | None, Meta(description="replace the record's")] = None
    version: Expected = None


class DeleteRecordConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A record less."""

    collection: CollectionName
    id: RecordId
    version: Expected = None
    missing_ok: Annotated[bool, Meta(description="that there is no such record is no failure")] = False


class FindRecordsConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Records that satisfy every test of `filter` and have all `tags`."""

    collection: CollectionName
    filter: Annotated[
        dict[str, Any],
        Meta(description='fields and what they must be: `{"stage": "won", "amount": {"greater_than": 100}}`'),
    ] = {}
    tags: Tags = []
    sort: Annotated[
        str, Meta(description="`created_at`, `updated_at` or a field; with `-` in front the largest first")
    ] = NEWEST_FIRST
    limit: Annotated[int, Meta(ge=1, le=MAX_FOUND)] = 50


class AddTagConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Tags that a record has from now on, beside those that it has."""

    collection: CollectionName
    id: RecordId
    tag: str | None = None
    tags: Tags | None = None


class CreateTaskConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A record in `tasks`."""

    title: str
    description: str | None = None
    due_date: Due = None
    assignee: str | None = None
    priority: str | None = None
    status: str = "open"
    data: Further = {}
    tags: Tags = []


class CreateDealConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A record in `deals`."""

    title: str
    amount: int | float | None = None
    currency: str | None = None
    stage: str = "new"
    contact: str | dict[str, Any] | None = None
    assignee: str | None = None
    close_date: Due = None
    description: str | None = None
    data: Further = {}
    tags: Tags = []


class UpdateLeadConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Another version of a record in `leads`: what is given is set, null removes."""

    id: RecordId
    name: str | None = None
    email: str | None = None
    phone: str | None = None
    company: str | None = None
    status: str | None = None
    score: int | float | None = None
    assignee: str | None = None
    data: Further = {}
    tags: Annotated[Tags | None, Meta(description="replace the record's")] = None
    version: Expected = None


class NotifyInAppConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A notification that the tenant's product shows."""

    message: str
    title: str = ""
    user: Annotated[str | None, Meta(description="whom, as `X-User-ID` names users; without one everybody")] = None
    level: Level = "info"
    link: Annotated[str | None, Meta(description="where a click leads")] = None
