"""Workflows: what is stored comes back, versions, entity tags, patches, triggers, secrets."""

from typing import Any

import msgspec
import pytest

from libs.common.domain.workflow import Definition
from tests.integration.conftest import World
from tests.integration.gateway.definitions import hourly, webhook, workflow


async def test_create_show_and_send_back(acme: World) -> None:
    sent = workflow(description="d", tags=["a"], triggers=[webhook(type="hmac"), hourly()], output={"x": 1.5})
    answer = await acme.call("POST", "/workflows", sent)
    made = answer.json()
    assert answer.status_code == 201
    assert answer.headers["location"] == f"/api/v1/workflows/{made['id']}"
    assert answer.headers["etag"] == '"1"'
    assert {name: made[name] for name in sent if name != "triggers"} == {
        name: sent[name] for name in sent if name != "triggers"
    }
    shown = await acme.call("GET", f"/workflows/{made['id']}", role="viewer")
    assert shown.headers["etag"] == '"1"'
    again = await acme.call("PUT", f"/workflows/{made['id']}", shown.json(), If_Match='"1"')
    assert again.status_code == 200, again.text
    assert again.json()["version"] == 2
    assert again.json()["triggers"] == shown.json()["triggers"]


async def test_what_is_stored_is_what_executors_read(acme: World) -> None:
    first = {"type": "log", "config": {"message": "a"}, "timeout_seconds": 60}
    made = await acme.made({"name": "No keys", "actions": [first, {"type": "log", "config": {"message": "b"}}]})
    assert [(row["key"], row.get("timeout_seconds")) for row in made["actions"]] == [
        ("action_0", 60),
        ("action_1", None),
    ]
    async with acme.parts.database.connection() as connection:
        stored = await connection.fetchval("SELECT definition::text FROM workflow_versions")
    assert [action.key for action in msgspec.json.decode(stored, type=Definition).actions] == ["action_0", "action_1"]


async def test_names_are_unique_among_the_living(acme: World) -> None:
    made = await acme.made(workflow("A"))
    other = await acme.made(workflow("B"))
    assert (await acme.call("POST", "/workflows", workflow("A"))).status_code == 409
    assert (await acme.call("PUT", f"/workflows/{other['id']}", workflow("A"))).status_code == 409
    await acme.made(workflow("A"), slug="other")
    assert (await acme.call("DELETE", f"/workflows/{made['id']}")).status_code == 204
    assert (await acme.call("GET", f"/workflows/{made['id']}")).status_code == 404
    await acme.made(workflow("A"))


async def test_a_stale_change_is_refused(acme: World) -> None:
    made = await acme.made(workflow())
    path = f"/workflows/{made['id']}"
    assert (await acme.call("PATCH", path, {"description": "1"}, If_Match='"1"')).json()["version"] == 2
    for method, tail, body in (
        ("PUT", "", workflow()), ("PATCH", "", {"description": "2"}), ("DELETE", "", None),
        ("PATCH", "/enable", {"enabled": False}),
    ):  # fmt: skip
        stale = await acme.call(method, path + tail, body, If_Match='"1"')
        assert (method, stale.status_code) == (method, 412)
    assert (await acme.call("PATCH", path, {"description": "3"}, If_Match="*")).json()["version"] == 3
    assert (await acme.call("GET", path)).json()["description"] == "3"


async def test_merge_patch(acme: World) -> None:
    made = await acme.made(workflow(description="d", timeout_seconds=60, output={"a": 1, "b": {"c": 2}}))
    patched = await acme.call(
        "PATCH", f"/workflows/{made['id']}", {"timeout_seconds": None, "output": {"a": None, "b": {"d": 3}}}
    )
    body = patched.json()
    assert body["timeout_seconds"] is None
    assert body["output"] == {"b": {"c": 2, "d": 3}}
    assert (body["description"], body["name"]) == ("d", "First")
    nameless = await acme.call("PATCH", f"/workflows/{made['id']}", {"name": None})
    assert (nameless.status_code, nameless.json()["errors"][0]["path"]) == (422, "name")
    assert (await acme.call("GET", f"/workflows/{made['id']}")).json()["version"] == 2


