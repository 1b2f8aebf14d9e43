"""Hours of live trading with every kind of exit end their positions as the backtest does."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd
import pytest
import sqlalchemy as sa

from trading_assets.chaos.signal_source import selection_row
from trading_assets.core.schemas import LIVE_PARITY, STRATEGY_SELECTIONS
from trading_assets.core.timeframes import DAY_MS, HOUR_MS
from trading_assets.exchange.bybit import BybitExchange
from trading_assets.exchange.connection import Connection
from trading_assets.exchange.transport import Transport
from trading_assets.ledger import exit_decisions, orders
from trading_assets.ledger.database import Database
from trading_assets.ledger.partitions import replace_partitions
from trading_assets.ledger.strategies import seed_registry
from trading_assets.ledger.tables import closings
from trading_assets.ledger.tables import exit_decisions as table
from trading_assets.market.store import CandleStore
from trading_assets.simulator.clock import ClockMode, ClockSpec
from trading_assets.simulator.embedded import serve_in_thread
from trading_assets.simulator.venue import ServeConfig
from trading_assets.strategies import registry
from trading_assets.trading.parity.compare import Outcome
from trading_assets.trading.reconcile.reconciler import reconcile
from trading_assets_tests.exchange.stub import keys_of
from trading_assets_tests.trading.fixtures import NO_PAUSES, NO_SHARES, settings, start_strategy
from trading_assets_tests.trading.parity.fixtures import AFTER_CLOSE_MS, DAY_MS_ZERO, LiveTrading
from trading_assets_tests.trading.parity.leaving import Leaving

COINS = {
    "1000PEPEUSDT": "signal",
    "BTCUSDT": "time",
    "LTCUSDT": "trailing",
    "SOLUSDT": "even",
    "TRXUSDT": "roi",
    "ETHUSDT": "parts",
    "XRPUSDT": "signal+time+trailing+even+roi+parts",
}
HOURS = 12


class LeavingLive(LiveTrading):
    """The same, with a strategy that leaves: each coin in its own way."""

    def select(self, hour_ms: int, timeframe: str) -> None:
        start_strategy(self.database, Leaving.name)
        rows = [
            selection_row(
                hour_ms,
                symbol,
                timeframe,
                strategy=Leaving.name,
                parameters=registry.canonical_json(Leaving({"kinds": COINS[symbol]})),
            )
            for symbol in self.symbols
        ]
        replace_partitions(self.database, STRATEGY_SELECTIONS, pd.DataFrame(rows), [hour_ms])


@pytest.fixture(scope="module")
def traded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LeavingLive]:
    """Half a day of trading, seen from the day after."""
    home = tmp_path_factory.mktemp("leaving")
    patch = pytest.MonkeyPatch()
    found = registry.discover()
    patch.setattr(registry, "discover", lambda: registry.Discovery({**found.classes, Leaving.name: Leaving}, ()))
    start_ms = DAY_MS_ZERO + 2 * HOUR_MS + AFTER_CLOSE_MS
    config = ServeConfig(symbols=20, clock=ClockSpec(ClockMode.MANUAL, start_ms=start_ms))
    with serve_in_thread(config) as venue:
        connection = Connection(url=venue.url, keys=keys_of(venue.key, venue.secret))
        live = LeavingLive(
            venue,
            Database(f"sqlite:///{home / 'ledger.db'}"),
            CandleStore(home / "candles"),
            BybitExchange(Transport(connection, limited=False), virtual_clock=True),
            settings(home=home, max_positions=7, min_signal_interval_s=0, **NO_PAUSES, **NO_SHARES),
            sorted(COINS),
        )
        seed_registry(live.database)
        live.select(DAY_MS_ZERO + HOUR_MS, "15m")
        live.trade(HOURS)
        venue.set_clock(DAY_MS_ZERO + DAY_MS + 400_000)
        reconcile(live.context)
        yield live
        live.database.close()
    patch.undo()


@pytest.mark.slow
def test_every_kind_of_exit_is_that_of_the_backtest(traded: LeavingLive) -> None:
    rows = traded.parity()
    LIVE_PARITY.model.validate(rows, lazy=True)
    broken = rows[rows["explained"] == 0]
    assert broken[["signal_id", "outcome", "reason"]].to_numpy().tolist() == []
    agreed = rows[(rows["outcome"] == Outcome.AGREES) & rows["live_exit_reason"].notna()]
    assert (agreed["exit_reason"] == agreed["live_exit_reason"]).all()
    reasons = set(agreed["exit_reason"])
    assert {"signal", "time", "roi", "stop", "target"} <= reasons
    with traded.database.read() as connection:
        closed = {row.reason for row in connection.execute(sa.select(closings.c.reason).distinct())}
        waiting = exit_decisions.waiting_parts(connection, traded.settings.account)
        decided = {row.kind for row in connection.execute(sa.select(table.c.kind).distinct())}
    assert {"part", "signal", "time", "roi", "stop", "target"} <= closed
    assert {"levels", "parts", "signal", "time", "roi"} <= decided
    held = {one.order_link_id for one in orders.occupying(traded.database, traded.settings.account)}
    assert waiting <= held, "a part rests of a position that has ended"
    own = [one for one in traded.exchange.open_orders() if traded.exchange.order_ids.is_ours(one.order_link_id)]
    assert len(own) <= 2 * len(waiting)
