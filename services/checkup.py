"""`signalbox doctor`: what is stuck, as lines for people, and mended if asked."""

from libs.common.announce import Announcer
from libs.common.bus.connect import make_bus
from libs.common.bus.protocol import Bus
from libs.common.clock import SystemClock
from libs.common.db.pool import Database
from libs.common.doctor import Finding, Patient, examine, is_well
from libs.common.errors import OperatorError, Unavailable
from libs.common.security.encryption import Vault
from libs.common.settings import Settings


async def check_up(settings: Settings, *, fix: bool) -> None:
    """Look, print, mend. Raises `OperatorError` when something stays wrong, or the database can't be reached."""
    database = Database(settings.database_url.reveal(), size=1, name="doctor")
    bus = make_bus(settings.bus_url.reveal(), settings.bus_prefix)
    announcer = Announcer(bus)
    await database.open()
    try:
        await _connect(bus)
        patient = Patient(database, Vault(settings.master_keys.reveal()), SystemClock(), announcer.announce, bus)
        findings = await examine(patient, fix=fix)
    finally:
        await announcer.close()
        await bus.close()
        await database.close()
    print("\n".join(_line(one) for one in findings) or "nothing is stuck")
    if not is_well(findings):
        raise OperatorError("something is wrong" if fix else "something is wrong; --fix mends what can be mended")


async def _connect(bus: Bus) -> None:
    try:
        await bus.connect()
    except Unavailable:
        return  # which the examination finds and names


def _line(one: Finding) -> str:
    count = f"{one.count}{' or more' if one.more else ''}"
    state = one.remedy if one.mended is None else f"mended {one.mended}"
    return "\n".join([f"{one.disease}: {count}. {state}", *(f"    {example}" for example in one.examples)])