async def test_versions_never_change(acme: World) -> None:
    made = await acme.made(workflow(description="one"), X_User_ID="ann")
    path = f"/workflows/{made['id']}"
    await acme.call("PATCH", path, {"description": "two"}, X_User_ID="bob")
    listed = (await acme.call("GET", f"{path}/versions?limit=1")).json()
    rest = (await acme.call("GET", f"{path}/versions?limit=1&cursor={listed['next_cursor']}")).json()
    assert [(row["version"], row["created_by"]) for row in listed["items"] + rest["items"]] == [(2, "bob"), (1, "ann")]
    first = (await acme.call("GET", f"{path}/versions/1")).json()
    assert first["definition"]["description"] == "one"
    for number in ("3", "0", "99999999999"):
        assert (await acme.call("GET", f"{path}/versions/{number}")).status_code == 404


async def test_pages(acme: World) -> None:
    names = [f"W{number}" for number in range(7)]
    for name in names:
        await acme.made(workflow(name, enabled=name != "W3"))
    seen: list[str] = []
    cursor = ""
    while cursor is not None:
        page = (await acme.call("GET", f"/workflows?limit=3{cursor and f'&cursor={cursor}'}")).json()
        seen += [row["name"] for row in page["items"]]
        cursor = page["next_cursor"]
    assert seen == names[::-1]
    by_offset = (await acme.call("GET", "/workflows?limit=2&offset=5")).json()
    assert ([row["name"] for row in by_offset["items"]], by_offset["next_cursor"]) == (["W1", "W0"], None)
    disabled = (await acme.call("GET", "/workflows?enabled=false")).json()
    assert [row["name"] for row in disabled["items"]] == ["W3"]
    named = (await acme.call("GET", "/workflows?name=w5")).json()
    assert [row["name"] for row in named["items"]] == ["W5"]


async def test_validate_stores_nothing(acme: World) -> None:
    good = (await acme.call("POST", "/workflows/validate", workflow())).json()
    assert good == {"valid": True, "errors": []}
    bad = (await acme.call("POST", "/workflows/validate", {"nmae": "x", "enabled": 3})).json()
    assert bad["valid"] is False
    assert {"nmae", "enabled", "name"} <= {fault["path"] for fault in bad["errors"]}
    assert await acme.count("workflows") == 0


async def stored_text(world: World) -> str:
    """Everything that the database holds of definitions and triggers, sealed bytes included."""
    async with world.parts.database.connection() as connection:
        rows = await connection.fetch(
            "SELECT definition::text AS line FROM workflow_versions"
            " UNION ALL SELECT config::text || encode(coalesce(sealed_secrets, ''), 'escape') FROM triggers"
        )
    return "\n".join(row["line"] for row in rows)


@pytest.mark.parametrize(("kind", "name"), [("hmac", "secret"), ("bearer", "token"), ("api_key", "token")])
async def test_secrets_are_shown_once_and_sealed(acme: World, kind: str, name: str) -> None:
    given = "a-very-secret-value"
    made = await acme.made(
        workflow(triggers=[webhook("given", type=kind, **{name: given}), webhook("made", type=kind)])
    )
    first, second = made["triggers"]
    assert (first["secret"], first["config"]["auth"][name], second["config"]["auth"][name]) == (given, "***", "***")
    assert len(second["secret"]) >= 40
    assert first["url"] == f"https://hooks.example.com/webhooks/{first['id']}/{first['token']}"
    shown = await acme.call("GET", f"/workflows/{made['id']}")
    listed = await acme.call("GET", "/workflows")
    version = await acme.call("GET", f"/workflows/{made['id']}/versions/1")
    triggers = await acme.call("GET", f"/workflows/{made['id']}/triggers")
    stored = await stored_text(acme)
    for secret in (given, second["secret"]):
        for text in (shown.text, listed.text, version.text, triggers.text, stored):
            assert secret not in text
    assert [row["secret"] for row in shown.json()["triggers"]] == ["***", "***"]


async def opened_secrets(world: World) -> dict[str, str]:
    async with world.parts.database.connection() as connection:
        rows = await connection.fetch(
            "SELECT * FROM triggers JOIN tenants USING (tenant_id) WHERE sealed_secrets IS NOT NULL"
        )
    vault = world.parts.vault
    return {
        row["key"]: msgspec.json.decode(
            vault.open(row["tenant_id"], row["id"], row["sealed_secrets"], row["data_key"])
        )["secret"]
        for row in rows
    }


