"""A socket counts as a call, and so does everything that is said on it."""

import pytest
from aiohttp import WSServerHandshakeError

from tests.integration.conftest import World
from tests.integration.gateway.following import gateway
from tests.integration.gateway.sockets import connected
from tests.integration.limits.conftest import limit


async def test_who_says_more_than_the_tenant_may_call_is_told_and_not_heard(acme: World) -> None:
    await limit(acme, api_rate="3/d")
    async with gateway(acme) as served:
        async with connected(served) as client:
            await client.subscribe()
            await client.subscribe()
            await client.say(subscribe={})
            refused = await client.hear()
            assert (refused["type"], refused["detail"]) == ("error", "The limit api_rate of this tenant is 3/d.")
        with pytest.raises(WSServerHandshakeError) as caught:
            async with connected(served):
                pass
        assert caught.value.status == 429
        async with connected(served, slug="other") as client:
            await client.subscribe()
