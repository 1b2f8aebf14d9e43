"""A scene: an embedded exchange with a clock moved by hand, a proxy that lies, a ledger, a context, and a person.

Every import of the project that the tests of this folder need is here: their outcomes are read from the ledger by SQL
and from the exchange by pybit.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import sqlalchemy as sa
from click.testing import CliRunner, Result
from pybit.unified_trading import HTTP
from pydantic import SecretStr

from trading_assets.chaos.signal_source import EAGER, selection_row
from trading_assets.cli.main import cli
from trading_assets.core.errors import TradingAssetsError
from trading_assets.core.schemas import STRATEGY_SELECTIONS
from trading_assets.core.timeframes import DAY_MS, HOUR_MS, MINUTE_MS, floor_ms, local_ms
from trading_assets.exchange.bybit import BybitExchange
from trading_assets.exchange.connection import Connection
from trading_assets.exchange.error_mapping import kind_of_code
from trading_assets.exchange.keys import ApiKeys
from trading_assets.exchange.transport import Transport
from trading_assets.ledger.database import Database
from trading_assets.ledger.partitions import replace_partitions
from trading_assets.market.store import CandleStore
from trading_assets.simulator.auth import DEFAULT_API_KEY, DEFAULT_API_SECRET
from trading_assets.simulator.clock import ClockMode, ClockSpec
from trading_assets.simulator.embedded import RunningExchange, serve_in_thread
from trading_assets.simulator.faults.rules import FaultRule
from trading_assets.simulator.market.seeded import SeededMarket
from trading_assets.simulator.server import ServeConfig
from trading_assets.trading.context import ExecutionContext
from trading_assets.trading.execute.flatten import FlattenReport, flatten
from trading_assets.trading.execute.submit import SubmitReport, submit_orders
from trading_assets.trading.reconcile.reconciler import ReconcileReport, reconcile
from trading_assets.trading.session.session import Session
from trading_assets.trading.session.watchlist import newest_selection
from trading_assets.venues import open_candle_stream, open_exchange
from trading_assets_tests.trading.fixtures import NO_PAUSES, add_signal, settings, start_strategy
from trading_assets_tests.wild_account.proxy import Proxy

START_MS = 1_772_445_600_000
"""2026-03-02 10:00 UTC."""

SYMBOLS = 12
MARKET = SeededMarket(7, SYMBOLS)
"""Of every scene: what it has computed once, the next one finds."""

ROOMY: dict[str, object] = {
    "max_position_margin_pct": 100,
    "max_symbol_exposure_pct": 1000,
    "max_total_exposure_pct": 1000,
    "max_positions": 100,
    "min_signal_interval_s": 0,
}
"""Settings of an account whose limits are not in the way."""

ProjectError = TradingAssetsError
"""What may cross a border of the project."""

Row = dict[str, Any]
Told = tuple[str, str]


@dataclass(frozen=True)
class Leg:
    """A position as pybit shows it; no stop is None."""

    symbol: str
    side: str
    size: Decimal
    stop: Decimal | None
    target: Decimal | None
    idx: int


class Scene:
    """See the module. `context` has no limits of time: its pauses are short, its clocks those of the scene."""

    def __init__(
        self,
        running: RunningExchange,
        database: Database,
        *,
        virtual_clock: bool = True,
        timeout_s: float = 5.0,
        **changes: object,
    ) -> None:
        self.running = running
        self.proxy = Proxy(running.url)
        self.database = database
        self.settings = settings(**changes)
        self.told: list[Told] = []
        self.ahead_ms = 0
        self.exchange = self._connect(virtual_clock, timeout_s)
        self.human = HTTP(api_key=DEFAULT_API_KEY, api_secret=DEFAULT_API_SECRET)
        self.human.endpoint = running.url
        self.human.client.trust_env = False
        self._signals = 0
        self.restart()

    def _connect(self, virtual_clock: bool, timeout_s: float) -> BybitExchange:
        keys = ApiKeys(SecretStr(DEFAULT_API_KEY), SecretStr(DEFAULT_API_SECRET))
        connection = Connection(url=self.proxy.url, keys=keys, timeout_s=timeout_s)
        transport = Transport(connection, limited=False, sleep=_short_sleep)
        return BybitExchange(transport, virtual_clock=virtual_clock)

    def restart(self) -> None:
        """A new process: nothing is remembered but what the ledger has."""
        self.context = ExecutionContext(
            database=self.database,
            exchange=self.exchange,
            settings=self.settings,
            send=lambda one: self.told.append((one.title, one.body)),
            sleep=_short_sleep,
            wall_ms=lambda: local_ms() + self.ahead_ms,
        )

    def close(self) -> None:
        self.exchange.close()
        self.human.client.close()
        self.proxy.close()

    # Time

    def now_ms(self) -> int:
        return self.running.now_ms()

    def later(self, seconds: float = 60) -> None:
        """Time passes at the venue and here."""
        self.running.advance(int(seconds * 1000))
        self.ahead_ms += int(seconds * 1000)

    # What the system does

    def signal(self, symbol: str, *, long: bool = True, distance: str = "0.05", **changes: object) -> str:
        """A waiting signal at the price of now, its stop at `distance` of the price, its target twice as far."""
        now, tick, last = self.now_ms(), self.tick(symbol), self.last_price(symbol)
        sign = 1 if long else -1
        self._signals += 1
        row: Row = {
            "account": self.settings.account,
            "hour_ms": floor_ms(now, HOUR_MS) - HOUR_MS,
            "timeframe": "5m",
            "signal_timestamp_ms": now + self._signals,
            "ttl_ms": now + self.settings.signal_ttl_s * 1000,
            "position_type": "LONG" if long else "SHORT",
            "entry_price": float(last),
            "stop_loss": float(_to_tick(last * (1 - sign * Decimal(distance)), tick)),
            "take_profit": float(_to_tick(last * (1 + 2 * sign * Decimal(distance)), tick)),
            "created_at_ms": now,
        }
        return add_signal(self.database, symbol, **(row | changes))

    def submit(self) -> SubmitReport:
        return submit_orders(self.context)

    def reconcile(self) -> ReconcileReport:
        return reconcile(self.context)

    def flatten(self, *, foreign: bool = False) -> FlattenReport:
        return flatten(self.context, reason="enough", actor="a person", foreign=foreign)

    def passes(self, count: int = 3, *, seconds: float = 60) -> list[ReconcileReport]:
        """Passes of the reconciler, each a while after the one before."""
        reports = []
        for _ in range(count):
            self.later(seconds)
            reports.append(self.reconcile())
        return reports

    def try_passes(self, count: int = 1, *, seconds: float = 60) -> None:
        """The same, where some may fail with an error of the project; every other error is a fault."""
        for _ in range(count):
            self.later(seconds)
            with suppress(ProjectError):
                self.reconcile()

    def enter(self, *symbols: str, long: bool = True, **more: object) -> list[str]:
        """Positions of ours, in books that agree; what was told on the way is forgotten."""
        self.reconcile()
        identities = [self.signal(symbol, long=long, **more) for symbol in symbols]  # type: ignore[arg-type]
        report = self.submit()
        assert set(report.executed) == set(identities), (report, self.told)
        self.reconcile()
        self.drain()
        return identities

    # What a person does

    def order(self, symbol: str, side: str, qty: Decimal | str, **more: object) -> str:
        """An order of a person, at the market unless told otherwise; the exchange's id of it."""
        given = {"orderType": "Market", **more}
        answer = self.human.place_order(category="linear", symbol=symbol, side=side, qty=f"{Decimal(qty):f}", **given)
        return str(answer["result"]["orderId"])

    def close_by_hand(self, symbol: str, qty: Decimal | None = None, idx: int = 0) -> str:
        """Close a position, or a part of it, at the market."""
        leg = self.leg(symbol, idx)
        assert leg is not None, f"{symbol} is flat"
        side = "Sell" if leg.side == "Buy" else "Buy"
        return self.order(symbol, side, qty or leg.size, reduceOnly=True, positionIdx=idx)

    def stops_by_hand(self, symbol: str, *, stop: object = None, target: object = None, idx: int = 0) -> None:
        """Set a stop or a target; 0 takes it off."""
        given = {"stopLoss": stop, "takeProfit": target}
        self.human.set_trading_stop(
            category="linear",
            symbol=symbol,
            positionIdx=idx,
            tpslMode="Full",
            **{name: str(value) for name, value in given.items() if value is not None},
        )

    def money_by_hand(self, coin: str, amount: int) -> None:
        """Play money for the account."""
        self.human._submit_request(
            method="POST",
            path=f"{self.human.endpoint}/v5/account/demo-apply-money",
            query={"adjustType": 0, "utaDemoApplyMoney": [{"coin": coin, "amountStr": str(amount)}]},
            auth=True,
        )

    # What the exchange shows, by pybit and past the proxy

    def legs(self, *coins: str) -> list[Leg]:
        rows = [
            row
            for coin in coins or ("USDT", "USDC")
            for row in self.human.get_positions(category="linear", settleCoin=coin, limit=200)["result"]["list"]
        ]
        return [_leg(row) for row in rows if Decimal(row["size"] or 0) > 0]

    def leg(self, symbol: str, idx: int = 0) -> Leg | None:
        return next((leg for leg in self.legs() if (leg.symbol, leg.idx) == (symbol, idx)), None)

    def size(self, symbol: str, idx: int = 0) -> Decimal:
        """0 where there is no position."""
        leg = self.leg(symbol, idx)
        return leg.size if leg is not None else Decimal(0)

    def stop(self, symbol: str) -> Decimal | None:
        leg = self.leg(symbol)
        assert leg is not None, f"{symbol} is flat"
        return leg.stop

    def closed_at_exchange(self) -> list[Row]:
        return self._pages(self.human.get_closed_pnl)

    def executions_at_exchange(self) -> list[Row]:
        return self._pages(self.human.get_executions)

    def _pages(self, read: Callable[..., Any]) -> list[Row]:
        """Every row of the last seven days."""
        now, rows, cursor = self.now_ms(), list[Row](), ""
        while True:
            paging = {"cursor": cursor} if cursor else {}
            given = {"category": "linear", "limit": 100, "startTime": now - 7 * DAY_MS + 1, "endTime": now}
            result = read(**given, **paging)["result"]
            rows += result["list"]
            cursor = result["nextPageCursor"]
            if len(result["list"]) < 100 or not cursor:
                return rows

    def open_orders(self, symbol: str) -> list[Row]:
        return list(self.human.get_open_orders(category="linear", symbol=symbol)["result"]["list"])

    def orders_of_ours(self, symbol: str) -> list[Row]:
        """Every order of the symbol that has an id of this program."""
        now = self.human.get_order_history(category="linear", symbol=symbol, limit=50)["result"]["list"]
        return [row for row in now if row["orderLinkId"].startswith("ta-e-")]

    def ticker(self, symbol: str) -> Row:
        return dict(self.human.get_tickers(category="linear", symbol=symbol)["result"]["list"][0])

    def last_price(self, symbol: str) -> Decimal:
        return Decimal(self.ticker(symbol)["lastPrice"])

    def tick(self, symbol: str) -> Decimal:
        return MARKET.contracts[symbol].tick_size

    def equity(self) -> Decimal:
        return Decimal(self.human.get_wallet_balance(accountType="UNIFIED")["result"]["list"][0]["totalEquity"])

    # What the ledger shows, by SQL

    def rows(self, statement: str, **values: object) -> list[Row]:
        with self.database.read() as connection:
            return [dict(row) for row in connection.execute(sa.text(statement), values).mappings()]

    def execute(self, statement: str, **values: object) -> None:
        with self.database.write() as connection:
            connection.execute(sa.text(statement), values)

    def intent(self, signal_id: str) -> Row:
        (row,) = self.rows("SELECT * FROM order_intents WHERE signal_id = :s", s=signal_id)
        return row

    def is_ours(self, signal_id: str) -> bool:
        """The intent is a position of ours, and keeps its symbol."""
        row = self.intent(signal_id)
        return row["status"] == "confirmed" and row["open_slot"] is not None

    def signal_status(self, signal_id: str) -> str:
        (row,) = self.rows("SELECT status FROM entry_signals WHERE signal_id = :s", s=signal_id)
        return str(row["status"])

    def closings(self, signal_id: str | None = None) -> list[Row]:
        """Closings of the ledger, or those of a signal."""
        rows = self.rows("SELECT * FROM closings ORDER BY closed_ms")
        return [row for row in rows if signal_id is None or row["signal_id"] == signal_id]

    def closed_qty(self, signal_id: str) -> Decimal:
        return sum((Decimal(row["qty"]) for row in self.closings(signal_id)), Decimal(0))

    def reasons(self, signal_id: str) -> set[str]:
        return {str(row["reason"]) for row in self.closings(signal_id)}

    def states(self) -> list[str]:
        """Of the risk guard, oldest first."""
        return [str(row["state"]) for row in self.rows("SELECT state FROM risk_states ORDER BY state_id")]

    def equities(self) -> list[Decimal]:
        return [Decimal(row["equity"]) for row in self.rows("SELECT equity FROM equity ORDER BY equity_id")]

    def require_equal_sums(self) -> None:
        """Ledger and exchange hold the same closings and fills, to the last digit."""
        ledger = _sums((row["symbol"], row["pnl"]) for row in self.closings())
        exchange = _sums((row["symbol"], row["closedPnl"]) for row in self.closed_at_exchange())
        assert ledger == exchange
        fees = _sums((row["symbol"], row["fee"]) for row in self.rows("SELECT symbol, fee FROM fills"))
        assert fees == _sums((row["symbol"], row["execFee"]) for row in self.executions_at_exchange())

    # What a person is told

    def drain(self) -> list[Told]:
        told, self.told[:] = list(self.told), []
        return told

    def hears(self, *words: str) -> list[str]:
        """Every message since the last `drain` that has all the words in it, in any case."""
        texts = [f"{title}: {body}" for title, body in self.told]
        return [text for text in texts if all(word.lower() in text.lower() for word in words)]


