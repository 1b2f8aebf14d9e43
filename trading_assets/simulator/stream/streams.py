"""All streams of one exchange: handshakes, requests, and the one way out for every message."""

from __future__ import annotations

import itertools
import re
import secrets
import uuid
from collections.abc import Iterable
from urllib.parse import parse_qs

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.http11 import Request as Handshake

from trading_assets.simulator.faults.answers import changed_message
from trading_assets.simulator.faults.injector import NO_MESSAGE_FAULT, Faults, MessageFault
from trading_assets.simulator.rate_limits import ConnectionLimits
from trading_assets.simulator.stream import protocol
from trading_assets.simulator.stream.connection import Connection, Message, Receive, Send
from trading_assets.simulator.stream.private import PrivateTopics
from trading_assets.simulator.stream.protocol import Rejection, Request
from trading_assets.simulator.stream.public import PublicTopics
from trading_assets.simulator.stream.trade import PATH as TRADE_PATH
from trading_assets.simulator.stream.trade import EnterOrder, TradeStream
from trading_assets.simulator.venue import Venue

PATHS = {"/v5/public/linear": False, "/v5/private": True, TRADE_PATH: True}
"""Path -> whether it is one of the account."""

ANSWER_DELAY_S = 0.05
"""From a request to its answer, and so to the first push. pybit dies of an answer in under about 20 ms: it writes
down what it has asked for only after sending it."""

MAX_MESSAGE_BYTES = 256 * 1024
QUIET_S = 600.0
MIN_QUIET_S = 30.0
_DURATION = re.compile(r"(\d{1,4})([sm]?)")
_ABORT = "trading_assets.abort"


class StreamProtocol(WebSocketsSansIOProtocol):
    """uvicorn's, but the application may also cut a line that is full: an ASGI close would wait for room in it."""

    def handle_connect(self, event: Handshake) -> None:
        super().handle_connect(event)
        if self.response.status_code == 101:
            self.scope["extensions"][_ABORT] = {"abort": self.transport.abort}


