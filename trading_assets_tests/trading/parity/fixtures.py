"""Hours of live trading on the embedded exchange: what the jobs do, without Dagster, as fast as the clock is moved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from trading_assets.backtesting.run import production_engine
from trading_assets.chaos.signal_source import selection_row
from trading_assets.core.models import ContractKind, Instrument
from trading_assets.core.ports import Exchange
from trading_assets.core.schemas import STRATEGY_SELECTIONS
from trading_assets.core.settings import Settings
from trading_assets.core.strategy_data import StrategyData
from trading_assets.core.timeframes import HOUR_MS, MINUTE_MS, Timeframe, floor_ms
from trading_assets.ledger.database import Database
from trading_assets.ledger.partitions import replace_partitions
from trading_assets.market.loading import load_live
from trading_assets.market.store import CandleStore
from trading_assets.simulator.embedded import RunningExchange
from trading_assets.strategies.base import Strategy
from trading_assets.trading.context import ExecutionContext
from trading_assets.trading.decide.finder import find_entry_signals
from trading_assets.trading.execute.exit_plans import follow_exit_plans
from trading_assets.trading.execute.submit import submit_orders
from trading_assets.trading.parity import load as reading
from trading_assets.trading.parity.day import compare_day
from trading_assets.trading.reconcile.reconciler import reconcile
from trading_assets.trading.session.watchlist import newest_selection
from trading_assets_tests.trading.fixtures import start_strategy

DAY_MS_ZERO = 1_772_409_600_000
"""2026-03-02 00:00 UTC."""

STEP_MS = 15 * MINUTE_MS
AFTER_CLOSE_MS = 5_000
STRATEGY = "bollinger_rsi"


@dataclass
class LiveTrading:
    """A ledger, candles and an account on a venue whose clock is moved by hand."""

    venue: RunningExchange
    database: Database
    store: CandleStore
    exchange: Exchange
    settings: Settings
    symbols: Sequence[str]

    @property
    def context(self) -> ExecutionContext:
        return ExecutionContext(self.database, self.exchange, self.settings, sleep=lambda _seconds: None)

    def instruments(self) -> dict[str, Instrument]:
        return {
            one.symbol: one
            for one in self.exchange.instruments()
            if one.settle_coin == "USDT" and one.kind is ContractKind.PERPETUAL
        }

    def select(self, hour_ms: int, timeframe: str) -> None:
        """The selection of an hour: every coin, one timeframe."""
        start_strategy(self.database)
        replace_partitions(
            self.database,
            STRATEGY_SELECTIONS,
            pd.DataFrame([selection_row(hour_ms, symbol, timeframe) for symbol in self.symbols]),
            [hour_ms],
        )

    def look(self) -> None:
        """What the reconcile job does, then what the trade job does."""
        follow_exit_plans(self.context, self.store)
        reconcile(self.context)
        now_ms = self.exchange.now_ms()
        selected = newest_selection(self.database)
        assert selected is not None

        def load(symbol: str, timeframe: Timeframe, strategy: Strategy) -> StrategyData:
            return load_live(self.exchange, self.store, symbol, timeframe, strategy.needs(), now_ms)

        find_entry_signals(
            database=self.database,
            selections=selected.rows.to_dict("records"),
            load=load,
            instruments=self.instruments(),
            settings=self.settings,
            now_ms=now_ms,
        )
        submit_orders(self.context)

    def trade(self, hours: int, timeframe: str = "15m") -> None:
        """So many hours, a look at each quarter; each hour's selection is there a look after the hour's end."""
        end_ms = self.venue.now_ms() + hours * HOUR_MS
        while self.venue.now_ms() < end_ms:
            self.look()
            now_ms = self.venue.now_ms()
            self.select(floor_ms(now_ms, HOUR_MS) - HOUR_MS, timeframe)
            self.venue.set_clock(floor_ms(now_ms, STEP_MS) + STEP_MS + AFTER_CLOSE_MS)

    def parity(self, day_ms: int = DAY_MS_ZERO) -> pd.DataFrame:
        """Rows of `live_parity`."""
        return compare_day(
            day_ms,
            reading.read_live_day(self.database, self.settings, day_ms),
            settings=self.settings,
            ticks={symbol: one.tick_size for symbol, one in self.instruments().items()},
            load_decided=reading.decided_loader(self.exchange, self.store, day_ms),
            load_held=reading.held_loader(self.exchange, self.store, day_ms),
            engine=production_engine(),
        )
