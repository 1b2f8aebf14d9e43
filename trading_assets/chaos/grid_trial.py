"""Grids of every kind in a trial: started, commanded and meddled with, while those who keep them are killed.

Each has a contract of its own. What they do is held against `chaos.grid_invariants` once they have come to rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from decimal import Decimal

from pybit.exceptions import InvalidRequestError

from trading_assets.chaos.findings import Findings
from trading_assets.chaos.grid_invariants import compare_grid, left_of_ended, tradable, traded_with_itself
from trading_assets.chaos.plan_trial import PlanTrial
from trading_assets.core.errors import TradingAssetsError, TradingIsOffError
from trading_assets.core.models import Instrument, Order, Side
from trading_assets.core.ports import Exchange
from trading_assets.ledger import grids
from trading_assets.ledger.grids import Grid
from trading_assets.trading.grid import control
from trading_assets.trading.grid.levels import GridError, Kind, OutOfRange, Plan, Spacing
from trading_assets.trading.grid.maintain import maintain

KINDS = tuple(Kind)
CAPITAL, LEVERAGE = Decimal(1_500), Decimal(5)


class GridTrial(PlanTrial[Grid]):
    """The grids of one account, and the person who meddles with them; `started` counts them by kind."""

    @staticmethod
    def choose(exchange: Exchange, instruments: Sequence[Instrument]) -> list[Instrument]:
        """A contract for each kind of grid: the last ones whose tick is fine enough."""
        last = {symbol: ticker.last for symbol, ticker in exchange.tickers().items()}
        return tradable(instruments, last)[-len(KINDS) :]

    def _living(self) -> Sequence[Grid]:
        return grids.living(self._database, self._account)

    def _start(self, number: int, symbol: str) -> None:
        kind = KINDS[number % len(KINDS)]
        with suppress(GridError, TradingIsOffError):  # the market is nowhere near, or margin is short: next time
            control.start(self._context(), self._plan(symbol, kind))
            self.started[kind.value] += 1

    def _name(self, row: Grid) -> str:
        return f"grid {row.grid_id}"

    def _is_stopping(self, row: Grid) -> bool:
        return row.state == grids.STOPPING

    def _pass(self) -> tuple[bool, bool, object]:
        report = maintain(self._context())
        return not report.busy and not report.acted and not report.failed, False, report

    @property
    def _restless(self) -> str:
        return "grid_restless"

    def _plan(self, symbol: str, kind: Kind) -> Plan:
        last = self._exchange.ticker(symbol).last
        half, beyond = (Decimal(str(round(self._chance.uniform(*of), 4))) for of in ((0.008, 0.015), (0.006, 0.012)))
        return Plan(
            symbol=symbol,
            kind=kind,
            spacing=self._chance.choice(list(Spacing)),
            low=last * (1 - half),
            high=last * (1 + half),
            levels=self._chance.choice((5, 7, 9)),
            capital=CAPITAL,
            leverage=LEVERAGE,
            stop_low=last * (1 - half - beyond) if kind is not Kind.SHORT else None,
            stop_high=last * (1 + half + beyond) if kind is not Kind.LONG else None,
            out_of_range=self._chance.choice(list(OutOfRange)),
        )

    def command(self, *, stops: bool = False) -> None:
        """A person tells a grid something, or answers what it asks; `stops`: stops one that runs."""
        living = self._living()
        now_ms = self._exchange.now_ms()
        with suppress(TradingAssetsError):
            for grid in living:
                self._answer(grid, now_ms)
            if not living or (not stops and self._chance.random() > 0.35):
                return
            grid = self._chance.choice(living)
            what = "stop" if stops else self._chance.choice(("pause", "resume", "recentre", "adjust", "stop"))
            self._tell(grid, what, now_ms)
            self.acts[f"grid {what}"] += 1

    def _tell(self, grid: Grid, what: str, now_ms: int) -> None:
        where = (self._database, self._account, grid.symbol)
        match what:
            case "pause":
                control.pause(*where, "a trial", now_ms)
            case "resume":
                control.resume(*where, now_ms)
            case "stop":
                control.stop(*where, "a trial", now_ms, closes=True)
            case _:
                plan = self._plan(grid.symbol, Kind(grid.kind))
                control.adjust(self._context(), plan)

    def _answer(self, grid: Grid, now_ms: int) -> None:
        """What a person does where a grid, or a level of it, needs one."""
        if grid.state == grids.BLOCKED and self._chance.random() < 0.7:
            control.stop(self._database, self._account, grid.symbol, "it is blocked", now_ms, closes=True)
        elif grid.state in (grids.PAUSED, grids.RUNNING) and self._chance.random() < 0.4:
            control.resume(self._database, self._account, grid.symbol, now_ms)

    def meddle(self) -> None:
        """A person cancels or changes orders of a grid, takes its stop away, or trades in its contract."""
        living = [grid for grid in self._living() if grid.symbol in self._listed]
        if not living:
            return
        grid = self._chance.choice(living)
        what = self._chance.choice(("cancel", "cancel", "move", "shrink", "unstop", "unguard", "trade"))
        waiting = [row for row in self._exchange.open_orders(grid.symbol) if row.order_link_id]
        levels = [row for row in waiting if row.price is not None and row.trigger_price is None]
        with suppress(InvalidRequestError):  # the market was quicker
            if self._act(what, grid, levels, [row for row in waiting if row.trigger_price is not None]):
                self.acts[f"grid: {what}"] += 1

    def _act(self, what: str, grid: Grid, levels: Sequence[Order], guards: Sequence[Order]) -> bool:
        match what:
            case "unstop":
                return self.take_stop(grid.symbol)
            case "unguard" if guards:
                self._manual.cancel(self._chance.choice(guards))
            case "trade" if self._chance.random() < 0.3:
                self._meddled.add(grid.symbol)
                one = self._listed[grid.symbol]
                least = max(one.min_qty, one.min_notional / self._exchange.ticker(grid.symbol).last * 2)
                qty = -(-least // one.qty_step) * one.qty_step
                self._manual.trade(grid.symbol, self._chance.choice(list(Side)), qty)
            case "cancel" if levels:
                self._manual.cancel(self._chance.choice(levels))
            case "move" | "shrink" if levels:
                return self._change(self._chance.choice(levels), what)
            case _:
                return False
        return True

    def _change(self, order: Order, what: str) -> bool:
        one = self._listed[order.symbol]
        if what == "move" and order.price is not None:
            by = one.tick_size * 3
            self._manual.amend(order, price=order.price - by if order.side is Side.BUY else order.price + by)
            return True
        qty = order.filled_qty + (order.qty - order.filled_qty) / 2 // one.qty_step * one.qty_step
        if not max(order.filled_qty, one.min_qty) < qty < order.qty:
            return False
        self._manual.amend(order, qty=qty)
        return True

    def _compare(self, found: Findings) -> None:
        for grid in grids.newest(self._database, self._account):
            if grid.symbol not in self._listed:
                continue
            is_at_rest = grid.state in (grids.RUNNING, grids.PAUSED, grids.ENDED)
            compare_grid(
                found, self._database, self._exchange, grid, rests=is_at_rest and grid.symbol not in self._meddled
            )
            if grid.state == grids.ENDED:
                with self._database.read() as connection:
                    found.grid_duplicates += left_of_ended(connection, self._exchange, grid)

    def figures(self, since_ms: int) -> dict[str, int]:
        """Orders, fills and filled closers of all grids of the trial."""
        executions = self._exchange.executions(since_ms, self._exchange.now_ms() + 1)
        moved = [row for row in executions if row.symbol in self._listed and row.kind.moves_position]
        with self._database.read() as connection:
            orders = grids.count_orders(connection, self._account)
            closers = grids.links_of(connection, self._account, grids.CLOSE)
        return {
            "grid_orders": orders,
            "grid_fills": len(moved),
            "grid_closed": len({row.order_link_id for row in moved} & closers),
        }

    def self_trades(self, since_ms: int) -> list[str]:
        """Executions in which two orders of ours met."""
        executions = self._exchange.executions(since_ms, self._exchange.now_ms() + 1)
        return traded_with_itself([row for row in executions if self._exchange.order_ids.is_ours(row.order_link_id)])
