"""One REST request at a time: from ASGI's scope to Bybit's envelope, with limits and faults. Meaning is in `rest`.

Routes are found by method and path in one dictionary, and headers are read where they are: a request costs a tenth of a
millisecond here, several times less than a web framework takes around the same handler.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl

from trading_assets.core.errors import DataError, StorageError
from trading_assets.core.request_origin import (
    LOOPBACK_NAMES,
    DoubleHeaderError,
    foreign,
    host_name,
    is_address,
    once,
)
from trading_assets.simulator.account.models import NO_ORDER_FAULT
from trading_assets.simulator.auth import MissingCredentialsError, check_time, verify
from trading_assets.simulator.clock import ClockMode, wall_ms
from trading_assets.simulator.codec import Params, Refusal, envelope
from trading_assets.simulator.faults.answers import changed_rows, market_data
from trading_assets.simulator.faults.codes import message_of
from trading_assets.simulator.faults.injector import NO_FAULT, Faults, RequestFault
from trading_assets.simulator.faults.rules import ACCOUNT_LISTS, FaultRule, Outcome
from trading_assets.simulator.market.base import UnknownPriceError
from trading_assets.simulator.protocol import Receive, Scope, Send, hang_up
from trading_assets.simulator.rate_limits import BAN_TEXT, BATCHES, Limits, Quota
from trading_assets.simulator.rest.common import Route
from trading_assets.simulator.venue import Venue

MAX_BODY_BYTES = 1_000_000
MOST_HOSTS = 100
JSON_TYPE = b"application/json"
HTML_TYPE = b"text/html"
TEXT_TYPE = b"text/plain; charset=utf-8"

Application = Callable[[Scope, Receive, Send], Any]


@dataclass(frozen=True)
class Answer:
    """What goes back; `extra` are headers beyond length and type."""

    status: int
    content: bytes
    media_type: bytes = JSON_TYPE
    extra: tuple[tuple[bytes, bytes], ...] = ()


@dataclass
class _Call:
    """One request as it came; `is_known` where its stream has proved who sends."""

    route: Route
    address: str
    headers: Mapping[str, str]
    query: bytes
    body: bytes
    skew_ms: int = 0
    is_known: bool = False
    quota: Quota | None = field(default=None, init=False)

    @property
    def payload(self) -> bytes:
        """What the signature covers, as received."""
        return self.body if self.route.method == "POST" else self.query

    @cached_property
    def params(self) -> Params:
        """Parameters of the query or the body.

        Raises:
            Refusal: not JSON, not an object, too long.
        """
        if self.route.method == "GET":
            return Params(dict(parse_qsl(self.query.decode("latin-1"), keep_blank_values=True)))
        if len(self.body) > MAX_BODY_BYTES:
            raise Refusal(10001, f"params error: the body is larger than {MAX_BODY_BYTES} bytes")
        return Params(json_object(self.body))

    def values(self) -> Mapping[str, Any]:
        """The parameters, none where they cannot be read."""
        try:
            return self.params.values
        except Refusal:
            return {}


class Gateway:
    """The ASGI application: REST here, everything else (admin face, WebSocket, unknown paths) in `inner`."""

    def __init__(
        self,
        venue: Venue,
        routes: Iterable[Route],
        inner: Application,
        *,
        faults: Faults,
        limits: Limits,
        touch: Callable[[], None],
        names: Iterable[str] = (),
    ) -> None:
        self._venue, self._inner, self._touch = venue, inner, touch
        self._faults, self._limits = faults, limits
        self._names = frozenset(name.lower() for name in (*LOOPBACK_NAMES, *names))
        self._hosts: set[str] = set()  # seen and good: a request then costs one look
        self._routes = {(route.method, route.path): route for route in routes}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            refusal = self._of_a_foreign_page(scope)
            if refusal is not None:
                await _refuse(scope, receive, send, refusal)
                return
        if scope["type"] != "http" or not scope["path"].startswith("/v5/"):
            await self._inner(scope, receive, send)
            return
        self._touch()
        client = scope.get("client")
        address = client[0] if client else ""
        if not self._limits.admits(address):
            await _send(send, _banned())
            return
        route = self._routes.get((scope["method"], scope["path"]))
        if route is None:
            await self._inner(scope, receive, send)
            return
        body = await read_body(receive)
        if body is None:
            return
        headers = {
            name.decode("latin-1"): value.decode("latin-1")
            for name, value in scope["headers"]
            if name.startswith(b"x-bapi-")
        }
        call = _Call(route, address, headers, scope["query_string"], body)
        fault = self._faults.for_request(route.method, route.path, call.values, self._venue.clock.now_ms())
        if fault is NO_FAULT:
            await _send(send, self._answer(call, fault))
        else:
            await self._disturb(call, fault, scope, receive, send)

    def _of_a_foreign_page(self, scope: Scope) -> Answer | None:
        """What to answer a web page that is not this server's, or that reached it by a name which is not its own."""
        try:
            headers = once(scope["headers"])
        except DoubleHeaderError as error:
            return _told(HTTPStatus.BAD_REQUEST, str(error))
        host = headers.get("host", "")
        if host not in self._hosts:
            name = host_name(host)
            if name not in self._names and not is_address(name):
                return _told(HTTPStatus.MISDIRECTED_REQUEST, "this is another server's name; see --allow-host")
            if len(self._hosts) < MOST_HOSTS:
                self._hosts.add(host)
        reason = foreign(headers)
        return None if reason is None else _told(HTTPStatus.FORBIDDEN, reason)

    async def _disturb(self, call: _Call, fault: RequestFault, scope: Scope, receive: Receive, send: Send) -> None:
        call.skew_ms = fault.skew_ms
        rule = fault.outcome
        await asyncio.sleep(fault.before_ms / 1000)
        answer = self._answer(call, fault) if rule is None or rule.is_processed else None
        await asyncio.sleep(fault.after_ms / 1000)
        if rule is not None and rule.outcome in (Outcome.LOST_REQUEST, Outcome.LOST_ANSWER):
            await hang_up(scope, receive)
        elif rule is not None and rule.outcome is Outcome.TRUNCATED and answer is not None:
            await _send(send, replace(answer, content=answer.content[: len(answer.content) // 2]), answer.content)
            await hang_up(scope, receive)
        elif rule is not None:
            await _send(send, self._instead(call, rule))
        elif answer is not None:
            await _send(send, answer)

    async def enter_order(self, path: str, body: bytes, headers: Mapping[str, str]) -> Answer | None:
        """Carry out a request of the trade stream as the POST to `path`; None where a fault cuts the line."""
        call = _Call(self._routes["POST", path], "", headers, b"", body, is_known=True)
        fault = self._faults.for_request("POST", path, call.values, self._venue.clock.now_ms())
        if fault is NO_FAULT:
            return self._answer(call, fault)
        call.skew_ms = fault.skew_ms
        rule = fault.outcome
        await asyncio.sleep(fault.before_ms / 1000)
        answer = self._answer(call, fault) if rule is None or rule.is_processed else None
        await asyncio.sleep(fault.after_ms / 1000)
        if rule is None:
            return answer
        return self._instead(call, rule) if rule.ret_code is not None else None

    def _instead(self, call: _Call, rule: FaultRule) -> Answer:
        """What the client gets although the exchange has, or has not, done what it was asked."""
        if rule.outcome is Outcome.BAN:
            self._limits.ban(call.address, rule.ban_s or 0.0)
            return _banned()
        if rule.ret_code is not None:
            message = rule.ret_msg if rule.ret_msg is not None else message_of(rule.ret_code)
            return self._refused(call, rule.ret_code, message)
        status = rule.http_status or 200
        if rule.body is not None:
            return Answer(status, rule.body.encode(), TEXT_TYPE)
        return Answer(status, _html(status), HTML_TYPE)

    def _answer(self, call: _Call, fault: RequestFault) -> Answer:
        """Carry the request out."""
        venue, route = self._venue, call.route
        if route.method == "GET" and call.body:
            return Answer(403, b"a GET request must not have a body", TEXT_TYPE)
        try:
            if not route.signed:
                return self._public(call, fault)
            if len(call.body) > MAX_BODY_BYTES:
                raise Refusal(10001, f"params error: the body is larger than {MAX_BODY_BYTES} bytes")
            times = self._accepted_times(call.skew_ms)
            if call.is_known:
                check_time(call.headers, times)
            else:
                verify(venue.config.credentials, call.headers, call.payload, times)
            if route.path in venue.config.behaviour.absent:
                raise Refusal(10032, message_of(10032))
            cost = call.params.orders if route.path in BATCHES else 1
            call.quota = self._limits.take(route.path, cost)
            if call.quota is not None and call.quota.is_exceeded:
                raise Refusal(10006, message_of(10006))
            params = call.params
            params.let_through = call.quota.taken if call.quota is not None and route.path in BATCHES else None
            content = venue.transact(
                lambda now_ms: envelope(self._result(route, params, fault, now_ms), now_ms + call.skew_ms)
            )
            return self._enveloped(call, content)
        except MissingCredentialsError as refusal:
            return replace(self._refused(call, refusal.ret_code, str(refusal)), status=401)
        except Refusal as refusal:
            return self._refused(call, refusal.ret_code, str(refusal))
        except UnknownPriceError as error:
            return self._refused(call, 10016, f"Internal System Error: {error}")
        except DataError as error:
            return self._refused(call, 10001, f"params error: {error}")
        except StorageError as error:
            return self._refused(call, 10016, f"Internal System Error: {error}")

    def _result(self, route: Route, params: Params, fault: RequestFault, now_ms: int) -> object:
        """The `result` of a signed route under `fault`."""
        if fault is NO_FAULT:
            return route.handler(self._venue, params, now_ms)
        venue = self._venue
        if fault.lagging is not None and route.path in ACCOUNT_LISTS:
            account, lag_ms = fault.lagging
            venue = account.venue_at(now_ms - lag_ms)
        engine = venue.engine
        engine.order_fault = fault.order
        try:
            return changed_rows(route.handler(venue, params, now_ms), fault.rows, params)
        finally:
            engine.order_fault = NO_ORDER_FAULT

    def _public(self, call: _Call, fault: RequestFault) -> Answer:
        venue, now_ms = self._venue, self._venue.clock.now_ms()
        if fault is NO_FAULT:
            result = call.route.handler(venue, call.params, now_ms)
        else:
            result = changed_rows(market_data(call.route, venue, call.params, now_ms, fault), fault.rows, call.params)
        return self._enveloped(call, envelope(result, now_ms + call.skew_ms))

    def _refused(self, call: _Call, code: int, message: str) -> Answer:
        return self._enveloped(call, envelope({}, self._venue.clock.now_ms() + call.skew_ms, code, message), code)

    def _enveloped(self, call: _Call, content: bytes, code: int = 0) -> Answer:
        now_ms = self._venue.clock.now_ms() + call.skew_ms
        extra = [
            (b"timenow", b"%d" % now_ms),
            (b"traceid", secrets.token_hex(16).encode()),
            (b"ret_code", b"%d" % code),
        ]
        if call.quota is not None:
            reset = self._venue.wall() + round(call.quota.wait_s * 1000)
            extra += [
                (b"x-bapi-limit", b"%d" % call.quota.limit),
                (b"x-bapi-limit-status", b"%d" % call.quota.left),
                (b"x-bapi-limit-reset-timestamp", b"%d" % reset),
            ]
        return Answer(200, content, JSON_TYPE, tuple(extra))

    def _accepted_times(self, skew_ms: int) -> tuple[int, ...]:
        """What a client's timestamp may be near to: a virtual exchange, and one that goes by another exchange's clock,
        also takes the time of this machine."""
        now = self._venue.clock.now_ms() + skew_ms
        if self._venue.clock.mode is not ClockMode.REAL:
            return (now, self._venue.wall() + skew_ms)
        return (now, wall_ms() + skew_ms) if self._venue.goes_by_another_clock else (now,)


async def read_body(receive: Receive) -> bytes | None:
    """The body, or a little more than is allowed of it; None when the client has gone."""
    parts, size = [], 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        part = message.get("body", b"")
        size += len(part)
        if part:
            parts.append(part)
        if not message.get("more_body") or size > MAX_BODY_BYTES:
            return b"".join(parts)


def json_object(payload: bytes) -> dict[str, Any]:
    """The JSON object of a body; an empty body is an empty one.

    Raises:
        Refusal: not JSON, or no object.
    """
    if not payload.strip():
        return {}
    try:
        value = json.loads(payload)
    except (ValueError, RecursionError):
        raise Refusal(10001, "params error: the body is not JSON") from None
    if not isinstance(value, dict):
        raise Refusal(10001, "params error: the body must be a JSON object")
    return value


def _banned() -> Answer:
    return Answer(403, BAN_TEXT.encode(), TEXT_TYPE)


def _html(status: int) -> bytes:
    """The page that a proxy in front of an exchange shows."""
    title = f"{status} {HTTPStatus(status).phrase}" if status in HTTPStatus._value2member_map_ else str(status)
    return f"<html><head><title>{title}</title></head><body><center><h1>{title}</h1></center></body></html>".encode()


def _told(status: HTTPStatus, text: str) -> Answer:
    return Answer(status.value, json.dumps({"error": text}).encode())


async def _refuse(scope: Scope, receive: Receive, send: Send, answer: Answer) -> None:
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 1008})
    else:
        await _send(send, answer)


async def _send(send: Send, answer: Answer, announced: bytes | None = None) -> None:
    """Send an answer; with `announced`, longer than its content, the connection must be closed afterwards."""
    length = len(answer.content if announced is None else announced)
    headers = [(b"content-length", b"%d" % length), (b"content-type", answer.media_type), *answer.extra]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.content, "more_body": announced is not None})
