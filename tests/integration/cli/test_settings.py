"""Settings that make no sense: the fault names the variable, and never shows what may be a password."""

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
