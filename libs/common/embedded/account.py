"""Which account a private PostgreSQL runs as, and what it needs to get at its files.

An ordinary user's PostgreSQL runs as that user. PostgreSQL refuses to run as root, so root's runs as the owner of the
data, and that is `nobody` for new data. No folder's mode is changed for it, and no account is made: where a folder on
the way is closed to that account (a checkout under /root, a private temporary folder), the process keeps one
capability, CAP_DAC_READ_SEARCH, which lets it pass and read, never write. Whoever does not want that starts Signalbox
as an ordinary user or opens the folders.
"""

import os
import pwd
import shutil
from pathlib import Path

import msgspec

from libs.common.errors import OperatorError

_READ_SEARCH_BIT = 2  # CAP_DAC_READ_SEARCH, capabilities(7)
_READ_SEARCH_ARGUMENTS = (
    "--securebits=+no_setuid_fixup",  # else access(2), by which PostgreSQL looks for its own program, ignores it
    "--inh-caps=+dac_read_search",
    "--ambient-caps=+dac_read_search",
)


class Account(msgspec.Struct, frozen=True):
    """A user id and group id of this machine."""

    uid: int
    gid: int

    @property
    def name(self) -> str:
        """The login name, or the number of an account that has none."""
        try:
            return pwd.getpwuid(self.uid).pw_name
        except KeyError:
            return str(self.uid)


def database_account(cluster: Path) -> Account:
    """The account for the PostgreSQL whose data is, or will be, in `cluster`.

    Raises `OperatorError` when the data belongs to somebody else and we are not root, or root has no `nobody` to hand
    it to.
    """
    me = Account(os.geteuid(), os.getegid())
    if cluster.exists():
        found = cluster.stat()
        owner = Account(found.st_uid, found.st_gid)
        if me.uid not in (0, owner.uid):
            raise OperatorError(
                f"{cluster} belongs to {owner.name}: start as {owner.name} or root, or choose another data folder."
            )
        return owner if me.uid == 0 else me
    return _nobody() if me.uid == 0 else me


def _nobody() -> Account:
    try:
        entry = pwd.getpwnam("nobody")
    except KeyError:
        raise OperatorError(
            "PostgreSQL can't run as root and there is no account `nobody`: start as an ordinary user."
        ) from None
    return Account(entry.pw_uid, entry.pw_gid)


def setpriv_arguments(account: Account, program: Path, data: Path) -> list[str]:
    """What to tell `setpriv` so that `program` runs as `account` with its files in `data`; empty when we are that
    account.

    Raises `OperatorError` when root has no `setpriv`, or `account` can't get at the one or the other by any means.
    """
    if account.uid == os.geteuid():
        return []
    if shutil.which("setpriv") is None:
        raise OperatorError(
            "PostgreSQL can't run as root, and setpriv (package util-linux) is missing: start as an ordinary user."
        )
    if not _may_enter(program, account):
        raise OperatorError(
            f"{account.name} may not run {program}: install with umask 022, or start as an ordinary user."
        )
    arguments = [f"--reuid={account.uid}", f"--regid={account.gid}", "--clear-groups"]
    closed = closed_folder(program.parent, account) or closed_folder(data, account)
    if closed is None:
        return arguments
    if not _may_read_all():
        raise OperatorError(
            f"PostgreSQL, which runs as {account.name} when started by root, can't enter {closed}: "
            f"chmod o+x {closed}, choose another data folder, or start as an ordinary user."
        )
    return [*arguments, *_READ_SEARCH_ARGUMENTS]


def closed_folder(path: Path, account: Account) -> Path | None:
    """The outermost folder on the way to `path`, itself included, whose mode keeps `account` out; None if none."""
    return next((folder for folder in reversed((path, *path.parents)) if not _may_enter(folder, account)), None)


def _may_enter(path: Path, account: Account) -> bool:
    """Whether the mode bits give `account` the right to enter the folder, or run the file."""
    found = path.stat()
    shift = 6 if found.st_uid == account.uid else 3 if found.st_gid == account.gid else 0
    return bool(found.st_mode >> shift & 1)


def _may_read_all() -> bool:
    status = Path("/proc/self/status").read_text()
    effective = next(line.split()[1] for line in status.splitlines() if line.startswith("CapEff:"))
    return bool(int(effective, 16) >> _READ_SEARCH_BIT & 1)