class Streams:
    """The ASGI application of the WebSocket paths.

    Attributes:
        clients: who is connected.
    """

    def __init__(self, venue: Venue, faults: Faults, enter_order: EnterOrder) -> None:
        self.clients: set[Connection] = set()
        self._venue, self._faults = venue, faults
        self._limits = ConnectionLimits()
        self._public = PublicTopics(venue, self.outgoing)
        self._private = PrivateTopics(venue, self.outgoing)
        self._trade = TradeStream(venue, enter_order)
        self._numbers = itertools.count(1)

    def outgoing(self, text: str, topic: str, connection: Connection) -> None:
        """Every message passes here, pushes with their topic, answers with an empty one. Returns at once."""
        fault = self._faults.for_message(topic, self._venue.clock.now_ms()) if topic else NO_MESSAGE_FAULT
        if fault is NO_MESSAGE_FAULT:
            connection.put(text)
            connection.release_held()
        else:
            self._disturb(text, fault, connection)

    @staticmethod
    def _disturb(text: str, fault: MessageFault, connection: Connection) -> None:
        if fault.rows:
            text = changed_message(text, fault.rows)
            if not text:
                return
        if fault.drop:
            connection.drop()
        elif fault.silence:
            return
        elif fault.reorder:
            connection.held.append(text)
        else:
            for _ in range(1 + fault.duplicate):
                if fault.delay_ms:
                    connection.later(fault.delay_ms / 1000, lambda: connection.put(text))
                else:
                    connection.put(text)
            connection.release_held()

    def stop(self) -> None:
        """Compute and listen no longer."""
        self._public.stop()
        self._private.stop()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        await receive()  # websocket.connect
        path, address = scope["path"], scope["client"][0] if scope["client"] else ""
        served = [one for one in PATHS if one not in self._venue.config.behaviour.absent]
        if path not in served:
            await _refuse(receive, send, 404, f"no stream at {path}, only at {', '.join(served)}")
            return
        if reason := self._limits.enter(address, path):
            await _refuse(receive, send, 403, reason)
            return
        connection = Connection(
            self._new_id(PATHS[path]),
            is_private=PATHS[path],
            quiet_s=_quiet_seconds(scope["query_string"]),
            abort=scope["extensions"][_ABORT]["abort"],
        )
        self.clients.add(connection)
        try:
            await send({"type": "websocket.accept"})
            handle = self._trade.handle if path == TRADE_PATH else self._handle
            await connection.run(receive, send, lambda text: handle(connection, text))
        finally:
            self.clients.remove(connection)
            self._limits.leave(address, path)
            self._unsubscribe(connection, tuple(connection.topics))

    def _new_id(self, is_private: bool) -> str:
        return f"{secrets.token_hex(10)}-{next(self._numbers):x}" if is_private else str(uuid.uuid4())

    def _handle(self, connection: Connection, text: str) -> None:
        request = None
        try:
            request = protocol.parse(text)
            self._act(connection, request)
        except Rejection as rejection:
            is_private = connection.is_private
            answer = protocol.refusal(str(rejection), request, connection.conn_id, is_private=is_private)
            is_login = is_private and request is not None and request.op == "auth"
            connection.later(ANSWER_DELAY_S, lambda: self._refuse_request(connection, answer, is_login))

    def _refuse_request(self, connection: Connection, answer: str, is_login: bool) -> None:
        self.outgoing(answer, "", connection)
        if is_login:
            connection.close(1008, "authentication failed")

    def _act(self, connection: Connection, request: Request) -> None:
        """Carry out one request of a client.

        Raises:
            Rejection: nothing was done.
        """
        is_private = connection.is_private
        if request.op == "ping":
            now = self._venue.clock.now_ms()
            self.outgoing(protocol.pong(request, connection.conn_id, now, is_private=is_private), "", connection)
            return
        topics: tuple[str, ...] = ()
        if request.op == "subscribe":
            topics = request.topics()
            self._check_subscription(connection, topics)
            connection.topics.update(topics)
        elif request.op == "unsubscribe":
            self._unsubscribe(connection, request.topics())
        elif request.op == "auth" and is_private:
            protocol.check_auth(request.args, self._venue.config.credentials, self._accepted_times())
            connection.is_authenticated = True
        else:
            raise Rejection("error:invalid op")
        answer = protocol.acknowledgement(request, connection.conn_id, is_private=is_private)
        connection.later(ANSWER_DELAY_S, lambda: self._acknowledge(connection, answer, topics))

    def _acknowledge(self, connection: Connection, answer: str, topics: Iterable[str]) -> None:
        self.outgoing(answer, "", connection)
        side = self._private if connection.is_private else self._public
        for topic in topics:
            if topic in connection.topics:  # not unsubscribed in the meantime
                side.join(connection, topic)

    def _check_subscription(self, connection: Connection, topics: tuple[str, ...]) -> None:
        if connection.is_private:
            if not connection.is_authenticated:
                raise Rejection("Request not authorized")
            protocol.check_private(topics)
        else:
            for topic in topics:
                self._public.check(topic)
        for topic in topics:
            if topic in connection.topics:
                raise Rejection(f"error:already subscribed,topic:{topic}")

    def _unsubscribe(self, connection: Connection, topics: tuple[str, ...]) -> None:
        side = self._private if connection.is_private else self._public
        for topic in topics:
            if topic in connection.topics:
                connection.topics.remove(topic)
                side.leave(connection, topic)

    def _accepted_times(self) -> tuple[int, ...]:
        """As for requests: a client of a virtual exchange may live by the wall clock."""
        return self._venue.clock.now_ms(), self._venue.wall()


def _quiet_seconds(query: bytes) -> float:
    """`max_active_time`, as `30s` or `5m`, within Bybit's bounds."""
    given = parse_qs(query.decode("latin-1")).get("max_active_time", [""])[0]
    match = _DURATION.fullmatch(given)
    if match is None:
        return QUIET_S
    return min(max(int(match[1]) * (60.0 if match[2] == "m" else 1.0), MIN_QUIET_S), QUIET_S)


async def _refuse(receive: Receive, send: Send, status: int, reason: str) -> None:
    await send({"type": "websocket.http.response.start", "status": status, "headers": []})
    await send({"type": "websocket.http.response.body", "body": reason.encode()})
    # uvicorn calls it an error to return before the line is closed: the second disconnect says it is.
    await receive()
    await receive()
