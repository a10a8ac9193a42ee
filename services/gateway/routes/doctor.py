"""The doctor over HTTP, for the platform: what is stuck, and mending it."""

import msgspec
from litestar import Router, get, post

from libs.common.doctor import Finding, Patient, examine, is_well
from services.gateway.auditing import note
from services.gateway.auth import parts_of, require_platform
from services.gateway.bodies import AnyRequest
from services.gateway.documents import PLATFORM_SECURITY, problems


class CheckUp(msgspec.Struct, frozen=True):
    """What was found. `well`: nothing is wrong, or all of it was mended."""

    well: bool
    findings: list[Finding]


@get("/doctor", responses=problems(), summary="Look for what is stuck")
async def look(request: AnyRequest) -> CheckUp:
    """Executions that nothing moves, leaked slots, dead workers, late schedules, missing partitions, secrets that
    nothing opens, dead letters."""
    return _told(await examine(_patient(request)))


@post("/doctor", status_code=200, responses=problems(), summary="Mend what is stuck")
async def mend(request: AnyRequest) -> CheckUp:
    """As the look, and mends what can be mended without harm; `mended` says how many."""
    async with parts_of(request).database.transaction() as connection:
        await note(connection, "doctor.mended", "installation")
    return _told(await examine(_patient(request), fix=True))


def _told(findings: list[Finding]) -> CheckUp:
    return CheckUp(is_well(findings), findings)


def _patient(request: AnyRequest) -> Patient:
    parts = parts_of(request)
    return Patient(parts.database, parts.vault, parts.clock, parts.acceptor.announce_known, parts.acceptor)


ROUTER = Router(
    "/api/v1/admin",
    route_handlers=[look, mend],
    guards=[require_platform],
    security=PLATFORM_SECURITY,
    tags=["Platform"],
)
