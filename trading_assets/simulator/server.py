"""The server of the embedded exchange: its socket, its life and its admin face.

Requests are `gateway`'s, streams `stream`'s.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path

import uvicorn
from filelock import FileLock, Timeout
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route as HttpRoute
from starlette.types import Receive, Scope, Send

from trading_assets.core import logs
from trading_assets.core.errors import ConfigurationError, StorageError
from trading_assets.core.private_files import FILE, private_folder, write_private
from trading_assets.simulator import files
from trading_assets.simulator.auth import DEFAULT_API_SECRET
from trading_assets.simulator.codec import Params, Refusal, envelope
from trading_assets.simulator.faults.injector import Faults
from trading_assets.simulator.faults.parsing import read_rules
from trading_assets.simulator.faults.visibility import LaggingAccount
from trading_assets.simulator.gateway import Answer, Gateway, json_object, read_body
from trading_assets.simulator.market.base import Market
from trading_assets.simulator.protocol import Protocol
from trading_assets.simulator.rate_limits import Limits
from trading_assets.simulator.rest import (
    account,
    admin,
    asset,
    market,
    market_rules,
    market_series,
    orders,
    position,
    trade,
)
from trading_assets.simulator.rest.common import Route
from trading_assets.simulator.stream.streams import MAX_MESSAGE_BYTES, StreamProtocol, Streams
from trading_assets.simulator.venue import ServeConfig, Venue

__all__ = ["ExchangeServer", "ServeConfig", "open_venue", "serve"]

ROUTES: tuple[Route, ...] = (
    *market.ROUTES,
    *market_rules.ROUTES,
    *market_series.ROUTES,
    *account.ROUTES,
    *asset.ROUTES,
    *position.ROUTES,
    *orders.ROUTES,
    *trade.ROUTES,
)
ENDPOINTS = tuple((route.method, route.path) for route in ROUTES)
LOOPBACK = frozenset({"127.0.0.1", "::1"})
IDLE_CHECK_S = 1.0
BACKLOG = 256
KEEP_ALIVE_S = 60
"""A client that asks every few seconds must not meet a connection that is just being closed."""

Endpoint = Callable[[Request], Awaitable[Response]]


def open_venue(config: ServeConfig, given_market: Market | None = None) -> Venue:
    """The exchange of `config` on the seeded market, on a replay of its files, or on the market given.

    Raises:
        ConfigurationError: the stored account belongs to another market or clock, or the recording cannot be played.
        StorageError: the account's file cannot be opened.
    """
    if given_market is not None:
        return Venue(config, given_market, type(given_market).__name__)
    if config.replay:
        from trading_assets.simulator.replaying import open_replay  # noqa: PLC0415 (imports pyarrow)

        return open_replay(config)
    from trading_assets.simulator.market.seeded import SeededMarket  # noqa: PLC0415 (costs start-up time)

    return Venue(config, SeededMarket(config.seed, config.symbols), "seeded")


class ExchangeServer:
    """A venue behind HTTP. `run` serves until `stop` is called, a signal arrives or nobody asks for long.

    One server per home: a second one is a ConfigurationError.
    """

    def __init__(
        self,
        config: ServeConfig,
        given_market: Market | None = None,
        opener: Callable[[ServeConfig, Market | None], Venue] = open_venue,
    ) -> None:
        self.config = config
        rules = read_rules(config.faults, ENDPOINTS) if config.faults is not None else ()
        self._lock = _lock(config)
        try:
            self.venue = opener(config, given_market)
            self.faults = Faults(lambda: LaggingAccount(self.venue))
            self.faults.add(rules, self.venue.clock.now_ms())
            self._socket = _listen(config)
        except (ConfigurationError, StorageError):
            self._release()
            raise
        self.port: int = self._socket.getsockname()[1]
        self.url = f"http://{'127.0.0.1' if config.host in ('0.0.0.0', '') else config.host}:{self.port}"
        self._on_ready: Callable[[], None] | None = None
        self.before_close: Callable[[], None] = lambda: None
        self._last_request = time.monotonic()
        self.streams = Streams(self.venue, self.faults, self._enter_order)
        self.gateway = application(self)
        self._server = uvicorn.Server(
            uvicorn.Config(
                self.gateway,
                http=Protocol,
                proxy_headers=False,  # an address is that of the connection
                log_config=None if logs.is_json() else uvicorn.config.LOGGING_CONFIG,
                log_level="warning",
                access_log=False,
                lifespan="on",
                timeout_keep_alive=KEEP_ALIVE_S,
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
            self.close()

    def close(self) -> None:
        """Store the account and release what a server that does not run holds."""
        self._socket.close()
        self.before_close()
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

    async def _enter_order(self, path: str, body: bytes, headers: Mapping[str, str]) -> Answer | None:
        return await self.gateway.enter_order(path, body, headers)

    def _release(self) -> None:
        if self._lock is not None:
            self._lock.release()


def application(server: ExchangeServer) -> Gateway:
    """The ASGI application of one server."""
    routes = [
        HttpRoute("/admin/health", _admin(server, _health, others=_who_it_is), methods=["GET"]),
        HttpRoute("/admin/clock", _admin(server, _clock), methods=["POST"]),
        HttpRoute("/admin/contracts", _admin(server, _change_contract), methods=["POST"]),
        HttpRoute("/admin/positions", _admin(server, _close_position), methods=["POST"]),
        HttpRoute("/admin/orders", _admin(server, _cancel_orders), methods=["POST"]),
        HttpRoute("/admin/stop", _admin(server, _stop), methods=["POST"]),
        HttpRoute("/admin/faults", _admin(server, _show_faults), methods=["GET"]),
        HttpRoute("/admin/faults", _admin(server, _add_faults), methods=["POST"]),
        HttpRoute("/admin/faults", _admin(server, _lift_faults), methods=["DELETE"]),
        HttpRoute("/admin/faults/{id}", _admin(server, _lift_faults), methods=["DELETE"]),
    ]
    others = Starlette(
        routes=routes,
        lifespan=server.lifespan,
        exception_handlers={404: _not_found(server), 405: _not_found(server)},
    )

    async def beside(scope: Scope, receive: Receive, send: Send) -> None:
        # Streams go around Starlette: it would wrap every message.
        await (server.streams if scope["type"] == "websocket" else others)(scope, receive, send)

    limits = Limits(server.config.limits)
    return Gateway(
        server.venue,
        ROUTES,
        beside,
        faults=server.faults,
        limits=limits,
        touch=server.touch,
        names=(*server.config.names, server.config.host, socket.gethostname()),
    )


Action = Callable[["ExchangeServer", Params], dict[str, object]]


def _admin(server: ExchangeServer, action: Action, others: Action | None = None) -> Endpoint:
    """The endpoint of `action`; other machines get `others`, or a refusal."""

    async def answer(request: Request) -> Response:
        server.touch()
        is_own = request.client is not None and request.client.host in LOOPBACK
        chosen = action if is_own else others
        if chosen is None:
            return JSONResponse({"error": "the admin face answers only to this machine"}, 403)
        try:
            body = json_object(await read_body(request.receive) or b"")
            return JSONResponse(chosen(server, Params({**body, **request.path_params})))
        except (ValueError, Refusal) as error:
            return JSONResponse(admin.refuse(error), 400)
        except StorageError as error:
            return JSONResponse({"error": str(error)}, 503)

    return answer


def _health(server: ExchangeServer, params: Params) -> dict[str, object]:
    return server.venue.transact(lambda now: admin.health(server.venue, params, now))


def _who_it_is(server: ExchangeServer, params: Params) -> dict[str, object]:
    return server.venue.transact(lambda now: admin.who_it_is(server.venue, params, now))


def _change_contract(server: ExchangeServer, params: Params) -> dict[str, object]:
    return admin.change_contract(server.venue, params)


def _close_position(server: ExchangeServer, params: Params) -> dict[str, object]:
    return admin.close_position(server.venue, params)


def _cancel_orders(server: ExchangeServer, params: Params) -> dict[str, object]:
    return admin.cancel_orders(server.venue, params)


def _clock(server: ExchangeServer, params: Params) -> dict[str, object]:
    return admin.set_clock(server.venue, params)


def _stop(server: ExchangeServer, params: Params) -> dict[str, object]:
    server.stop()
    return {"stopping": True}


def _show_faults(server: ExchangeServer, params: Params) -> dict[str, object]:
    return admin.show_faults(server.faults)


def _add_faults(server: ExchangeServer, params: Params) -> dict[str, object]:
    return admin.add_faults(server.faults, params, ENDPOINTS, server.venue.clock.now_ms())


def _lift_faults(server: ExchangeServer, params: Params) -> dict[str, object]:
    return admin.lift_faults(server.faults, params)


def _not_found(server: ExchangeServer) -> Callable[[Request, Exception], Awaitable[Response]]:
    async def answer(request: Request, error: Exception) -> Response:
        server.touch()
        message = f"Route not found: {request.method} {request.scope['path']}"
        content = envelope({}, server.venue.clock.now_ms(), 10017, message)
        return Response(content, 404, media_type="application/json")

    return answer


def serve(config: ServeConfig) -> None:
    """See `serve_until_stopped`.

    Raises:
        ConfigurationError: the account belongs to another market or clock, or is being served already.
        StorageError: the account's file cannot be opened.
    """
    serve_until_stopped(ExchangeServer(config))


def serve_until_stopped(server: ExchangeServer, before_close: Callable[[], None] = lambda: None) -> None:
    """Run an embedded exchange in the foreground until Ctrl-C, and print its URLs when it answers.

    `before_close` is called when it answers no more, and its account can still be written.
    """
    server.before_close = before_close
    config = server.config

    def ready() -> None:
        if config.home is not None:
            write_info(server, config.home)
        for line in _announcement(server):
            print(line, flush=True)

    # SIGTERM as Ctrl-C: both end here, with the account stored and server.json gone.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        server.run(ready)
    except KeyboardInterrupt:
        print("embedded exchange: stopped", flush=True)
    finally:
        if config.home is not None:
            _remove_own_info(config.home)


def _announcement(server: ExchangeServer) -> tuple[str, ...]:
    """What a client needs to know. A secret that somebody chose is not printed."""
    stream, credentials = server.url.replace("http", "ws", 1), server.config.credentials
    secret = credentials.secret if credentials.secret == DEFAULT_API_SECRET else "(as given)"
    return (
        f"embedded exchange: {server.url} (clock {server.venue.clock.mode.value})",
        f"public stream:     {stream}/v5/public/linear",
        f"private stream:    {stream}/v5/private",
        f"trade stream:      {stream}/v5/trade",
        f"health:            {server.url}/admin/health",
        f"key and secret:    {credentials.key} {secret}",
        f"request limits:    {'as Bybit has them' if server.config.limits else 'off'}",
    )


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
    write_private(home / files.SERVER_INFO, json.dumps(info, indent=1) + "\n")


def _remove_own_info(home: Path) -> None:
    path = home / files.SERVER_INFO
    with contextlib.suppress(OSError, ValueError):
        if json.loads(path.read_text()).get("pid") == os.getpid():
            path.unlink()


def _lock(config: ServeConfig) -> FileLock | None:
    account_file = config.account_file
    if account_file is None:
        return None
    place = account_file.parent
    try:
        private_folder(place)
        lock = FileLock(account_file.with_suffix(files.LOCK_SUFFIX), thread_local=False, mode=FILE)
        lock.acquire(timeout=0)
    except Timeout:
        where = f"see {place / files.SERVER_INFO}" if config.home is not None else "see what printed its URL"
        raise ConfigurationError(
            f"another embedded exchange serves the account in {account_file}: use it ({where}), stop it with "
            "POST /admin/stop, or choose another home or account"
        ) from None
    except OSError as error:
        raise StorageError(f"the directory {place} cannot be used: {error}") from error
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