class Console:
    """The command line on a scene's exchange and ledger."""

    def __init__(self, scene: Scene, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        monkeypatch.setenv("TRADING_ASSETS_SIMULATOR_URL", scene.proxy.url)
        monkeypatch.setenv("TRADING_ASSETS_DATABASE_URL", scene.database.url.render_as_string(hide_password=False))
        monkeypatch.setenv("TRADING_ASSETS_LIMITS_DIR", str(folder))
        monkeypatch.setenv("COLUMNS", "300")

    def run(self, *arguments: str, typed: str = "") -> Result:
        """An error of the project is an outcome, as for a user; any other is a fault of the program."""
        result = CliRunner().invoke(cli, arguments, input=typed)
        if result.exception is not None and not isinstance(result.exception, SystemExit | ProjectError):
            raise result.exception
        return result

    def text(self, *arguments: str, typed: str = "") -> str:
        """All that a user would read, in lower case."""
        result = self.run(*arguments, typed=typed)
        return f"{result.output} {result.exception or ''}".lower()


def open_scene(stack: ExitStack, database: Database, **changes: Any) -> Scene:
    """A scene that ends with `stack`. `deposit` is its opening balance in USDT, `real_clock` lets it run by itself."""
    deposit, real_clock = Decimal(changes.pop("deposit", 10_000)), changes.pop("real_clock", False)
    clock = ClockSpec() if real_clock else ClockSpec(ClockMode.MANUAL, start_ms=START_MS)
    config = ServeConfig(symbols=SYMBOLS, clock=clock, deposit=deposit)
    running = stack.enter_context(serve_in_thread(config, MARKET))
    scene = Scene(running, database, virtual_clock=not real_clock, **changes)
    stack.callback(scene.close)
    return scene


def reaction(code: int) -> str:
    """What the one table says of a code."""
    return str(kind_of_code(code))


def attempt(call: Callable[[], object]) -> None:
    """Errors of the project are allowed here."""
    with suppress(ProjectError):
        call()


class Play:
    """A session in a thread, on eager selections of `symbols`; REST and stream both go through `url`."""

    def __init__(
        self,
        running: RunningExchange,
        database: Database,
        folder: Path,
        url: str,
        *symbols: str,
        timeframe: str = "1m",
    ) -> None:
        self.running, self.database = running, database
        self.settings = settings(simulator_url=url, limits_dir=folder, **(ROOMY | NO_PAUSES))
        hour = floor_ms(running.now_ms(), HOUR_MS) - HOUR_MS
        rows = [selection_row(hour, symbol, timeframe, parameters=EAGER) for symbol in symbols]
        replace_partitions(database, STRATEGY_SELECTIONS, pd.DataFrame(rows), [hour])
        start_strategy(database)
        selected = newest_selection(database)
        assert selected is not None
        self.told: list[str] = []
        self.notes: list[Told] = []
        self.exchange = open_exchange(self.settings)
        self.session = Session(
            context=ExecutionContext(
                database, self.exchange, self.settings, send=lambda one: self.notes.append((one.title, one.body))
            ),
            store=CandleStore(folder / "candles"),
            selected=selected,
            run="run-a",
            make_stream=lambda topics, deliver: open_candle_stream(self.settings, topics, deliver),
            check=lambda _rows: _Passed(),
            tell=lambda one: self.told.append(str(one)),
        )
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.session.run()
        except BaseException as error:  # noqa: BLE001 (looked at by the test)
            self.error = error

    @property
    def is_trading(self) -> bool:
        return any("trading: " in line for line in self.told)

    def hears(self, *words: str) -> bool:
        texts = [*self.told, *(f"{title}: {body}" for title, body in self.notes)]
        return any(all(word.lower() in text.lower() for word in words) for text in texts)

    def fault(self, **rule: Any) -> None:
        self.running.faults.add([FaultRule.model_validate(rule)], self.running.now_ms())

    def next_close(self, minutes: int = 1) -> int:
        """Move the clock to a tenth of a second after the end of a candle of so many minutes; that end."""
        now, step = self.running.now_ms(), minutes * MINUTE_MS
        close = floor_ms(now, step) + step
        self.running.advance(close + 100 - now)
        return close

    def has_looked(self, close_ms: int) -> bool:
        """Whether the coins were evaluated at the candles that closed then."""
        with self.database.read() as connection:
            statement = sa.text("SELECT count(*) FROM signal_evaluations WHERE time_ms BETWEEN :t AND :t + 59999")
            return bool(connection.execute(statement, {"t": close_ms}).scalar_one())

    def statuses(self) -> dict[str, str]:
        """Newest signal of each coin: how it stands."""
        with self.database.read() as connection:
            statement = sa.text("SELECT symbol, status FROM entry_signals ORDER BY created_at_ms")
            return {str(symbol): str(status) for symbol, status in connection.execute(statement)}

    def stop(self) -> None:
        self.session.stop()
        self._thread.join(3)
        self.exchange.close()


@dataclass(frozen=True)
class _Passed:
    passed: bool = True


def until(condition: Callable[[], object], within_s: float = 20.0) -> bool:
    """Whether it comes true in time."""
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def _short_sleep(seconds: float) -> None:
    time.sleep(seconds * 0.01)


def _leg(row: Row) -> Leg:
    def price(name: str) -> Decimal | None:
        value = Decimal(row[name] or 0)
        return value if value > 0 else None

    idx = int(row["positionIdx"])
    return Leg(row["symbol"], row["side"], Decimal(row["size"]), price("stopLoss"), price("takeProfit"), idx)


def _to_tick(price: Decimal, tick: Decimal) -> Decimal:
    return (price / tick).to_integral_value() * tick


def _sums(pairs: Any) -> dict[str, Decimal]:
    found: dict[str, Decimal] = {}
    for symbol, value in pairs:
        found[symbol] = found.get(symbol, Decimal(0)) + Decimal(value)
    return {symbol: value for symbol, value in found.items() if value}
