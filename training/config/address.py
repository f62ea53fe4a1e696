"""A server's address in its one normal form: what is checked, what is connected to and what identifies a judge.

Clients read addresses generously: they map full-width and circled digits to plain ones, encode other alphabets (IDNA),
drop tabs. A check of the text as typed would then look at another host than the one connected to. So an address is
normalised once, in the way the clients do it, and only the result is used. Torch-free; no name is resolved here.
"""

from __future__ import annotations

import ipaddress
import re
import socket
import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import SplitResult, quote, urlsplit

import idna

OPENAI = "https://api.openai.com/v1"
"""The default address of a judge."""

EXAMPLE = "https://host/v1"
LONGEST_HOST = 253  # characters of a name in the DNS
_PORTS = {"http": 80, "https": 443}
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_UNPRINTABLE = re.compile(r"[\s\\\x00-\x20\x7f]")


class BadAddress(ValueError):
    """The text is no server's address; the message says why, for whoever typed it."""


@dataclass(frozen=True)
class ServerAddress:
    """An address in normal form.

    Attributes:
        scheme: "http" or "https". host: in lower-case ASCII, or a literal IP address without brackets.
        port: None for the scheme's own. path: without a slash at its end; "" for none.
    """

    scheme: str
    host: str
    port: int | None
    path: str

    @property
    def netloc(self) -> str:
        """Host and port as a URL has them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port is None else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.netloc}{self.path}"

    @property
    def literal(self) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
        """The IP address that the host is; None for a name."""
        return literal_address(self.host)


@lru_cache(maxsize=1024)
def parse_address(text: str) -> ServerAddress:
    """The normal form of an address that a person typed.

    Raises:
        BadAddress: it is none, or holds a user name, a password, a query or a fragment.

    >>> parse_address("HTTPS://Judge.Example.:443/v1/").url
    'https://judge.example/v1'
    """
    text = text.strip()
    quoted = "the address" if "@" in text else f"'{text[:100].partition('?')[0]}'"  # no password, and no key of a query
    if _UNPRINTABLE.search(text):
        raise BadAddress(f"{quoted} holds a space, a backslash or a control character: take it out")
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise BadAddress(f"{quoted} is no web address ({str(error)[:100]}): give one like {EXAMPLE}") from None
    if parts.username is not None or parts.password is not None:
        raise BadAddress("the address holds a user name or a password: a key has a field of its own")
    if parts.scheme not in _PORTS or not parts.hostname:
        raise BadAddress(f"{quoted} is no web address: give one like {EXAMPLE}")
    if parts.query or parts.fragment:
        raise BadAddress(f"{quoted} holds a query or a fragment: leave out what follows the path")
    if port == 0:
        raise BadAddress(f"{quoted} names port 0: ports are 1 to 65535")
    path = quote(parts.path.rstrip("/"), safe="/%:@!$&'()*+,;=~-._")
    return ServerAddress(parts.scheme, _host(parts), None if port == _PORTS[parts.scheme] else port, path)


def is_openai(base_url: str) -> bool:
    """Whether a judge's address, or none, is OpenAI's own server."""
    try:
        address = parse_address(base_url or OPENAI)
    except BadAddress:
        return False
    return (address.scheme, address.host, address.port) == ("https", "api.openai.com", None)


def server_url(base_url: str) -> str:
    """A judge's address in its normal form, OpenAI's where there is none; as typed where it has no normal form."""
    try:
        return parse_address(base_url or OPENAI).url
    except BadAddress:
        return base_url.strip().rstrip("/")


def normal_host(text: str) -> str:
    """The normal form of a host alone, as an administrator lists it; as it stands where it is none."""
    try:
        return parse_address(f"https://[{text}]" if text.count(":") > 1 else f"https://{text}").host
    except BadAddress:
        return text


def literal_address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The IP address that a host is; so are 2130706433, 0x7f000001 and 127.1, which every resolver takes for one."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        pass
    try:
        return ipaddress.IPv4Address(socket.inet_aton(host)) if host[:1].isdigit() else None
    except OSError:
        return None


def _host(parts: SplitResult) -> str:
    """The host as clients connect to it. Raises BadAddress."""
    typed = str(parts.hostname)
    if "[" in parts.netloc:
        try:
            return str(ipaddress.IPv6Address(typed.replace("%", "/")))  # a zone id is local to one machine
        except ValueError:
            raise BadAddress(f"'[{typed[:100]}]' is no IPv6 address") from None
    if typed.isdigit() and len(typed) > 20:
        raise BadAddress(f"'{typed[:100]}' is neither a host name nor an IP address")
    host = unicodedata.normalize("NFKC", typed).replace("\u3002", ".").lower().removesuffix(".")
    if not host.isascii() or "xn--" in host:
        try:
            host = idna.encode(host, uts46=True).decode()
            idna.decode(host)
        except (idna.IDNAError, UnicodeError) as error:
            raise BadAddress(f"'{typed[:100]}' is no host name ({str(error)[:100]})") from None
    if len(host) > LONGEST_HOST:
        raise BadAddress(f"the host's name has {len(host)} characters; a name has at most {LONGEST_HOST}")
    for label in host.split("."):
        if not _LABEL.fullmatch(label):
            reason = "two dots have nothing between them" if not label else f"the part '{label[:70]}' is none of a name"
            raise BadAddress(f"'{typed[:100]}' is no host name: {reason}")
    literal = literal_address(host)
    if literal is None and host.rpartition(".")[2].isdigit():
        raise BadAddress(f"'{typed[:100]}' is neither a host name nor an IP address")
    return host if literal is None else str(literal)

