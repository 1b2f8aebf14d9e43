"""Keeps DCA plans: reads the exchange, books what was filled, and does what `planning` decides. One process at a time.

A pass may end anywhere. A scheduled time and its order are written in one transaction before the order is sent, under
an id that follows from plan and scheduled time; so the next pass finds what was sent, and no time has two orders. An
answer only means that a request was accepted: what became of it is seen. What was filled is told by executions alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal

import sqlalchemy as sa

from trading_assets.core.errors import (
    AmbiguousOutcomeError,
    ExchangeError,
    ExchangeFatalError,
    NotSentError,
    OrderRejectedError,
    PriceRefusedError,
    RulesChangedError,
    TooLateError,
)
from trading_assets.core.messages import Kind as MessageKind
from trading_assets.core.messages import Message, Severity
from trading_assets.core.models import OrderAck, OrderRequest, SendBy, Side
from trading_assets.core.timeframes import iso
from trading_assets.ledger import dca, leases, risk
from trading_assets.ledger import executions as execution_ledger
from trading_assets.ledger.dca import BuyRow, PlanOrder, PlanRow
from trading_assets.ledger.leases import Lease
from trading_assets.trading import account_refusals
from trading_assets.trading.context import ExecutionContext
from trading_assets.trading.dca import booking
from trading_assets.trading.dca.accounting import Accounts, accounts_of
from trading_assets.trading.dca.booking import Following, Seen, plan_order_row
from trading_assets.trading.dca.planning import Decision, View, Wish, decide
from trading_assets.trading.dca.plans import plan_of
from trading_assets.trading.dca.report import DcaReport
from trading_assets.trading.dca.schedule import DcaError
from trading_assets.trading.dca.steps import DcaStep, dca_step
from trading_assets.trading.grid.levels import ZERO
from trading_assets.trading.kept import (
    DIFFERS_MS,
    LEASE_MS,
    PAUSE_S,
    ROUNDS,
    SEND_WITHIN_MS,
    UNKNOWN,
    closed_with_it,
    left_to_others,
    unknown_orders,
    why_stopped,
)

MOST_TIMES = 20_000
"""So many scheduled times get their outcome in one round of a pass."""

LETTERS = {dca.BUY: "db", dca.SAFETY: "ds", dca.TARGET: "dt", dca.FLATTEN: "df"}
"""Kinds of the order ids of plans."""


def dca_lease(account: str) -> str:
    """Return the name of the lease on the DCA plans of an account."""
    return f"dca:{account}"


def maintain(context: ExecutionContext, *, rounds: int = ROUNDS) -> DcaReport:
    """Do one pass over the account's plans, until nothing is left to be done now.

    What fails for one plan is reported, and tried again in the next pass; the others are looked after all the same.

    Raises:
        WrongBooksError: the ledger is not that of the key's account; nothing was done.
        StorageError: the ledger cannot be written.
    """
    report = DcaReport()
    account, database = context.settings.account, context.database
    if not dca.living(database, account):
        return report
    context.require_bound()
    name = dca_lease(account)
    lease = leases.acquire(database, name, leases.this_holder(), ttl_ms=LEASE_MS, wall_ms=context.wall_ms())
    if lease is None:
        held = leases.holder_of(database, name, wall_ms=context.wall_ms())
        report.busy = held.holder if held is not None else "another process"
        return report
    try:
        for plan in dca.living(database, account):
            report.plans += 1
            try:
                for number in range(rounds):
                    lease = leases.renew(database, lease, ttl_ms=LEASE_MS, wall_ms=context.wall_ms())
                    if not _Pass(context, lease, plan.plan_id, report).run():
                        break
                    if number + 1 < rounds:
                        context.sleep(PAUSE_S)
            except ExchangeFatalError as error:
                account_refusals.tell(context, error)
                report.failed[plan.symbol] = str(error)
            except (ExchangeError, DcaError) as error:
                report.failed[plan.symbol] = str(error)
    finally:
        leases.release(database, lease)
    due = [next_due_ms(plan) for plan in dca.living(database, account)]
    report.next_ms = min((one for one in due if one is not None), default=None)
    return report


def next_due_ms(row: PlanRow) -> int | None:
    """The next scheduled time of a plan that has no outcome yet, UTC ms; None where none comes any more."""
    if row.state not in (dca.RUNNING, dca.PAUSED):
        return None
    due = plan_of(row).times.next_after(row.decided_ms)
    return None if due is None or (row.end_ms is not None and due >= row.end_ms) else due


class _Pass:
    """One look at one plan, and what follows from it."""

    def __init__(self, context: ExecutionContext, lease: Lease, plan_id: str, report: DcaReport) -> None:
        self._context, self._lease, self._plan_id, self._report = context, lease, plan_id, report
        self._told: list[Message] = []
        self._send_by: SendBy | None = None

    def run(self) -> bool:
        """Return whether something was done, so that another look is due."""
        context = self._context
        with context.database.read() as connection:
            row = dca.by_id(connection, self._plan_id)
            orders = dca.orders_of(connection, self._plan_id)
        if row.state == dca.ENDED:
            return False
        seen = booking.read(context, row, orders)
        fills_before = self._report.fills
        with dca_step(context, DcaStep.OBSERVE):
            view, accounts = self._observe(row, seen)
        acted = self._act(view, accounts, seen, decide(view))
        context.tell(*self._told)
        return acted or self._report.fills > fills_before

    # Booking

    def _observe(self, row: PlanRow, seen: Seen) -> tuple[View, Accounts]:
        """Write down what is seen, in one transaction. Return what is decided on."""
        context, wall_ms = self._context, self._context.wall_ms()
        with context.database.write(one_at_a_time=f"books of {row.account}") as connection:
            leases.guard(connection, self._lease, wall_ms=wall_ms)
            row = dca.by_id(connection, row.plan_id)
            self._report.fills += execution_ledger.add_fills(connection, row.account, seen.executions)
            booking.note_exits(connection, row, seen, wall_ms)
            orders = dca.orders_of(connection, row.plan_id)
            follower = Following(
                connection,
                row,
                seen,
                wall_ms,
                tell=lambda text: self._tell(
                    connection, f"DCA plan {row.symbol}", f"{text}: trading-assets dca resume {row.symbol}", seen.now_ms
                ),
                block=lambda why: self._block(connection, row, why, seen.now_ms),
            )
            for order in orders:
                follower.follow(order, orders)
            accounts = accounts_of(connection, row)
            for text in booking.settle_buys(connection, accounts):
                self._tell(connection, f"DCA plan {row.symbol}", text, seen.now_ms)
            is_settled = self._compare(connection, row, accounts, seen)
            unknown = self._unknown(connection, row, seen)
            is_bare = accounts.books.held > 0 and seen.position is not None and seen.position.stop_loss is None
            if not is_bare and row.bare_since_wall_ms is not None:
                dca.change(connection, row.plan_id, seen.now_ms, bare_since_wall_ms=None)
            dca.change(connection, row.plan_id, seen.now_ms, read_ms=seen.now_ms, mark_price=seen.market.last)
            row = dca.by_id(connection, row.plan_id)
        plan, since = plan_of(row), row.differs_since_wall_ms
        until_ms = seen.now_ms if plan.end_ms is None else min(seen.now_ms, plan.end_ms - 1)
        due = plan.times.between(row.decided_ms, until_ms, MOST_TIMES)
        view = View(
            row=row,
            plan=plan,
            books=accounts.books,
            orders=accounts.orders,
            due=due,
            more=len(due) == MOST_TIMES,
            market=seen.market,
            instrument=seen.instrument,
            position=seen.position,
            is_settled=is_settled,
            now_ms=seen.now_ms,
            exited=accounts.exited,
            stopped=why_stopped(context, seen.instrument, seen.now_ms),
            is_gone=since is not None
            and wall_ms - since >= 2 * DIFFERS_MS
            and (seen.position is None or seen.position.side is not row.side),
            unknown=unknown,
        )
        return view, accounts

    def _unknown(self, connection: sa.Connection, row: PlanRow, seen: Seen) -> list[str]:
        """Orders of plans in its symbol of which the ledger has no row: told once, until there is none."""
        found = unknown_orders(self._context.exchange.order_ids, seen.orders, seen.position, LETTERS.values())
        known = dca.known_links(connection, row.account, found) if found else set[str]()
        unknown = [link for link in found if link not in known]
        if unknown and row.told != UNKNOWN:
            dca.change(connection, row.plan_id, seen.now_ms, told=UNKNOWN)
            text = f"{UNKNOWN}: {len(unknown)} in {row.symbol}, cancelled now. Was the ledger restored from a backup?"
            self._tell(connection, f"DCA plan {row.symbol}", text, seen.now_ms, Severity.CRITICAL)
        return unknown

    def _compare(self, connection: sa.Connection, row: PlanRow, accounts: Accounts, seen: Seen) -> bool:
        """Whether the position is what the fills of the plan come to; told when it is not for long."""
        held = ZERO
        if seen.position is not None:
            held = seen.position.size if seen.position.side is Side.BUY else -seen.position.size
        foreign = accounts.books.foreign
        if held == accounts.expected and not foreign:
            if row.differs_since_wall_ms is not None:
                dca.change(connection, row.plan_id, seen.now_ms, differs_since_wall_ms=None)
            return True
        wall_ms, since = self._context.wall_ms(), row.differs_since_wall_ms
        if since is None or since > wall_ms:  # a clock that was set back begins anew
            dca.change(connection, row.plan_id, seen.now_ms, differs_since_wall_ms=wall_ms)
        elif wall_ms - since >= DIFFERS_MS and row.state in (dca.RUNNING, dca.PAUSED):
            text = f"the exchange holds {held}, the fills of the plan come to {accounts.expected - foreign}"
            if foreign:
                text += f", and somebody else holds {foreign} of {row.symbol} beside it"
            self._block(connection, row, f"{text}: nothing of it waits any more but its stop and target", seen.now_ms)
        return False

    def _block(self, connection: sa.Connection, row: PlanRow, why: str, now_ms: int) -> None:
        if dca.by_id(connection, row.plan_id).state == dca.BLOCKED:
            return
        dca.change(connection, row.plan_id, now_ms, state=dca.BLOCKED, reason=why)
        text = f"{why}. Look at the exchange, then: trading-assets dca stop (or resume) {row.symbol}"
        self._tell(connection, f"DCA plan {row.symbol} needs a person", text, now_ms, Severity.CRITICAL)

    def _tell(
        self, connection: sa.Connection, title: str, text: str, now_ms: int, severity: Severity = Severity.WARNING
    ) -> None:
        self._told.append(self._context.keep(connection, title, text, MessageKind.ORDER, severity, time_ms=now_ms))

    # Acting

    def _act(self, view: View, accounts: Accounts, seen: Seen, decision: Decision) -> bool:
        row, acted = view.row, False
        if decision.state is not None:
            with dca_step(self._context, DcaStep.CHANGE):
                self._change_state(view, accounts, seen, decision)
            acted = True
        if decision.skipped:
            with dca_step(self._context, DcaStep.SKIP):
                acted |= self._skip(row, decision.skipped, seen)
        if decision.cancels:
            acted |= self._cancel(row, decision.cancels, seen)
        if decision.levels is not None:
            before = self._report.stops_set
            if not self._set_levels(view, decision.levels, seen):
                return True
            acted |= self._report.stops_set > before
        resent = [] if view.stopped or not view.is_settled else [o for o in view.working if o.status == dca.UNSENT]
        if (decision.places or resent) and decision.state is None:
            with dca_step(self._context, DcaStep.RESERVE):
                rows = self._reserve(view, decision.places, resent, seen)
            acted |= bool(rows)
            self._send(row, rows, seen)
        return acted

    def _change_state(self, view: View, accounts: Accounts, seen: Seen, decision: Decision) -> None:
        if decision.state is None:
            return
        context, row, now_ms = self._context, view.row, seen.now_ms
        state, why = decision.state
        values: dict[str, object] = {"state": state}
        if state != row.state:
            values["reason"] = why
        if decision.closes is not None:
            values["closes"] = decision.closes
        if decision.hands_seen is not None:
            values["hands_seen"] = decision.hands_seen
        if state == dca.ENDED:
            values |= {"open_slot": None, "ended_ms": now_ms}
        with context.database.write(one_at_a_time=f"orders of {row.account}") as connection:
            leases.guard(connection, self._lease, wall_ms=context.wall_ms())
            if not dca.change(connection, row.plan_id, now_ms, was=row.state, **values):
                return  # a person has changed it meanwhile
            books = accounts.books
            text = f"{why}; closed {books.profit:+.2f}, in all {accounts.total(seen.market.last):+.2f} USD, holds "
            text += str(books.held)
            if state == dca.ENDED:
                text += closed_with_it(accounts.shared)
            if state == dca.ENDED and not books.held:
                text += left_to_others("plan", seen.position)
            self._tell(connection, f"DCA plan {row.symbol} is {state}", text, now_ms)
        if state == dca.ENDED:
            self._report.ended.append(row.symbol)

    def _skip(self, row: PlanRow, skipped: Mapping[int, str], seen: Seen) -> bool:
        """Give scheduled times that get no order their outcome, and tell it: of one reason in a row once."""
        context = self._context
        with context.database.write(one_at_a_time=f"orders of {row.account}") as connection:
            leases.guard(connection, self._lease, wall_ms=context.wall_ms())
            now = dca.by_id(connection, row.plan_id)
            if (now.decided_ms, now.state) != (row.decided_ms, row.state):
                return True  # changed meanwhile: look again
            rows = [_buy(row, due, dca.SKIPPED, why, None, seen.now_ms) for due, why in skipped.items()]
            dca.add_buys(connection, rows)
            dca.change(connection, row.plan_id, seen.now_ms, decided_ms=max(skipped))
            newest, why = max(skipped.items())
            kind = why.split(":")[0] if not why.startswith("it was missed") else ""
            if not kind or kind != row.told:
                times = iso(newest) if len(skipped) == 1 else f"{len(skipped)} times, the newest {iso(newest)}"
                self._tell(connection, f"DCA plan {row.symbol} skipped {times}", why, seen.now_ms)
                dca.change(connection, row.plan_id, seen.now_ms, told=kind or None)
        self._report.skipped += len(skipped)
        return True

    def _cancel(self, row: PlanRow, cancels: Mapping[str, str], seen: Seen) -> bool:
        context = self._context
        with context.database.write() as connection:
            leases.guard(connection, self._lease, wall_ms=context.wall_ms())
            for link, why in cancels.items():
                dca.ask_to_cancel(connection, link, why)
        shown = [link for link in cancels if link in seen.orders and not seen.orders[link].status.is_final]
        if not shown:
            return False
        with dca_step(context, DcaStep.CANCEL):
            outcomes = context.exchange.cancel_orders([(row.symbol, link) for link in shown])
        self._report.cancelled += sum(one is None for one in outcomes)
        for outcome in outcomes:
            if isinstance(outcome, ExchangeFatalError):
                raise outcome
        return True

    def _set_levels(self, view: View, levels: tuple[Decimal, Decimal | None], seen: Seen) -> bool:
        """Set stop and target of the position. Return False where it is to be looked at anew at once."""
        context, row, (stop, target) = self._context, view.row, levels
        try:
            with dca_step(context, DcaStep.STOP):
                context.exchange.set_stops(row.symbol, stop, target, seen.send_by)
        except PriceRefusedError as error:
            is_bare = seen.position is not None and seen.position.stop_loss is None
            if not is_bare and not view.plan.is_beyond(seen.market.last, stop):
                self._report.failed[row.symbol] = f"stop {stop} and target {target} could not be set: {error}"
                return True  # the price is at the target: what stands there closes it
            return self._stop_now(row, f"the price has come to the stop {stop} or the target {target}: {error}", seen)
        except ExchangeFatalError:
            raise
        except ExchangeError as error:
            self._report.failed[row.symbol] = f"the stop {stop} could not be set, it is tried again: {error}"
            if isinstance(error, OrderRejectedError):
                context.contracts.forget()  # its tick may be another one by now
            return self._note_bare(row, seen) and not isinstance(error, TooLateError | RulesChangedError)
        self._report.stops_set += 1
        return True

    def _note_bare(self, row: PlanRow, seen: Seen) -> bool:
        """A position without a stop is not kept for long: it is closed."""
        if seen.position is None or seen.position.stop_loss is not None:
            return True
        context, wall_ms, since = self._context, self._context.wall_ms(), row.bare_since_wall_ms
        if since is not None and wall_ms - since >= context.settings.unprotected_max_s * 1000:
            return self._stop_now(row, "its position could not be given its stop", seen)
        if since is None or since > wall_ms:  # a clock that was set back begins anew
            with context.database.write() as connection:
                leases.guard(connection, self._lease, wall_ms=wall_ms)
                dca.change(connection, row.plan_id, seen.now_ms, bare_since_wall_ms=wall_ms)
                title, text = f"DCA plan {row.symbol} has no stop", "it is set again, else the position is closed"
                self._tell(connection, title, text, seen.now_ms, Severity.CRITICAL)
        return True

    def _stop_now(self, row: PlanRow, why: str, seen: Seen) -> bool:
        with self._context.database.write() as connection:
            leases.guard(connection, self._lease, wall_ms=self._context.wall_ms())
            if row.state != dca.STOPPING:
                self._tell(connection, f"DCA plan {row.symbol} stops", why, seen.now_ms, Severity.CRITICAL)
            dca.change(connection, row.plan_id, seen.now_ms, state=dca.STOPPING, reason=why, closes=True)
        return row.state == dca.STOPPING  # then what is held is closed at the market

    def _reserve(self, view: View, wishes: Sequence[Wish], resent: Sequence[PlanOrder], seen: Seen) -> list[PlanOrder]:
        """Write what is to be sent, with the outcome of its time. What opens is written only while that is allowed."""
        context, row, wall_ms = self._context, view.row, self._context.wall_ms()
        rows, self._send_by = [], context.send_by(SEND_WITHIN_MS)
        with context.database.write(one_at_a_time=f"orders of {row.account}") as connection:
            leases.guard(connection, self._lease, wall_ms=wall_ms)
            now = dca.by_id(connection, row.plan_id)
            if _moved(now, row):
                return []  # a person has changed it meanwhile: look again
            may_open = risk.entries_allowed(connection, row.account, seen.now_ms)
            for wish in wishes:
                if wish.purpose in (dca.BUY, dca.SAFETY) and not may_open:
                    continue
                rows.append(self._row(view, wish, seen, wall_ms))
            dca.add_orders(connection, rows)
            buys = [one for one in rows if one.purpose == dca.BUY]
            for order in buys:
                due_ms = order.due_ms or 0
                link = order.order_link_id
                dca.add_buys(connection, [_buy(row, due_ms, dca.ORDERED, None, link, seen.now_ms)])
                dca.change(connection, row.plan_id, seen.now_ms, decided_ms=due_ms, told=None)
            for order in resent if may_open else []:
                dca.set_order(connection, order.order_link_id, seen.now_ms, wall_ms, status=dca.INTENT)
                rows.append(order)
        return rows

    def _row(self, view: View, wish: Wish, seen: Seen, wall_ms: int) -> PlanOrder:
        row, rounds = view.row, view.books.rounds
        if wish.purpose == dca.BUY:
            attempt, name = 1, f"{row.plan_id}:{wish.due_ms}"
        else:
            same = [o for o in view.orders if (o.purpose, o.round, o.step) == (wish.purpose, rounds, wish.step)]
            attempt = 1 + max((one.attempt for one in same), default=0)
            name = f"{row.plan_id}:{rounds}:{wish.step}:{attempt}"
        link = self._context.exchange.order_ids.encode(name, LETTERS[wish.purpose])
        new = plan_order_row(row, link, wish.purpose, wish.side, wish.qty, seen.now_ms, wall_ms)
        return replace(
            new,
            due_ms=wish.due_ms,
            round=rounds,
            step=wish.step,
            attempt=attempt,
            price=wish.price,
            worth=wish.worth,
            stop_loss=wish.stop_loss,
            take_profit=wish.take_profit,
        )

    def _send(self, row: PlanRow, orders: Sequence[PlanOrder], seen: Seen) -> None:
        """Send what was written, each once, and write what the answers say."""
        if not orders:
            return
        context = self._context
        with dca_step(context, DcaStep.CREATE):
            outcomes = context.exchange.place_orders([_request(order, self._send_by) for order in orders])
        with dca_step(context, DcaStep.ACKNOWLEDGE):
            self._acknowledge(row, orders, outcomes, seen)

    def _acknowledge(
        self, row: PlanRow, orders: Sequence[PlanOrder], outcomes: Sequence[OrderAck | ExchangeError], seen: Seen
    ) -> None:
        """Write what the answers say of orders of which nobody has written anything since."""
        context = self._context
        wall_ms, fatal = context.wall_ms(), None
        with context.database.write() as connection:
            for order, outcome in zip(orders, outcomes, strict=True):
                if not isinstance(outcome, ExchangeError):
                    self._report.placed += 1
                    values: dict[str, object] = {"status": dca.UNKNOWN, "order_id": outcome.order_id}
                elif isinstance(outcome, OrderRejectedError | NotSentError | ExchangeFatalError):
                    is_refused = isinstance(outcome, OrderRejectedError)
                    again = order.purpose == dca.BUY and not is_refused
                    values = {"status": dca.UNSENT if again else dca.DONE, "reason": str(outcome)[:500]}
                    self._report.failed[row.symbol] = str(outcome)
                else:
                    values = {"status": dca.UNKNOWN, "reason": str(outcome)[:500]}
                dca.answer_order(connection, order.order_link_id, seen.now_ms, wall_ms, **values)
                if isinstance(outcome, RulesChangedError):
                    context.contracts.forget()
                if isinstance(outcome, ExchangeFatalError) and not isinstance(outcome, AmbiguousOutcomeError):
                    fatal = outcome
        if fatal is not None:
            raise fatal


def _moved(now: PlanRow, row: PlanRow) -> bool:
    """Whether a plan has been changed, beyond what passes note of it."""
    return replace(now, updated_ms=0, decided_ms=0, told=None, bare_since_wall_ms=None) != replace(
        row, updated_ms=0, decided_ms=0, told=None, bare_since_wall_ms=None
    )


def _buy(row: PlanRow, due_ms: int, outcome: str, why: str | None, link: str | None, now_ms: int) -> BuyRow:
    return BuyRow(row.account, row.plan_id, due_ms, row.symbol, outcome, why, link, None, None, now_ms)


def _request(order: PlanOrder, send_by: SendBy | None) -> OrderRequest:
    return OrderRequest(
        symbol=order.symbol,
        side=order.side,
        qty=order.qty,
        order_link_id=order.order_link_id,
        stop_loss=order.stop_loss,
        take_profit=order.take_profit,
        reduce_only=not order.opens,
        price=order.price,
        send_by=send_by,
    )
