"""Workflow versions, compiled. A version is immutable, so what is compiled once stays right."""

from collections import OrderedDict
from collections.abc import Iterable, Mapping

import msgspec
import structlog

from libs.common.actions.installed import kind_of_action, on_unknown_of
from libs.common.db.pool import Database
from libs.common.db.versions import VersionKey, VersionRow, load_versions
from libs.common.domain.concurrency import KeyOf, compile_key
from libs.common.domain.execution import Failure
from libs.common.domain.planner import Block, Program, compile_program
from libs.common.domain.secret_names import secret_names
from libs.common.domain.workflow import Definition

_KEEP = 2_000
"""Compiled versions kept in memory, least recently used dropped first."""

_log = structlog.get_logger(__name__)
_decode = msgspec.json.Decoder(Definition).decode


class LoadedVersion(msgspec.Struct, frozen=True):
    """A compiled version and what templates may say of its workflow and tenant; `broken`: why it can't be run;
    `secret_names`: the secrets that it uses; `key_of`: how the concurrency key of a run is found, if it has one."""

    program: Program
    workflow: dict[str, object]
    tenant: dict[str, object]
    broken: Failure | None = None
    secret_names: frozenset[str] = frozenset()
    key_of: KeyOf | None = None


_NOTHING = Program(Definition(name=""), Block((), {}), (), {}, None)
_MISSING = LoadedVersion(_NOTHING, {}, {}, Failure("internal", "this version of the workflow is gone"))


class Programs:
    """Reads and compiles versions as they are needed."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._compiled: OrderedDict[VersionKey, LoadedVersion] = OrderedDict()

    async def load(self, keys: Iterable[VersionKey]) -> Mapping[VersionKey, LoadedVersion]:
        """All of these compiled, with at most one query; a broken one for each that is gone. Raises `Unavailable`."""
        wanted = set(keys)
        found = {key: self._compiled[key] for key in wanted if key in self._compiled}
        if missing := wanted - found.keys():
            async with self._database.connection() as connection:
                rows = await load_versions(connection, list(missing))
            found |= {VersionKey(row.tenant_id, row.workflow_id, row.version): _compile(row) for row in rows}
        for key, loaded in found.items():
            self._compiled[key] = loaded
            self._compiled.move_to_end(key)
        while len(self._compiled) > _KEEP:
            self._compiled.popitem(last=False)
        return {key: found.get(key, _MISSING) for key in wanted}


def _compile(row: VersionRow) -> LoadedVersion:
    tenant: dict[str, object] = {"id": str(row.tenant_id), "slug": row.tenant_slug}
    workflow: dict[str, object] = {"id": str(row.workflow_id), "version": row.version}
    try:
        definition = _decode(row.definition)
        program = compile_program(definition, kind_of_action, on_unknown_of)
        key_of = None if definition.concurrency is None else compile_key(definition.concurrency)
    except Exception as error:  # noqa: BLE001 - what one release stored another may not understand; the run must end and say so
        _log.exception("workflow version does not compile", **workflow)
        failure = Failure("internal", f"this version of the workflow does not compile: {type(error).__name__}")
        return LoadedVersion(_NOTHING, workflow, tenant, failure)
    named = {**workflow, "name": definition.name}
    return LoadedVersion(program, named, tenant, None, secret_names(definition), key_of)
