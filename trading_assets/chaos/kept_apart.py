"""Grids and DCA plans of a trial: what trades by a plan of its own, in contracts of its own, beside the signals."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence

from trading_assets.chaos.dca_trial import DcaTrial, Pace
from trading_assets.chaos.findings import Findings
from trading_assets.chaos.grid_trial import GridTrial
from trading_assets.chaos.manual_trader import ManualTrader
from trading_assets.chaos.points import LOSES_GRID_STOP, LOSES_PLAN_STOP, PAUSES_PLAN, STOPS_GRID, STOPS_PLAN
from trading_assets.core.models import Instrument
from trading_assets.core.ports import Exchange
from trading_assets.ledger.database import Database
from trading_assets.trading.context import ExecutionContext


class KeptApart:
    """Both trials of one account. Each has random numbers of its own, so that one changes nothing of the other."""

    def __init__(
        self,
        exchange: Exchange,
        database: Database,
        account: str,
        instruments: Sequence[Instrument],
        manual: ManualTrader,
        chance: random.Random,
        seed: int,
        context: Callable[[], ExecutionContext],
        pace: Pace | None = None,
    ) -> None:
        of_grids = GridTrial.choose(exchange, instruments)
        of_plans = DcaTrial.choose(exchange, [row for row in instruments if row not in of_grids])
        self._grids = GridTrial(exchange, database, account, of_grids, manual, chance, context)
        self._plans = DcaTrial(
            exchange, database, account, of_plans, manual, random.Random(seed + 1), context, pace or Pace()
        )
        self._exchange, self._self_trades_ms = exchange, exchange.now_ms()

    @property
    def symbols(self) -> set[str]:
        """Contracts in which nothing is of a signal."""
        return self._grids.symbols | self._plans.symbols

    @property
    def acts(self) -> Counter[str]:
        """What the person did, and how often."""
        return self._grids.acts + self._plans.acts

    def begin(self) -> None:
        """See that each contract has its grid or plan."""
        self._grids.begin()
        self._plans.begin()

    def prepare(self, point: str) -> None:
        """A person does what brings a trader to this point, or anything."""
        self.begin()
        self._grids.command(stops=point in STOPS_GRID)
        if point in LOSES_GRID_STOP:
            self._grids.take_stop()
        self._plans.command("stop" if point in STOPS_PLAN else "pause" if point in PAUSES_PLAN else "")
        if point in LOSES_PLAN_STOP:
            self._plans.take_stop()

    def meddle(self) -> None:
        """A person changes something of each."""
        self._grids.meddle()
        self._plans.meddle()

    def settle(self) -> list[Findings]:
        """Bring all to rest, and hold it against the exchange."""
        found = self._grids.settle()
        found.self_trades += self._grids.self_trades(self._self_trades_ms)
        self._self_trades_ms = self._exchange.now_ms()
        return [found, self._plans.settle()]

    def figures(self, since_ms: int) -> dict[str, object]:
        """Figures of the report, by name."""
        started = {"grids": dict(self._grids.started), "dca": dict(self._plans.started)}
        return {**started, **self._grids.figures(since_ms), **self._plans.figures(since_ms)}
