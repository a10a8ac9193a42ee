"""What stands on every answer of the gateway, good or bad: nothing is sniffed, kept, framed or shared with others."""

import pytest

from tests.integration.conftest import ADMIN, World

ORIGIN = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
ANSWERS = (
    ("GET", "/api/v1/workflows", 200), ("GET", "/api/v1/nothing", 404), ("PUT", "/api/v1/workflows", 405),
    ("POST", "/api/v1/workflows", 400), ("GET", "/api/v1/api-keys", 200), ("GET", "/schema/openapi.json", 200),
    ("GET", "/docs", 200), ("GET", "/docs/swagger-ui.css", 200), ("GET", "/api/v1/admin/tenants", 401),
    ("OPTIONS", "/api/v1/workflows", 204),
)  # fmt: skip


@pytest.mark.parametrize(("method", "path", "status"), ANSWERS)
async def test_headers(acme: World, method: str, path: str, status: int) -> None:
    answer = await acme.client.request(method, path, headers={**acme.headers("acme"), **ORIGIN})
    assert answer.status_code == status
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["x-request-id"]
    policy = answer.headers["content-security-policy"]
    assert "frame-ancestors 'none'" in policy
    assert ("script" in policy, "unsafe-eval" in policy) == (False, False)
    is_page = path.startswith("/docs")
    assert policy.startswith("default-src 'self'" if is_page else "default-src 'none'")
    assert answer.headers["cache-control"] == ("no-cache" if is_page else "no-store")
    assert not [name for name in answer.headers if name.startswith("access-control-")]


async def test_what_shows_a_credential_is_kept_by_nobody(acme: World) -> None:
    (tenant,) = await acme.fetch("SELECT tenant_id FROM tenants WHERE slug = 'acme'")
    path = f"/api/v1/admin/tenants/{tenant['tenant_id']}/api-keys"
    made = await acme.client.post(path, json={"name": "k", "role": "viewer"}, headers=ADMIN)
    assert (made.status_code, made.headers["cache-control"]) == (201, "no-store")
