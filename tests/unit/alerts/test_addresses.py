from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from monitor.alerts.addresses import Reach, allowed, is_loopback_host, reach_of

PUBLIC = ["8.8.8.8", "93.184.216.34", "2606:4700:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"]
PRIVATE = ["10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "100.64.0.1", "fd12::1", "::ffff:10.0.0.1"]
LOOPBACK = ["127.0.0.1", "127.255.0.9", "::1", "::ffff:127.0.0.1"]
NEVER = [
    "0.0.0.0",
    "::",
    "169.254.1.1",
    "169.254.169.254",
    "::ffff:169.254.169.254",
    "64:ff9b::a9fe:a9fe",
    "fd00:ec2::254",
    "100.100.100.200",
    "168.63.129.16",
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "224.0.0.1",
    "ff02::1",
    "240.0.0.1",
    "255.255.255.255",
    "192.0.2.1",
    "2001:db8::1",
    "2002:a00:1::1",
    "2001:0:53aa:64c:0:1:f5ff:fffe",
    "::10.0.0.1",
]


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses(address: str) -> None:
    assert allowed(address, Reach.PUBLIC)
    assert allowed(address, Reach.PUBLIC_OR_PRIVATE)
    assert not allowed(address, Reach.LOOPBACK)


@pytest.mark.parametrize("address", PRIVATE)
def test_private_addresses_need_the_operators_word(address: str) -> None:
    assert not allowed(address, Reach.PUBLIC)
    assert allowed(address, Reach.PUBLIC_OR_PRIVATE)
    assert not allowed(address, Reach.LOOPBACK)


@pytest.mark.parametrize("address", LOOPBACK)
def test_loopback(address: str) -> None:
    assert not allowed(address, Reach.PUBLIC)
    assert allowed(address, Reach.PUBLIC_OR_PRIVATE)
    assert allowed(address, Reach.LOOPBACK)


@pytest.mark.parametrize("reach", Reach)
@pytest.mark.parametrize("address", NEVER)
def test_addresses_that_no_setting_allows(address: str, reach: Reach) -> None:
    assert not allowed(address, reach)


@given(address=st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)))
def test_what_python_calls_not_global_is_never_public(address: IPv4Address | IPv6Address) -> None:
    if not address.is_global:
        mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
        assert not allowed(str(address), Reach.PUBLIC) or (mapped is not None and mapped.is_global)
    if allowed(str(address), Reach.PUBLIC):
        assert allowed(str(address), Reach.PUBLIC_OR_PRIVATE)


@given(address=st.ip_addresses(v=4))
def test_wrapping_an_address_into_ipv6_changes_nothing(address: IPv4Address) -> None:
    for reach in Reach:
        assert allowed(f"::ffff:{address}", reach) == allowed(str(address), reach)
        assert allowed(str(IPv6Address(int(IPv6Address("64:ff9b::")) + int(address))), reach) == allowed(
            str(address), reach
        )


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST.", "127.0.0.1", "127.9.9.9", "::1", "[::1]"])
def test_hosts_that_are_this_machine_by_name(host: str) -> None:
    assert is_loopback_host(host)


@pytest.mark.parametrize("host", ["localhost.example.org", "10.0.0.1", "127.0.0.1.example.org", "", "127.1"])
def test_hosts_that_are_not(host: str) -> None:
    assert not is_loopback_host(host)


def test_a_loopback_url_reaches_loopback_only_whatever_else_is_allowed() -> None:
    assert reach_of(URL("http://localhost:1/x"), allow_private_address=True) is Reach.LOOPBACK
    assert reach_of(URL("https://a.example/x"), allow_private_address=True) is Reach.PUBLIC_OR_PRIVATE
    assert reach_of(URL("https://a.example/x"), allow_private_address=False) is Reach.PUBLIC
