"""DCA plans in a trial: started, commanded and meddled with, while those who keep them are killed.

A long and a short one, each with a contract of its own. What they do is held against `chaos.dca_invariants` once they
have come to rest.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from decimal import Decimal

import sqlalchemy as sa
from pybit.exceptions import InvalidRequestError

from trading_assets.chaos.dca_invariants import compare_plan, left_of_ended
from trading_assets.chaos.findings import Findings
from trading_assets.chaos.manual_trader import ManualTrader
from trading_assets.chaos.plan_trial import PlanTrial
from trading_assets.core.errors import TradingAssetsError, TradingIsOffError
from trading_assets.core.models import Instrument, Position, Side
from trading_assets.core.ports import Exchange
from trading_assets.ledger import dca
from trading_assets.ledger.database import Database
from trading_assets.ledger.dca import PlanRow
from trading_assets.ledger.tables import dca_buys, dca_orders
from trading_assets.trading.context import ExecutionContext
from trading_assets.trading.dca import control
from trading_assets.trading.dca.maintain import maintain
from trading_assets.trading.dca.plans import Missed, Plan
from trading_assets.trading.dca.schedule import DcaError

SIDES = (Side.BUY, Side.SELL)
AMOUNT, LEVERAGE = Decimal(400), Decimal(5)


@dataclass(frozen=True)
class Pace:
    """How often plans buy, by the exchange's clock, which runs fast, and how late they may."""

    schedules: tuple[str, ...] = ("every 3m", "every 5m", "*/4 * * * *")
    grace_s: int = 300


FINEST = Decimal("0.0002")
SMALLEST = Decimal(40)


