"""Which addresses an action may reach: nothing special, however it is spelled, unless the operator opened just that."""

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.security.egress import BlockedDestination, EgressPolicy

PUBLIC = ("1.1.1.1", "8.8.8.8", "93.184.216.34", "172.15.255.255", "172.32.0.1", "2606:4700:4700::1111", "2a00::1")
INSIDE = (
    "0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1", "127.0.0.1", "127.255.255.254", "169.254.169.254", "172.16.0.1",
    "172.31.255.255", "192.0.0.8", "192.0.2.1", "192.168.1.1", "198.18.0.1", "198.51.100.7", "203.0.113.9",
    "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255", "168.63.129.16",
    "::", "::1", "::127.0.0.1", "fe80::1", "fec0::1", "fc00::1", "fd00:ec2::254", "ff02::1", "2001:db8::1", "100::1",
)  # fmt: skip
TUNNELS = (
    "::ffff:127.0.0.1", "::ffff:10.0.0.1", "2002:7f00:1::", "2002:a00:1::1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2",
)  # fmt: skip


def is_open(text: str, *allowed: str) -> bool:
    try:
        EgressPolicy(ip_network(network) for network in allowed).check_address(ip_address(text))
    except BlockedDestination:
        return False
    return True


@pytest.mark.parametrize("address", PUBLIC)
def test_the_public_internet_is_open(address: str) -> None:
    assert is_open(address)


@pytest.mark.parametrize("address", [*INSIDE, *TUNNELS])
def test_what_is_inside_is_closed(address: str) -> None:
    assert not is_open(address)


@given(st.ip_addresses(v=4, network="10.0.0.0/8"))
def test_an_inside_address_in_an_ipv6_coat_is_closed_too(address: object) -> None:
    number = int(ip_address(str(address)))
    for coat in (f"::ffff:{address}", f"64:ff9b::{number >> 16:x}:{number & 0xFFFF:x}"):
        assert not is_open(coat)


def test_the_operator_opens_a_private_network() -> None:
    assert is_open("10.1.2.3", "10.1.0.0/16")
    assert is_open("::ffff:10.1.2.3", "10.1.0.0/16")
    assert not is_open("10.2.0.1", "10.1.0.0/16")


@pytest.mark.parametrize("wide", ["0.0.0.0/0", "::/0", "128.0.0.0/1", "0.0.0.0/1", "169.0.0.0/8"])
@pytest.mark.parametrize("sensitive", ["127.0.0.1", "169.254.169.254", "::1"])
def test_a_wide_network_opens_neither_loopback_nor_metadata(wide: str, sensitive: str) -> None:
    assert not is_open(sensitive, wide)


def test_loopback_is_opened_by_its_own_name() -> None:
    assert is_open("127.0.0.1", "127.0.0.1/32")
    assert not is_open("127.0.0.2", "127.0.0.1/32")


def test_the_refusal_names_no_address() -> None:
    with pytest.raises(BlockedDestination) as refused:
        EgressPolicy().check_address(ip_address("10.9.8.7"))
    assert "10.9.8.7" not in refused.value.detail
