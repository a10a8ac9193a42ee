"""Settings that make no sense: the fault names the variable, and never shows what may be a password."""

from pathlib import Path

import pytest

from libs.common.errors import OperatorError
from libs.common.settings import load_settings

PASSWORD = "hidden-pw"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("EXECUTOR_SLOTS", "many"), ("EXECUTOR_SLOTS", "0"), ("EXECUTOR_SLOTS", ""), ("DRAIN_SECONDS", "-1"),
        ("DRAIN_SECONDS", "nan"), ("LOG_LEVEL", "loud"), ("LOG_FORMAT", "xml"), ("EGRESS_ALLOW", "nowhere"),
        ("EGRESS_ALLOW", "10.0.0.0/33"), ("DATABASE_POOL_SIZE", "1000"), ("MAX_BODY_BYTES", "1e9"),
        ("DATABASE_URL", f"mysql://u:{PASSWORD}@h/db"), ("DATABASE_URL", f"postgresql://u:{PASSWORD}@h:port/db"),
        ("DATABASE_URL", f"u:{PASSWORD}@h/db"), ("DATABASE_URL", f"postgresql://u:{PASSWORD}@h:1,h:99999/db"),
        ("BUS_URL", f"http://u:{PASSWORD}@h/"), ("BUS_URL", f"amqp://u:{PASSWORD}@h:99999/"),
        ("BUS_URL", f"amqp://u:{PASSWORD}/more@h/"), ("REDIS_URL", f"{PASSWORD}@localhost"),
        ("REDIS_URL", f"redis://:{PASSWORD}@h:port"), ("REDIS_URL", f"redis://:{PASSWORD}@[h"),
        ("PUBLIC_URL", "hooks.example.com"), ("PUBLIC_URL", "ftp://hooks.example.com"),
    ],
)  # fmt: skip
def test_a_wrong_value_names_its_variable(name: str, value: str) -> None:
    with pytest.raises(OperatorError) as raised:
        load_settings({f"SIGNALBOX_{name}": value})
    assert raised.value.detail.startswith(f"SIGNALBOX_{name}: ")
    assert "\n" not in raised.value.detail
    assert PASSWORD not in raised.value.detail


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DATABASE_URL", "postgresql:///db?host=/run/postgresql&port=5432"),
        ("DATABASE_URL", "postgres://u:p%2Fw@[::1]:5432,h2,10.0.0.1:6432/db"), ("DATABASE_URL", "postgresql://[::1]/db"),
        ("BUS_URL", "amqps://u:p@h:5671/vhost"), ("BUS_URL", "memory://"), ("REDIS_URL", "unix:///run/redis.sock"),
        ("REDIS_URL", "rediss://:p@h:6380/0"), ("REDIS_URL", ""), ("PUBLIC_URL", "https://hooks.example.com:8443/base"),
    ],
)  # fmt: skip
def test_addresses_of_every_form_are_taken(name: str, value: str) -> None:
    taken = getattr(load_settings({f"SIGNALBOX_{name}": value}), name.lower())
    assert (taken if isinstance(taken, str) else taken.reveal()) == value


def test_a_secret_may_stand_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(f"{PASSWORD}\n")
    assert load_settings({"SIGNALBOX_PLATFORM_KEY_FILE": str(file)}).platform_key.reveal() == PASSWORD
    assert load_settings({"SIGNALBOX_PLATFORM_KEY_FILE": ""}).platform_key.reveal() == ""


@pytest.mark.parametrize(
    ("environment", "fault"),
    [
        ({"DATABASE_URL_FILE": "{file}"}, "must begin with postgresql:// or postgres://"),
        ({"PLATFORM_KEY_FILE": "{file}", "PLATFORM_KEY": "x"}, "set this or SIGNALBOX_PLATFORM_KEY_FILE, not both"),
        ({"PLATFORM_KEY_FILE": "{file}.gone"}, "{file}.gone cannot be read: No such file or directory"),
        ({"PLATFORM_KEY_FILE": "{bytes}"}, "{bytes} does not hold text"),
    ],
)
def test_what_is_wrong_with_such_a_file(tmp_path: Path, environment: dict[str, str], fault: str) -> None:
    places = {"file": tmp_path / "key", "bytes": tmp_path / "bytes"}
    places["file"].write_text(PASSWORD)
    places["bytes"].write_bytes(b"\xff\xfe")
    given = {f"SIGNALBOX_{name}": value.format_map(places) for name, value in environment.items()}
    name = next(iter(given)).removesuffix("_FILE")
    with pytest.raises(OperatorError) as raised:
        load_settings(given)
    assert raised.value.detail == f"{name}: {fault.format_map(places)}"
