"""Calls to Bybit through pybit: limits, time, repetition. No endpoint and no model here. How a connection is made is in
`connection`, what an answer means in `answers`.

pybit's own retries are off: it would hide the true code and send a write twice. Reads are retried here, with back-off;
a write is sent once.
"""

from __future__ import annotations

import random
import socket
import threading
import time
import urllib.parse
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pybit.exceptions
import requests

from trading_assets.core import counters
from trading_assets.core.errors import (
    AmbiguousOutcomeError,
    ClockSkewError,
    ExchangeError,
    ExchangeFatalError,
    ExchangeUnavailableError,
    NotSentError,
    OrderRejectedError,
    RateLimitedError,
    SymbolUnavailableError,
    TooLateError,
)
from trading_assets.core.models import SendBy
from trading_assets.exchange import answers
from trading_assets.exchange.connection import Connection, Session, open_session
from trading_assets.exchange.error_mapping import NOT_ON_DEMO, TOO_MANY_REQUESTS
from trading_assets.exchange.public_reads import PATHS
from trading_assets.exchange.rate_limiter import NoRateLimiter, RateLimiter, SharedRateLimiter
from trading_assets.exchange.rate_limits import BATCH, Limit, Permit, limits_for

_RAISED_ON_ANSWER = (
    pybit.exceptions.InvalidRequestError,
    pybit.exceptions.FailedRequestError,
    *(AttributeError, KeyError, TypeError, ValueError, OverflowError, RecursionError),
)
"""What pybit raises once it has a response: its own errors, and others where the answer is not an envelope."""

_DETAILS = "retExtInfo"
"""Where the answer of a batch tells what became of each order; here among its result."""

_NOT_MODIFIED: dict[str, Any] = {}

READ_ATTEMPTS = 4
FIRST_BACKOFF_S = 0.25
LONGEST_WAIT_S = 60.0
"""A read that must wait longer than this (a ban) fails at once."""

_LATEST_MS = 10**14

DEADLINE_OF_TIMEOUTS = 1.5
"""A whole request, from the name's look-up to the last byte, may take so many timeouts of a single step."""

