"""One call to Bybit through pybit, and the translation of whatever comes back. No endpoint and no model here.

pybit's own retries are off: it would hide the true code and send a write twice. Reads are retried here, with back-off;
a write is sent once.
"""

from __future__ import annotations

import random
import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pybit.exceptions
import requests
import urllib3.exceptions
from pybit.unified_trading import HTTP

from trading_assets.core.errors import (
    AccountShapeError,
    AmbiguousOutcomeError,
    ClockSkewError,
    ExchangeError,
    ExchangeFatalError,
    ExchangeUnavailableError,
    InsufficientBalanceError,
    NotSentError,
    OrderRejectedError,
    PriceRefusedError,
    RateLimitedError,
    RulesChangedError,
    SymbolUnavailableError,
)
from trading_assets.core.foreign_text import plain
from trading_assets.core.private_files import limits_folder
from trading_assets.exchange.deadline import Line
from trading_assets.exchange.error_mapping import (
    ADVICE,
    BANNED_FOR_S,
    TOO_MANY_REQUESTS,
    ErrorKind,
    kind_of_code,
    kind_of_status,
)
from trading_assets.exchange.keys import ApiKeys
from trading_assets.exchange.rate_limiter import NoRateLimiter, RateLimiter, SharedRateLimiter
from trading_assets.exchange.rate_limits import Limit, Permit, limits_for

_RAISED_ON_ANSWER = (
    pybit.exceptions.InvalidRequestError,
    pybit.exceptions.FailedRequestError,
    *(AttributeError, KeyError, TypeError, ValueError, OverflowError, RecursionError),
)
"""What pybit raises once it has a response: its own errors, and others where the answer is not an envelope."""

_BY_KIND: dict[ErrorKind, type[ExchangeError]] = {
    ErrorKind.AMBIGUOUS: AmbiguousOutcomeError,
    ErrorKind.PRICE: PriceRefusedError,
    ErrorKind.RULES: RulesChangedError,
    ErrorKind.BALANCE: InsufficientBalanceError,
    ErrorKind.UNAVAILABLE: SymbolUnavailableError,
    ErrorKind.REJECTED: OrderRejectedError,
}
"""Errors of the kinds about which there is nothing to add."""

READ_ATTEMPTS = 4
FIRST_BACKOFF_S = 0.25
LONGEST_WAIT_S = 60.0
"""A read that must wait longer than this (a ban) fails at once."""

_LONGEST_MESSAGE = 500
"""Characters of a message of the venue that are kept."""

LARGEST_BODY = 8 * 1024**2
"""Bytes of an answer, unpacked; Bybit's largest is about 1 MB."""

_LATEST_MS = 10**14

DEADLINE_OF_TIMEOUTS = 1.5
"""A whole request, from the name's look-up to the last byte, may take so many timeouts of a single step."""

LONGEST_WRITE_WAIT_S = 5.0
"""A write that gets no permit within this time was not sent."""


@dataclass(frozen=True)
class Connection:
    """How to reach a venue. `url` overrides pybit's own hosts (the embedded exchange, a regional host).

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
class _Session:
    """An HTTP session for one call at a time, and its last response: pybit's errors tell less."""

    http: HTTP = field(repr=False)
    url: str | None
    line: Line
    response: requests.Response | None = None
    is_overtaken: bool = False


class _OvertakenError(Exception):
    """The connection of a read was dead, and is cut: it is asked again at once."""


