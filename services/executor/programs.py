"""Workflow versions, compiled. A version is immutable, so what is compiled once stays right."""

from collections import OrderedDict
from collections.abc import Iterable

import msgspec
import structlog

from libs.common.db.pool import Database
from libs.common.db.versions import VersionKey, VersionRow, load_versions
from libs.common.domain.catalogue import kind_of
from libs.common.domain.execution import Failure
from libs.common.domain.planner import Block, Program, compile_program
from libs.common.domain.workflow import Definition

_KEEP = 2_000
"""Compiled versions kept in memory, least recently used dropped first."""

_log = structlog.get_logger(__name__)
_decode = msgspec.json.Decoder(Definition).decode


class LoadedVersion(msgspec.Struct, frozen=True):
    """A compiled version and what templates may say of its workflow and tenant; `broken`: why it can't be run."""

    program: Program
    workflow: dict[str, object]
    tenant: dict[str, object]
    broken: Failure | None = None


_NOTHING = Program(Definition(name=""), Block((), {}), (), {}, None)
_MISSING = LoadedVersion(_NOTHING, {}, {}, Failure("internal", "this version of the workflow is gone"))


class Programs:
    """Reads and compiles versions as they are needed."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._compiled: OrderedDict[VersionKey, LoadedVersion] = OrderedDict()

    async def prepare(self, keys: Iterable[VersionKey]) -> None:
        """Have all of these compiled, with at most one query. Raises `Unavailable`."""
        missing = {key for key in keys if key not in self._compiled}
        if not missing:
            return
        async with self._database.connection() as connection:
            rows = await load_versions(connection, list(missing))
        for row in rows:
            self._compiled[VersionKey(row.tenant_id, row.workflow_id, row.version)] = _compile(row)
        while len(self._compiled) > _KEEP:
            self._compiled.popitem(last=False)

    def find(self, key: VersionKey) -> LoadedVersion:
        """The version that `prepare` has compiled; a broken one if it is not there."""
        found = self._compiled.get(key)
        if found is None:
            return _MISSING
        self._compiled.move_to_end(key)
        return found


def _compile(row: VersionRow) -> LoadedVersion:
    tenant: dict[str, object] = {"id": str(row.tenant_id), "slug": row.tenant_slug}
    workflow: dict[str, object] = {"id": str(row.workflow_id), "version": row.version}
    try:
        definition = _decode(row.definition)
        program = compile_program(definition, kind_of)
    except Exception as error:  # noqa: BLE001 - what one release stored another may not understand; the run must end and say so
        _log.exception("workflow version does not compile", **workflow)
        failure = Failure("internal", f"this version of the workflow does not compile: {type(error).__name__}")
        return LoadedVersion(_NOTHING, workflow, tenant, failure)
    return LoadedVersion(program, {**workflow, "name": definition.name}, tenant)
