"""Fixtures of the tests of trading: settings, waiting signals, a context on a fake exchange, and its invariants."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path

import pandas as pd
import sqlalchemy as sa

from trading_assets.core.errors import ExchangeError
from trading_assets.core.settings import Settings
from trading_assets.core.timeframes import HOUR_MS, Timeframe
from trading_assets.ledger import orders, signals
from trading_assets.ledger.database import Database
from trading_assets.ledger.executions import Closing
from trading_assets.ledger.tables import order_intents, strategies
from trading_assets.trading.context import ExecutionContext
from trading_assets.trading.decide.entry import signal_id
from trading_assets.trading.execute.submit import submit_orders
from trading_assets.trading.reconcile.reconciler import reconcile
from trading_assets_tests.fakes import FakeExchange, order_link_id
from trading_assets_tests.simulator.fake_market import HOUR, T0

NOW_MS = 500_000 * HOUR_MS + 5_000
"""Five seconds after a full hour."""

STRATEGY = "bollinger_rsi"


NO_PAUSES = {"cooldown_after_stop_s": 0, "pause_after_stops_s": 0, "weak_symbol_hours": 0}
"""Settings by which losses stop nothing: for tests of a market that moves as it likes."""


NO_SHARES = {"max_position_margin_pct": 100, "max_symbol_exposure_pct": 1000, "max_total_exposure_pct": 1000}
"""Settings by which a small account may open large positions."""


def backed_up(database: Database, folder: Path) -> Path:
    """Copy a ledger on SQLite, as a backup has it."""
    found = folder / "backup.db"
    _copy(Path(str(database.url.database)), found)
    return found


def restore(database: Database, backup: Path) -> None:
    """Put a copy of a ledger on SQLite in its place."""
    _copy(backup, Path(str(database.url.database)))


def _copy(source: Path, target: Path) -> None:
    with closing(sqlite3.connect(source)) as one, closing(sqlite3.connect(target)) as other:
        one.backup(other)


def settings(**changes: object) -> Settings:
    return Settings(_env_file=None, **changes)  # type: ignore[call-arg, arg-type]


def signal_row(symbol: str = "BTCUSDT", **changes: object) -> dict[str, object]:
    """A waiting long signal at 100 with its stop at 98 and its target at 104."""
    row: dict[str, object] = {
        "hour_ms": NOW_MS // HOUR_MS * HOUR_MS - HOUR_MS,
        "account": "main",
        "symbol": symbol,
        "timeframe": "60m",
        "strategy": STRATEGY,
        "parameters": "{}",
        "signal_timestamp_ms": NOW_MS - 5_000,
        "ttl_ms": NOW_MS + 295_000,
        "confidence": 80.0,
        "position_type": "LONG",
        "entry_price": 100.0,
        "stop_loss": 98.0,
        "take_profit": 104.0,
        "position_size": 100.0,
        "leverage": 10.0,
        "rsi": 25.0,
        "bb_position": -0.1,
        "btc_trend": None,
        "funding_rate": None,
        "risk_reward_ratio": 2.0,
        "status": "active",
        "created_at_ms": NOW_MS,
    } | changes
    identity = signal_id(
        str(row["account"]),
        symbol,
        Timeframe(str(row["timeframe"])),
        str(row["strategy"]),
        int(row["signal_timestamp_ms"]),  # type: ignore[call-overload]
    )
    return {"signal_id": identity, **row}


def a_closing(symbol: str = "BTCUSDT", reason: str = "stop", **changes: object) -> Closing:
    """A closing of a position of ours, at a loss."""
    closing = Closing(
        order_id="order-1",
        symbol=symbol,
        position_side="LONG",
        reason=reason,
        qty=Decimal(1),
        entry_price=Decimal(100),
        exit_price=Decimal(98),
        pnl=Decimal(-2),
        fees=Decimal("0.1"),
        signal_id="main:BTCUSDT:60m:bollinger_rsi:0",
        closed_ms=NOW_MS,
    )
    return replace(closing, **changes)  # type: ignore[arg-type]


def add_signal(database: Database, symbol: str = "BTCUSDT", **changes: object) -> str:
    """Insert a waiting signal of a running strategy; its id."""
    row = signal_row(symbol, **changes)
    start_strategy(database, str(row["strategy"]))
    assert signals.insert(database, row)
    return str(row["signal_id"])


def add_signal_at_100_000(database: Database, symbol: str, now_ms: int, **changes: object) -> str:
    """`add_signal` of a moment of the embedded exchange, whose price is 100,000, for five minutes from then."""
    of_now = {
        "hour_ms": T0 - HOUR,
        "entry_price": 100_000.0,
        "stop_loss": 98_000.0,
        "take_profit": 104_000.0,
        "signal_timestamp_ms": now_ms,
        "ttl_ms": now_ms + 300_000,
        "created_at_ms": now_ms,
    }
    return add_signal(database, symbol, **{**of_now, **changes})


def start_strategy(database: Database, name: str = STRATEGY) -> None:
    """The registry has an active row of this name."""
    row = {"name": name, "is_active": True, "exchange": "bybit", "pairs": "[]", "timeframes": "[]", "parameters": "{}"}
    with database.read() as connection:
        if connection.execute(sa.select(strategies.c.name).where(strategies.c.name == name)).first():
            return
    with database.write() as connection:
        connection.execute(sa.insert(strategies).values(**row))


@dataclass
class Harness:
    """A context whose clocks a test moves: the venue's and this machine's."""

    database: Database
    exchange: FakeExchange
    settings: Settings = field(default_factory=settings)
    wall: int = 1_000_000_000
    told: list[tuple[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.exchange.time_ms = self.exchange.time_ms or NOW_MS
        if self.settings.account != settings().account:  # a ledger takes each account of a venue once
            self.exchange.shape = replace(self.exchange.shape, user_id=f"of-{self.settings.account}")

    @property
    def context(self) -> ExecutionContext:
        return ExecutionContext(
            database=self.database,
            exchange=self.exchange,
            settings=self.settings,
            send=lambda one: self.told.append((one.title, one.body)),
            sleep=lambda _seconds: None,
            wall_ms=lambda: self.wall,
        )

    def later(self, seconds: int = 60) -> None:
        """Time passes at the venue and here."""
        self.wall += seconds * 1000
        self.exchange.time_ms += seconds * 1000

    def signal(self, identity: str) -> Mapping[str, object]:
        rows = signals.by_ids(self.database, [identity])
        assert len(rows) == 1
        return {str(k): (None if pd.isna(v) else v) for k, v in rows.iloc[0].items()}

    def intent(self, identity: str) -> Mapping[str, object] | None:
        """The signal's order intent."""
        statement = sa.select(order_intents).where(order_intents.c.signal_id == identity)
        with self.database.read() as connection:
            row = connection.execute(statement).mappings().one_or_none()
        return dict(row) if row is not None else None

    def require_consistent(self, *identities: str) -> None:
        """What holds whenever everything is settled, whatever happened before."""
        exchange = self.exchange
        links = {order_link_id(identity): identity for identity in identities}
        for link in links:
            assert exchange.accepted.count(link) <= 1, f"{link} was placed twice"
        assert not orders.unresolved(self.database, self.settings.account)
        for identity in identities:
            signal, intent = self.signal(identity), self.intent(identity)
            accepted = order_link_id(identity) in exchange.accepted
            if intent is None:
                assert signal["status"] in ("active", "rejected", "expired")
                assert not accepted
                continue
            expected = {"confirmed": "executed", "closed": "executed", "rejected": "rejected", "abandoned": "failed"}
            expected["ended"] = "expired"
            assert signal["status"] == expected[str(intent["status"])]
            if intent["price"] is None:
                assert (intent["status"] in ("confirmed", "closed")) == accepted
        for position in exchange.open.values():
            assert position.stop_loss is not None, f"{position.symbol} has no stop"


def harness_on(database: Database, *symbols: str, **changes: object) -> Harness:
    """A harness with symbols listed at 100."""
    return Harness(database, FakeExchange(*(symbols or ("BTCUSDT",))), settings(**changes))


def decimal(value: object) -> Decimal:
    return Decimal(str(value))


def settle_all(context: ExecutionContext, exchange: FakeExchange, later: Callable[[int], None]) -> None:
    """Runs after a crash, each a minute later; failures that remain scripted may break some of them."""
    for _ in range(3):
        for run in (submit_orders, reconcile):
            try:
                run(context)
            except (ExchangeError, KeyboardInterrupt, RuntimeError):
                continue
        later(60)
