"""Where a judge may be (SSRF guard): an address is checked where it is used, and the checked address is connected to.

Whoever may start a run may type an address; without this they could make a worker talk to whatever the worker can
reach: the cloud's metadata, a database, another team's server. So a name is resolved once, an address that is not
public is refused unless the administrator listed it, http is for listed hosts only, and no redirect is followed.
Addresses are checked in their normal form (`training.config.address`), and again as the client parsed them. Left out:
proxies, since a proxy would resolve the name again.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import httpx2
from aiohttp import ClientRequest, ClientTimeout, TCPConnector
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.connector import Connection

from training.config.address import EXAMPLE, BadAddress, normal_host, parse_address
from training.errors import JudgeUnavailable

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

VARIABLE = "CONCORD_JUDGE_ALLOWED_HOSTS"
LOOPBACK = ("localhost", "127.0.0.1", "::1")
"""The list of a personal machine: a judge that runs beside Concord."""

_of_process: tuple[str, ...] = LOOPBACK  # of the process, and not of a context: threads begin with an empty one


def use_allowed_hosts(hosts: Iterable[str]) -> None:
    """Set the list that `AddressGuard.of_process` takes; called by the entry point, which reads the environment."""
    global _of_process
    _of_process = tuple(hosts)


@dataclass(frozen=True)
class AddressGuard:
    """Which hosts a judge may be at.

    Attributes:
        allowed: names, addresses and networks ("vllm.lan", "10.1.2.3", "10.1.0.0/16", "[::1]") that the administrator
            vouches for: a listed name may resolve to anything, and http is allowed there.
    """

    allowed: tuple[str, ...] = ()

    @classmethod
    def of_process(cls) -> AddressGuard:
        """The guard with the list of this process, see `use_allowed_hosts`."""
        return cls(_of_process)

    def check_url(self, url: str) -> str:
        """The host of a judge's address in its normal form, before anything is resolved.

        Raises:
            JudgeUnavailable: not http(s), http to a host that is not listed, or the address itself is refused.
        """
        try:
            address = parse_address(url)
        except BadAddress as error:
            raise JudgeUnavailable(f"The judge's address cannot be used: {error}.",
                                   f"Give an address like {EXAMPLE} in 'judge.base_url', and its key in "
                                   "'judge.api_key_env'.") from None
        host, literal = address.host, address.literal
        if literal is not None:
            self.check_address(host, literal)
        if address.scheme == "http" and not self._lists(host, literal):
            raise JudgeUnavailable(f"The judge's address http://{host} is not encrypted.",
                                   f"Give an https address, or ask the administrator to list the host in {VARIABLE}.")
        return host

    def check_address(self, host: str, address: Address) -> None:
        """Raises JudgeUnavailable where `host` is at an address that is not public and not listed."""
        if not is_public(address) and not self._lists(host, address):
            raise JudgeUnavailable(f"The judge's host '{host}' is inside a private network ({address}).",
                                   f"Ask the administrator to list it in {VARIABLE}, or give a public address.")

    async def resolve(self, host: str, port: int, family: int = socket.AF_UNSPEC) -> list[Address]:
        """The addresses of a host, every one of them checked.

        Raises:
            JudgeUnavailable: one of them is refused. OSError: the name has none.
        """
        try:
            entries = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM, family=family)
        except UnicodeError as error:  # the resolver's own encoding refuses the name
            raise OSError(f"'{host}' is no name that can be resolved") from error
        addresses = list(dict.fromkeys(ipaddress.ip_address(entry[4][0]) for entry in entries))
        for address in addresses:
            self.check_address(host, address)
        return addresses

    def _lists(self, host: str, address: Address | None) -> bool:
        for entry in self.allowed:
            entry = entry.strip().strip("[]").lower()
            if entry == host.lower() or normal_host(entry) == host:
                return True
            if address is not None:
                try:
                    network = ipaddress.ip_network(entry, strict=False)
                except ValueError:
                    continue
                if _unwrapped(address) in network or address in network:
                    return True
        return False


def is_public(address: Address) -> bool:
    """Whether an address is out on the internet; an IPv4 address embedded in IPv6 is checked as IPv4."""
    plain = _unwrapped(address)
    return plain.is_global and not (plain.is_multicast or plain.is_reserved or plain.is_unspecified)


def _unwrapped(address: Address) -> Address:
    if isinstance(address, ipaddress.IPv6Address):
        if embedded := address.ipv4_mapped or address.sixtofour:
            return embedded
        if address in ipaddress.ip_network("64:ff9b::/96"):  # NAT64
            return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address


class _CheckingResolver(AbstractResolver):
    """aiohttp connects to what its resolver returns: what was checked is what is connected to."""

    def __init__(self, guard: AddressGuard) -> None:
        self._guard = guard

    async def resolve(self, host: str, port: int = 0,
                      family: socket.AddressFamily = socket.AF_INET) -> list[ResolveResult]:
        return [ResolveResult(hostname=host, host=str(address), port=port, proto=0, flags=socket.AI_NUMERICHOST,
                              family=socket.AF_INET6 if address.version == 6 else socket.AF_INET)
                for address in await self._guard.resolve(host, port, family)]

    async def close(self) -> None: ...


class _CheckingConnector(TCPConnector):
    """Checks the host as aiohttp parsed it, because a literal address does not go through the resolver."""

    def __init__(self, guard: AddressGuard, **options: Any) -> None:
        super().__init__(resolver=_CheckingResolver(guard), **options)
        self._guard = guard

    async def connect(self, req: ClientRequest, traces: list[Any], timeout: ClientTimeout) -> Connection:
        self._guard.check_url(str(req.url.origin()))
        return await super().connect(req, traces, timeout)


def guarded_connector(guard: AddressGuard, **options: Any) -> TCPConnector:
    """An aiohttp connector that connects to checked addresses only, names and literal addresses alike."""
    return _CheckingConnector(guard, **options)


class GuardedTransport(httpx2.AsyncHTTPTransport):
    """The same for the SDK: the request goes to the checked address; Host header and certificate use the name."""

    def __init__(self, guard: AddressGuard) -> None:
        super().__init__(trust_env=False)
        self._guard = guard

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        url = request.url
        host = self._guard.check_url(f"{url.scheme}://{url.netloc.decode()}")
        try:
            address = (await self._guard.resolve(host, request.url.port or 0))[0]
        except OSError as error:
            raise httpx2.ConnectError(f"the name '{host}' cannot be resolved") from error
        request.url = request.url.copy_with(host=str(address))  # the Host header was set when the request was made
        request.extensions = {**request.extensions, "sni_hostname": host}
        return await super().handle_async_request(request)
