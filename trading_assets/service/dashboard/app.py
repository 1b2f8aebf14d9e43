"""The web application of the live page: its files, what changes, charts, explanations, and two commands.

Who may read and who may command, `service.guard` judges first. Nothing is changed without the token of the settings.
"""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import AsyncIterator, Callable
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, Response, StreamingResponse
from starlette.routing import Route

from trading_assets.core.errors import DataError, TradingAssetsError
from trading_assets.core.foreign_text import plain
from trading_assets.core.messages import Notify
from trading_assets.core.settings import DASHBOARD_PORT, Settings
from trading_assets.core.timeframes import Timeframe
from trading_assets.ledger.database import Database
from trading_assets.reporting import trade_chart
from trading_assets.service import guard
from trading_assets.service.actions import Operator
from trading_assets.service.chat_commands import Role, perform
from trading_assets.service.dashboard.charts import Charts
from trading_assets.service.dashboard.reader import Reader
from trading_assets.service.guard import Application, Refusal, Rules, Scope, origins_of, ui_token
from trading_assets.service.web_server import WebServer
from trading_assets.trading import explain

STATIC = Path(__file__).with_name("static")
LIBRARY = trade_chart.STATIC
"""Where the charts' library is, with its licence: the pages of backtests have it in them, too."""

FILES = {
    "/": ("index.html", "text/html"),
    "/explain": ("explain.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
    "/draw.js": ("draw.js", "text/javascript"),
    "/explain.js": ("explain.js", "text/javascript"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
    "/lightweight-charts.js": ("lightweight-charts.js", "text/javascript"),
    "/licences": ("lightweight-charts.NOTICE", "text/plain"),
}

CHART_STYLE = "'sha256-3pRED1tOXas1FXFoPb9TGCjmYe9XQsmO9OV23khV2nY='"
"""Of the one style element that the chart library makes, for its link to its authors; a test computes it anew."""

POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        f"style-src 'self' {CHART_STYLE}",
        "img-src 'self' data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)

ALIVE_EVERY_S = 15.0
RETRY_MS = 1000
MOST_BODY = 2000
COMMANDS = ("halt", "close")
FOREIGN_TIMEFRAME = Timeframe.M15
"""Of the chart of a position that no signal of ours has opened."""

_CONFIRMS = re.compile(r"close:[A-Z0-9-]{2,24}:[A-Z0-9-]{1,20}:[A-Za-z0-9_-]{1,32}")
_ACTOR = "x-trading-assets-actor"


class PageGuard(guard.Guard):
    """The guard that knows the page's commands."""

    cookie, purpose = "trading_assets_page", b"cookie of the live page"
    settings_of_address = "TRADING_ASSETS_DASHBOARD_URL, or an IP address"
    how_to_log_in = (
        "it is the setting TRADING_ASSETS_DASHBOARD_TOKEN; where there is none, what trading-assets web --show-token "
        "prints"
    )
    actor_header = _ACTOR
    shown_as = "live page"

    def judge(self, scope: Scope, headers: dict[str, str], path: str) -> None:
        """See `guard.Guard`. A command needs the token, and a page's leave that no foreign page can have."""
        if scope["type"] != "http" or scope["method"] in ("GET", "HEAD") or path == guard.LOGIN:
            return
        if scope["method"] != "POST":
            raise Refusal(HTTPStatus.METHOD_NOT_ALLOWED, "a command is sent by POST")
        if headers.get("content-type") != "application/json":
            raise Refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "a command is sent with Content-Type: application/json")
        if "origin" not in headers and "authorization" not in headers:
            raise Refusal(HTTPStatus.FORBIDDEN, "a command comes from this page, or with the token as a bearer")
        if not self.has_token(headers):
            raise Refusal(HTTPStatus.UNAUTHORIZED, f"commands need the token; {self.how_to_log_in}")


class Page:
    """What the routes answer."""

    def __init__(
        self,
        settings: Settings,
        open_ledger: Callable[[], Database],
        reader: Reader,
        tell: Notify | None,
        has_token: Callable[[dict[str, str]], bool],
    ) -> None:
        self._settings, self._open_ledger, self._reader, self._tell = settings, open_ledger, reader, tell
        self._has_token = has_token
        self._charts: dict[str, Charts] = {}
        self._drawing = threading.Lock()

    @property
    def may_act(self) -> bool:
        """Whether commands are on at all."""
        return self._settings.dashboard_token is not None and self._tell is not None

    def routes(self) -> list[Route]:
        """All of them."""
        files = [Route(path, partial(_file, *what), methods=["GET"]) for path, what in FILES.items()]
        return [
            *files,
            Route("/events", self.events, methods=["GET"]),
            Route("/api/chart", self.chart, methods=["GET"]),
            Route("/api/explain", self.explain, methods=["GET"]),
            Route("/chart", self.trades, methods=["GET"]),
            Route("/api/page", self.about, methods=["GET"]),
            Route("/api/command", self.command, methods=["POST"]),
        ]

    async def about(self, request: Request) -> Response:
        """What does not change while the server runs, and whether this browser may command."""
        has_token = self.may_act and self._has_token(dict(request.headers.items()))
        return _json({"ui": self._settings.ui_url, "may_act": self.may_act, "has_token": has_token})

    async def events(self, _request: Request) -> Response:
        """Everything at first, then what changes, as server-sent events, until the browser leaves."""
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        return StreamingResponse(self._events(), media_type="text/event-stream", headers=headers)

    async def _events(self) -> AsyncIterator[bytes]:
        yield f"retry: {RETRY_MS}\n\n".encode()
        with self._reader.watching() as watcher:
            while not self._reader.has_ended:
                for kind, content in self._reader.news(watcher):
                    yield b"event: " + kind.encode() + b"\ndata: " + content + b"\n\n"
                try:
                    await asyncio.wait_for(watcher.changed.wait(), ALIVE_EVERY_S)
                    watcher.changed.clear()
                except TimeoutError:
                    yield b": alive\n\n"

    async def chart(self, request: Request) -> Response:
        """The candles of an open position, and where it was opened."""
        account, symbol = request.query_params.get("account", ""), request.query_params.get("symbol", "")
        return await _answered(self._chart, account, symbol)

    def _chart(self, account: str, symbol: str) -> Any:
        found = self._reader.position(account, symbol)
        if found is None:
            raise DataError(f"account {account!r} has no open position in {symbol!r}")
        reading, position = found
        timeframe = FOREIGN_TIMEFRAME if position["timeframe"] is None else Timeframe(position["timeframe"])
        charts = self._charts.setdefault(reading.account, Charts(reading.settings))
        candles = charts.candles(symbol, timeframe, reading.venue_now_ms, asks=bool(reading.trader))
        return {"timeframe": timeframe.value, "seconds": timeframe.ms // 1000, "candles": candles}

    async def explain(self, request: Request) -> Response:
        """An order followed back to its candles."""
        return await _answered(self._explain, request.query_params.get("order", "")[:300])

    def _explain(self, order: str) -> Any:
        links = explain.Links(self._settings.ui_url)
        found = explain.explain(self._open_ledger(), order, links, self._settings.symbols.btc)
        told = explain.plain(found)
        for step in told["steps"]:
            step.pop("values", None)
        return told

    async def trades(self, request: Request) -> Response:
        """An order, a signal or a selection on its candles, as a page of its own."""
        try:
            page = await run_in_threadpool(self._drawn, request.query_params.get("what", "")[:300])
        except DataError as error:
            return _text(plain(error), HTTPStatus.NOT_FOUND)
        except TradingAssetsError as error:
            return _text(plain(error), HTTPStatus.SERVICE_UNAVAILABLE)
        headers = {"cache-control": "no-store", "content-security-policy": f"{page.policy}; frame-ancestors 'none'"}
        return Response(page.html, headers=headers, media_type="text/html")

    def _drawn(self, what: str) -> trade_chart.ChartPage:
        """From what is held: nothing is asked of the venue. One at a time: each takes a moment of computing."""
        from trading_assets.ledger.fees import with_own_fees  # noqa: PLC0415
        from trading_assets.market.opening import open_candle_store  # noqa: PLC0415
        from trading_assets.research.decisions import chart  # noqa: PLC0415 (numba: a second)
        from trading_assets.research.sources import Home  # noqa: PLC0415 (as above)

        database, settings = self._open_ledger(), self._settings
        store = open_candle_store(settings)
        with self._drawing:
            return chart(what, source=Home(with_own_fees(settings, database), database, store))

    async def command(self, request: Request) -> Response:
        """Halt, ask to close, or confirm what was asked; the guard has seen the token."""
        if not self.may_act:
            return _json({"text": "This page only shows. Nothing was done."}, HTTPStatus.FORBIDDEN)
        body = await _body(request)
        if body is None:
            return _json({"text": "Expected a JSON object of some texts. Nothing was done."}, HTTPStatus.BAD_REQUEST)
        return await _answered(self._command, body, request.headers.get(_ACTOR, ""))

    def _command(self, body: dict[str, str], actor: str) -> Any:
        assert self._tell is not None
        operator = Operator(self._settings, self._open_ledger(), self._tell, actor, account=body.get("account", ""))
        if (pressed := body.get("confirm", "")) and _CONFIRMS.fullmatch(pressed):
            reply = perform(operator, Role.TRADER, pressed, is_button=True)
        elif body.get("command") in COMMANDS:
            argument = body.get("argument", "") or ("by the live page" if body["command"] == "halt" else "")
            reply = perform(operator, Role.TRADER, f"/{body['command']} {argument}", is_button=False)
        else:
            raise DataError(f"expected one of {', '.join(COMMANDS)}, or the confirmation of one. Nothing was done")
        confirms = next((data for _, data in reply.buttons if _CONFIRMS.fullmatch(data)), None)
        return {"text": reply.text, "did": reply.did, "confirm": confirms}


def dashboard_server(
    settings: Settings, open_ledger: Callable[[], Database], reader: Reader, tell: Notify | None
) -> WebServer:
    """The server of the page, not started yet.

    Args:
        reader: runs already, or will.
        tell: passes messages on to people; None: there are no commands.

    Raises:
        ConfigurationError: its port cannot be had, another machine could ask without a token, or an address is none.
    """
    return WebServer(
        application(settings, open_ledger, reader, tell),
        settings.dashboard_host,
        DASHBOARD_PORT if settings.dashboard_port is None else settings.dashboard_port,
        has_token=settings.dashboard_token is not None,
        prefix="DASHBOARD",
    )


def application(
    settings: Settings, open_ledger: Callable[[], Database], reader: Reader, tell: Notify | None
) -> Application:
    """The ASGI application, guarded."""
    page = Page(settings, open_ledger, reader, tell, lambda headers: guarded.has_token(headers))  # noqa: PLW0108 (made below)
    guarded = PageGuard(Starlette(routes=page.routes()), rules_of(settings))
    return guarded


def rules_of(settings: Settings) -> Rules:
    """Who may read the page."""
    return Rules(
        token=lambda: _token(settings),
        origins=origins_of([settings.dashboard_url] if settings.dashboard_url else [], "the live page"),
        always_token=settings.venue.adapter.is_real_money,
        any_address=True,
    )


def _token(settings: Settings) -> str:
    return ui_token(settings) if settings.dashboard_token is None else settings.dashboard_token.get_secret_value()


async def _answered(answer: Callable[..., Any], *arguments: object) -> Response:
    """What a function answers that may wait; its error in one sentence."""
    try:
        return _json(await run_in_threadpool(answer, *arguments))
    except DataError as error:
        return _json({"text": plain(error), "did": False}, HTTPStatus.NOT_FOUND)
    except TradingAssetsError as error:
        return _json({"text": plain(error), "did": False}, HTTPStatus.SERVICE_UNAVAILABLE)


async def _body(request: Request) -> dict[str, str] | None:
    """The texts of a JSON object; None where it is none, or a long one."""
    parts = b""
    async for part in request.stream():
        parts += part
        if len(parts) > MOST_BODY:
            return None
    try:
        found = orjson.loads(parts)
    except ValueError:
        return None
    if not isinstance(found, dict) or not all(isinstance(one, str) for one in found.values()):
        return None
    return {name: " ".join(value.split()) for name, value in found.items()}


def static_file(name: str) -> Path:
    """Where a file of the page is."""
    return (LIBRARY if name.startswith("lightweight-charts.") else STATIC) / name


async def _file(name: str, media_type: str, _request: Request) -> Response:
    headers = {"content-security-policy": POLICY, "cache-control": "no-cache"}
    return FileResponse(static_file(name), media_type=media_type, headers=headers)


def _text(text: str, status: HTTPStatus) -> Response:
    headers = {"cache-control": "no-store", "content-security-policy": POLICY}
    return Response(f"{text}\n", status, headers, media_type="text/plain")


def _json(content: Any, status: HTTPStatus = HTTPStatus.OK) -> Response:
    headers = {"cache-control": "no-store", "content-security-policy": POLICY}
    return Response(
        orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY), status, headers, media_type="application/json"
    )
