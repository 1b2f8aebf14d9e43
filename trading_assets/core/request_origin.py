"""Whether a request comes from a web page of somebody else's. Pure: names and headers in, a verdict out.

A browser sends requests for every page that is open in it, also to servers on its own machine. It tells in `Host` which
name the page used, and in `Origin` and `Sec-Fetch-Site` whose page it was; no page can change these.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterable, Mapping
from urllib.parse import urlsplit

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
_ONCE = (b"host", b"origin", b"content-type", b"content-length", b"authorization", b"sec-fetch-site")

Headers = Iterable[tuple[bytes, bytes]]


class DoubleHeaderError(ValueError):
    """A header that decides who may do what is there twice."""


def once(headers: Headers) -> dict[str, str]:
    """Headers by their names in lower case.

    Raises:
        DoubleHeaderError: one of those that are judged is there twice.
    """
    found: dict[str, str] = {}
    for raw, value in headers:
        name = raw.lower()
        if name in _ONCE and name.decode("latin-1") in found:
            raise DoubleHeaderError(f"the header {name.decode('latin-1')} is there twice, expected once")
        found[name.decode("latin-1")] = value.decode("latin-1")
    return found


def host_name(host: str) -> str | None:
    """The name or address in a `Host` header, in lower case, without port and brackets; None if it is malformed."""
    if not host or any(char in host for char in "/@?#\\, \t") or not host.isascii():
        return None
    try:
        parts = urlsplit(f"//{host}")
        _ = parts.port
    except ValueError:
        return None
    return parts.hostname.rstrip(".") if parts.hostname else None


def is_loopback_name(name: str | None) -> bool:
    """Whether a name means this machine for every browser."""
    return name in LOOPBACK_NAMES


def is_loopback_address(address: str | None) -> bool:
    """Whether a connection's address is this machine's own."""
    try:
        found = ipaddress.ip_address(address or "")
    except ValueError:
        return False
    mapped = getattr(found, "ipv4_mapped", None)
    return bool((mapped or found).is_loopback)


def is_address(name: str | None) -> bool:
    """Whether it is an IP address: no name server can make a foreign page have it."""
    try:
        ipaddress.ip_address(name or "")
    except ValueError:
        return False
    return True


def origin_of(url: str) -> str | None:
    """`scheme://host[:port]` of a URL as a browser writes it, without the scheme's own port; None if it has no host."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return None
    name = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    own = {"http": 80, "https": 443}[parts.scheme]
    return f"{parts.scheme}://{name}" + (f":{port}" if port not in (None, own) else "")


def foreign(headers: Mapping[str, str], *, origins: Collection[str] = ()) -> str | None:
    """Why a request is another page's; None if it is a program's, or that of a page of this very server.

    Args:
        headers: as `once` gives them; the host is judged by the caller.
        origins: at which this server is seen besides `http://` and its host.
    """
    origin, host = headers.get("origin"), headers.get("host", "")
    if origin is not None and origin not in origins and origin != f"http://{host}":
        return f"a page of {origin[:100]!r} may not ask {host[:100]!r}"
    if headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
        return f"a page of another site may not ask {host[:100]!r}"
    return None