LONGEST_WRITE_WAIT_S = 5.0
"""A write that gets no permit within this time was not sent."""


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
        self._idle: list[Session] = []
        self._idle_lock = threading.Lock()
        self._reading: dict[int, tuple[float, Session]] = {}
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

    def can_connect(self, within_s: float) -> bool:
        """Whether a new connection to the venue can be opened within this time. Nothing is asked on it.

        Where only a proxy reaches the venue it says no.
        """
        session = self._take()
        with self._idle_lock:
            self._idle.append(session)
        venue = urllib.parse.urlsplit(session.http.endpoint)
        port = venue.port or (443 if venue.scheme == "https" else 80)
        try:
            socket.create_connection((venue.hostname, port), within_s).close()
        except OSError:
            return False
        return True

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

    def _repeated(
        self,
        method: str,
        params: Mapping[str, object],
        *,
        sets_state: bool,
        cost: int = 1,
        send_by: SendBy | None = None,
    ) -> tuple[dict[str, Any], int]:
        may_reconnect, attempt, may_have_come = self._reconnect is not None, -1, False
        while True:
            attempt += 1
            url = self._url
            try:
                return self._once(
                    method, params, LONGEST_WAIT_S, sets_state=sets_state, repeats=True, cost=cost, send_by=send_by
                )
            except _OvertakenError:
                attempt -= 1
                may_have_come = True
            except TooLateError as error:
                if may_have_come:
                    raise AmbiguousOutcomeError(f"{method}: no answer to an earlier try, and {error}") from error
                raise
            except (AmbiguousOutcomeError, NotSentError) as error:
                may_have_come |= isinstance(error, AmbiguousOutcomeError)
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

    def write(self, method: str, send_by: SendBy | None = None, **params: object) -> dict[str, Any]:
        """A call with effect, sent once, and signed by `send_by`; the envelope's `result`.

        Raises:
            NotSentError: certainly without effect; `TooLateError` where it was not signed in time.
            AmbiguousOutcomeError: unknown.
            OrderRejectedError, ExchangeFatalError: the venue said no.
        """
        return self._once(method, params, LONGEST_WRITE_WAIT_S, send_by=send_by)[0]

    def write_idempotent(self, method: str, send_by: SendBy | None = None, **params: object) -> dict[str, Any]:
        """A call that has the same effect however often it is made; tried like a read. "Not modified" is success.

        Each try is signed by `send_by`, or not made.

        Raises:
            TooLateError: it was not signed in time, and certainly without effect.
            AmbiguousOutcomeError: the time has passed after a try without an answer.
        """
        return self._repeated(method, params, sets_state=True, send_by=send_by)[0]

    def write_batch(
        self,
        method: str,
        orders: Sequence[Mapping[str, object]],
        *,
        sets_state: bool,
        send_by: SendBy | None = None,
        **params: object,
    ) -> list[ExchangeError | Mapping[str, Any]]:
        """A call of many orders in parts of `BATCH`. For each order its row of the answer, or its error; never raises.

        After a part without an answer that can be used, the other parts are not sent.

        Args:
            sets_state: the call may be made again, and "not modified" is success; else each order is sent once.
            send_by: a part that is not signed by then is not sent; only of calls that do not set a state.
        """
        found: list[ExchangeError | Mapping[str, Any]] = []
        for start in range(0, len(orders), BATCH):
            part = list(orders[start : start + BATCH])
            try:
                if sets_state:
                    result = self._repeated(method, {**params, "request": part}, sets_state=True, cost=len(part))[0]
                else:
                    asked = {**params, "request": part}
                    result = self._once(method, asked, LONGEST_WRITE_WAIT_S, cost=len(part), send_by=send_by)[0]
            except ExchangeError as error:
                found += [error] * len(part)
                left = len(orders) - len(found)
                found += [NotSentError(f"{method}: not sent, as an earlier part failed: {error}")] * left
                return found
            items = self._items(method, result, len(part), sets_state=sets_state)
            refused = next((one for one in items if isinstance(one, RateLimitedError)), None)
            if refused is not None:
                self._limiter.refused(limits_for(method, self._connection.account), refused.retry_after_s)
            found += items
        return found

    def _items(
        self, method: str, result: Mapping[str, Any], count: int, *, sets_state: bool
    ) -> list[ExchangeError | Mapping[str, Any]]:
        if result is _NOT_MODIFIED:
            return [result] * count
        rows, told = result.get("list"), result.get(_DETAILS)
        if not isinstance(rows, list) or not isinstance(told, list) or not len(rows) == len(told) == count:
            error = AmbiguousOutcomeError(f"{method}: the answer does not tell the outcome of each order")
            return [error] * count
        found: list[ExchangeError | Mapping[str, Any]] = []
        for row, outcome in zip(rows, told, strict=True):
            code = outcome.get("code") if isinstance(outcome, dict) else None
            if type(code) is not int or not isinstance(row, dict):
                found.append(AmbiguousOutcomeError(f"{method}: the answer does not tell the outcome of an order"))
            elif code == 0:
                found.append(row)
            else:
                refusal = self._refusal(method, code, outcome.get("msg"), {})
                unclear = AmbiguousOutcomeError(f"{method}: not modified (Bybit code {code})", code=code)
                found.append(refusal or (row if sets_state else unclear))
        return found

    def room(self, method: str) -> int:
        """Of how many orders a batch may go out now without waiting; 0 where the venue has no such call."""
        if method in self._connection.missing:
            return 0
        return self._limiter.room(limits_for(method, self._connection.account), BATCH)

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
        cost: int = 1,
        send_by: SendBy | None = None,
    ) -> tuple[dict[str, Any], int]:
        """One try. With `repeats` it has no effect that a second one would not have, and may be overtaken."""
        if send_by is not None:
            send_by.require()
            patience_s = min(patience_s, send_by.left_s)
        if method in self._connection.missing:
            raise SymbolUnavailableError(f"{method}: this venue does not have it; it was not asked", code=NOT_ON_DEMO)
        limits = limits_for(method, self._connection.account)
        permit = self._permit(method, limits, patience_s, cost)
        session = self._take()
        session.line.send_by = send_by
        began, outcome = time.monotonic(), "failed"
        refused_s = None
        if repeats:
            with self._idle_lock:
                self._reading[id(session)] = time.monotonic(), session
        try:
            try:
                answer = session.line.run(
                    lambda: self._call(session, method, params, sets_state=sets_state),
                    DEADLINE_OF_TIMEOUTS * self._connection.timeout_s,
                )
                outcome = "answered"
                return answer
            except (AmbiguousOutcomeError, NotSentError, TimeoutError):
                if session.is_overtaken:
                    raise _OvertakenError from None
                raise
        except TimeoutError:
            outcome = "timed_out"
            raise AmbiguousOutcomeError(
                f"{method}: no whole answer within {DEADLINE_OF_TIMEOUTS * self._connection.timeout_s:g} s"
            ) from None
        except RateLimitedError as error:
            outcome = "rate_limited"
            refused_s = error.retry_after_s if error.code == TOO_MANY_REQUESTS else None
            raise
        except (OrderRejectedError, ExchangeFatalError):
            outcome = "refused"
            raise
        finally:
            counters.PROCESS.add(counters.API_REQUESTS, method, outcome)
            counters.PROCESS.add(counters.API_SECONDS, method, amount=time.monotonic() - began)
            granted = answers.granted(session.response)
            session.response = session.line.send_by = None
            self._limiter.release(permit, limits, granted=granted, refused_s=refused_s)
            with self._idle_lock:
                self._reading.pop(id(session), None)
                if not session.line.is_cut:
                    self._idle.append(session)

    def _permit(self, method: str, limits: Sequence[Limit], patience_s: float, cost: int) -> Permit:
        """Wait for a permit, at most `patience_s`.

        Raises:
            RateLimitedError: there is none within that time, or a ban.
        """
        waited_s = 0.0
        while True:
            lease_s = 2 * self._connection.timeout_s
            found = self._limiter.acquire(limits, lease_s=lease_s, patience_s=patience_s - waited_s, cost=cost)
            wait_s = found.wait_ms / 1000
            if waited_s + wait_s > patience_s:
                raise RateLimitedError(
                    f"{method}: the exchange's limits leave no room within {patience_s:g} s; it was not sent",
                    retry_after_s=wait_s,
                )
            if wait_s > 0:
                counters.PROCESS.add(counters.LIMITER_WAIT, amount=wait_s)
                self._sleep(wait_s)
            if isinstance(found, Permit):
                return found
            waited_s += wait_s

    def _call(
        self, session: Session, method: str, params: Mapping[str, object], *, sets_state: bool
    ) -> tuple[dict[str, Any], int]:
        answer: object = None
        try:
            answer = session.public.ask(method, params) if method in PATHS else getattr(session.http, method)(**params)
        except requests.RequestException as error:
            raise answers.of_network(method, error) from error
        except _RAISED_ON_ANSWER:
            # A refusal, or an answer that is not an envelope: the response says which. The error is raised below, as
            # pybit's would print the API key, which Bybit repeats in its text for a wrong signature.
            if session.response is None:
                raise
        response = session.response
        if response is None:
            raise AssertionError(f"{method} returned without a response")
        if response.status_code != requests.codes.ok:
            raise self._of_status(method, response)
        envelope = answer if isinstance(answer, dict) else answers.json_object(response)
        code = envelope.get("retCode")
        if type(code) is not int:  # `false` would count as 0
            raise AmbiguousOutcomeError(f"{method}: the answer is not Bybit's envelope", code=response.status_code)
        if code != 0:
            refusal = self._refusal(method, code, envelope.get("retMsg"), response.headers)
            if refusal is None and sets_state:
                return _NOT_MODIFIED, 0
            raise refusal or AmbiguousOutcomeError(f"{method}: not modified (Bybit code {code})", code=code)
        result, told_ms = envelope.get("result"), envelope.get("time")
        if not isinstance(result, dict):
            raise AmbiguousOutcomeError(
                f"{method}: the answer has {type(result).__name__} in place of a result", code=response.status_code
            )
        details = envelope.get("retExtInfo")
        if isinstance(details, dict) and isinstance(details.get("list"), list):
            result = {**result, _DETAILS: details["list"]}
        return result, told_ms if type(told_ms) is int and 0 <= told_ms < _LATEST_MS else 0

    def _refusal(self, method: str, code: int, message: object, headers: Mapping[str, str]) -> ExchangeError | None:
        """`answers.refusal`, and whoever keeps the venue's time is told that it was refused."""
        text = message if isinstance(message, str) else ""
        found = answers.refusal(method, code, text, headers, keys=self._connection.keys)
        if isinstance(found, ClockSkewError):
            self._clock_refused()
        return found

    def _of_status(self, method: str, response: requests.Response) -> ExchangeError:
        """`answers.of_status`; a ban keeps every process from asking."""
        found = answers.of_status(method, response)
        if isinstance(found, RateLimitedError):
            self._limiter.ban(found.retry_after_s)
        return found

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

    def _take(self) -> Session:
        """A session that no call is using, at the URL of now."""
        url = self._url
        with self._idle_lock:
            while self._idle:
                session = self._idle.pop()
                if session.url == url:
                    return session
                session.http.client.close()
        return open_session(self._connection, url)


def _is_refused(error: ExchangeError) -> bool:
    return isinstance(error.__cause__, requests.RequestException) and type(error) is NotSentError
