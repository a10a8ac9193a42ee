"""Pages in browsers: told nothing unless origins are set, and then nothing but what a page needs."""

import pytest

from libs.common.errors import OperatorError
from libs.common.settings import load_settings
from tests.integration.conftest import World

PATH = "/api/v1/workflows"
APP, EVIL = {"Origin": "https://app.example.com"}, {"Origin": "https://evil.example.com"}
ASKED = {"Access-Control-Request-Method": "PUT", "Access-Control-Request-Headers": "authorization"}
SET = {"cors_origins": "https://app.example.com, http://localhost:3000"}
_NONE = ("access-control-allow-origin", "access-control-allow-methods", "access-control-allow-headers")


async def test_it_is_off_unless_set(acme: World) -> None:
    for method, more in (("GET", {}), ("OPTIONS", ASKED)):
        answer = await acme.client.request(method, PATH, headers={**acme.headers("acme"), **APP, **more})
        assert not [name for name in answer.headers if name.startswith("access-control-")], method
        assert "vary" not in answer.headers


async def test_pages_of_a_set_origin_may_call_and_see_what_is_answered(acme: World) -> None:
    async with acme.with_settings(**SET) as client:
        asked = await client.options(PATH, headers={**APP, **ASKED})  # without a credential, as browsers ask
        good = await client.get(PATH, headers={**APP, **acme.headers("acme")})
        refused = await client.get(PATH, headers=APP)
        unknown = await client.get("/api/v1/nothing", headers={"Origin": "HTTP://localhost:3000"})
    assert (asked.status_code, asked.content) == (204, b"")
    assert "PATCH" in asked.headers["access-control-allow-methods"]
    sendable = asked.headers["access-control-allow-headers"].lower()
    assert {"authorization", "x-tenant-id", "idempotency-key"} <= set(sendable.split(", "))
    assert "x-signalbox" not in sendable  # what an identity proxy says is no page's to say
    for answer, status in ((asked, 204), (good, 200), (refused, 401)):
        assert answer.status_code == status
        assert answer.headers["access-control-allow-origin"] == APP["Origin"]
        assert "X-Request-ID" in answer.headers["access-control-expose-headers"]
        assert answer.headers["vary"] == "Origin"
        assert "access-control-allow-credentials" not in answer.headers
        assert answer.headers["x-content-type-options"] == "nosniff"
    assert (unknown.status_code, unknown.headers["access-control-allow-origin"]) == (404, "HTTP://localhost:3000")


async def test_pages_of_other_origins_are_told_nothing(acme: World) -> None:
    async with acme.with_settings(**SET) as client:
        for origin in (EVIL, {"Origin": "null"}, {"Origin": "https://app.example.com.evil.example"}, {}):
            for method, more in (("GET", acme.headers("acme")), ("OPTIONS", ASKED)):
                answer = await client.request(method, PATH, headers={**origin, **more})
                assert not [name for name in _NONE if name in answer.headers], (origin, method)
                assert answer.headers["vary"] == "Origin"
        plain = await client.options(PATH, headers={**APP, **acme.headers("acme")})  # asks for nothing
    assert (plain.status_code, "access-control-allow-methods" in plain.headers) == (204, False)


async def test_any_origin_if_that_is_set(acme: World) -> None:
    async with acme.with_settings(cors_origins="*") as client:
        asked = await client.options(PATH, headers={**EVIL, **ASKED})
        answer = await client.get(PATH, headers={**EVIL, **acme.headers("acme")})
    assert [one.headers["access-control-allow-origin"] for one in (asked, answer)] == ["*", "*"]
    assert (asked.status_code, answer.status_code) == (204, 200)


@pytest.mark.parametrize("wrong", ["app.example.com", "https://app.example.com/", "*, https://a.example", "ftp://a"])
def test_what_is_no_origin_is_no_setting(wrong: str) -> None:
    with pytest.raises(OperatorError, match="SIGNALBOX_CORS_ORIGINS"):
        load_settings({"SIGNALBOX_CORS_ORIGINS": wrong})
