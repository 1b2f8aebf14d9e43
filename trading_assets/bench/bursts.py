"""From a closed candle to accepted orders, stage by stage, where a given number of signals come at one close.

A session trades in a process of its own, without Dagster's daemon beside it; `latency` measures it with the daemon.
When the exchange has accepted an order, it says itself; the stages before that the session's process notes.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trading_assets.bench.burst_process import CALL, DECIDED, HEARD, RESERVED, SENT, STAGES_FILE
from trading_assets.bench.harness import delay_requests, measured_settings, select, serving
from trading_assets.chaos.session_process import IS_TRADING, SessionProcess, start_session
from trading_assets.chaos.signal_source import EAGER, NEVER
from trading_assets.core.errors import ExchangeError, ExchangeUnavailableError
from trading_assets.core.models import OrderRequest
from trading_assets.core.ports import Exchange
from trading_assets.core.settings import Settings
from trading_assets.core.timeframes import Timeframe
from trading_assets.ledger import orders, signals
from trading_assets.ledger.database import Database
from trading_assets.venues import open_exchange

STRATEGY, TIMEFRAME = "bollinger_rsi", Timeframe.M1
STAGES = ("heard", "decided", "reserved", "sent", "accepted")
PATIENCE_S = 900.0
BEGIN_WITHIN_S = 180.0
POLL_S = 0.1
CALM_S = 1.2
"""An exchange with limits counts requests of the last second: those that closed positions are forgotten then."""

FIRST = 10
"""Under a venue's limits so many orders are looked at by themselves."""

WHOLE = 0.6
"""A close counts that gave at least so many of its signals: not where positions were still being closed."""

SPREAD_OF_CONFIDENCE = 30
CLOCK_TRIES = 20
CREATES = frozenset({"place_order", "place_orders"})
BESIDE_THE_ORDERS = frozenset({"venue-clock", "venue-ask", "venue-knock", "books", "exits", "reads", "leverages"})
"""Threads of a session for whose requests no order waits. What they begin side by side is counted all the same."""

ASKS_NOBODY = frozenset(
    {"clock_offset_ms", "can_connect", "repeat_reads", "order_ids", "close", "market", "orders_at_once"}
)


@dataclass(frozen=True)
class Share:
    """Seconds of the machine."""

    p50_s: float
    p99_s: float


@dataclass(frozen=True)
class Burst:
    """Closes that give about `signals` signals each.

    Attributes:
        delay_ms: added to each request.
        limits: whether the exchange has Bybit's limits.
        orders: accepted orders, of `closes` closes; `per_close` of them at each, the median.
        stages: seconds from the candle's end until an order came so far.
        first_orders: seconds until the first ten orders of a close were accepted.
        most_confident_first: share of the pairs of orders of a close that came in the order of their confidence.
        serial_requests: of a close, one after the other before the first create: the median, and the most.
        serial_names: what was asked, by how many closes had it.
        load: of the machine over the last minute, when it ended.
    """

    signals: int
    symbols: int
    delay_ms: int
    limits: bool
    speed: float
    closes: int
    orders: int
    per_close: int
    stages: Mapping[str, Share]
    first_orders: Share
    most_confident_first: float
    serial_requests: tuple[int, int]
    serial_names: Mapping[str, int]
    load: float


@dataclass(frozen=True)
class _Order:
    signal_id: str
    close_ms: int
    confidence: float
    accepted_ms: int


def measure_burst(
    symbols: int,
    count: int,
    closes: int,
    speed: float,
    delay_ms: int,
    say: Callable[[str], None],
    *,
    limits: bool,
) -> Burst:
    """Measure closes of `symbols` coins of which `count` give a signal.

    Args:
        speed: seconds of market for each second.
        delay_ms: added to each request.
        limits: the exchange has Bybit's limits.

    Raises:
        ExchangeUnavailableError: exchange or session do not start, or too few closes come.
    """
    say(f"{count} signals a close: starting exchange and session")
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name,
        serving(Path(name), measured_settings("session", symbols=symbols), speed=speed, limits=limits) as (
            settings,
            url,
        ),
    ):
        folder = Path(name)
        database, exchange = Database(settings.resolved_database_url), open_exchange(settings)
        select(database, exchange, settings, _parameters(symbols, count), TIMEFRAME, STRATEGY)
        clock = _Clock.of(exchange, speed)
        if delay_ms:
            delay_requests(url, delay_ms)
        session = start_session(folder, dict(os.environ), module="trading_assets.bench.burst_process")
        try:
            _wait_for_session(session, folder)
            began_ms = exchange.now_ms() + TIMEFRAME.ms
            found = _gather(database, exchange, settings, began_ms, count, closes, say)
        finally:
            session.stop()
        notes = [json.loads(line) for line in (folder / STAGES_FILE).read_text().splitlines() if line.endswith("}")]
        exchange.close()
        database.close()
    return _burst(found, notes, clock, Burst, symbols, count, delay_ms, limits=limits)


