"""Does what was decided for a grid: its state, cancels, the stop, orders. Each order is written before it is sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal

import sqlalchemy as sa

from trading_assets.core.errors import (
    AmbiguousOutcomeError,
    ExchangeError,
    ExchangeFatalError,
    NothingToCloseError,
    NotSentError,
    OrderRejectedError,
    PriceRefusedError,
    RulesChangedError,
    TooLateError,
)
from trading_assets.core.messages import Severity
from trading_assets.core.models import OrderAck, OrderRequest
from trading_assets.ledger import grids, risk
from trading_assets.ledger.grids import Grid, GridOrder
from trading_assets.trading.grid.accounting import Accounts
from trading_assets.trading.grid.laying import lay_anew, recentred
from trading_assets.trading.grid.one_pass import LETTERS, Pass, grid_order_row
from trading_assets.trading.grid.planning import Decision, View, Wish, key_of, rounds_of
from trading_assets.trading.grid.reading import Seen
from trading_assets.trading.grid.steps import GridStep, grid_step
from trading_assets.trading.kept import SEND_WITHIN_MS, closed_with_it, left_to_others

REFUSED_REST_MS = 10_000
"""A stop or a closing that was refused is sent again so long after it."""


class Acting:
    """The acts of a pass."""

    def __init__(self, one: Pass) -> None:
        self._pass, self._context = one, one.context

    def act(self, view: View, accounts: Accounts, orders: Sequence[GridOrder], seen: Seen, decision: Decision) -> bool:
        """Do it. Return whether something was changed, so that another look is due."""
        if decision.is_nothing:
            return False
        grid, acted = view.grid, False
        if decision.state is not None or decision.blocked or decision.lays_anew:
            with grid_step(self._context, GridStep.CHANGE):
                self._change_state(view, accounts, seen, decision)
            acted = True
        if decision.cancels:
            acted |= self._cancel(grid, decision.cancels, seen)
        if decision.stop is not None:
            before = self._pass.report.stops_set
            if not self._set_stop(grid, decision.stop, seen):
                return True
            acted |= self._pass.report.stops_set > before
        if decision.places and not (decision.state or decision.lays_anew):
            with grid_step(self._context, GridStep.RESERVE):
                rows, requests = self._reserve(grid, decision.places, orders, seen)
            acted |= bool(requests)
            self._send(grid, rows, requests, seen)
        return acted

    def _change_state(self, view: View, accounts: Accounts, seen: Seen, decision: Decision) -> None:
        context, grid, now_ms = self._context, view.grid, seen.now_ms
        with context.database.write(one_at_a_time=f"orders of {grid.account}") as connection:
            self._pass.guard(connection)
            for row in grids.levels_of(connection, grid):
                if row.level_index in decision.blocked:
                    why = decision.blocked[row.level_index]
                    grids.set_level(connection, row, blocked=why)
                    self._pass.tell(connection, f"grid {grid.symbol}", f"level {row.level_index}: {why}", now_ms)
            if decision.lays_anew and seen.instrument is not None:
                told = lay_anew(connection, grid, accounts, seen.market, seen.instrument, now_ms)
                self._pass.tell(connection, f"grid {grid.symbol} was laid anew", told, now_ms, Severity.INFO)
            if decision.state is None:
                return
            state, why = decision.state
            values: dict[str, object] = {"state": state, "reason": why}
            if decision.closes is not None:
                values["closes"] = decision.closes
            if state == grids.MOVING and seen.instrument is not None:
                values["wanted"] = recentred(grid, seen.market.last, seen.instrument)
            if state == grids.ENDED:
                values |= {"open_slot": None, "ended_ms": now_ms}
                self._pass.report.ended.append(grid.symbol)
            if not grids.change(connection, grid.grid_id, now_ms, was=grid.state, **values):
                return  # a person has changed it meanwhile
            sums = accounts.sums(seen.market.last)
            text = f"{why}; grid profit {sums.grid_profit:+.2f}, in all {sums.total:+.2f} USD, holds {sums.inventory}"
            if state == grids.ENDED:
                text += closed_with_it(accounts.shared)
            if state == grids.ENDED and not accounts.inventory:
                text += left_to_others("grid", seen.position)
            elif state == grids.ENDED and grid.closes:
                left = f"{abs(accounts.inventory)} by its fills"
                text += f"; the exchange shows nothing of {left}: somebody else has closed it"
            self._pass.tell(connection, f"grid {grid.symbol} is {state}", text, now_ms)

    def _cancel(self, grid: Grid, cancels: Mapping[str, str], seen: Seen) -> bool:
        context = self._context
        with context.database.write() as connection:
            self._pass.guard(connection)
            for link, why in cancels.items():
                # The moment of the last change stays: one that never arrived is given up in its time.
                grids.ask_to_cancel(connection, link, why)
        shown = [link for link in cancels if link in seen.orders and not seen.orders[link].status.is_final]
        if not shown:
            return False
        with grid_step(context, GridStep.CANCEL):
            outcomes = context.exchange.cancel_orders([(grid.symbol, link) for link in shown])
        self._pass.report.cancelled += sum(one is None for one in outcomes)
        for outcome in outcomes:
            if isinstance(outcome, ExchangeFatalError):
                raise outcome
        return True

    def _set_stop(self, grid: Grid, stop: Decimal, seen: Seen) -> bool:
        """Set the position's stop. Return False where it is to be looked at anew at once.

        That is where the price has passed it (the grid stops then), it is too late to set it on what was seen, or the
        contract's rules have changed.
        """
        context = self._context
        try:
            with grid_step(context, GridStep.STOP):
                context.exchange.set_stops(grid.symbol, stop, None, seen.send_by)
        except PriceRefusedError as error:
            why = f"the price has passed the stop {stop}: {error}"
            with context.database.write() as connection:
                self._pass.guard(connection)
                if grid.state != grids.STOPPING:
                    self._pass.tell(connection, f"grid {grid.symbol} stops", why, seen.now_ms, Severity.CRITICAL)
                grids.change(connection, grid.grid_id, seen.now_ms, state=grids.STOPPING, reason=why, closes=True)
            return grid.state == grids.STOPPING  # then what is held is closed at the market
        except ExchangeError as error:
            if isinstance(error, ExchangeFatalError):
                raise
            self._pass.report.failed[grid.symbol] = f"the stop {stop} could not be set, it is tried again: {error}"
            if isinstance(error, OrderRejectedError):
                context.contracts.forget()  # its tick may be another one by now
            return not isinstance(error, TooLateError | RulesChangedError)
        self._pass.report.stops_set += 1
        return True

    def _reserve(
        self, grid: Grid, wishes: Sequence[Wish], orders: Sequence[GridOrder], seen: Seen
    ) -> tuple[list[GridOrder], list[OrderRequest]]:
        """Write what is to be sent. What may open is written only while trading is allowed."""
        context = self._context
        encode = context.exchange.order_ids.encode
        rounds = dict(rounds_of(orders, grid.generation))
        rows, requests, send_by = [], [], context.send_by(SEND_WITHIN_MS)
        with context.database.write(one_at_a_time=f"orders of {grid.account}") as connection:
            self._pass.guard(connection)
            if grids.by_id(connection, grid.grid_id).state != grid.state:
                return [], []  # a person has changed it meanwhile: look again
            may_open = risk.entries_allowed(connection, grid.account, seen.now_ms)
            for wish in wishes:
                if (wish.purpose == grids.OPEN and not may_open) or _was_refused(wish, orders, seen.now_ms):
                    continue
                key = key_of(wish.level_index, wish.purpose)
                number = rounds[key] = rounds.get(key, 0) + 1
                name = f"{grid.grid_id}:{grid.generation}:{wish.level_index}:{number}"
                link = encode(name, LETTERS[wish.purpose])
                row = grid_order_row(grid, link, wish.purpose, wish.side, wish.qty, seen.now_ms, context.wall_ms())
                row = replace(row, level_index=wish.level_index, round=number)
                rows.append(replace(row, price=wish.price, trigger_price=wish.trigger_price))
                requests.append(
                    OrderRequest(
                        symbol=grid.symbol,
                        side=wish.side,
                        qty=wish.qty,
                        order_link_id=link,
                        stop_loss=wish.stop_loss,
                        reduce_only=wish.reduce_only,
                        trigger_price=wish.trigger_price,
                        price=wish.price,
                        post_only=wish.post_only,
                        send_by=send_by,
                    )
                )
            grids.add_orders(connection, rows)
        return rows, requests

    def _send(self, grid: Grid, rows: Sequence[GridOrder], requests: Sequence[OrderRequest], seen: Seen) -> None:
        """Send what was written, each once, and write what the answers say."""
        if not requests:
            return
        context = self._context
        with grid_step(context, GridStep.CREATE):
            outcomes = context.exchange.place_orders(requests)
        with grid_step(context, GridStep.ACKNOWLEDGE):
            self._acknowledge(grid, rows, outcomes, seen)

    def _acknowledge(
        self, grid: Grid, rows: Sequence[GridOrder], outcomes: Sequence[OrderAck | ExchangeError], seen: Seen
    ) -> None:
        """Write what the answers say of orders of which nobody has written anything since."""
        context = self._context
        wall_ms, fatal = context.wall_ms(), None
        with context.database.write() as connection:
            levels = {row.level_index: row for row in grids.levels_of(connection, grid)}
            for row, outcome in zip(rows, outcomes, strict=True):
                link = row.order_link_id
                if not isinstance(outcome, ExchangeError):
                    self._pass.report.placed += 1
                    grids.answer_order(
                        connection, link, seen.now_ms, wall_ms, status=grids.UNKNOWN, order_id=outcome.order_id
                    )
                elif isinstance(outcome, OrderRejectedError | NotSentError | ExchangeFatalError):
                    # Nothing was placed; should one come after all, it is seen among the open orders and cancelled.
                    why = grids.NOTHING_TO_CLOSE if isinstance(outcome, NothingToCloseError) else ""
                    is_told = grids.answer_order(
                        connection, link, seen.now_ms, wall_ms, status=grids.DONE, reason=f"{why}{outcome}"[:500]
                    )
                    self._pass.report.failed[grid.symbol] = str(outcome)
                    if row.purpose == grids.GUARD and is_told and not why:
                        self._tell_unguarded(connection, grid, row, outcome, seen.now_ms)
                    level = levels.get(row.level_index) if row.level_index is not None and is_told else None
                    if level is not None and isinstance(outcome, OrderRejectedError):
                        self._pass.count_try(connection, grid, level, str(outcome)[:300], seen.now_ms)
                    elif level is not None:
                        grids.set_level(connection, level, retry_ms=seen.now_ms + 2000)
                else:
                    grids.answer_order(
                        connection, link, seen.now_ms, wall_ms, status=grids.UNKNOWN, reason=str(outcome)[:500]
                    )
                if isinstance(outcome, RulesChangedError):
                    context.contracts.forget()
                if isinstance(outcome, ExchangeFatalError) and not isinstance(outcome, AmbiguousOutcomeError):
                    fatal = outcome
        if fatal is not None:
            raise fatal

    def _tell_unguarded(
        self, connection: sa.Connection, grid: Grid, row: GridOrder, why: ExchangeError, now_ms: int
    ) -> None:
        """Without its stop nothing of a side is opened: a person is told once, until one rests."""
        if grids.by_id(connection, grid.grid_id).told == grids.GUARD:
            return
        grids.change(connection, grid.grid_id, now_ms, told=grids.GUARD)
        text = f"its stop of {row.qty} at {row.trigger_price} was refused, so that side opens nothing: {why}"
        self._pass.tell(connection, f"grid {grid.symbol} has no stop on one side", text, now_ms, Severity.CRITICAL)


def _was_refused(wish: Wish, orders: Sequence[GridOrder], now_ms: int) -> bool:
    """Whether an order of the whole grid was just refused: the same one is not sent again and again."""
    return wish.level_index is None and any(
        (one.purpose, one.side, one.status, one.cancel) == (wish.purpose, wish.side, grids.DONE, None)
        and one.order_id is None
        and 0 <= now_ms - one.updated_ms < REFUSED_REST_MS
        for one in orders
    )