class Transport:
    """Calls of pybit's methods by name; safe for threads (each call has an HTTP session to itself).

    Args:
        reconnect: gives a fresh URL when nothing listens at the old one (the embedded exchange had stopped).
        limited: keep below the venue's request limits, together with every other process of the machine.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        reconnect: Callable[[], str] | None = None,
        limited: bool = True,
        sleep: Callable[[float], None] = time.sleep,
        jitter: random.Random | None = None,
    ) -> None:
        self._connection = connection
        self._url = connection.url
        self._reconnect = reconnect
        self._reconnecting = threading.Lock()
        self._limiter: RateLimiter = SharedRateLimiter(connection.limits_file) if limited else NoRateLimiter()
        self._sleep = sleep
        self._jitter = jitter or random.Random()
        self._idle: list[_Session] = []
        self._idle_lock = threading.Lock()
        self._reading: dict[int, tuple[float, _Session]] = {}
        self._clock_refused: Callable[[], None] = lambda: None

    def when_clock_is_refused(self, call: Callable[[], None]) -> None:
        """Have `call` called whenever the venue refuses the time of a request."""
        self._clock_refused = call

    def repeat_reads(self, older_than: float) -> None:
        """Ask again, on another connection, what was asked before this moment of `time.monotonic` and waits still.

        A link that was silent for a while leaves dead connections behind: what waits on them would wait for its whole
        timeout, although the venue can be heard again. Calls that are sent once wait on: their answer may come.
        """
        with self._idle_lock:
            dead = [session for began, session in self._reading.values() if began < older_than]
            for session in dead:
                session.is_overtaken = True
        for session in dead:
            session.line.cut()

    def read(self, method: str, **params: object) -> dict[str, Any]:
        """`read_at` without the time."""
        return self.read_at(method, **params)[0]

    def read_at(self, method: str, **params: object) -> tuple[dict[str, Any], int]:
        """A call without effect, tried up to `READ_ATTEMPTS` times.

        Returns:
            The envelope's `result`, and the venue's time in UTC ms (0 where the answer does not tell it).

        Raises:
            ExchangeUnavailableError: no usable answer.
            RateLimitedError: this address is banned.
            ClockSkewError: the venue refuses the local clock's time.
            ExchangeFatalError, OrderRejectedError and their kin: the venue said no.
        """
        return self._repeated(method, params, sets_state=False)

    def _repeated(self, method: str, params: Mapping[str, object], *, sets_state: bool) -> tuple[dict[str, Any], int]:
        may_reconnect, attempt = self._reconnect is not None, -1
        while True:
            attempt += 1
            url = self._url
            try:
                return self._once(method, params, LONGEST_WAIT_S, sets_state=sets_state, repeats=True)
            except _OvertakenError:
                attempt -= 1
            except (AmbiguousOutcomeError, NotSentError) as error:
                if isinstance(error, RateLimitedError) and error.retry_after_s > LONGEST_WAIT_S:
                    raise
                if attempt == READ_ATTEMPTS - 1:
                    if isinstance(error, ClockSkewError):
                        raise
                    raise ExchangeUnavailableError(
                        f"no answer to {method} in {READ_ATTEMPTS} attempts: {error}", code=error.code
                    ) from error
                if may_reconnect and _is_refused(error):
                    may_reconnect = False
                    self._reopen(url)
                else:
                    self._sleep(self._back_off_s(error, attempt))

    def write(self, method: str, **params: object) -> dict[str, Any]:
        """A call with effect, sent once; the envelope's `result`.

        Raises:
            NotSentError: certainly without effect.
            AmbiguousOutcomeError: unknown.
            OrderRejectedError, ExchangeFatalError: the venue said no.
        """
        return self._once(method, params, LONGEST_WRITE_WAIT_S)[0]

    def write_idempotent(self, method: str, **params: object) -> dict[str, Any]:
        """A call that has the same effect however often it is made; tried like a read. "Not modified" is success."""
        return self._repeated(method, params, sets_state=True)[0]

    def close(self) -> None:
        """Close every session that no call is using."""
        with self._idle_lock:
            idle, self._idle = self._idle, []
        for session in idle:
            session.http.client.close()

    def _once(
        self,
        method: str,
        params: Mapping[str, object],
        patience_s: float,
        *,
        sets_state: bool = False,
        repeats: bool = False,
    ) -> tuple[dict[str, Any], int]:
        """One try. With `repeats` it has no effect that a second one would not have, and may be overtaken."""
        limits = limits_for(method, self._connection.account)
        permit = self._permit(method, limits, patience_s)
        session = self._take()
        refused_s = None
        if repeats:
            with self._idle_lock:
                self._reading[id(session)] = time.monotonic(), session
        try:
            try:
                return session.line.run(
                    lambda: self._call(session, method, params, sets_state=sets_state),
                    DEADLINE_OF_TIMEOUTS * self._connection.timeout_s,
                )
            except (AmbiguousOutcomeError, NotSentError, TimeoutError):
                if session.is_overtaken:
                    raise _OvertakenError from None
                raise
        except TimeoutError:
            raise AmbiguousOutcomeError(
                f"{method}: no whole answer within {DEADLINE_OF_TIMEOUTS * self._connection.timeout_s:g} s"
            ) from None
        except RateLimitedError as error:
            refused_s = error.retry_after_s if error.code == TOO_MANY_REQUESTS else None
            raise
        finally:
            granted = _granted(session.response)
            session.response = None
            self._limiter.release(permit, limits, granted=granted, refused_s=refused_s)
            with self._idle_lock:
                self._reading.pop(id(session), None)
                if not session.line.is_cut:
                    self._idle.append(session)

    def _permit(self, method: str, limits: Sequence[Limit], patience_s: float) -> Permit:
        """Wait for a permit, at most `patience_s`.

        Raises:
            RateLimitedError: there is none within that time, or a ban.
        """
        waited_s = 0.0
        while True:
            lease_s = 2 * self._connection.timeout_s
            found = self._limiter.acquire(limits, lease_s=lease_s, patience_s=patience_s - waited_s)
            wait_s = found.wait_ms / 1000
            if waited_s + wait_s > patience_s:
                raise RateLimitedError(
                    f"{method}: the exchange's limits leave no room within {patience_s:g} s; it was not sent",
                    retry_after_s=wait_s,
                )
            if wait_s > 0:
                self._sleep(wait_s)
            if isinstance(found, Permit):
                return found
            waited_s += wait_s

    def _call(
        self, session: _Session, method: str, params: Mapping[str, object], *, sets_state: bool
    ) -> tuple[dict[str, Any], int]:
        send = getattr(session.http, method)
        answer: object = None
        try:
            answer = send(**params)
        except requests.RequestException as error:
            raise _from_network(method, error) from error
        except _RAISED_ON_ANSWER:
            # A refusal, or an answer that is not an envelope: the response says which. The error is raised below, as
            # pybit's would print the API key, which Bybit repeats in its text for a wrong signature.
            if session.response is None:
                raise
        response = session.response
        if response is None:
            raise AssertionError(f"{method} returned without a response")
        if response.status_code != requests.codes.ok:
            raise self._from_status(method, response)
        envelope = answer if isinstance(answer, dict) else _json(response)
        code = envelope.get("retCode")
        if type(code) is not int:  # `false` would count as 0
            raise AmbiguousOutcomeError(f"{method}: the answer is not Bybit's envelope", code=response.status_code)
        if code != 0:
            message = envelope.get("retMsg")
            refusal = self._from_code(method, code, message if isinstance(message, str) else "", response.headers)
            if refusal is None and sets_state:
                return {}, 0
            raise refusal or AmbiguousOutcomeError(f"{method}: not modified (Bybit code {code})", code=code)
        result, told_ms = envelope.get("result"), envelope.get("time")
        if not isinstance(result, dict):
            raise AmbiguousOutcomeError(
                f"{method}: the answer has {type(result).__name__} in place of a result", code=response.status_code
            )
        return result, told_ms if type(told_ms) is int and 0 <= told_ms < _LATEST_MS else 0

    def _from_code(self, method: str, code: int, message: str, headers: Mapping[str, str]) -> ExchangeError | None:
        """What a `retCode` other than 0 means; None where what a call sets is so already."""
        keys = self._connection.keys
        message = plain(message[:_LONGEST_MESSAGE])
        text = f"{method}: {keys.removed_from(message) if keys else message} (Bybit code {code})"
        match kind_of_code(code, message):
            case ErrorKind.SUCCESS:
                return None
            case ErrorKind.RETRY:
                return RateLimitedError(text, code=code, retry_after_s=_until_reset(headers))
            case ErrorKind.CLOCK:
                self._clock_refused()
                text += "; the local clock differs from the exchange's: synchronise it (NTP)"
                return ClockSkewError(text, code=code)
            case ErrorKind.FATAL:
                advice = ADVICE.get(code, "check the API key, its permissions and its venue")
                return ExchangeFatalError(f"{text}; {advice}", code=code)
            case ErrorKind.SHAPE:
                text += (
                    "; is it in hedge mode? This system trades in one-way mode: close positions and orders, then run "
                )
                return AccountShapeError(f"{text}trading-assets accounts prepare", code=code)
            case kind:
                return _BY_KIND[kind](text, code=code)

    def _from_status(self, method: str, response: requests.Response) -> ExchangeError:
        status = response.status_code
        text = f"{method}: HTTP {status}"
        match kind_of_status(status, response.content[:2000].decode("utf-8", "replace")):
            case ErrorKind.FATAL:
                return ExchangeFatalError(f"{text}; the venue refuses this key, address or path", code=status)
            case ErrorKind.RETRY:
                self._limiter.ban(BANNED_FOR_S)
                return RateLimitedError(
                    f"{text}: too many requests; nothing is sent for {BANNED_FOR_S:.0f} s",
                    code=status,
                    retry_after_s=BANNED_FOR_S,
                )
            case _:
                return AmbiguousOutcomeError(text, code=status)

    def _back_off_s(self, error: ExchangeError, attempt: int) -> float:
        wait_s = FIRST_BACKOFF_S * 2**attempt
        if isinstance(error, RateLimitedError):
            wait_s = max(wait_s, error.retry_after_s)
        return wait_s * (1 + self._jitter.random() / 4)

    def _reopen(self, stale_url: str | None) -> None:
        """Take a fresh URL, unless another thread has done so since `stale_url`."""
        with self._reconnecting:
            if self._url == stale_url and self._reconnect is not None:
                self._url = self._reconnect()

    def _take(self) -> _Session:
        """A session that no call is using, at the URL of now."""
        url = self._url
        with self._idle_lock:
            while self._idle:
                session = self._idle.pop()
                if session.url == url:
                    return session
                session.http.client.close()
        return self._open(url)

    def _open(self, url: str | None) -> _Session:
        connection, keys = self._connection, self._connection.keys
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
        session = _Session(http, url, Line())
        session.line.mount(http.client)

        def keep(response: requests.Response, *_: object, **__: object) -> None:
            _read_body(response)
            session.response = response

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


def _granted(response: requests.Response | None) -> int | None:
    """The endpoint's limit, where the answer tells it."""
    told = response.headers.get("X-Bapi-Limit", "") if response is not None else ""
    return int(told) if _is_number(told) else None


