"""Configs of actions: every fault before templates are rendered, and what rendered values are read as."""

from typing import Annotated, Any, Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta

from libs.common.domain.action_config import config_faults, read_config
from libs.common.domain.catalogue import CATALOGUE
from libs.common.domain.pure_actions import ActionFailed
from libs.common.domain.validation import validate_definition

URL = "https://example.com"
MAIL = {"to": "ada@example.com", "subject": "s", "text": "t"}
SMS = {"account_sid": "AC1", "auth_token": "t", "to": "+1", "body": "b", "from": "+2"}
SLACK = {"channel": "slack", "url": URL, "message": "m"}

BAD: list[tuple[str, dict[str, Any], list[str]]] = [
    ("http_request", {}, ["url"]),
    ("http_request", {"url": "ftp://x", "method": "FETCH"}, ["method", "url"]),
    ("http_request", {"url": 5, "mehtod": "GET", "headers": [], "query": 5}, ["headers", "mehtod", "query", "url"]),
    ("http_request", {"url": URL, "body": 1, "text": "x"}, ["text"]),
    ("http_request", {"url": URL, "form": {}, "base64": "x", "multipart": []}, ["multipart"]),
    ("http_request", {"url": URL, "auth": {"type": "bearer"}}, ["auth.token"]),
    ("http_request", {"url": URL, "auth": {"type": "{{ input.type }}", "token": "x"}}, ["auth.type"]),
    ("http_request", {"url": URL, "auth": {"token": "x"}}, ["auth.type"]),
    ("http_request", {"url": URL, "auth": {"type": "basic", "username": 5, "x": ""}}, ["auth.username", "auth.x"]),
    ("http_request", {"url": URL, "success_status": [200, 99, "{{ x }}"]}, ["success_status[1]"]),
    ("http_request", {"url": URL, "success_status": ["2xx", "6xx"]}, ["success_status[1]"]),
    ("http_request", {"url": URL, "max_response_bytes": -1, "response": "xml"}, ["max_response_bytes", "response"]),
    ("http_request", {"url": URL, "follow_redirects": "yes", "verify_tls": 0}, ["follow_redirects", "verify_tls"]),
    ("http_request", {"url": URL, "multipart": [{"name": "a"}, {}, 5]}, ["multipart[1].name", "multipart[2]"]),
    ("http_request", {"url": URL, "multipart": [{"name": "a"}]}, ["multipart[0]"]),
    ("send_email", {}, ["subject", "to"]),
    ("send_email", {"to": "ada", "subject": "a\nb"}, ["", "subject", "to"]),
    ("send_email", {**MAIL, "to": [], "cc": "a@x\r\nb", "bcc": 5}, ["bcc"]),
    ("send_email", {**MAIL, "to": [], "cc": "a@x\r\nb", "reply_to": ["{{ x }}", "y"]}, ["cc", "reply_to", "to"]),
    ("send_email", {**MAIL, "attachments": [{"filename": "x"}, "{{ x }}"]}, ["attachments[0]"]),
    ("send_email", {**MAIL, "attachments": [{"filename": "", "text": ""}]}, ["attachments[0].filename"]),
    ("send_email", {**MAIL, "attachments": [{"filename": "x", "text": ""}] * 21}, ["attachments"]),
    ("send_email", {**MAIL, "server": {"port": 0}}, ["server.host", "server.port"]),
    ("send_email", {**MAIL, "server": {"host": "h", "security": "ssl"}}, ["server.security"]),
    ("send_sms", {}, ["account_sid", "auth_token", "body", "to"]),
    ("send_sms", {**SMS, "from": None, "base_url": "x"}, ["base_url", "from"]),
    ("send_sms", {**SMS, "account_sid": "../x", "body": "x" * 1_601}, ["account_sid", "body"]),
    ("send_notification", {"channel": "pager", "message": "m"}, ["channel"]),
    ("send_notification", {"channel": "{{ input.channel }}", "message": "m"}, ["channel"]),
    ("send_notification", {"message": "m"}, ["channel"]),
    ("send_notification", {**SLACK, "url": "hooks.slack.com", "payload": {}}, ["url"]),
    ("send_notification", {**SLACK, "url": None, "payload": [], "user": "u"}, ["payload", "url", "user"]),
    ("send_notification", {"channel": "in_app", "url": URL}, ["message", "url"]),
    ("log", {"message": "m", "level": "loud"}, ["level"]),
    ("for_each", {"items": [], "actions": [], "concurrency": 0}, ["concurrency"]),
]  # fmt: skip


@pytest.mark.parametrize(("name", "config", "paths"), BAD)
def test_every_fault_has_its_path(name: str, config: dict[str, Any], paths: list[str]) -> None:
    faults = CATALOGUE[name].check(config, "config")
    assert sorted(fault.path for fault in faults) == [f"config.{path}".rstrip(".") for path in paths]


