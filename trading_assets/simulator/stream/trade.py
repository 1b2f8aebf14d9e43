"""`/v5/trade`: orders over a socket. The exchange carries them out as it does the REST requests of the same name, with
their limits and faults; here are only the messages around them.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from trading_assets.simulator.faults.codes import message_of
from trading_assets.simulator.gateway import Answer
from trading_assets.simulator.stream import protocol
from trading_assets.simulator.stream.connection import Connection
from trading_assets.simulator.stream.protocol import Rejection
from trading_assets.simulator.venue import Venue

PATH = "/v5/trade"

ANSWER_DELAY_S = 0.02
"""From a request to its answer: pybit notes whom to tell only after it has sent an order."""

MAX_REQ_ID = 36

_PATHS = {
    "order.create": "/v5/order/create",
    "order.amend": "/v5/order/amend",
    "order.cancel": "/v5/order/cancel",
    "order.create-batch": "/v5/order/create-batch",
    "order.amend-batch": "/v5/order/amend-batch",
    "order.cancel-batch": "/v5/order/cancel-batch",
}

EnterOrder = Callable[[str, bytes, Mapping[str, str]], Awaitable[Answer | None]]
"""Called with REST path, JSON body and headers in lower case; None: the line is to be cut."""


@dataclass(frozen=True)
class _Request:
    op: str = ""
    req_id: str = ""
    args: tuple[Any, ...] = ()
    header: Mapping[str, str] = field(default_factory=dict)


class TradeStream:
    """Answers the messages of every connection to the trade stream."""

    def __init__(self, venue: Venue, enter_order: EnterOrder) -> None:
        self._venue, self._enter_order = venue, enter_order
        self._running: set[asyncio.Task[None]] = set()

    def handle(self, connection: Connection, text: str) -> None:
        """One message of a client; its answer comes later."""
        request = _Request()
        try:
            request = _parsed(text)
            if request.op == "ping":
                now = self._venue.clock.now_ms()
                self._put(connection, {"retCode": 0, "op": "pong", "data": [str(now)], "connId": connection.conn_id})
            elif request.op == "auth":
                self._login(connection, request)
            elif request.op not in _PATHS:
                raise Rejection("op type is not found", 10404)
            elif not connection.is_authenticated:
                raise Rejection(message_of(10005), 10005)
            elif len(request.args) != 1 or not isinstance(request.args[0], dict):
                raise Rejection("params error: args must hold one object", 10001)
            else:
                task = asyncio.get_running_loop().create_task(self._carry_out(connection, request))
                self._running.add(task)
                task.add_done_callback(self._running.discard)
        except Rejection as rejection:
            self._put(connection, _answer(request, connection, rejection.code, str(rejection)))
            if request.op == "auth" and not connection.is_authenticated:
                connection.later(ANSWER_DELAY_S, lambda: connection.close(1008, "authentication failed"))

    def _login(self, connection: Connection, request: _Request) -> None:
        if connection.is_authenticated:
            raise Rejection("repeat auth", 20001)
        venue = self._venue
        protocol.check_auth(request.args, venue.config.credentials, (venue.clock.now_ms(), venue.wall()))
        connection.is_authenticated = True
        self._put(connection, _answer(request, connection, 0, "OK"))

    async def _carry_out(self, connection: Connection, request: _Request) -> None:
        body = json.dumps(request.args[0]).encode()
        answer = await self._enter_order(_PATHS[request.op], body, request.header)
        if answer is None:
            connection.drop()
            return
        told = json.loads(answer.content)
        header = {name.decode().title(): value.decode() for name, value in answer.extra if name != b"ret_code"}
        more = {"data": told["result"], "retExtInfo": told["retExtInfo"], "header": header}
        self._put(connection, _answer(request, connection, told["retCode"], told["retMsg"]) | more)

    @staticmethod
    def _put(connection: Connection, answer: dict[str, object]) -> None:
        text = json.dumps(answer, separators=(",", ":"))
        connection.later(ANSWER_DELAY_S, lambda: connection.put(text))


def _answer(request: _Request, connection: Connection, code: int, message: str) -> dict[str, object]:
    """`reqId` only where the client gave one."""
    named: dict[str, object] = {"reqId": request.req_id} if request.req_id else {}
    return named | {"retCode": code, "retMsg": message, "op": request.op, "connId": connection.conn_id}


def _parsed(text: str) -> _Request:
    """Read one message of the trade stream.

    Raises:
        Rejection: 10001 not a JSON object, or its keys have other types.
    """
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        raise Rejection("params error: invalid json", 10001) from None
    if not isinstance(value, dict):
        raise Rejection("params error: an object was expected", 10001)
    op, req_id, args, header = value.get("op"), value.get("reqId") or "", value.get("args"), value.get("header")
    args, header = args or [], header or {}
    if not (isinstance(op, str) and isinstance(args, list) and isinstance(header, dict)):
        raise Rejection("params error: op, args or header", 10001)
    if not isinstance(req_id, str) or len(req_id) > MAX_REQ_ID:
        raise Rejection(f"params error: reqId must be a string of at most {MAX_REQ_ID} characters", 10001)
    return _Request(op, req_id, tuple(args), {str(name).lower(): str(of) for name, of in header.items()})
