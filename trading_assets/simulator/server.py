"""The server of the embedded exchange: requests in, answers out. Meaning is in `rest`, `account` and `stream`."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import uvicorn
from filelock import FileLock, Timeout
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route as HttpRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from trading_assets.errors import ConfigurationError, StorageError
from trading_assets.simulator import files
from trading_assets.simulator.auth import MissingCredentialsError, verify
from trading_assets.simulator.clock import ClockMode
from trading_assets.simulator.market.base import Market
from trading_assets.simulator.rest import account, admin, market, position, trade
from trading_assets.simulator.rest.common import Route
from trading_assets.simulator.stream.streams import MAX_MESSAGE_BYTES, StreamProtocol, Streams
from trading_assets.simulator.venue import ServeConfig, Venue
from trading_assets.simulator.wire import Params, Refusal, envelope

__all__ = ["ExchangeServer", "ServeConfig", "open_venue", "serve"]

ROUTES: tuple[Route, ...] = (*market.ROUTES, *account.ROUTES, *position.ROUTES, *trade.ROUTES)
LOOPBACK = frozenset({"127.0.0.1", "::1"})
MAX_BODY_BYTES = 1_000_000
IDLE_CHECK_S = 1.0
BACKLOG = 256

Endpoint = Callable[[Request], Awaitable[Response]]


def open_venue(config: ServeConfig, given_market: Market | None = None) -> Venue:
    """The exchange of `config` on the seeded market, or on the one given.

    Raises:
        ConfigurationError: the stored account belongs to another market or clock.
        StorageError: the account's file cannot be opened.
    """
    if given_market is not None:
        return Venue(config, given_market, type(given_market).__name__)
    from trading_assets.simulator.market.seeded import SeededMarket  # noqa: PLC0415 (costs start-up time)

    return Venue(config, SeededMarket(config.seed, config.symbols), "seeded")


class ExchangeServer:
    """A venue behind HTTP. `run` serves until `stop` is called, a signal arrives or nobody asks for long.

    One server per home: a second one is a ConfigurationError.
    """

    def __init__(self, config: ServeConfig, given_market: Market | None = None) -> None:
        self.config = config
        self._lock = _lock(config.home)
        try:
            self.venue = open_venue(config, given_market)
            self._socket = _listen(config)
        except (ConfigurationError, StorageError):
            self._release()
            raise
        self.port: int = self._socket.getsockname()[1]
        self.url = f"http://{'127.0.0.1' if config.host in ('0.0.0.0', '') else config.host}:{self.port}"
        self._on_ready: Callable[[], None] | None = None
        self._last_request = time.monotonic()
        self.streams = Streams(self.venue)
        self._server = uvicorn.Server(
            uvicorn.Config(
                application(self),
                log_level="warning",
                access_log=False,
                lifespan="on",
                ws=StreamProtocol,
                ws_max_size=MAX_MESSAGE_BYTES,
                ws_per_message_deflate=False,  # on one machine it only costs
                ws_ping_interval=None,
                timeout_graceful_shutdown=2,
            )
        )

    def run(self, on_ready: Callable[[], None] | None = None) -> None:
        """Serve until stopped; `on_ready` is called once requests are answered."""
        self._on_ready = on_ready
        try:
            self._server.run(sockets=[self._socket])
        finally:
            self._socket.close()
            self.venue.close()
            self._release()

    def stop(self) -> None:
        """Finish open requests and return from `run`; may be called from any thread."""
        self._server.should_exit = True

    def touch(self) -> None:
        """A request has come: the idle time begins anew."""
        self._last_request = time.monotonic()

    @contextlib.asynccontextmanager
    async def lifespan(self, _: Starlette) -> AsyncIterator[None]:
        """Announce readiness and watch for idleness while the server runs."""
        watch = asyncio.create_task(self._watch())
        if self._on_ready is not None:
            asyncio.get_running_loop().call_soon(self._on_ready)
        try:
            yield
        finally:
            watch.cancel()
            self.streams.stop()

    async def _watch(self) -> None:
        limit = self.config.idle_stop_s
        while limit is not None:
            await asyncio.sleep(min(IDLE_CHECK_S, limit / 4))
            if self.streams.clients:
                self.touch()
            if time.monotonic() - self._last_request > limit:
                self.stop()
                return

    def _release(self) -> None:
        if self._lock is not None:
            self._lock.release()


def application(server: ExchangeServer) -> ASGIApp:
    """The ASGI application of one server. Streams go around Starlette: it would wrap every message."""
    routes = [HttpRoute(route.path, _endpoint(server, route), methods=[route.method]) for route in ROUTES]
    routes += [
        HttpRoute("/admin/health", _admin(server, _health), methods=["GET"]),
        HttpRoute("/admin/clock", _admin(server, _clock), methods=["POST"]),
        HttpRoute("/admin/stop", _admin(server, _stop), methods=["POST"]),
    ]
    requests = Starlette(
        routes=routes,
        lifespan=server.lifespan,
        exception_handlers={404: _not_found(server), 405: _not_found(server)},
    )

    async def dispatch(scope: Scope, receive: Receive, send: Send) -> None:
        await (server.streams if scope["type"] == "websocket" else requests)(scope, receive, send)

    return dispatch


def _endpoint(server: ExchangeServer, route: Route) -> Endpoint:
    venue = server.venue

    async def answer(request: Request) -> Response:
        server.touch()
        status = 200
        try:
            body = await _body(request)
            payload = body if route.method == "POST" else request.scope["query_string"]
            if route.method == "GET" and body:
                return Response("a GET request must not have a body", 403)
            if route.signed:
                verify(venue.config.credentials, request.headers, payload, _accepted_times(venue))
            params = _params(route.method, payload)

            def act(now_ms: int) -> bytes:
                return envelope(route.handler(venue, params, now_ms), now_ms)

            content = venue.transact(act) if route.signed else act(venue.clock.now_ms())
        except MissingCredentialsError as refusal:
            status, content = 401, _refused(venue, refusal.ret_code, str(refusal))
        except Refusal as refusal:
            content = _refused(venue, refusal.ret_code, str(refusal))
        except StorageError as error:
            content = _refused(venue, 10016, f"Internal System Error: {error}")
        return Response(content, status, media_type="application/json")

    return answer


def _refused(venue: Venue, code: int, message: str) -> bytes:
    return envelope({}, venue.clock.now_ms(), code, message)


def _accepted_times(venue: Venue) -> tuple[int, ...]:
    """What a client's timestamp may be near to: a virtual exchange also takes the wall clock's time."""
    now = venue.clock.now_ms()
    return (now,) if venue.clock.mode is ClockMode.REAL else (now, venue.wall())


async def _body(request: Request) -> bytes:
    body = await request.body()
    if len(body) > MAX_BODY_BYTES:
        raise Refusal(10001, f"params error: the body is larger than {MAX_BODY_BYTES} bytes")
    return body


def _params(method: str, payload: bytes) -> Params:
    if method == "GET":
        return Params(dict(parse_qsl(payload.decode("latin-1"), keep_blank_values=True)))
    return Params(_json_object(payload))


def _json_object(payload: bytes) -> dict[str, Any]:
    if not payload.strip():
        return {}
    try:
        value = json.loads(payload)
    except (ValueError, RecursionError):
        raise Refusal(10001, "params error: the body is not JSON") from None
    if not isinstance(value, dict):
        raise Refusal(10001, "params error: the body must be a JSON object")
    return value


def _admin(server: ExchangeServer, action: Callable[[ExchangeServer, Params], dict[str, object]]) -> Endpoint:
    async def answer(request: Request) -> Response:
        server.touch()
        if request.client is None or request.client.host not in LOOPBACK:
            return JSONResponse({"error": "the admin face answers only to this machine"}, 403)
        try:
            return JSONResponse(action(server, Params(_json_object(await _body(request)))))
        except (ValueError, Refusal) as error:
            return JSONResponse(admin.refuse(error), 400)
        except StorageError as error:
            return JSONResponse({"error": str(error)}, 503)

    return answer


def _health(server: ExchangeServer, params: Params) -> dict[str, object]:
    return server.venue.transact(lambda now: admin.health(server.venue, params, now))


def _clock(server: ExchangeServer, params: Params) -> dict[str, object]:
    return admin.set_clock(server.venue, params)


def _stop(server: ExchangeServer, params: Params) -> dict[str, object]:
    server.stop()
    return {"stopping": True}


def _not_found(server: ExchangeServer) -> Callable[[Request, Exception], Awaitable[Response]]:
    async def answer(request: Request, error: Exception) -> Response:
        server.touch()
        message = f"Route not found: {request.method} {request.url.path}"
        content = envelope({}, server.venue.clock.now_ms(), 10017, message)
        return Response(content, 404, media_type="application/json")

    return answer


def serve(config: ServeConfig) -> None:
    """Run an embedded exchange in the foreground until Ctrl-C, and print its URLs when it answers.

    Raises:
        ConfigurationError: the account belongs to another market or clock, or is being served already.
        StorageError: the account's file cannot be opened.
    """
    server = ExchangeServer(config)

    def ready() -> None:
        if config.home is not None:
            write_info(server, config.home)
        print(f"embedded exchange: {server.url} (clock {server.venue.clock.mode.value})", flush=True)
        print(f"health:            {server.url}/admin/health", flush=True)

    # SIGTERM as Ctrl-C: both end here, with the account stored and server.json gone.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        server.run(ready)
    except KeyboardInterrupt:
        print("embedded exchange: stopped", flush=True)
    finally:
        if config.home is not None:
            _remove_own_info(config.home)


def write_info(server: ExchangeServer, home: Path) -> None:
    """`server.json`: where the exchange of this home answers. Replaced in one step."""
    info = {
        "url": server.url,
        "pid": os.getpid(),
        "home": str(home.resolve()),
        "seed": server.config.seed,
        "symbols": server.config.symbols,
        "clock": server.venue.clock.mode.value,
    }
    temporary = home / f"{files.SERVER_INFO}.{os.getpid()}"
    temporary.write_text(json.dumps(info, indent=1) + "\n")
    temporary.replace(home / files.SERVER_INFO)


def _remove_own_info(home: Path) -> None:
    path = home / files.SERVER_INFO
    with contextlib.suppress(OSError, ValueError):
        if json.loads(path.read_text()).get("pid") == os.getpid():
            path.unlink()


def _lock(home: Path | None) -> FileLock | None:
    if home is None:
        return None
    try:
        home.mkdir(parents=True, exist_ok=True)
        lock = FileLock(home / files.ACCOUNT_LOCK, thread_local=False)
        lock.acquire(timeout=0)
    except Timeout:
        raise ConfigurationError(
            f"another embedded exchange serves the account in {home}: use it (see "
            f"{home / files.SERVER_INFO}), stop it with POST /admin/stop, or choose another home"
        ) from None
    except OSError as error:
        raise StorageError(f"the directory {home} cannot be used: {error}") from error
    return lock


def _listen(config: ServeConfig) -> socket.socket:
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((config.host, config.port))
        listener.listen(BACKLOG)  # so that who reads server.json at once is not refused
    except OSError as error:
        listener.close()
        raise ConfigurationError(
            f"cannot listen on {config.host}:{config.port}: {error}. Choose another port (0 takes a free one)"
        ) from error
    return listener
