"""Checks the input of a run against the workflow's `input_schema`, remembering the schema of each version: they never
change.
"""

from collections import OrderedDict
from typing import Any
from uuid import UUID

from libs.common.domain.json_schema import instance_faults
from libs.common.errors import InvalidInput

_KEPT = 1_000


class InputSchemas:
    """Schemas by workflow and version; the least recently used go first."""

    def __init__(self) -> None:
        self._schemas: OrderedDict[tuple[UUID, int], dict[str, Any] | bool | None] = OrderedDict()

    def knows(self, workflow_id: UUID, version: int) -> bool:
        """Whether `learn` was called for this version and it is still remembered."""
        return (workflow_id, version) in self._schemas

    def learn(self, workflow_id: UUID, version: int, schema: dict[str, Any] | bool | None) -> None:
        """Remember the schema of a version; `None`: everything is right."""
        self._schemas[workflow_id, version] = schema
        if len(self._schemas) > _KEPT:
            self._schemas.popitem(last=False)

    def check(self, workflow_id: UUID, version: int, value: object) -> None:
        """Raises `InvalidInput` with the faults of the input of a version that is known."""
        self._schemas.move_to_end((workflow_id, version))
        schema = self._schemas[workflow_id, version]
        if schema is None:
            return
        faults = instance_faults(schema, value, "input")
        if faults:
            raise InvalidInput(faults, "The input does not fit the workflow's input_schema.")
