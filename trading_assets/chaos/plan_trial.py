"""What trials of grids and of DCA plans have in common: each plan has a contract of its own, and comes to rest."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Generic, Protocol, TypeVar

from pybit.exceptions import InvalidRequestError

from trading_assets.chaos.findings import Findings
from trading_assets.chaos.manual_trader import ManualTrader
from trading_assets.core.models import Instrument
from trading_assets.core.ports import Exchange
from trading_assets.ledger.database import Database
from trading_assets.trading.context import ExecutionContext

PASSES = 12
"""So many passes at most bring plans to rest on an exchange that works."""

STOPS_WITHIN = 8
"""So many rounds a plan may take to end; a person, or orders of his, may keep it from it."""

COMPARISONS = 4


class Row(Protocol):
    """A plan as the ledger has it."""

    @property
    def symbol(self) -> str: ...


_Row = TypeVar("_Row", bound=Row)


class PlanTrial(ABC, Generic[_Row]):
    """The plans of one account, and the person who meddles with them.

    Attributes:
        acts: what the person did, and how often.
        started: how many plans of each kind.
    """

    def __init__(
        self,
        exchange: Exchange,
        database: Database,
        account: str,
        instruments: Sequence[Instrument],
        manual: ManualTrader,
        chance: random.Random,
        context: Callable[[], ExecutionContext],
    ) -> None:
        self._exchange, self._database, self._account = exchange, database, account
        self._manual, self._chance, self._context = manual, chance, context
        self._listed = {row.symbol: row for row in instruments}
        self.acts: Counter[str] = Counter()
        self.started: Counter[str] = Counter()
        self._stopping: Counter[str] = Counter()
        self._meddled: set[str] = set()

    @abstractmethod
    def _living(self) -> Sequence[_Row]:
        """The plans that have not ended."""

    @abstractmethod
    def _start(self, number: int, symbol: str) -> None:
        """Start a plan in the contract of this number, where it can be started now."""

    @abstractmethod
    def _name(self, row: _Row) -> str:
        """What a finding calls it."""

    @abstractmethod
    def _is_stopping(self, row: _Row) -> bool:
        """Whether it is to end, and has not yet."""

    @abstractmethod
    def _pass(self) -> tuple[bool, bool, object]:
        """Look after the plans once: whether nothing was left to do, whether a time had come, and the report."""

    @abstractmethod
    def _compare(self, found: Findings) -> None:
        """Hold the plans against the exchange."""

    @property
    @abstractmethod
    def _restless(self) -> str:
        """The law that plans break which never come to rest."""

    @property
    def symbols(self) -> set[str]:
        """Contracts of plans: nothing there is of a signal."""
        return set(self._listed)

    def begin(self) -> None:
        """See that each contract has a plan; what a person has left there is closed first."""
        living = {row.symbol for row in self._living()}
        for number, symbol in enumerate(self._listed):
            if symbol in living:
                continue
            with suppress(InvalidRequestError):
                for order in self._exchange.open_orders(symbol):
                    self._manual.cancel(order)
                held = self._exchange.position(symbol)
                if held is not None:
                    self._manual.close(held)
            if self._exchange.position(symbol) is not None:
                continue
            self._meddled.discard(symbol)
            self._start(number, symbol)

    def take_stop(self, symbol: str | None = None) -> bool:
        """Take the stop off what a plan holds; whether there was any."""
        for each in self._exchange.positions():
            if each.symbol in self._listed and symbol in (None, each.symbol) and each.stop_loss is not None:
                with suppress(InvalidRequestError):  # its stop was quicker
                    self._manual.take_stops(each.symbol)
                    return True
        return False

    def settle(self) -> Findings:
        """Bring the plans to rest, and hold them against the exchange; again where the market moved meanwhile."""
        found = Findings()
        for _ in range(COMPARISONS):
            found = Findings()
            began_ms = self._rest(found)
            self._compare(found)
            if not found.broken or not self._moved_since(began_ms):
                break
        for row in self._living():
            name = self._name(row)
            self._stopping[name] = self._stopping[name] + 1 if self._is_stopping(row) else 0
            if self._stopping[name] > STOPS_WITHIN and row.symbol not in self._meddled:
                found.mismatches.append(f"{name} has been stopping for {STOPS_WITHIN} rounds: {row}")
        return found

    def _rest(self, found: Findings) -> int:
        """Passes until one does nothing; when that began. Passes that go on doing something are restless, where nothing
        new is at the exchange, and no time has come.
        """
        idle, report, began_ms = 0, None, 0
        for _ in range(PASSES):
            began_ms = self._exchange.now_ms()
            rests, is_due, report = self._pass()
            if rests:
                return began_ms
            idle = 0 if self._moved_since(began_ms - 5_000) or is_due else idle + 1
        if idle > PASSES // 2 and not self._is_meddled():
            getattr(found, self._restless).append(f"{PASSES} passes, and the last one still did: {report}")
        return began_ms

    def _is_meddled(self) -> bool:
        return bool(self._meddled & {row.symbol for row in self._living()})

    def _moved_since(self, began_ms: int) -> bool:
        rows = self._exchange.executions(began_ms, self._exchange.now_ms() + 1)
        return any(row.symbol in self._listed for row in rows)