class DcaTrial(PlanTrial[PlanRow]):
    """The plans of one account, and the person who meddles with them; `started` counts them by side."""

    def __init__(
        self,
        exchange: Exchange,
        database: Database,
        account: str,
        instruments: Sequence[Instrument],
        manual: ManualTrader,
        chance: random.Random,
        context: Callable[[], ExecutionContext],
        pace: Pace,
    ) -> None:
        super().__init__(exchange, database, account, instruments, manual, chance, context)
        self._pace = pace

    @staticmethod
    def choose(exchange: Exchange, instruments: Sequence[Instrument]) -> list[Instrument]:
        """A contract for each side: the last ones of which a small amount can be traded, on a fine tick."""
        last = {symbol: ticker.last for symbol, ticker in exchange.tickers().items()}
        fit = [
            row
            for row in instruments
            if row.tick_size / last[row.symbol] < FINEST
            and max(row.min_qty * last[row.symbol], row.min_notional) < SMALLEST
        ]
        return fit[-len(SIDES) :]

    def _living(self) -> Sequence[PlanRow]:
        return dca.living(self._database, self._account)

    def _start(self, number: int, symbol: str) -> None:
        side = SIDES[number % len(SIDES)]
        with suppress(DcaError, TradingIsOffError):  # margin is short: next time
            control.start(self._context(), self._plan(symbol, side))
            self.started[side.value] += 1

    def _name(self, row: PlanRow) -> str:
        return f"DCA plan {row.plan_id}"

    def _is_stopping(self, row: PlanRow) -> bool:
        return row.state == dca.STOPPING

    def _pass(self) -> tuple[bool, bool, object]:
        report = maintain(self._context())
        rests = not report.busy and not report.acted and not report.failed
        return rests, bool(report.skipped or report.placed), report

    @property
    def _restless(self) -> str:
        return "dca_restless"

    def _plan(self, symbol: str, side: Side) -> Plan:
        chance = self._chance
        safety = chance.choice((0, 2, 3))
        target = chance.choice((None, Decimal("0.6"), Decimal("1.2")))
        return Plan(
            symbol=symbol,
            side=side,
            schedule=chance.choice(self._pace.schedules),
            anchor_ms=self._exchange.now_ms(),
            amount=AMOUNT,
            max_deployed=AMOUNT * chance.choice((5, 12)),
            leverage=LEVERAGE,
            stop_pct=Decimal(str(round(chance.uniform(1.2, 3), 2))),
            target_pct=target,
            safety_orders=safety,
            safety_step_pct=Decimal("0.3") if safety else Decimal(0),
            missed=chance.choice(list(Missed)),
            grace_s=self._pace.grace_s,
        )

    def command(self, what: str = "") -> None:
        """A person answers what a plan asks, and tells one this, or sometimes anything."""
        living = self._living()
        now_ms = self._exchange.now_ms()
        with suppress(TradingAssetsError):
            for row in living:
                self._answer(row, now_ms)
            if not living or (not what and self._chance.random() > 0.3):
                return
            row = self._chance.choice(living)
            what = what or self._chance.choice(("pause", "resume", "adjust", "stop"))
            self._tell(row, what, now_ms)
            self.acts[f"dca {what}"] += 1

    def _tell(self, row: PlanRow, what: str, now_ms: int) -> None:
        where = (self._database, self._account, row.symbol)
        match what:
            case "pause":
                control.pause(*where, "a trial", now_ms)
            case "resume":
                control.resume(*where, now_ms)
            case "stop":
                control.stop(*where, "a trial", now_ms, closes=True)
            case _:  # another schedule would make the times of before ones of no schedule
                plan = control.current_plan(*where)
                stop = Decimal(str(round(self._chance.uniform(1.2, 3), 2)))
                control.adjust(self._context(), replace(plan, stop_pct=stop))

    def _answer(self, row: PlanRow, now_ms: int) -> None:
        """What a person does where a plan needs one."""
        if row.state == dca.BLOCKED and self._chance.random() < 0.7:
            control.stop(self._database, self._account, row.symbol, "it is blocked", now_ms, closes=True)
        elif row.state in (dca.PAUSED, dca.RUNNING) and self._chance.random() < 0.4:
            control.resume(self._database, self._account, row.symbol, now_ms)

    def meddle(self) -> None:
        """A person cancels a safety order, takes or moves the stop, closes a part, or adds to the position."""
        living = [row for row in self._living() if row.symbol in self._listed]
        if not living:
            return
        row = self._chance.choice(living)
        what = self._chance.choice(("cancel", "unstop", "move stop", "close a part", "add"))
        with suppress(InvalidRequestError):  # the market was quicker
            if self._act(what, row):
                self.acts[f"dca: {what}"] += 1

    def _act(self, what: str, row: PlanRow) -> bool:
        held = self._exchange.position(row.symbol)
        waiting = [one for one in self._exchange.open_orders(row.symbol) if one.order_link_id and one.price is not None]
        match what:
            case "cancel" if waiting:
                self._manual.cancel(self._chance.choice(waiting))
            case "unstop":
                return self.take_stop(row.symbol)
            case "move stop" if held is not None and held.stop_loss is not None:
                by = abs(held.mark_price - held.stop_loss) / 4 // (tick := self._listed[row.symbol].tick_size) * tick
                away = held.stop_loss - by if held.side is Side.BUY else held.stop_loss + by
                self._manual.set_levels(row.symbol, stop=f"{away:f}")
            case "close a part" | "add" if held is not None and self._chance.random() < 0.3:
                self._trade(held, adds=what == "add")
            case _:
                return False
        return True

    def _trade(self, held: Position, *, adds: bool) -> None:
        one = self._listed[held.symbol]
        least = max(one.min_qty, one.min_notional / held.mark_price * 2)
        qty = -(-least // one.qty_step) * one.qty_step
        self._meddled.add(held.symbol)
        if adds:
            self._manual.trade(held.symbol, held.side, qty)
        else:
            self._manual.trade(held.symbol, held.side.opposite, min(qty, held.size), reduce_only=True)

    def _compare(self, found: Findings) -> None:
        for symbol in self._listed:
            for row in dca.newest(self._database, self._account, symbol):
                is_at_rest = row.state in (dca.RUNNING, dca.PAUSED, dca.ENDED) and symbol not in self._meddled
                compare_plan(found, self._database, self._exchange, row, rests=is_at_rest)
                if row.state == dca.ENDED:
                    with self._database.read() as connection:
                        orders = dca.orders_of(connection, row.plan_id)
                    found.dca_duplicates += left_of_ended(self._exchange, row, orders)

    def figures(self, since_ms: int) -> dict[str, object]:
        """Orders, fills and outcomes of scheduled times of all plans of the trial."""
        executions = self._exchange.executions(since_ms, self._exchange.now_ms() + 1)
        count, mine = sa.func.count(), dca_buys.c.account == self._account
        with self._database.read() as connection:
            sent = sa.select(count).where(dca_orders.c.account == self._account, dca_orders.c.purpose != dca.EXIT)
            orders = int(connection.execute(sent).scalar_one())
            outcomes = sa.select(dca_buys.c.outcome, count).where(mine).group_by(dca_buys.c.outcome)
            times = {str(outcome): int(number) for outcome, number in connection.execute(outcomes)}
        return {
            "dca_orders": orders,
            "dca_fills": sum(row.symbol in self._listed and row.kind.moves_position for row in executions),
            "dca_times": times,
        }
