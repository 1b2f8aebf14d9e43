"""How soon an order follows its candle, through Dagster's real daemon, and how soon a fill is in the books.

A latency is what the exchange itself says: when it accepted the order, less when the candle ended. A market in haste
gives candles sooner; what it adds to the load is in the figures, which are seconds of the machine.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from typing import Any

import psutil
import sqlalchemy as sa

from trading_assets.bench.bursts import Burst, measure_burst
from trading_assets.bench.hanging import hanging_channel
from trading_assets.bench.harness import Harness, installed
from trading_assets.bench.idle import QUIET
from trading_assets.chaos.signal_source import EAGER
from trading_assets.core.errors import ExchangeError, ExchangeUnavailableError, TradingAssetsError
from trading_assets.core.models import OrderRequest, Side
from trading_assets.core.timeframes import Timeframe
from trading_assets.ledger import orders, signals, tables
from trading_assets.trading.context import ExecutionContext
from trading_assets.trading.reconcile.reconciler import reconcile
from trading_assets.trading.session.lease import trader_of

TIMEFRAME = Timeframe.M1
PATIENCE_S = 900.0
BEGIN_WITHIN_S = 120.0
POLL_S = 0.25
WARM_FILLS = 2
BOOKED_WITHIN_S, BOOKS_POLL_S = 120.0, 0.01


@dataclass(frozen=True)
class Latency:
    """From a candle's end to its order's acceptance, seconds of the machine.

    Attributes:
        speed: seconds of market for each second.
    """

    mode: str
    speed: float
    samples: int
    p50_s: float
    p90_s: float
    p99_s: float
    max_s: float


@dataclass(frozen=True)
class BesideAChannel:
    """Session mode without a channel, and beside one that takes connections and never answers, at the same time.

    Attributes:
        ratios: with the channel to without it, of p50, p90 and p99.
        tries: how often a message was begun to be sent to it.
    """

    without: Latency
    hanging: Latency
    ratios: tuple[float, float, float]
    tries: int


@dataclass(frozen=True)
class Books:
    """From sending an order by hand, which fills at once, to its row in the ledger, seconds. No job reads the books."""

    fills: int
    p50_s: float
    p90_s: float
    p99_s: float
    max_s: float


@dataclass(frozen=True)
class LatencyReport:
    cores: int
    symbols: int
    bursts: tuple[Burst, ...]
    latencies: tuple[Latency, ...]
    books: Books | None
    beside_a_channel: BesideAChannel | None

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def measure_latency(
    symbols: int,
    samples: int,
    once_samples: int,
    fills: int,
    speed: float,
    say: Callable[[str], None],
    *,
    beside_a_channel: bool = False,
    bursts: Sequence[int] = (),
    closes: int = 0,
    delay_ms: int = 0,
    limits: bool = True,
) -> LatencyReport:
    """Measure bursts, session mode, once mode, and fills, each in an installation of its own. 0 leaves
    one out.

    Args:
        bursts: signals a close, each number by itself, over so many `closes`.
        delay_ms: added to each request of bursts, session mode and once mode.
        limits: their exchange has Bybit's limits.
        beside_a_channel: session mode is measured without a channel and beside one that hangs, at the same time.

    Raises:
        ExchangeUnavailableError: a part does not start, or the samples do not come.
    """
    far = _Far(delay_ms, limits)
    measured = tuple(
        measure_burst(symbols, count, closes, speed, delay_ms, say, limits=limits) for count in bursts if closes
    )
    found, beside = [], None
    if samples and beside_a_channel:
        beside = _measure_beside_a_channel(symbols, samples, speed, say)
    elif samples:
        found.append(_measure("session", symbols, samples, speed, say, far))
    if once_samples:
        # A run takes seconds: in greater haste its candle would be a different one by then.
        found.append(_measure("once", symbols, once_samples, min(speed, 3.0), say, far))
    books = _measure_books(symbols, fills, say) if fills else None
    return LatencyReport(psutil.cpu_count() or 1, symbols, measured, tuple(found), books, beside)


@dataclass(frozen=True)
class _Far:
    """How far away the exchange is, and whether it has limits."""

    delay_ms: int = 0
    limits: bool = False


def _measure(mode: str, symbols: int, samples: int, speed: float, say: Callable[[str], None], far: _Far) -> Latency:
    say(f"{mode}: starting exchange and daemon")
    with _entering(mode, symbols, speed, far=far) as harness:
        return _latency(mode, mode, harness, samples, say)


def _entering(
    mode: str, symbols: int, speed: float, notify_url: str = "", far: _Far = _Far()
) -> AbstractContextManager[Harness]:
    return installed(
        symbols=symbols,
        timeframe=TIMEFRAME,
        strategy="bollinger_rsi",
        parameters=EAGER,
        mode=mode,
        speed=speed,
        notify_url=notify_url,
        delay_ms=far.delay_ms,
        limits=far.limits,
    )


def _measure_beside_a_channel(symbols: int, samples: int, speed: float, say: Callable[[str], None]) -> BesideAChannel:
    """Two installations at the same time, so that what else the machine does falls on both alike.

    Raises:
        ExchangeUnavailableError: nothing was sent to the channel, so that nothing was measured.
    """
    say("session, without a channel and beside one that hangs: starting exchanges and daemons")
    with (
        hanging_channel() as channel,
        _entering("session", symbols, speed) as plain,
        _entering("session", symbols, speed, channel.url) as told,
        ThreadPoolExecutor(2) as threads,
    ):
        measured = [
            threads.submit(_latency, name, "session", harness, samples, say)
            for name, harness in (("session", plain), ("session, a channel hangs", told))
        ]
        without, hanging = (one.result() for one in measured)
    if not channel.tries:
        raise ExchangeUnavailableError("no message was sent to the channel that hangs: nothing is measured")
    pairs = ((hanging.p50_s, without.p50_s), (hanging.p90_s, without.p90_s), (hanging.p99_s, without.p99_s))
    p50, p90, p99 = (round(a / b, 2) for a, b in pairs)
    return BesideAChannel(without, hanging, (p50, p90, p99), channel.tries)


def _latency(name: str, mode: str, harness: Harness, samples: int, say: Callable[[str], None]) -> Latency:
    """From the candle's end to its order's acceptance, of at least `samples` orders."""
    began_ms = _wait_for_trading(harness, mode)
    taken: dict[str, float] = {}
    deadline = time.monotonic() + PATIENCE_S
    while len(taken) < samples:
        if time.monotonic() > deadline:
            raise ExchangeUnavailableError(f"{len(taken)} of {samples} orders came within {PATIENCE_S:.0f} s")
        _wait_for_orders(harness)
        _collect(harness, began_ms, taken)
        say(f"{name}: {len(taken)} of {samples} orders")
        _clear(harness)
    return Latency(name, harness.speed, len(taken), *_shares(taken.values()))


def _shares(seconds: Iterable[float]) -> tuple[float, float, float, float]:
    """p50, p90, p99 and the slowest."""
    ordered = sorted(seconds)
    p50, p90, p99 = (ordered[min(int(len(ordered) * part), len(ordered) - 1)] for part in (0.5, 0.9, 0.99))
    return round(p50, 3), round(p90, 3), round(p99, 3), round(ordered[-1], 3)


def _wait_for_trading(harness: Harness, mode: str) -> int:
    """The venue's time from which candles count: those before the first run's start had to wait for it."""
    deadline = time.monotonic() + BEGIN_WITHIN_S
    account = harness.settings.account
    while time.monotonic() < deadline:
        trader = trader_of(harness.database, account, wall_ms=time.time_ns() // 1_000_000)
        if (trader is not None and trader.serves) or (
            mode == "once" and len(signals.since(harness.database, account, 0))
        ):
            return harness.exchange.now_ms() + TIMEFRAME.ms
        time.sleep(POLL_S)
    raise ExchangeUnavailableError(f"nothing traded within {BEGIN_WITHIN_S:.0f} s after the daemon's start")


def _wait_for_orders(harness: Harness) -> None:
    """Until positions are open and nothing is on its way any more, or two candles have passed without any."""
    account = harness.settings.account
    deadline = time.monotonic() + 2 * TIMEFRAME.ms / 1000 / harness.speed + 10
    calm = 0
    while time.monotonic() < deadline and calm < 4:
        busy = orders.unresolved(harness.database, account) or len(signals.active(harness.database, account))
        calm = calm + 1 if not busy and orders.occupying(harness.database, account) else 0
        time.sleep(POLL_S)


def _collect(harness: Harness, began_ms: int, taken: dict[str, float]) -> None:
    found = signals.since(harness.database, harness.settings.account, began_ms)
    executed = found[found["status"] == signals.EXECUTED]
    for row in executed.to_dict("records"):
        link, closed_ms = str(row["order_link_id"]), int(row["signal_timestamp_ms"])
        if link in taken or closed_ms < began_ms:
            continue
        order = harness.exchange.find_order(str(row["symbol"]), link)
        if order is not None:
            taken[link] = (order.created_ms - closed_ms) / 1000 / harness.speed


def _clear(harness: Harness) -> None:
    """Close every position and book it, so that the coins can be entered again two candles later."""
    for position in harness.exchange.positions():
        link = f"bench-{position.symbol}-{harness.exchange.now_ms()}"[:36]
        request = OrderRequest(position.symbol, position.side.opposite, position.size, link, reduce_only=True)
        try:
            harness.exchange.place_order(request)
        except ExchangeError:
            continue  # its own stop was quicker
    try:
        reconcile(ExecutionContext(harness.database, harness.exchange, harness.settings))
    except TradingAssetsError:
        return  # the next round books it


def _measure_books(symbols: int, fills: int, say: Callable[[str], None]) -> Books:
    """A person opens and closes a position, at moments that follow no clock; the session's stream tells of it."""
    say("books: starting exchange and daemon")
    parameters, timeframe, strategy = QUIET
    with installed(
        symbols=symbols, timeframe=timeframe, strategy=strategy, parameters=parameters, mode="session", speed=1.0
    ) as harness:
        _wait_for_trading(harness, "session")
        exchange, chance = harness.exchange, random.Random(1)
        symbol = harness.settings.symbols.btc
        qty = next(one.min_qty for one in exchange.instruments() if one.symbol == symbol)
        taken: list[float] = []
        for number in range(fills + WARM_FILLS):
            side, closes = (Side.BUY, False) if number % 2 == 0 else (Side.SELL, True)
            link = f"bench-books-{number}"
            time.sleep(chance.uniform(0.2, 2.0))
            began = time.monotonic()
            order_id = exchange.place_order(OrderRequest(symbol, side, qty, link, reduce_only=closes)).order_id
            while not _is_booked(harness, order_id):
                if time.monotonic() - began > BOOKED_WITHIN_S:
                    raise ExchangeUnavailableError(f"a fill was not in the books within {BOOKED_WITHIN_S:.0f} s")
                time.sleep(BOOKS_POLL_S)
            if number >= WARM_FILLS:  # the stream begins after the first comparison
                taken.append(time.monotonic() - began)
        return Books(len(taken), *_shares(taken))


def _is_booked(harness: Harness, order_id: str) -> bool:
    with harness.database.read() as connection:
        return bool(
            connection.execute(sa.select(tables.fills.c.exec_id).where(tables.fills.c.order_id == order_id)).first()
        )
