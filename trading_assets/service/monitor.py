"""The web server of `trading-assets serve`: metrics for Prometheus. It reads, and changes nothing.

It answers this machine, by this machine's names; every other address needs the token of the settings.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from http import HTTPStatus

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from trading_assets.core.errors import ConfigurationError
from trading_assets.core.request_origin import (
    DoubleHeaderError,
    foreign,
    host_name,
    is_loopback_address,
    is_loopback_name,
    once,
)
from trading_assets.core.settings import Settings
from trading_assets.ledger.database import Database
from trading_assets.observability.metrics import registry
from trading_assets.service.dagster_runs import RunsCollector
from trading_assets.service.web_server import WebServer


def application(settings: Settings, open_ledger: Callable[[], Database]) -> ASGIApp:
    """The ASGI application.

    Args:
        open_ledger: called at each request that needs the ledger; it may raise.
    """
    found = registry(settings, open_ledger, [RunsCollector()])

    async def metrics(request: Request) -> Response:
        return await run_in_threadpool(_metrics, found, request.headers.get("accept", ""))

    async def index(_request: Request) -> Response:
        return PlainTextResponse("trading_assets: metrics for Prometheus are at /metrics\n")

    routes = [Route("/", index, methods=["GET"]), Route("/metrics", metrics, methods=["GET"])]
    return _Guard(Starlette(routes=routes), settings)


def _metrics(found: CollectorRegistry, accept: str) -> Response:
    encode, content_type = choose_encoder(accept)
    return Response(encode(found), headers={"content-type": content_type, "cache-control": "no-store"})


def monitor_server(settings: Settings, open_ledger: Callable[[], Database]) -> WebServer:
    """The server.

    Raises:
        ConfigurationError: there is no port or it cannot be had, or another machine could ask without a token.
    """
    if settings.monitor_port is None:
        raise ConfigurationError("there is no port for the monitor; expected TRADING_ASSETS_MONITOR_PORT")
    return WebServer(
        application(settings, open_ledger),
        settings.monitor_host,
        settings.monitor_port,
        has_token=settings.monitor_token is not None,
        prefix="MONITOR",
    )


class _Guard:
    """Lets in what comes from this machine under its own name and from no foreign page, and whoever has the token."""

    def __init__(self, inner: ASGIApp, settings: Settings) -> None:
        self._inner, self._token = inner, settings.monitor_token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI's."""
        if scope["type"] == "http" and (refusal := self._refusal(scope)) is not None:
            await PlainTextResponse(refusal[1] + "\n", refusal[0])(scope, receive, send)
            return
        await self._inner(scope, receive, send)

    def _refusal(self, scope: Scope) -> tuple[HTTPStatus, str] | None:
        try:
            headers = once(scope["headers"])
        except DoubleHeaderError as error:
            return HTTPStatus.BAD_REQUEST, str(error)
        kind, _, given = headers.get("authorization", "").partition(" ")
        token = None if self._token is None else self._token.get_secret_value().encode()
        if token is not None and kind.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), token):
            return None
        client = scope.get("client")
        if not is_loopback_address(client[0] if client else None):
            return HTTPStatus.UNAUTHORIZED, "a token is needed: Authorization: Bearer TRADING_ASSETS_MONITOR_TOKEN"
        if not is_loopback_name(host_name(headers.get("host", ""))):
            return HTTPStatus.MISDIRECTED_REQUEST, "expected a name of this machine in Host, as 127.0.0.1"
        if (reason := foreign(headers, origins=frozenset())) is not None:
            return HTTPStatus.FORBIDDEN, reason
        return None