def _parameters(symbols: int, count: int) -> list[str]:
    """Those that enter have different confidence, so that their order shows."""
    eager = json.loads(EAGER)
    some = [
        json.dumps(
            {**eager, "stop_atr": 20.0, "base_confidence": 60 + (number * 7) % SPREAD_OF_CONFIDENCE, "extreme_bonus": 0}
        )
        for number in range(count)
    ]
    return some + [NEVER] * (symbols - count)


@dataclass(frozen=True)
class _Clock:
    """The exchange's time as a moment of this machine."""

    market_ms: float
    wall_ns: int
    speed: float

    @classmethod
    def of(cls, exchange: Exchange, speed: float) -> _Clock:
        tries = []
        for _ in range(CLOCK_TRIES):
            before = time.time_ns()
            market_ms = exchange.now_ms()
            after = time.time_ns()
            tries.append((after - before, (before + after) // 2, market_ms))
        _, wall_ns, found_ms = min(tries)
        return cls(found_ms + 0.5, wall_ns, speed)

    def seconds_after(self, close_ms: int, at_ns: int) -> float:
        """Seconds of the machine from a close until then."""
        return (at_ns - self.wall_ns) / 1e9 - (close_ms - self.market_ms) / 1000 / self.speed


def _wait_for_session(session: SessionProcess, folder: Path) -> None:
    deadline = time.monotonic() + BEGIN_WITHIN_S
    while session.says(IS_TRADING) is None:
        if time.monotonic() > deadline or session.process.poll() is not None:
            tail = (folder / "session.log").read_text(errors="replace")[-2000:]
            raise ExchangeUnavailableError(f"the session does not trade:\n{tail}")
        time.sleep(POLL_S)


def _gather(
    database: Database,
    exchange: Exchange,
    settings: Settings,
    began_ms: int,
    count: int,
    closes: int,
    say: Callable[[str], None],
) -> dict[int, list[_Order]]:
    """Accepted orders by close, of as many closes as are wanted."""
    found: dict[int, list[_Order]] = {}
    seen: set[str] = set()
    deadline = time.monotonic() + PATIENCE_S
    while sum(len(one) >= WHOLE * count for one in found.values()) < closes:
        if time.monotonic() > deadline:
            raise ExchangeUnavailableError(f"{len(found)} of {closes} closes came within {PATIENCE_S:.0f} s")
        _settle(database, settings)
        rows = signals.since(database, settings.account, began_ms)
        for row in rows[rows["status"] == signals.EXECUTED].to_dict("records"):
            if str(row["signal_id"]) in seen or int(row["signal_timestamp_ms"]) < began_ms:
                continue
            seen.add(str(row["signal_id"]))
            order = exchange.find_order(str(row["symbol"]), str(row["order_link_id"]))
            if order is not None:
                close_ms = int(row["signal_timestamp_ms"])
                one = _Order(str(row["signal_id"]), close_ms, float(row["confidence"]), order.created_ms)
                found.setdefault(close_ms, []).append(one)
        _close_all(exchange)
        _until_free(database, settings)
        time.sleep(CALM_S)
        say(f"{count} signals a close: {len(found)} closes, {sum(map(len, found.values()))} orders")
    return {close: some for close, some in found.items() if len(some) >= WHOLE * count}


def _settle(database: Database, settings: Settings) -> None:
    """Until positions are open and nothing is on its way any more, or for as long as a few candles take."""
    deadline, calm = time.monotonic() + 60.0, 0
    while time.monotonic() < deadline and calm < 3:
        busy = orders.unresolved(database, settings.account) or len(signals.active(database, settings.account))
        calm = calm + 1 if not busy and orders.occupying(database, settings.account) else 0
        time.sleep(POLL_S)


def _close_all(exchange: Exchange) -> None:
    deadline = time.monotonic() + 60.0
    while time.monotonic() < deadline:
        try:
            held = exchange.positions()
            if not held:
                return
            now_ms = exchange.now_ms()
            exchange.place_orders(
                [
                    OrderRequest(
                        one.symbol, one.side.opposite, one.size, f"bench-{one.symbol}-{now_ms}"[:36], reduce_only=True
                    )
                    for one in held
                ]
            )
        except ExchangeError:
            time.sleep(POLL_S)


def _until_free(database: Database, settings: Settings) -> None:
    """Until the session has booked that the positions are closed."""
    deadline = time.monotonic() + 60.0
    while time.monotonic() < deadline and orders.occupying(database, settings.account):
        time.sleep(POLL_S)


def _burst(
    found: Mapping[int, Sequence[_Order]],
    notes: Sequence[Mapping[str, Any]],
    clock: _Clock,
    make: type[Burst],
    symbols: int,
    count: int,
    delay_ms: int,
    *,
    limits: bool,
) -> Burst:
    heard: dict[int, list[int]] = defaultdict(list)
    staged: dict[tuple[str, str], int] = {}
    for note in notes:
        if note["what"] == HEARD:
            heard[note["close_ms"]].append(note["at_ns"])
        elif note["what"] in (DECIDED, RESERVED, SENT):
            staged.setdefault((note["what"], note["signal_id"]), note["at_ns"])
    calls = [
        note
        for note in notes
        if note["what"] == CALL and note["name"] not in ASKS_NOBODY and note["thread"] not in BESIDE_THE_ORDERS
    ]
    taken: dict[str, list[float]] = {name: [] for name in STAGES}
    firsts, pairs, chains, names = list[float](), list[bool](), list[int](), Counter[str]()
    for close_ms, some in found.items():
        accepted = sorted((one.accepted_ms - close_ms) / 1000 / clock.speed for one in some)
        taken["accepted"] += accepted
        firsts += accepted[:FIRST]
        came = sorted(some, key=lambda one: one.accepted_ms)
        for number, one in enumerate(came):
            pairs += [
                one.confidence >= other.confidence
                for other in came[number + 1 :]
                if one.confidence != other.confidence and one.accepted_ms != other.accepted_ms
            ]
        first_heard = min(heard.get(close_ms, [0]))
        if heard.get(close_ms):
            taken["heard"].append(clock.seconds_after(close_ms, max(heard[close_ms][:symbols])))
        for what, name in ((DECIDED, "decided"), (RESERVED, "reserved"), (SENT, "sent")):
            taken[name] += [
                clock.seconds_after(close_ms, staged[what, one.signal_id])
                for one in some
                if (what, one.signal_id) in staged
            ]
        creates = [
            call["began_ns"] for call in calls if call["name"] in CREATES and call["began_ns"] >= first_heard > 0
        ]
        if creates:
            chain = _chain(calls, first_heard, min(creates))
            chains.append(len(chain))
            names.update(set(chain))
    ordered = sorted(chains) or [0]
    return make(
        signals=count,
        symbols=symbols,
        delay_ms=delay_ms,
        limits=limits,
        speed=clock.speed,
        closes=len(found),
        orders=len(taken["accepted"]),
        per_close=sorted(map(len, found.values()))[len(found) // 2],
        stages={name: _share(seconds) for name, seconds in taken.items() if seconds},
        first_orders=_share(firsts),
        most_confident_first=round(sum(pairs) / len(pairs), 3) if pairs else 1.0,
        serial_requests=(ordered[len(ordered) // 2], ordered[-1]),
        serial_names=dict(names.most_common()),
        load=round(os.getloadavg()[0], 1),
    )


def _chain(calls: Iterable[Mapping[str, Any]], from_ns: int, until_ns: int) -> list[str]:
    """Names of the longest row of requests that followed each other within this time, each begun after the last."""
    found, free_ns = list[str](), from_ns
    for call in sorted(calls, key=lambda call: int(call["ended_ns"])):
        if call["began_ns"] >= free_ns and call["ended_ns"] <= until_ns:
            found.append(str(call["name"]))
            free_ns = call["ended_ns"]
    return found


def _share(seconds: Iterable[float]) -> Share:
    ordered = sorted(seconds)
    p50, p99 = (ordered[min(int(len(ordered) * part), len(ordered) - 1)] for part in (0.5, 0.99))
    return Share(round(p50, 3), round(p99, 3))
