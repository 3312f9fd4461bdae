"""The one URL parser for addresses that come from outside: strict, and the same for whoever checks and whoever connects.

What two parsers could read in two ways is refused rather than repaired: user names, backslashes, white space and control
characters, percent signs in a host, numbers that are no plain IPv4 address, IPv6 zones, letters that a resolver would fold into
others. What is accepted is written in one spelling, in ASCII, fit for a request line.
"""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from typing import Final
from urllib.parse import urljoin

import msgspec

from bascule.core.errors import IngestError

MAX_URL_CHARS: Final = 8000
DEFAULT_PORTS: Final = {"http": 80, "https": 443}
IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

_URL: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/?#]*)([^?#]*)(?:\?([^#]*))?(?:#.*)?", re.DOTALL)
_PORT: Final = re.compile(r"[1-9][0-9]{0,4}")
_LABEL: Final = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*")
_SPELLED: Final = re.compile(r"[A-Za-z0-9._~!$&'()*+,;=:@/-]*")
_ESCAPE: Final = re.compile(r"%([0-9A-Fa-f]{2})")
_UNRESERVED: Final = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_KEPT: Final = _UNRESERVED | frozenset(
    b"!$&'()*+,;=:@/%[]"
)  # RFC 3986's path letters; brackets occur and mean one thing


class WebUrl(msgspec.Struct, frozen=True, kw_only=True):
    """A parsed URL. `host` is lower-case ASCII without a final dot; `address` is set when it is an IP address itself."""

    scheme: str
    host: str
    port: int
    path: str  # begins with "/", percent-encoded
    query: str | None = None  # percent-encoded; None for no question mark
    address: str = ""

    @property
    def authority(self) -> str:
        """Host and, where it is not the scheme's own, port: what the Host header says."""
        named = f"[{self.host}]" if ":" in self.host else self.host
        return named if self.port == DEFAULT_PORTS[self.scheme] else f"{named}:{self.port}"

    @property
    def origin(self) -> str:
        return f"{self.scheme}://{self.authority}"

    @property
    def target(self) -> str:
        """Path and query: what a request line says."""
        return self.path if self.query is None else f"{self.path}?{self.query}"

    def __str__(self) -> str:
        return self.origin + self.target


def refused(why: str) -> IngestError:
    return IngestError(f"This URL is refused: {why}.", reason="address_refused")


def parse_url(text: str) -> WebUrl:
    """Raises IngestError (reason "address_refused") that says what is wrong with it."""
    found = _URL.fullmatch(_plain(text))
    if found is None:
        raise refused("it is not a whole URL; write http:// or https://, a host and a path")
    scheme, authority, path, query = found[1].lower(), found[2], found[3], found[4]
    if scheme not in DEFAULT_PORTS:
        raise refused("only http and https are fetched")
    host, port = _split(authority)
    name, address = _host(host)
    return WebUrl(
        scheme=scheme,
        host=name,
        port=int(port) if port else DEFAULT_PORTS[scheme],
        path=_without_dots(one_spelling(path)) or "/",
        query=None if query is None else one_spelling(query, also=b"?"),
        address=address,
    )


def join_url(base: WebUrl, reference: str) -> WebUrl:
    """What `reference` (a link, a redirect) means on the page `base`. Raises IngestError as `parse_url` does."""
    if reference.startswith(("http://", "https://")):
        return parse_url(reference)
    try:
        return parse_url(urljoin(str(base), _plain(reference)))
    except ValueError:
        raise refused("it cannot be read") from None


def _plain(text: str) -> str:
    """Checked before anything else reads it: the standard library would silently drop a tab or a line break."""
    if len(text) > MAX_URL_CHARS:
        raise refused(f"it is longer than {MAX_URL_CHARS} characters")
    if "\\" in text:
        raise refused("it holds a backslash")
    if text.isascii() and text.isprintable() and " " not in text:
        return text
    for char in text:
        if (char <= " " or char == "\x7f") or (char > "\x7f" and unicodedata.category(char)[0] in "CZ"):
            raise refused("it holds white space or an invisible character; write %20 for a space")
    return text


