"""Which addresses an action may reach: nothing special, however it is spelled, unless the operator opened just that."""

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.security.egress import BlockedDestination, EgressPolicy

PUBLIC = ("1.1.1.1", "8.8.8.8", "93.184.216.34", "223.255.255.255", "2606:4700:4700::1111", "2a00::1", "2620:fe::fe")

SPECIAL = (
    "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
    "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24", "192.168.0.0/16", "192.175.48.0/24",
    "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
    "::/128", "::1/128", "::/96", "64:ff9b:1::/48", "100::/64", "100:0:0:1::/64", "2001::/23", "2001:db8::/32",
    "2620:4f:8000::/48", "3fff::/20", "5f00::/16", "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8",
)  # fmt: skip
"""The special-purpose registries of IANA (2026), with multicast and the site-local range of old."""

NEIGHBOURS = (
    "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255", "128.0.0.0", "169.253.255.255",
    "169.255.0.0", "172.15.255.255", "172.32.0.0", "191.255.255.255", "192.0.1.0", "192.167.255.255", "192.169.0.0",
    "198.17.255.255", "198.20.0.0", "198.51.99.255", "203.0.114.0", "223.255.255.255",
    "2001:200::", "2001:db7:ffff::", "2001:db9::", "2620:4f:7fff::", "3ffe::", "fbff:ffff::", "::1:0:0:0",
)  # fmt: skip
"""What lies just outside one of them."""

METADATA = (
    "169.254.169.254", "169.254.170.2", "100.100.100.200", "168.63.129.16", "192.0.0.192", "fd00:ec2::254",
    "fd20:ce::254", "fe80::a9fe:a9fe",
)  # fmt: skip
"""Where clouds tell a machine its credentials: AWS, ECS, Alibaba, Azure, Oracle, AWS and Google by IPv6, link-local."""

THIS_MACHINE = ("127.0.0.1", "127.255.255.254", "0.0.0.0", "0.1.2.3", "::1", "::", "::127.0.0.1")


def is_open(address: object, *allowed: str) -> bool:
    try:
        EgressPolicy(ip_network(network) for network in allowed).check_address(ip_address(str(address)))
    except BlockedDestination:
        return False
    return True


def coats(address: IPv4Address) -> list[IPv6Address]:
    """Every IPv6 address that leads to an IPv4 address: mapped, NAT64, 6to4 and Teredo (server, client)."""
    number = int(address)
    return [
        IPv6Address(0xFFFF << 32 | number),
        IPv6Address(0x64FF9B << 96 | number),
        IPv6Address(0x2002 << 112 | number << 80 | 1),
        IPv6Address(0x20010000 << 96 | number << 64 | 0xFFFFFFFF ^ int(IPv4Address("8.8.8.8"))),
        IPv6Address(0x20010000 << 96 | int(IPv4Address("8.8.8.8")) << 64 | 0xFFFFFFFF ^ number),
    ]


@pytest.mark.parametrize("address", [*PUBLIC, *NEIGHBOURS])
def test_the_public_internet_is_open(address: str) -> None:
    assert is_open(address)


@pytest.mark.parametrize("network", SPECIAL)
def test_a_special_range_is_closed_from_its_first_address_to_its_last(network: str) -> None:
    whole = ip_network(network)
    for address in (whole[0], whole[-1], whole[whole.num_addresses // 2]):
        assert not is_open(address)


@pytest.mark.parametrize("address", [*METADATA, *THIS_MACHINE])
def test_what_must_never_be_reached_is_closed(address: str) -> None:
    assert not is_open(address)


@given(
    st.sampled_from([network for network in SPECIAL if "." in network]).flatmap(
        lambda text: st.ip_addresses(network=text)
    )
)
def test_an_inside_address_in_an_ipv6_coat_is_closed_too(address: IPv4Address | IPv6Address) -> None:
    assert isinstance(address, IPv4Address)
    assert [coat for coat in coats(address) if is_open(coat)] == []


def test_a_coat_over_a_public_address_does_no_harm() -> None:
    mapped, nat64, sixtofour, *teredo = coats(IPv4Address("8.8.8.8"))
    assert [is_open(coat) for coat in (mapped, nat64, sixtofour)] == [True] * 3
    assert [is_open(coat) for coat in teredo] == [False] * 2


@given(st.ip_addresses(v=4))
def test_the_spelling_of_an_address_changes_nothing(address: IPv4Address) -> None:
    assert is_open(address) == is_open(IPv6Address(0xFFFF << 32 | int(address)))


def test_the_operator_opens_a_private_network() -> None:
    assert is_open("10.1.2.3", "10.1.0.0/16")
    assert is_open("::ffff:10.1.2.3", "10.1.0.0/16")
    assert is_open("64:ff9b::a01:203", "10.1.0.0/16")
    assert is_open("fd12::1", "10.0.0.0/8", "fd12::/16")
    assert not is_open("10.2.0.1", "10.1.0.0/16")
    assert not is_open("fd12::1", "10.0.0.0/8")


@pytest.mark.parametrize("address", [*METADATA, *THIS_MACHINE])
def test_a_wide_network_opens_neither_this_machine_nor_metadata(address: str) -> None:
    wide = ("0.0.0.0/0", "0.0.0.0/1", "128.0.0.0/1", "100.64.0.0/10", "169.0.0.0/8", "192.0.0.0/24", "168.63.0.0/16",
            "::/0", "::/64", "fc00::/7", "fd00::/8", "fe00::/8")  # fmt: skip
    assert not is_open(address, *wide)
    if "." in address and ":" not in address:
        assert not any(is_open(coat, *wide) for coat in coats(IPv4Address(address)))


@pytest.mark.parametrize("address", ["10.1.2.3", "100.64.0.1", "192.168.1.1", "192.0.0.8", "fd12::1", "2001:db8::1"])
def test_a_wide_network_opens_the_rest(address: str) -> None:
    assert is_open(address, "0.0.0.0/0", "::/0")


@pytest.mark.parametrize("address", [*METADATA, *THIS_MACHINE])
def test_each_of_them_is_opened_by_its_own_name(address: str) -> None:
    assert is_open(address, address)


def test_the_name_of_one_does_not_open_its_neighbour() -> None:
    assert not is_open("127.0.0.2", "127.0.0.1/32")
    assert not is_open("169.254.169.254", "169.254.1.0/24")
    assert not is_open("::1", "127.0.0.0/8")
    assert not is_open("0.0.0.0", "127.0.0.0/8")
    assert is_open("169.254.169.254", "169.254.0.0/16")


@pytest.mark.parametrize("address", ["10.9.8.7", "::ffff:10.9.8.7", "fd00:ec2::254"])
def test_the_refusal_names_no_address(address: str) -> None:
    with pytest.raises(BlockedDestination) as refused:
        EgressPolicy().check_address(ip_address(address))
    assert refused.value.detail == "The destination is not allowed."
