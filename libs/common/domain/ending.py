"""How a run ends: its output from the workflow's template, checked by its schema; and failures as they are told."""

from collections.abc import Mapping
from typing import Any

import msgspec

from libs.common.domain.execution import ExecutionStatus, Failure
from libs.common.domain.json_schema import instance_faults
from libs.common.domain.planner import Program
from libs.common.domain.templates import TemplateError
from libs.common.domain.turns import End

_SHOWN_FAULTS = 10


def completed_end(program: Program, scope: Mapping[str, Any]) -> End:
    """The end of a run whose actions are all settled: completed, unless its output can't be made or is wrong."""
    if program.output is None:
        return End(ExecutionStatus.COMPLETED)
    try:
        output = program.output.render(scope)
    except TemplateError as error:
        return End(ExecutionStatus.FAILED, failure=template_failure(error))
    schema = program.definition.output_schema
    faults = [] if schema is None else instance_faults(schema, output, "output")
    if faults:
        message = "; ".join(f"{fault.path} {fault.message}" for fault in faults[:_SHOWN_FAULTS])
        return End(ExecutionStatus.FAILED, output, Failure("output_schema", message))
    return End(ExecutionStatus.COMPLETED, output)


def template_failure(error: TemplateError) -> Failure:
    """A template that gave no value, as the failure of its action."""
    return Failure("template_error", error.detail, expression=error.expression)


def of_action(failure: Failure, key: str) -> Failure:
    """The failure with the action that it came from; an inner action stays named."""
    return failure if failure.action else msgspec.structs.replace(failure, action=key)