async def test_a_secret_stays_until_another_is_given(acme: World) -> None:
    made = await acme.made(
        workflow(triggers=[webhook(type="hmac", secret="first-secret"), webhook("two", type="bearer")])
    )
    path, before = f"/workflows/{made['id']}", made["triggers"]
    for auth in ({"type": "hmac"}, {"type": "hmac", "secret": "***"}):
        kept = (
            await acme.call("PUT", path, workflow(triggers=[webhook(**auth), webhook("two", type="bearer")]))
        ).json()
        assert [(row["id"], row["token"], row["secret"]) for row in kept["triggers"]] == [
            (row["id"], row["token"], "***") for row in before
        ]
        assert (await opened_secrets(acme))["hook"] == "first-secret"
    new = (await acme.call("PUT", path, workflow(triggers=[webhook(type="hmac", secret="second-secret")]))).json()
    assert new["triggers"][0]["secret"] == "second-secret"
    assert await opened_secrets(acme) == {"hook": "second-secret"}
    other = (await acme.call("PUT", path, workflow(triggers=[webhook(type="bearer")]))).json()
    assert other["triggers"][0]["secret"] not in ("***", "second-secret")
    open_to_all = (await acme.call("PUT", path, workflow(triggers=[webhook(type="none")]))).json()
    assert open_to_all["triggers"][0]["secret"] is None
    assert await opened_secrets(acme) == {}


async def test_a_copy_of_a_masked_workflow_gets_secrets_of_its_own(acme: World) -> None:
    made = await acme.made(workflow(triggers=[webhook(type="hmac", secret="first-secret")]))
    shown = (await acme.call("GET", f"/workflows/{made['id']}")).json()
    copy = await acme.made({**shown, "name": "Copy"})
    assert copy["triggers"][0]["id"] != made["triggers"][0]["id"]
    assert copy["triggers"][0]["secret"] not in ("***", "first-secret")


async def test_schedules_follow_enabled(acme: World) -> None:
    made = await acme.made(workflow(triggers=[hourly(), hourly("off", enabled=False)]))
    path, trigger = f"/workflows/{made['id']}", made["triggers"][0]
    assert trigger["next_run_at"] is not None
    assert made["triggers"][1]["next_run_at"] is None
    runs = (await acme.call("GET", f"/triggers/{trigger['id']}/next-runs?count=3")).json()["items"]
    assert (len(runs), runs[0]["utc"]) == (3, trigger["next_run_at"])
    off = (await acme.call("PATCH", f"{path}/enable", {"enabled": False})).json()
    assert (off["enabled"], off["version"], off["triggers"][0]["next_run_at"]) == (False, 1, None)
    assert (await acme.call("GET", f"/triggers/{trigger['id']}/next-runs")).json()["items"] == []
    on = (await acme.call("PATCH", f"{path}/enable", {"enabled": True})).json()
    assert on["triggers"][0]["next_run_at"] is not None
    assert on["triggers"][1]["next_run_at"] is None


async def test_deleting_takes_the_triggers(acme: World) -> None:
    made = await acme.made(workflow(triggers=[hourly(), webhook()]))
    assert await acme.count("triggers") == 2
    await acme.call("DELETE", f"/workflows/{made['id']}")
    assert await acme.count("triggers") == 0
    assert await acme.count("workflow_versions") == 1


async def test_webhook_url_makes_the_trigger_once(acme: World) -> None:
    made = await acme.made(workflow(triggers=[{"key": "webhook", "type": "manual"}]))
    first = await acme.call("GET", f"/workflows/{made['id']}/webhook-url")
    again = await acme.call("GET", f"/workflows/{made['id']}/webhook-url", role="viewer")
    assert first.json() == again.json()
    body: dict[str, Any] = first.json()
    assert body["webhook_url"].endswith(f"/{body['webhook_token']}")
    assert body["instructions"]
    shown = (await acme.call("GET", f"/workflows/{made['id']}")).json()
    assert ([row["key"] for row in shown["triggers"]], shown["version"]) == (["webhook", "webhook_1"], 2)