def _split(authority: str) -> tuple[str, str]:
    if "@" in authority:
        raise refused("it carries a user name; give credentials as headers of the source")
    if "%" in authority:
        raise refused("its host is percent-encoded, or has a zone")
    if authority.startswith("["):
        host, bracket, rest = authority.partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise refused("its IPv6 address is not closed properly")
        host, port = host + "]", rest[1:]
        colon = bool(rest)
    else:
        host, found, port = authority.partition(":")
        colon = bool(found)
    if colon and (not _PORT.fullmatch(port) or int(port) > 65535):
        raise refused("its port is not a plain number from 1 to 65535")
    return host, port


def _host(host: str) -> tuple[str, str]:
    """(host, address): the address is "" for a name."""
    if host.startswith("["):
        return _ipv6(host[1:-1])
    name = "".join(char.lower() if char.isascii() else char for char in host)  # no other letter is folded into ASCII
    name = (name if name.isascii() else _ascii_name(name)).removesuffix(".")
    labels = name.split(".")
    if _NUMBER.fullmatch(labels[-1]):  # the URL standard: a host that ends in a number is an IPv4 address, or nothing
        try:
            return (str(ipaddress.IPv4Address(host)),) * 2
        except ValueError:
            raise refused("its host looks like an address but is not four plain decimal numbers") from None
    if len(name) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise refused("its host is not a proper name")
    _check_punycode(labels)
    return name, ""


def _ipv6(text: str) -> tuple[str, str]:
    try:
        return (str(ipaddress.IPv6Address(text)),) * 2
    except ValueError:
        raise refused("its IPv6 address is not valid") from None


def _ascii_name(host: str) -> str:
    """Letters of other scripts as `xn--`, by the strict rules of RFC 5891: nothing is folded into something else first."""
    import idna

    if any(unicodedata.category(char)[0] not in "LMN" and char not in "-." for char in host):
        raise refused("its host holds a sign that no name has")
    try:
        return idna.encode(host, strict=True).decode("ascii")
    except (idna.IDNAError, UnicodeError):
        raise refused("its host is not a proper international name; write it in lower case, or as xn--") from None


def _check_punycode(labels: list[str]) -> None:
    if not any(label.startswith("xn--") for label in labels):
        return
    import idna

    for label in labels:
        try:
            if label.startswith("xn--") and idna.alabel(idna.ulabel(label)) != label.encode("ascii"):
                raise refused("a part of its host is no proper international name")
        except (idna.IDNAError, UnicodeError):
            raise refused("a part of its host is no proper international name") from None


def one_spelling(text: str, also: bytes = b"") -> str:
    """Letters that need no escape have none, all others have one, in capitals (RFC 3986, section 6.2.2)."""
    if _SPELLED.fullmatch(text):
        return text
    kept = _KEPT | frozenset(also)
    raw = "".join(chr(byte) if byte in kept else f"%{byte:02X}" for byte in text.encode("utf-8", "replace"))
    raw = re.sub(r"%(?![0-9A-Fa-f]{2})", "%25", raw)
    return _ESCAPE.sub(_one_escape, raw)


def _one_escape(found: re.Match[str]) -> str:
    byte = int(found[1], 16)
    return chr(byte) if byte in _UNRESERVED else f"%{byte:02X}"


def _without_dots(path: str) -> str:
    """`/a/../b` is `/b` (RFC 3986, section 5.2.4), whoever reads it."""
    kept: list[str] = []
    parts = path.split("/")[1:]
    for at, part in enumerate(parts):
        if part == "..":
            del kept[-1:]
        elif part != ".":
            kept.append(part)
        if part in (".", "..") and at == len(parts) - 1:
            kept.append("")
    return "/" + "/".join(kept) if path else ""
