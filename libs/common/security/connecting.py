"""A connection for protocols other than HTTP, under the same guard: the address that was checked is the one that is
connected to, so a name that changes its answer gains nothing.
"""

import asyncio
import socket
from ipaddress import ip_address
from typing import Any

from libs.common.security.egress import BlockedDestination, EgressPolicy, outgoing_socket


async def open_connection(policy: EgressPolicy | None, host: str, port: int) -> socket.socket:
    """A connected socket that does not block; the caller closes it. Without a policy any address will do.

    Tries every address of the name. Raises `BlockedDestination` when the last one may not be connected to, else
    `OSError`.
    """
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError:  # a name that cannot be one, such as one with two dots in a row
        raise OSError("the name cannot be resolved") from None
    failed: Exception = OSError("the name has no address")
    for family, kind, protocol, _, target in found:
        try:
            if policy is not None:
                policy.check_address(ip_address(str(target[0]).partition("%")[0]))
            return await _connected(family, kind, protocol, target)
        except (OSError, BlockedDestination) as error:
            failed = error
    raise failed


async def _connected(family: int, kind: int, protocol: int, target: Any) -> socket.socket:
    made = outgoing_socket(family, kind, protocol)
    try:
        made.setblocking(False)
        await asyncio.get_running_loop().sock_connect(made, target)
    except BaseException:  # a cancelled one too leaves no socket open
        made.close()
        raise
    return made
