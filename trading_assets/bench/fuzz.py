"""The embedded exchange under the requests of `hostile`, without sockets: what an answer must be and may change.

No answer is a 5xx, every one is Bybit's envelope or a plain 403 or 404, none takes long, and one that refuses
changes nothing in the account.
"""

from __future__ import annotations

import asyncio
import json
import pickle
import time
from collections.abc import MutableMapping
from dataclasses import asdict, dataclass, field
from typing import Any

from trading_assets.bench.fuzz_inputs import FuzzedRequest, RequestMaker
from trading_assets.simulator.account.state import AccountState
from trading_assets.simulator.clock import ClockMode, ClockSpec
from trading_assets.simulator.market.base import Market
from trading_assets.simulator.market.seeded import SeededMarket
from trading_assets.simulator.protocol import Scope
from trading_assets.simulator.server import ROUTES, ExchangeServer, ServeConfig, application

START_MS = 1_772_413_200_000
"""2026-03-02 01:00 UTC, where the market of the seed is in full swing."""

REQUESTS_PER_ACCOUNT = 500
"""Then a new account begins, so that what is compared stays small."""

MINUTES_BETWEEN = 7
LONGEST_S = 5.0
"""Of processor time: what other programs do meanwhile is nobody's fault here."""

MAX_FINDINGS = 20
PLAIN_REFUSALS = frozenset({403, 404})


@dataclass(frozen=True)
class Finding:
    """A request that broke a promise."""

    what: str
    request: str


@dataclass
class FuzzReport:
    """What a run has seen; `codes` counts the answers by `retCode` (or by HTTP status, where there is no envelope)."""

    requests: int = 0
    accepted: int = 0
    refused: int = 0
    seconds: float = 0.0
    slowest_ms: float = 0.0
    codes: dict[str, int] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class _Reply:
    status: int
    body: bytes


def run_fuzz(count: int, seed: int, market: Market | None = None) -> FuzzReport:
    """Send `count` requests that follow from `seed`; ends early after `MAX_FINDINGS` findings."""
    return asyncio.run(_run(count, seed, market or SeededMarket(7, 5)))


async def _run(count: int, seed: int, market: Market) -> FuzzReport:
    report = FuzzReport()
    began = time.perf_counter()
    maker = RequestMaker(ROUTES, seed)
    while report.requests < count and len(report.findings) < MAX_FINDINGS:
        server = ExchangeServer(ServeConfig(clock=ClockSpec(ClockMode.MANUAL, START_MS)), market)
        try:
            await _one_account(server, maker, min(count - report.requests, REQUESTS_PER_ACCOUNT), report)
        finally:
            server.close()
    report.seconds = round(time.perf_counter() - began, 3)
    return report


async def _one_account(server: ExchangeServer, maker: RequestMaker, count: int, report: FuzzReport) -> None:
    app = application(server)
    venue = server.venue
    before = _picture(venue.engine.state)
    for number in range(1, count + 1):
        if number % 50 == 0:
            venue.advance(lambda now: now + MINUTES_BETWEEN * 60_000)
            before = _picture(venue.engine.state)
        request = maker.request(venue.clock.now_ms())
        report.requests += 1
        started = time.process_time()
        try:
            reply = await _send(app, request)
        except Exception as error:  # noqa: BLE001 (whatever escapes is what is looked for)
            report.findings.append(Finding(f"{type(error).__name__}: {error}", str(request)))
            before = _picture(venue.engine.state)
            continue
        took_s = time.process_time() - started
        report.slowest_ms = max(report.slowest_ms, round(took_s * 1000, 3))
        after = _picture(venue.engine.state)
        code = _judge(reply, maker)
        report.codes[code] = report.codes.get(code, 0) + 1
        report.accepted += code == "0"
        report.refused += code != "0"
        promises = (
            (f"an answer that is no envelope, HTTP {reply.status}", code == "none"),
            (f"HTTP {reply.status}, retCode {code}", reply.status >= 500 or code == "10016"),
            (f"{took_s:.1f} s of CPU for an answer", took_s > LONGEST_S),
            (f"the account changed although retCode is {code}", code != "0" and after != before),
            (f"the account changed by {request.method}", request.method != "POST" and after != before),
        )
        report.findings += [Finding(what, str(request)) for what, broken in promises if broken][:1]
        before = after


def _judge(reply: _Reply, maker: RequestMaker) -> str:
    """The `retCode`; the status of a plain refusal; "none" when it is neither."""
    try:
        envelope = json.loads(reply.body)
        result, code = envelope["result"], int(envelope["retCode"])
    except (ValueError, KeyError, TypeError):
        return f"HTTP {reply.status}" if reply.status in PLAIN_REFUSALS else "none"
    for name in ("orderId", "orderLinkId", "nextPageCursor"):
        maker.remember(str(result.get(name, "")))
    return str(code)


async def _send(app: Any, request: FuzzedRequest) -> _Reply:
    """One request through the ASGI application."""
    status, parts = 0, []
    given = [{"type": "http.request", "body": request.body, "more_body": False}]

    async def receive() -> MutableMapping[str, Any]:
        return given.pop() if given else {"type": "http.disconnect"}

    async def send(message: MutableMapping[str, Any]) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]
        else:
            parts.append(message.get("body", b""))

    await app(_scope(request), receive, send)
    return _Reply(status, b"".join(parts))


def _scope(request: FuzzedRequest) -> Scope:
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": request.method,
        "scheme": "http",
        "path": request.path,
        "raw_path": request.path.encode(),
        "query_string": request.query,
        "root_path": "",
        # A client always names the host that it has reached.
        "headers": [(b"host", b"127.0.0.1:80"), *request.headers],
        "client": ("127.0.0.1", 50_000),
        "server": ("127.0.0.1", 80),
    }


def _picture(state: AccountState) -> bytes:
    """Everything in the account, to be compared with another moment's."""
    return pickle.dumps(
        (state.header, state.orders, state.positions, state.balances, state.executions, state.closed, state.links)
    )
