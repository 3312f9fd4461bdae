import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bascule.core.addresses import AddressRules, is_public
from bascule.core.errors import ConfigError, IngestError
from bascule.core.urls import parse_url

PUBLIC = [
    "93.184.215.14", "1.1.1.1", "223.255.255.254", "172.32.0.1", "100.128.0.1", "2606:4700::1111",
    "2a00:1450:4001::1", "2001:4860:4860::8888",
]  # fmt: skip
NOT_PUBLIC = [
    "0.0.0.0", "10.0.0.1", "100.64.0.1", "100.100.100.200", "127.0.0.1", "127.255.255.254", "168.63.129.16",
    "169.254.169.254", "172.16.0.1", "172.31.255.255", "192.0.0.192", "192.0.2.1", "192.168.1.1", "198.18.0.1",
    "198.51.100.1", "203.0.113.1", "224.0.0.1", "240.0.0.1", "255.255.255.255", "::", "::1", "::ffff:8.8.8.8",
    "::8.8.8.8", "::ffff:0:8.8.8.8", "64:ff9b::8.8.8.8", "64:ff9b:1::1", "100::1", "2001::1", "2001:2::1",
    "2001:10::1", "2001:20::1", "2001:db8::1", "2002:808:808::1", "3fff::1", "5f00::1", "fc00::1",
    "fd00:ec2::254", "fe80::1", "fe80::1%eth0", "fec0::1", "ff02::1", "2606:4700::5efe:10.0.0.1", "4000::1",
]  # fmt: skip


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_reached(address):
    assert is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_all_others_are_not(address):
    assert not is_public(ipaddress.ip_address(address))


@given(st.integers(0, 2**32 - 1).map(ipaddress.IPv4Address) | st.integers(0, 2**128 - 1).map(ipaddress.IPv6Address))
def test_what_the_standard_library_calls_private_is_never_public(address):
    if (
        address.is_private
        or address.is_multicast
        or address.is_reserved
        or address.is_loopback
        or address.is_link_local
    ):
        assert not is_public(address)


@given(st.sampled_from([n for n in NOT_PUBLIC if ":" not in n]), st.sampled_from(range(6)))
def test_an_ipv4_address_inside_an_ipv6_one_is_not_public(address, form):
    number = int(ipaddress.IPv4Address(address))
    high = [0xFFFF << 32, 0, 0xFFFF << 48, 0x64FF9B << 96, 0x64FF9B0001 << 80, (0x2002 << 112) | (number << 80)][form]
    assert not is_public(ipaddress.IPv6Address(high | (0 if form == 5 else number)))


def allows(rules, url, *addresses):
    checked = rules.check_url(url)
    return [rules.check_address(checked, address) for address in addresses]


def refuses(rules, url, *addresses):
    with pytest.raises(IngestError) as caught:
        allows(rules, url, *addresses)
    assert caught.value.reason == "address_refused"
    assert not any(address in caught.value.message for address in addresses)
    return True


def test_without_a_list_only_public_addresses_on_the_usual_ports_are_reached():
    rules = AddressRules()
    assert allows(rules, "https://example.com/", "93.184.215.14", "2606:4700::1") == ["93.184.215.14", "2606:4700::1"]
    assert refuses(rules, "https://example.com/", "10.0.0.1") and refuses(rules, "https://example.com/", "nonsense")
    assert refuses(rules, "https://example.com:8443/") and refuses(rules, "http://93.184.215.14:22/")
    for name in (
        "redis",
        "localhost",
        "a.localhost",
        "metadata.google.internal",
        "printer.local",
        "kubernetes.default.svc",
    ):
        assert refuses(rules, f"http://{name}/")


def test_a_listed_name_opens_its_private_addresses_but_never_a_metadata_service():
    rules = AddressRules(["wiki.corp.example", "*.docs.corp.example:8080", "redis"])
    assert allows(rules, "https://wiki.corp.example/", "10.1.2.3", "fd00::1", "127.0.0.1")
    assert allows(rules, "http://redis/", "172.17.0.2")
    assert allows(rules, "http://a.docs.corp.example:8080/", "10.1.2.3")
    assert refuses(rules, "http://a.docs.corp.example/", "10.1.2.3") and refuses(
        rules, "http://docs.corp.example:8080/"
    )
    assert refuses(rules, "https://other.corp.example/", "10.1.2.3") and refuses(
        rules, "http://wiki.corp.example:8080/"
    )
    for address in (
        "169.254.169.254",
        "::ffff:169.254.169.254",
        "100.100.100.200",
        "fd00:ec2::254",
        "0.0.0.0",
        "224.0.0.1",
    ):
        assert refuses(rules, "https://wiki.corp.example/", address)


def test_a_listed_network_opens_its_addresses_and_no_others():
    rules = AddressRules(["10.1.0.0/16", "192.168.0.7:6379", "[fd00::1]:8080"])
    assert allows(rules, "http://10.1.2.3/", "10.1.2.3") and allows(rules, "http://intern.example/", "10.1.2.3")
    assert allows(rules, "http://192.168.0.7:6379/") == [] and allows(rules, "http://[fd00::1]:8080/") == []
    assert (
        refuses(rules, "http://10.1.2.3:6379/")
        and refuses(rules, "http://10.2.0.1/")
        and refuses(rules, "http://192.168.0.7/")
    )
    assert refuses(rules, "http://93.184.215.14:6379/") and refuses(rules, "http://[::ffff:10.1.2.3]/")


@pytest.mark.parametrize(
    "line",
    [
        "",
        "http://a.example",
        "a b",
        "10.0.0.1/8",
        "a/b",
        "*",
        "*.*.example",
        "a.example:0",
        "a.example:99999",
        "user@a.example",
    ],
)
def test_a_line_that_is_none_of_these_is_named(line):
    with pytest.raises(ConfigError, match=r"fetcher\.allow"):
        AddressRules([line])


def test_urls_may_be_checked_once_parsed():
    url = parse_url("https://example.com/")
    assert AddressRules().check_url(url) is url
