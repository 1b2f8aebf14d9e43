"""Paper trading on a recording: another embedded exchange is in the role of Bybit, its prices get lost, the paper
exchange dies. Afterwards every fill and every stop is compared with the other exchange's candles, and the books with
the account.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import requests

from trading_assets.chaos import planned_exits
from trading_assets.chaos.cuts import end_process, wait_for
from trading_assets.chaos.dca_trial import Pace
from trading_assets.chaos.faults import FaultInjector
from trading_assets.chaos.invariants import compare_all
from trading_assets.chaos.kept_apart import KeptApart
from trading_assets.chaos.machine_stalls import Stalls
from trading_assets.chaos.manual_trader import ManualTrader
from trading_assets.chaos.paper_exits import NARROW, ExitJudge
from trading_assets.chaos.planned_exits import MOST_BACK, ExitKind, PlannedExit
from trading_assets.chaos.session_process import IS_TRADING, SessionProcess, select_coins, start_session
from trading_assets.chaos.signal_source import give_signal, some_wait
from trading_assets.chaos.trial_settings import OPEN_GATES
from trading_assets.core.candles import BoolArray, Candles
from trading_assets.core.configuration import PREFIX
from trading_assets.core.errors import ExchangeError, TradingAssetsError
from trading_assets.core.models import ClosedPnl, ContractKind, Execution, Instrument, Position, Side
from trading_assets.core.ports import Exchange, MarketData
from trading_assets.core.settings import Settings, Venue
from trading_assets.core.timeframes import HOUR_MS, MINUTE_MS, Timeframe, floor_ms
from trading_assets.ledger import exit_decisions, signals
from trading_assets.ledger.database import Database
from trading_assets.ledger.exit_decisions import Planned
from trading_assets.ledger.strategies import seed_registry
from trading_assets.market.loading import load_since
from trading_assets.market.store import CandleStore
from trading_assets.simulator import files
from trading_assets.simulator.launcher import health
from trading_assets.strategies.registry import make_strategy
from trading_assets.trading.context import ExecutionContext
from trading_assets.trading.dca.maintain import maintain as keep_plans
from trading_assets.trading.dca.plans import TAKES_WITHIN
from trading_assets.trading.execute.exit_plans import Asked, follow_exit_plans
from trading_assets.trading.execute.submit import submit_orders
from trading_assets.trading.grid.maintain import maintain as keep_grids
from trading_assets.trading.reconcile.reconciler import reconcile
from trading_assets.venues import open_exchange, open_market_data

DEPOSIT = Decimal(10_000)
COINS = 6
SIGNAL_EVERY_MS = 60_000
FAULT_EVERY_MS = 5 * MINUTE_MS
KEPT_EVERY_MS = 10_000
LOOK_EVERY_S = 0.2
STARTS_WITHIN_S, CATCHES_UP_WITHIN_S = 60.0, 120.0
SPREAD = Decimal("0.002")
TICKS = 10
"""A fill may lie so far outside the candle of its minute: half a spread, and a level or two of the book, which are more
than that share of the price where the tick is coarse."""

STOPS_WITHIN = (0.002, 0.006)
"""Distance of the stops that are given, a fraction of the price: an hour reaches many of them."""

LATE_MS = MINUTE_MS
"""A level that a candle touches is filled in that minute, or so much later; later still where the machine stalled."""

ACTS_WITHIN_S = 10.0
"""Of this machine's time: so long a loaded machine may take to do what a close has made due, or to be back after a
misfortune."""

MISFORTUNES: Mapping[str, Sequence[Mapping[str, Any]]] = {
    "stream silent": [{"where": "ws:*", "silence": True}],
    "stream cut": [{"where": "ws:*", "drop": True}],
    "trades lost": [{"where": "ws:publicTrade.*", "silence": True}],
    "stream late": [{"where": "ws:*", "delay_ms": 1500}],
    "prices refused": [{"where": "GET /v5/market/tickers", "http_status": 502}],
    "rate limit": [{"where": "/v5/market/*", "ret_code": 10006}],
    "nothing answers": [
        {"where": "/v5/*", "html": True},
        {"where": "ws:*", "silence": True},
    ],
    "paper exchange killed": [],
}


@dataclass
class PaperReport:
    """What was lived through, and what was wrong; `broken` is empty where all is well."""

    seed: int
    minutes: float
    speed: float
    seconds: float = 0.0
    entries: int = 0
    closings: dict[str, int] = field(default_factory=dict)
    exits: dict[str, int] = field(default_factory=dict)
    """signals with an exit plan, by its kind"""
    plan_ends: dict[str, int] = field(default_factory=dict)
    """positions with an exit plan, by what has closed them"""
    waits: int = 0
    """signals whose entry was to wait at a price"""
    unprotected: int = 0
    """looks at which a position of a signal had no stop at the exchange"""
    refused: int = 0
    session_starts: int = 0
    misfortunes: dict[str, int] = field(default_factory=dict)
    fills_compared: int = 0
    kept: dict[str, object] = field(default_factory=dict)
    """grids and DCA plans: how many, their orders and fills"""
    entry_slippage_bps_mean: float | None = None
    entry_slippage_bps_worst: float | None = None
    stop_slippage_bps_mean: float | None = None
    stop_slippage_bps_worst: float | None = None
    stops_late: int = 0
    machine_stalled_s: float = 0.0
    equity: str = ""
    broken: list[str] = field(default_factory=list)
    home: str = ""


def run_paper(
    replay: Sequence[Path],
    minutes: float,
    speed: float,
    seed: int,
    tell: Callable[[str], None],
    *,
    start_ms: int | None = None,
    in_session: bool = False,
) -> PaperReport:
    """Trade on paper for `minutes` of a recording at `speed`.

    The temporary home is kept where something is broken.

    Args:
        in_session: a session in a process of its own sends the orders and keeps the books; else this process does.

    Raises:
        ExchangeUnavailableError: an exchange does not start.
    """
    folder = Path(tempfile.mkdtemp(prefix="trading-assets-paper-"))
    report = PaperReport(seed, minutes, speed, home=str(folder))
    with ExitStack() as stack:
        stack.enter_context(planned_exits.known())
        _Paper(folder, replay, report, start_ms, stack, tell, in_session=in_session).run()
    if not report.broken:
        shutil.rmtree(folder, ignore_errors=True)
    return report


class _Paper:
    """One trial."""

    def __init__(
        self,
        folder: Path,
        replay: Sequence[Path],
        report: PaperReport,
        start_ms: int | None,
        stack: ExitStack,
        tell: Callable[[str], None],
        *,
        in_session: bool,
    ) -> None:
        self._folder, self._report, self._tell = folder, report, tell
        self._chance = random.Random(report.seed)
        self._url = self._serve(replay, start_ms, stack)
        self._faults = FaultInjector(self._url)
        values: dict[str, Any] = {
            "home": folder / "home",
            "limits_dir": folder / "limits",
            "venue": Venue.PAPER,
            "paper_market_url": self._url,
            "simulator_deposit": DEPOSIT,
            **OPEN_GATES,
            "max_reconciliation_age_s": 10**6,
        }
        self._settings = Settings(_env_file=None, **values)
        self._database = Database(self._settings.resolved_database_url)
        stack.callback(self._database.close)
        seed_registry(self._database)
        self._source: MarketData = open_market_data(self._settings)
        self._exchange: Exchange = open_exchange(self._settings)
        stack.callback(self._exchange.close)
        stack.callback(self._stop_paper)
        self._context = ExecutionContext(self._database, self._exchange, self._settings)
        listed = self._tradable()
        self._coins, self._ticks = listed[:COINS], {one.symbol: one.tick_size for one in listed}
        self._began_ms = self._exchange.now_ms() - HOUR_MS
        self._asks: dict[str, Decimal] = {}
        self._unmet: list[str] = []
        self._unmet_exits: list[ExitKind | None] = []
        self._asked: Asked = {}
        self._store = CandleStore(self._settings.candle_store, btc=self._settings.symbols.btc)
        self._misfortunes: list[tuple[int, int]] = []
        self._stalls = Stalls()
        stack.enter_context(self._stalls.watched())
        self._session: SessionProcess | None = None
        paper = ManualTrader(str(json.loads(self._info.read_text())["url"]))
        account, seed = self._settings.account, report.seed
        self._apart = KeptApart(
            self._exchange,
            self._database,
            account,
            self._by_turnover(listed[COINS:]),
            paper,
            random.Random(seed),
            seed,
            lambda: self._context,
            Pace(("every 5m",), grace_s=round(60 * max(1.0, report.speed))),
        )
        if in_session:
            self._environment = {**os.environ, **{f"{PREFIX}{name.upper()}": str(one) for name, one in values.items()}}
            symbols = [coin.symbol for coin in self._coins]
            select_coins(self._database, self._exchange.now_ms(), symbols, Timeframe.M1.value)
            self._keep_session()
            stack.callback(self._stop_session)
            wait_for(self._session_trades, STARTS_WITHIN_S * 2, f"no session trades; see {folder}/session.log")

    def run(self) -> None:
        """Trade, break things, mend them, compare."""
        report, began = self._report, time.monotonic()
        end_ms = self._now_ms() + round(report.minutes * MINUTE_MS)
        signal_ms, fault_ms, heal_ms, told_ms, kept_ms = 0, self._now_ms() + FAULT_EVERY_MS, 0, 0, 0
        while (now := self._now_ms()) < end_ms:
            if heal_ms and now >= heal_ms:
                self._faults.lift()
                heal_ms = 0
            if not heal_ms and now >= fault_ms:
                self._break()
                lasts_ms = round(self._chance.uniform(10, 90) * 1000 * max(1.0, report.speed / 10))
                self._misfortunes.append((now, now + lasts_ms))
                heal_ms, fault_ms = now + lasts_ms, now + lasts_ms + FAULT_EVERY_MS
            if self._session is not None:
                self._keep_session()
            if now >= signal_ms:
                self._trade()
                signal_ms = now + SIGNAL_EVERY_MS
            if now >= kept_ms:
                self._keep()
                kept_ms = now + KEPT_EVERY_MS
            if now >= told_ms:
                self._tell(f"{(end_ms - now) / MINUTE_MS:.0f} minutes left, {report.entries} entries")
                told_ms = now + 10 * MINUTE_MS
            time.sleep(LOOK_EVERY_S)
        self._faults.lift()
        wait_for(self._caught_up, CATCHES_UP_WITHIN_S, "the paper exchange does not catch up")
        if self._session is not None:
            self._stop_session()
        self._judge()
        report.seconds = round(time.monotonic() - began, 1)

    def _now_ms(self) -> int:
        """The other exchange's time, which no fault touches."""
        return int((health(self._url) or {}).get("now_ms", 0))

    def _serve(self, replay: Sequence[Path], start_ms: int | None, stack: ExitStack) -> str:
        command = [sys.executable, "-m", "trading_assets.simulator", "--home", str(self._folder / "source")]
        command += ["--clock", "accelerated", "--speed", str(self._report.speed)]
        if replay:
            command += ["--replay", *map(str, replay)]
        else:
            command += ["--symbols", "12", "--seed", str(self._report.seed)]
        if start_ms is not None:
            command += ["--start-ms", str(start_ms)]
        (self._folder / "source").mkdir()
        with (self._folder / "source.log").open("ab") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log)
        stack.callback(end_process, process)
        info = self._folder / "source" / files.SERVER_INFO
        wait_for(info.is_file, STARTS_WITHIN_S, f"the other exchange does not start; see {self._folder}/source.log")
        url = str(json.loads(info.read_text())["url"])
        wait_for(lambda: health(url), STARTS_WITHIN_S, f"the other exchange does not answer at {url}")
        return url

    def _tradable(self) -> list[Instrument]:
        listed = [one for one in self._source.instruments() if one.kind is ContractKind.PERPETUAL]
        return [one for one in listed if one.settle_coin == "USDT"]

    def _by_turnover(self, instruments: Sequence[Instrument]) -> list[Instrument]:
        """The most traded last: of these grids and plans take theirs."""
        tickers = self._source.tickers()
        return sorted(instruments, key=lambda one: tickers[one.symbol].turnover_24h if one.symbol in tickers else 0)

    def _break(self) -> None:
        if not self._unmet:  # each once before any comes again
            self._unmet = self._chance.sample(list(MISFORTUNES), len(MISFORTUNES))
        name = self._unmet.pop()
        self._report.misfortunes[name] = self._report.misfortunes.get(name, 0) + 1
        self._tell(f"now: {name}")
        self._faults.arm(MISFORTUNES[name])
        if not MISFORTUNES[name]:
            self._kill_paper()

    def _trade(self) -> None:
        """Close what is known to be closed, and enter a coin without a position."""
        try:
            if self._session is None:
                reconcile(self._context)
            held = {position.symbol for position in self._exchange.positions()}
            free = [coin for coin in self._coins if coin.symbol not in held]
            if not free:
                return
            coin = self._chance.choice(free)
            self._give(coin)
            if self._session is not None:
                return
            ticker = self._source.ticker(coin.symbol)
            done = submit_orders(self._context)
        except TradingAssetsError as error:
            self._report.refused += 1
            self._tell(f"not now: {error}")
            return
        if not done.executed and not done.resting:
            self._report.refused += 1
            reasons = {*done.refused.values(), *done.rejected.values(), done.stopped} - {""}
            self._tell(f"not now: {'; '.join(sorted(reasons)) or done.unknown or 'nothing waits'}")
            return
        position = self._exchange.position(coin.symbol)
        if done.executed and position is not None:
            self._note_entry(position, ticker.ask if position.side is Side.BUY else ticker.bid)

    def _give(self, coin: Instrument) -> None:
        """A signal with an exit plan, each kind before any comes again; the entry of some waits at a price."""
        if not self._unmet_exits:
            kinds = [None, None, *ExitKind]
            self._unmet_exits = self._chance.sample(kinds, len(kinds))
        kind = self._unmet_exits.pop()
        waits = some_wait(self._chance) if kind is None or self._chance.random() < 0.3 else None
        more = None
        if kind is not None:
            planned = PlannedExit(kind, self._chance.randrange(MOST_BACK + 1))
            more = planned.row(self._source.now_ms(), NARROW)
        give_signal(
            self._database,
            self._source,
            coin,
            self._settings,
            self._chance,
            away=STOPS_WITHIN,
            waits=waits,
            more=more,
        )
        self._report.waits += waits is not None
        if kind is not None:
            self._report.exits[kind.value] = self._report.exits.get(kind.value, 0) + 1

    def _look_at_stops(self) -> None:
        """What signals hold has its stop at the exchange, whatever else their plans say."""
        symbols = {coin.symbol for coin in self._coins}
        try:
            held = [one for one in self._exchange.positions() if one.symbol in symbols]
        except TradingAssetsError:
            return
        for one in held:
            if one.stop_loss is None:
                self._report.unprotected += 1
                self._report.broken.append(f"{one.symbol} {one.side.value} {one.size} has no stop at the exchange")

    def _keep(self) -> None:
        """See that each contract beyond the first ones has its grid or plan; look after all where no session does."""
        self._look_at_stops()
        try:
            self._apart.begin()
            if self._session is None:
                follow_exit_plans(self._context, self._store, self._asked)
                keep_grids(self._context)
                keep_plans(self._context)
        except TradingAssetsError as error:
            self._tell(f"grids and plans: not now: {error}")

    def _note_entry(self, position: Position, shown: Decimal) -> None:
        sign = 1 if position.side is Side.BUY else -1
        self._asks[f"{position.symbol}:{position.opened_ms}"] = sign * (position.entry_price / shown - 1) * 10_000

    def _keep_session(self) -> None:
        """Start the session, also when it has ended, as the sensor does."""
        if self._session is None or self._session.process.poll() is not None:
            self._session = start_session(self._folder, self._environment)
            self._report.session_starts += 1

    def _session_trades(self) -> bool:
        return self._session is not None and self._session.says(IS_TRADING) is not None

    def _stop_session(self) -> None:
        if self._session is not None and self._session.process.poll() is None:
            self._session.stop()

    def _executed(self) -> int:
        """Signals that the session has turned into positions."""
        found = signals.since(self._database, self._settings.account, 0)
        return int((found["status"] == signals.EXECUTED).sum())

    def _kill_paper(self) -> None:
        with suppress(OSError, ValueError):
            os.kill(int(json.loads(self._info.read_text())["pid"]), signal.SIGKILL)

    def _stop_paper(self) -> None:
        with suppress(OSError, ValueError, requests.RequestException):
            requests.post(f"{json.loads(self._info.read_text())['url']}/admin/stop", timeout=10)

    @property
    def _info(self) -> Path:
        return self._settings.simulator_home / files.SERVER_INFO

    def _caught_up(self) -> bool:
        try:
            found = health(json.loads(self._info.read_text())["url"])
            now = self._exchange.now_ms()
        except (OSError, ValueError, ExchangeError):
            return False
        slack_ms = 5_000 * max(1.0, self._report.speed)
        return (
            found is not None
            and abs(now - self._now_ms()) < slack_ms
            and now - int(found["account"]["settled_ms"]) < slack_ms
        )

    # What is compared

    def _judge(self) -> None:
        report, exchange = self._report, self._exchange
        report.machine_stalled_s = round(self._stalls.longest_s, 2)
        reconcile(self._context)
        now = exchange.now_ms()
        fills = [one for one in exchange.executions(self._began_ms, now + 1) if one.order_id]
        closings = list(exchange.closed_pnl(self._began_ms, now + 1))
        self._judge_fills(fills)
        report.entries = self._executed()
        self._judge_stops(fills, closings)
        self._judge_exits(fills)
        for one in fills:
            if one.closed_size:
                name = one.purpose.value
                report.closings[name] = report.closings.get(name, 0) + 1
        report.entry_slippage_bps_mean, report.entry_slippage_bps_worst = _figures(self._asks.values())
        report.equity = f"{exchange.wallet().equity:.2f}"
        report.kept = self._apart.figures(self._began_ms)
        for apart in self._apart.settle():
            report.broken += apart.broken
        found = None
        for _ in range(3):
            reconcile(self._context)
            apart_from = self._apart.symbols
            found = compare_all(
                self._database, exchange, self._settings.account, self._began_ms, DEPOSIT, of_grids=apart_from
            )
            if not found.broken:
                break
        report.broken += found.broken if found is not None else []

    def _late_ms(self) -> int:
        """How much later than the market's own time something may come: whole minutes, market time.

        Every process of the trial may have stalled like this one, one after the other.
        """
        stalled = 2 * self._report.machine_stalled_s * self._report.speed * 1000
        return LATE_MS + floor_ms(int(stalled) + MINUTE_MS - 1, MINUTE_MS)

    def _late_between(self, due_ms: int, until_ms: int) -> int:
        """How much later than due something may come: misfortunes meanwhile, and what a loaded machine takes."""
        acts_ms = round(ACTS_WITHIN_S * self._report.speed * 1000)
        late_ms = self._late_ms() + acts_ms
        for began_ms, ended_ms in self._misfortunes:
            if began_ms < until_ms and ended_ms + acts_ms > due_ms:
                late_ms += ended_ms - began_ms + acts_ms
        return late_ms

    def _judge_exits(self, fills: Sequence[Execution]) -> None:
        """Each position with an exit plan has left as the other exchange's candles say, and never without its stop."""
        report, source = self._report, self._source
        store = CandleStore(self._folder / "judged", btc=self._settings.symbols.btc)

        def left(one: Planned, candles: Candles) -> BoolArray:
            holds = np.zeros(len(candles), dtype=np.bool_)
            strategy = make_strategy(one.strategy, one.parameters)
            data = load_since(
                source, store, one.intent.symbol, one.timeframe, strategy.needs(), one.opened_ms, source.now_ms()
            )
            signals_of = strategy.signals(data)
            told = signals_of.exit_long if one.intent.side is Side.BUY else signals_of.exit_short
            if told is not None:
                at = set(data.candles.start_ms[told].tolist())
                holds = np.array([start in at for start in candles.start_ms.tolist()], dtype=np.bool_)
            return holds

        judge = ExitJudge(
            exchange=self._exchange,
            database=self._database,
            account=self._settings.account,
            instruments={coin.symbol: coin for coin in self._coins},
            candles=lambda symbol, start, end: source.candles(symbol, Timeframe.M1, start, end),
            left=left,
            late_ms=self._late_between,
            reach=SPREAD,
        )
        report.plan_ends, wrong = judge.judge(fills)
        report.broken += wrong

    def _judge_fills(self, fills: Sequence[Execution]) -> None:
        """Each lies within the candles of its minute and the one before, but for the spread."""
        for one in fills:
            minute = floor_ms(one.time_ms, MINUTE_MS)
            candles = self._source.candles(one.symbol, Timeframe.M1, minute - self._late_ms(), minute + MINUTE_MS)
            if not len(candles):
                continue
            self._report.fills_compared += 1
            low, high = Decimal(str(candles.low.min())), Decimal(str(candles.high.max()))
            takes = TAKES_WITHIN if one.symbol in self._apart.symbols else SPREAD
            reach = max(high * takes, TICKS * self._ticks[one.symbol])
            if not low - reach <= one.price <= high + reach:
                self._report.broken.append(
                    f"{one.symbol} was filled at {one.price}, the other exchange traded {low} to {high} then"
                )

    def _judge_stops(self, fills: Sequence[Execution], closings: Sequence[ClosedPnl]) -> None:
        """A level that the other exchange's candles touch is filled in that minute, not later, and none is missed."""
        slips: list[Decimal] = []
        links = {one.order_link_id for one in fills}
        of_plans = exit_decisions.planned(self._database, self._settings.account, links)
        planned = {one.intent.order_link_id for one in of_plans}
        levels = {order.order_id: order for one in fills if (order := self._exchange.order(one.symbol, one.order_id))}
        for one in fills:
            order = levels.get(one.order_id)
            if one.symbol in self._apart.symbols:  # their stops move with what they hold
                continue
            if one.closed_size or order is None or order.stop_loss is None or order.take_profit is None:
                continue
            ends = [row for row in closings if row.symbol == one.symbol and row.updated_ms > one.time_ms]
            end_ms = min((row.updated_ms for row in ends), default=self._exchange.now_ms())
            # The minute of the entry is left out: what of its candle came before the entry is not known.
            first = floor_ms(one.time_ms, MINUTE_MS) + MINUTE_MS
            last = floor_ms(end_ms, MINUTE_MS) - self._late_ms()
            candles = self._source.candles(one.symbol, Timeframe.M1, first, last)
            lows, highs = candles.low, candles.high
            stop, target = float(order.stop_loss), float(order.take_profit)
            long = one.side is Side.BUY
            touched = (lows <= stop) | (highs >= target) if long else (highs >= stop) | (lows <= target)
            if touched.any():
                self._report.stops_late += 1
                self._report.broken.append(
                    f"{one.symbol} touched {stop} or {target} in the minute of "
                    f"{int(candles.start_ms[touched.argmax()])}, and was closed at {end_ms} or not yet"
                )
            is_planned = one.order_link_id in planned  # its stop may have been moved, or something else was quicker
            if (
                ends
                and not is_planned
                and long is (ends[0].exit_price < one.price)
                and abs(float(ends[0].exit_price) / stop - 1) < 0.02
            ):
                sign = -1 if long else 1
                slips.append(sign * (ends[0].exit_price / order.stop_loss - 1) * 10_000)
        self._report.stop_slippage_bps_mean, self._report.stop_slippage_bps_worst = _figures(slips)


def _figures(values: Any) -> tuple[float | None, float | None]:
    """Mean and largest."""
    found = [float(value) for value in values]
    return (round(sum(found) / len(found), 2), round(max(found), 2)) if found else (None, None)
