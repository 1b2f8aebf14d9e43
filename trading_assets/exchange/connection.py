"""How a venue is reached: hosts, keys, timeouts, and HTTP sessions whose answers are limited. Nothing is sent."""

from __future__ import annotations

import re
import weakref
from dataclasses import dataclass, field
from pathlib import Path

import requests
from pybit.unified_trading import HTTP

from trading_assets.core.private_files import limits_folder
from trading_assets.exchange.deadline import Line
from trading_assets.exchange.keys import ApiKeys
from trading_assets.exchange.public_reads import PublicReads

LARGEST_BODY = 8 * 1024**2
"""Bytes of an answer, unpacked; Bybit's largest is about 1 MB."""


@dataclass(frozen=True)
class Connection:
    """How to reach a venue. `url` overrides pybit's own hosts (the embedded exchange, a regional host).

    `missing` are pybit's methods that the venue does not have: they are refused here as the venue refuses them.
    `limits_dir` is where the processes of the machine count their requests together; by default a directory of this
    user below the system's temporary one.
    """

    url: str | None
    domain: str = "bybit"
    tld: str = "com"
    testnet: bool = False
    demo: bool = False
    keys: ApiKeys | None = None
    timeout_s: float = 10.0
    recv_window_ms: int = 5000
    limits_dir: Path | None = None
    missing: frozenset[str] = frozenset()

    @property
    def limits_file(self) -> Path:
        """One for all of Bybit's hosts, as they count an address together."""
        folder = limits_folder(self.limits_dir)
        name = "bybit" if self.url is None else re.sub(r"[^A-Za-z0-9.-]", "_", self.url.partition("://")[2])
        return folder / f"{name}.limits"

    @property
    def account(self) -> str:
        """Tells venues and accounts apart without naming the key."""
        venue = "testnet" if self.testnet else "demo" if self.demo else "main"
        return f"{venue}:{self.keys.fingerprint if self.keys else 'none'}"


@dataclass
class Session:
    """An HTTP session for one call at a time, and its last response: pybit's errors tell less."""

    http: HTTP = field(repr=False)
    url: str | None
    line: Line
    public: PublicReads = field(repr=False)
    response: requests.Response | None = None
    is_overtaken: bool = False


def open_session(connection: Connection, url: str | None) -> Session:
    """A session for one call at a time, at `url` or at the host of the connection's venue."""
    keys = connection.keys
    http = HTTP(
        domain=connection.domain,
        tld=connection.tld,
        testnet=connection.testnet,
        demo=connection.demo,
        rsa_authentication=keys.is_rsa if keys else False,
        api_key=keys.key.get_secret_value() if keys else None,
        api_secret=keys.secret.get_secret_value() if keys else None,
        timeout=connection.timeout_s,
        recv_window=connection.recv_window_ms,
        retry_codes={0},
        max_retries=1,
        force_retry=False,
        log_requests=False,
    )
    if url is not None:
        http.endpoint = url
        http.client.trust_env = not url.startswith("http://")  # a proxy does not reach the embedded exchange
    session = Session(http, url, Line(), PublicReads(http))
    session.line.mount(http.client)

    # Not by itself: what refers to itself is collected at any moment, and with it the pools that it has to close.
    of_session = weakref.ref(session)

    def keep(response: requests.Response, *_: object, **__: object) -> None:
        _read_body(response)
        found = of_session()
        if found is not None:
            found.response = response

    http.client.hooks["response"].append(keep)
    # A signed request goes to the venue alone: an answer that sends it elsewhere is the answer.
    http.client.get_redirect_target = lambda _: None
    return session


def _read_body(response: requests.Response) -> None:
    """Read the body, unpacked, before `requests` does: it would read one of any size.

    Raises:
        requests.RequestException: the connection broke, or the body is larger than `LARGEST_BODY`.
    """
    parts, length = [], 0
    for part in response.iter_content(64 * 1024):
        parts.append(part)
        length += len(part)
        if length > LARGEST_BODY:
            response.close()
            raise requests.exceptions.ContentDecodingError(f"the answer is larger than {LARGEST_BODY} bytes")
    response._content = b"".join(parts)
