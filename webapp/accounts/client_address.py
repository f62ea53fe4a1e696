"""Which failed log-ins are counted together: those of one client address, or of one known browser.

Addresses: the peer of the connection, unless the peer is a proxy that the administrator trusts (TRUSTED_PROXIES);
then the last address in X-Forwarded-For that is not such a proxy. A client's own entries come before that one and are
never trusted. Only the first 64 bits of an IPv6 address count: one connection usually gets a network of that
size, and an attacker could use a different address of it for each try.

Known browsers: a successful log-in sets a signed cookie. With it, failures are counted for that browser and not for its
address. So an attacker who tries a person's passwords cannot lock that person out, even from the same office, and a
stolen cookie gives no more tries than an address does.
"""

from __future__ import annotations

import hashlib
import ipaddress
import secrets
from typing import Any

from django.conf import settings
from django.core import signing
from django.http import HttpRequest, HttpResponse

from webapp.accounts.models import User

COOKIE = "known_browser"
_LIFETIME = 365 * 24 * 3600  # seconds
_SALT = "webapp.accounts.known-browser"
# django-axes counts by address; a known browser's count stands under an address of IPv6's documentation block.
_BROWSERS = int(ipaddress.IPv6Address("2001:db8::"))


def counted_address(request: HttpRequest) -> str:
    """The address under which django-axes counts this log-in (its AXES_CLIENT_IP_CALLABLE)."""
    browser = _known_browser(request)
    if browser:
        digest = hashlib.sha256(browser.encode()).digest()[:12]
        return str(ipaddress.IPv6Address(_BROWSERS + int.from_bytes(digest)))
    address = ipaddress.ip_address(client_address(request.META))
    return str(address if address.version == 4 else ipaddress.ip_network((int(address), 64), strict=False)[0])


def client_address(meta: dict[str, Any]) -> str:
    """The client's address, from REMOTE_ADDR and, behind trusted proxies, HTTP_X_FORWARDED_FOR."""
    address = str(meta.get("REMOTE_ADDR") or "")
    hops = [hop.strip() for hop in str(meta.get("HTTP_X_FORWARDED_FOR") or "").split(",")]
    while hops and _is_trusted(address):
        hop = _plain(hops.pop())
        if hop is None:
            break
        address = hop
    return _plain(address) or "0.0.0.0"


def remember_browser(response: HttpResponse, user: User) -> None:
    """Set the cookie by which the browser of a successful log-in is known the next time."""
    value = signing.dumps([user.pk, secrets.token_hex(16)], salt=_SALT)
    response.set_cookie(COOKIE, value, max_age=_LIFETIME, httponly=True, samesite="Lax",
                        secure=settings.SESSION_COOKIE_SECURE)


def _known_browser(request: HttpRequest) -> str:
    """The browser's random name if its cookie was issued for the user who is logging in; else empty."""
    cookie = request.COOKIES.get(COOKIE, "")
    if not cookie:
        return ""
    try:
        pk, name = signing.loads(cookie, salt=_SALT, max_age=_LIFETIME)
    except (signing.BadSignature, ValueError, TypeError):
        return ""
    username = request.POST.get("username", "")
    return str(name) if User.objects.filter(pk=pk, username=username).exists() else ""


def _is_trusted(address: str) -> bool:
    plain = _plain(address)
    return plain is not None and any(ipaddress.ip_address(plain) in network for network in settings.TRUSTED_PROXIES)


def _plain(text: str) -> str | None:
    """An address without port and brackets; None if it is not an IP address."""
    host = text[1:].split("]")[0] if text.startswith("[") else text
    if host.count(":") == 1:
        host = host.split(":")[0]
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    mapped = getattr(address, "ipv4_mapped", None)
    return str(mapped or address)