def _is_number(header: str) -> bool:
    return header.isascii() and header.isdigit() and len(header) < 16


def _json(response: requests.Response) -> dict[str, Any]:
    """The body as an object; empty where it is none."""
    try:
        body = response.json()
    except (ValueError, RecursionError):
        return {}
    return body if isinstance(body, dict) else {}


def _from_network(method: str, error: requests.RequestException) -> ExchangeError:
    if isinstance(error, requests.ConnectTimeout) or _never_connected(error):
        return NotSentError(f"{method}: the exchange cannot be reached ({_reason(error)}); is the network up?")
    return AmbiguousOutcomeError(f"{method}: the connection broke before an answer ({_reason(error)})")


def _never_connected(error: requests.RequestException) -> bool:
    cause = error.args[0] if error.args else None
    reason = getattr(cause, "reason", cause)
    return isinstance(reason, urllib3.exceptions.NewConnectionError | urllib3.exceptions.NameResolutionError)


def _is_refused(error: ExchangeError) -> bool:
    return isinstance(error.__cause__, requests.RequestException) and type(error) is NotSentError


def _reason(error: requests.RequestException) -> str:
    return type(error).__name__


def _until_reset(headers: Mapping[str, str]) -> float:
    """Seconds until the limit's reset, 1 where the venue does not say."""
    stamp = headers.get("X-Bapi-Limit-Reset-Timestamp")
    if stamp is None or not _is_number(stamp):
        return 1.0
    return min(max(int(stamp) / 1000 - time.time(), 0.05), 10.0)
