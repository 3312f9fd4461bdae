"""Which addresses of the internet a fetch may reach: the rules alone, without any network.

A fetch for somebody else goes to public addresses only; what is private needs a line in the operator's allow-list. The tables
are IANA's registries of special-purpose addresses, written out, because the standard library's differ by version; for IPv6 only
global unicast (2000::/3) is public, so that every form that carries an IPv4 address inside is refused with the rest.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterable
from typing import Final

import msgspec

from bascule.core.errors import ConfigError, IngestError
from bascule.core.urls import IpAddress, WebUrl, parse_url, refused

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# Nobody's documents: never reached because a name resolves to them, only when the operator lists the address itself.
_NEVER_BY_NAME: Final = tuple(
    map(
        ipaddress.ip_network,
        [
            "0.0.0.0/8", "169.254.0.0/16", "168.63.129.16/32", "100.100.100.200/32", "192.0.0.192/32", "224.0.0.0/3",
            "::/128", "fe80::/10", "fec0::/10", "ff00::/8", "fd00:ec2::254/128", "fd20:ce::254/128",
        ],
    )
)  # fmt: skip
_NOT_PUBLIC: Final = tuple(
    map(
        ipaddress.ip_network,
        [
            "0.0.0.0/8",  # this host
            "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16",  # private
            "100.64.0.0/10",  # carrier-grade NAT, and Alibaba's metadata service
            "127.0.0.0/8",  # loopback
            "168.63.129.16/32",  # Azure's wire server, in public space
            "169.254.0.0/16",  # link-local, and most metadata services
            "192.0.0.0/24",  # protocol assignments, and Oracle's metadata service
            "192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24",  # documentation
            "192.31.196.0/24", "192.52.193.0/24", "192.175.48.0/24",  # AS112, AMT
            "192.88.99.0/24",  # 6to4 relays
            "198.18.0.0/15",  # benchmarks
            "224.0.0.0/4", "240.0.0.0/4",  # multicast; reserved and broadcast
            "2001::/23",  # protocol assignments: Teredo, benchmarks, ORCHID
            "2001:db8::/32", "3fff::/20",  # documentation
            "2002::/16",  # 6to4
            "2620:4f:8000::/48", "3ffe::/16",  # AS112; returned
        ],
    )
)  # fmt: skip
_GLOBAL_IPV6: Final = ipaddress.IPv6Network("2000::/3")
_ISATAP: Final = frozenset({0x00005EFE, 0x02005EFE})  # RFC 5214: an IPv4 address in the interface part
_LOCAL_NAMES: Final = ("localhost", "local", "localdomain", "internal", "intranet", "lan", "home.arpa", "svc", "onion")


def is_public(address: IpAddress) -> bool:
    """Whether anyone on the internet may be expected to reach it."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = int(address) >> 32 & 0xFFFFFFFF
        if address not in _GLOBAL_IPV6 or address.scope_id or inner in _ISATAP:
            return False
    return not any(address in network for network in _NOT_PUBLIC if network.version == address.version)


class _Allowed(msgspec.Struct, frozen=True):
    """One line of the allow-list: a name, everything below a name, or a network; on one port, or on the usual ones."""

    name: str = ""
    below: str = ""
    network: Network | None = None
    port: int | None = None

    def names(self, host: str) -> bool:
        return bool(self.name and host == self.name) or bool(self.below and host.endswith(self.below))

    def holds(self, address: IpAddress) -> bool:
        return self.network is not None and address.version == self.network.version and address in self.network


class AddressRules:
    """`allow`: what may be reached though it is not public: "wiki.corp.example", "*.corp.example", "10.1.0.0/16" or
    "192.168.1.7", each on `ports`, or on the one port named after a colon. Raises ConfigError for a line that is none of these."""

    def __init__(self, allow: Iterable[str] = (), ports: Collection[int] = (80, 443)) -> None:
        self._ports = frozenset(ports)
        self._allowed = tuple(_allowed(line) for line in allow)

    def check_url(self, text: str | WebUrl) -> WebUrl:
        """What can be said before a name is resolved. Raises IngestError (reason "address_refused")."""
        url = parse_url(text) if isinstance(text, str) else text
        lines = self._lines(url)
        if url.port not in self._ports and not lines:
            raise refused("its port is not one that may be fetched from")
        if url.address:
            self.check_address(url, url.address)
        elif not lines and not _open_name(url.host):
            raise refused("its host is a name of a private network")
        return url

    def check_address(self, url: WebUrl, address: str) -> str:
        """The address in one spelling, when a connection for `url` may be made to it. Raises IngestError otherwise."""
        try:
            found = ipaddress.ip_address(address)
        except ValueError:
            raise _not_public() from None
        lines = self._lines(url)
        listed = any(line.holds(found) for line in lines)
        named = any(line.names(url.host) for line in lines) and not _never_by_name(found)
        by_port = url.port in self._ports and is_public(found)
        if not (listed or named or by_port):
            raise _not_public()
        return str(found)

    def _lines(self, url: WebUrl) -> list[_Allowed]:
        """The lines for this URL's host and port, and those on addresses, which its host may turn out to have."""
        usual = url.port in self._ports
        return [
            line
            for line in self._allowed
            if (line.port == url.port or (line.port is None and usual)) and (line.network or line.names(url.host))
        ]


def _open_name(host: str) -> bool:
    return "." in host and not any(host == name or host.endswith("." + name) for name in _LOCAL_NAMES)


def _never_by_name(address: IpAddress) -> bool:
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    checked = mapped or address
    return any(checked in network for network in _NEVER_BY_NAME if network.version == checked.version)


def _not_public() -> IngestError:
    """Says nothing of the address: what a name means inside the network is not the caller's business."""
    return refused("it leads to an address that is not public; the operator can open it with fetcher.allow")


def _allowed(line: str) -> _Allowed:
    try:
        return _Allowed(network=ipaddress.ip_network(line.strip("[]")))
    except ValueError:
        pass
    host, port = line, None
    before, colon, after = line.rpartition(":")
    if colon and after.isascii() and after.isdigit() and 0 < int(after) <= 65535:
        host, port = before, int(after)
    try:
        return _Allowed(network=ipaddress.ip_network(host.strip("[]")), port=port)
    except ValueError:
        pass
    star = host.startswith("*.")
    try:
        url = parse_url(f"http://{host[2:] if star else host}/")
        if str(url) == f"http://{url.host}/" and not url.address:
            return _Allowed(below="." + url.host, port=port) if star else _Allowed(name=url.host, port=port)
    except IngestError:
        pass
    raise ConfigError(
        f"fetcher.allow: {line!r} is not a host name, *.NAME, an address or a network, with or without :PORT."
    )