TEMPLATE = "{{ input.x }}"
GOOD: list[tuple[str, dict[str, Any]]] = [
    ("webhook", {"url": TEMPLATE, "method": TEMPLATE, "headers": TEMPLATE, "query": TEMPLATE, "form": TEMPLATE}),
    ("call_webhook", {"url": URL, "success_status": TEMPLATE, "max_response_bytes": TEMPLATE, "response": TEMPLATE}),
    ("http_request", {"url": URL, "follow_redirects": "${ input.x }", "verify_tls": TEMPLATE, "auth": TEMPLATE}),
    ("http_request", {"url": URL, "multipart": [TEMPLATE, {"name": TEMPLATE, "base64": TEMPLATE}]}),
    ("http_request", {"url": URL, "success_status": ["2xx", 404, "404"], "body": None, "text": "x"}),
    ("send_email", {**MAIL, "to": TEMPLATE, "attachments": TEMPLATE, "server": TEMPLATE}),
    ("send_email", {**MAIL, "server": {"host": "h", "port": TEMPLATE, "security": TEMPLATE, "verify_tls": TEMPLATE}}),
    ("send_sms", {**SMS, "account_sid": TEMPLATE, "body": TEMPLATE}),
    ("send_notification", {**SLACK, "url": TEMPLATE, "payload": TEMPLATE}),
    ("send_notification", {"channel": "in_app", "message": TEMPLATE, "user": TEMPLATE}),
    ("for_each", {"items": TEMPLATE, "actions": [], "concurrency": TEMPLATE}),
]


@pytest.mark.parametrize(("name", "config"), GOOD)
def test_a_template_stands_wherever_a_value_will_be(name: str, config: dict[str, Any]) -> None:
    assert CATALOGUE[name].check(config, "config") == []


def test_a_definition_tells_the_faults_of_its_configs() -> None:
    actions = [
        {"type": "send_sms", "config": {"to": "{{ nothing_known( }}"}},
        {"type": "webhook", "config": {"url": 1}},
    ]
    _, faults = validate_definition({"name": "n", "actions": actions}, {n: row.check for n, row in CATALOGUE.items()})
    assert {fault.path for fault in faults} == {
        "actions[0].config.account_sid", "actions[0].config.auth_token", "actions[0].config.body",
        "actions[0].config.to", "actions[1].config.url",
    }  # fmt: skip


class Inner(msgspec.Struct, frozen=True, tag_field="kind", tag="inner"):
    n: float


class Shape(msgspec.Struct, frozen=True):
    text: str
    number: int | None = None
    flag: bool = False
    level: Literal["low", "high"] = "low"
    either: str | Annotated[list[str], Meta(min_length=1, max_length=2)] = ""
    codes: list[int | str] = []
    inner: Inner | None = None
    named: dict[str, int] = {}
    any: Any = None


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ({"text": 5}, {"text": "5"}), ({"text": 5.0}, {"text": "5"}), ({"text": 0.1}, {"text": "0.1"}),
        ({"number": "12"}, {"number": 12}), ({"number": 12.0}, {"number": 12}), ({"number": " 7 "}, {"number": 7}),
        ({"flag": "true"}, {"flag": True}), ({"either": [1, "a"]}, {"either": ["1", "a"]}),
        ({"either": 1}, {"either": "1"}), ({"text": 10**30}, {"text": str(10**30)}),
        ({"codes": [1, "2"]}, {"codes": [1, "2"]}), ({"inner": {"kind": "inner", "n": "0.5"}}, {"inner": Inner(0.5)}),
        ({"named": {"a": "1"}}, {"named": {"a": 1}}), ({"any": "1"}, {"any": "1"}),
        ({"number": None}, {"number": None}),
    ],
)  # fmt: skip
def test_rendered_values_are_read_as_what_is_wanted(given: dict[str, Any], read: dict[str, Any]) -> None:
    shape = read_config({"text": "", **given}, Shape)
    assert {name: getattr(shape, name) for name in read} == read


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ({"text": True}, "text"), ({"text": None}, "text"), ({"text": ["a"]}, "text"), ({"number": "1.5"}, "number"),
        ({"number": "true"}, "number"), ({"number": "1e999"}, "number"), ({"flag": 1}, "flag"),
        ({"level": "top"}, "level"), ({"inner": {"kind": "inner", "n": "9" * 400}}, "inner.n"),
        ({"either": []}, "either"), ({"either": ["a", "b", "c"]}, "either"), ({"either": [None]}, "either[0]"),
        ({"inner": {"n": 1}}, "inner.kind"), ({"inner": {"kind": "inner"}}, "inner.n"),
        ({"named": {"a": "x"}}, "named.a"),
        ({"named": []}, "named"), ({"text": "{{ x }}", "number": "{{ x }}"}, "number"), ({"more": 1}, "more"),
    ],
)  # fmt: skip
def test_rendered_values_that_do_not_fit(given: dict[str, Any], path: str) -> None:
    with pytest.raises(ActionFailed) as failed:
        read_config({"text": "", **given}, Shape)
    failure = failed.value.failure
    assert (failure.error_class, failure.message.split()[0]) == ("invalid_config", path)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8) | st.just(TEMPLATE),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
FIELDS = ["url", "method", "auth", "type", "token", "to", "subject", "text", "attachments", "channel", "message", "x"]


@given(st.sampled_from(sorted(CATALOGUE)), st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=6))
def test_no_json_breaks_it(name: str, config: dict[str, Any]) -> None:
    row = CATALOGUE[name]
    for fault in row.check(config, "config"):
        assert fault.path.startswith("config")
        assert fault.message
    try:
        row.read(config)
    except ActionFailed as error:
        assert error.failure.error_class == "invalid_config"


@given(st.dictionaries(st.sampled_from([*Shape.__struct_fields__, "x"]), JSON))
def test_what_has_no_fault_once_rendered_can_be_read(config: dict[str, Any]) -> None:
    faults = config_faults(config, Shape, "")
    has_template = TEMPLATE in str(config)
    if not faults and not has_template:
        assert isinstance(read_config(config, Shape), Shape)
