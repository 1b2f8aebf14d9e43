"""Starts DCA plans and tells them what to do: rows of the ledger. Orders are sent by `maintain` alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from trading_assets.core.errors import ConflictError, TradingIsOffError
from trading_assets.core.timeframes import iso
from trading_assets.ledger import dca, owners, risk
from trading_assets.ledger.database import Database
from trading_assets.ledger.dca import PlanRow
from trading_assets.trading.context import ExecutionContext
from trading_assets.trading.dca.accounting import accounts_of
from trading_assets.trading.dca.checks import problems, worst_loss
from trading_assets.trading.dca.plans import Plan, columns_of, plan_of
from trading_assets.trading.dca.schedule import DcaError, schedule_of
from trading_assets.trading.grid.checks import Surroundings
from trading_assets.trading.grid.levels import ZERO
from trading_assets.trading.risk.plan_limits import broken_limits, kept_margin

SHOWN_TIMES = 5


@dataclass(frozen=True)
class Proposal:
    """A plan as it would start.

    Attributes:
        problems: why it must not; empty where it may.
        qty: of a scheduled order at the price of now, in coins.
        safety: price and quantity of each safety order, if the first entry were at the price of now.
        stop, target: of a first entry at the price of now.
        loses: what is lost with all deployed at the price of now, when the stop closes it, USD.
        times: the next scheduled ones, UTC ms.
    """

    plan: Plan
    price: Decimal
    problems: list[str]
    qty: Decimal = ZERO
    safety: Sequence[tuple[Decimal, Decimal]] = ()
    stop: Decimal = ZERO
    target: Decimal | None = None
    loses: Decimal = ZERO
    times: Sequence[int] = ()


def propose(context: ExecutionContext, plan: Plan, *, of_row: PlanRow | None = None) -> Proposal:
    """Check a plan against market, account and limits.

    Args:
        of_row: the plan that would change to this one; None for a new one.

    Raises:
        DcaError: its schedule is none, or the contract is not listed.
        ExchangeError: market or account cannot be read.
    """
    exchange, settings, now_ms = context.exchange, context.settings, context.exchange.now_ms()
    plan = replace(plan, schedule=schedule_of(plan.schedule, plan.anchor_ms).text)
    rules = context.contracts.get(exchange, {plan.symbol}, context.wall_ms()).get(plan.symbol)
    if rules is None:
        raise DcaError(f"{plan.symbol} is not listed")
    ticker, wallet = exchange.ticker(plan.symbol), exchange.wallet()
    fee = next((one for one in exchange.fee_rates() if one.symbol == plan.symbol), None)
    taker = fee.taker if fee is not None else Decimal(str(settings.taker_fee))
    own = [] if of_row is None else dca.working_orders(context.database, settings.account)
    own = [one for one in own if one.symbol == plan.symbol]
    kept = ZERO if of_row is None else of_row.max_deployed / of_row.leverage
    around = Surroundings(
        instrument=rules,
        price=ticker.last,
        equity=wallet.equity - (wallet.maintenance_margin or ZERO),
        available=(wallet.available or ZERO) + kept - kept_margin(context, plan.symbol),
        maker=fee.maker if fee is not None else taker,
        taker=taker,
        orders=max(len(exchange.open_orders(plan.symbol)) - len(own), 0),
    )
    found = problems(plan, around, settings, now_ms)
    if plan.amount <= 0 or (plan.stop_pct is None) == (plan.stop_price is None):
        return Proposal(plan, ticker.last, found)  # nothing else can be computed of it
    found += broken_limits(context, plan.symbol, plan.max_deployed, is_running=of_row is not None)
    if of_row is None and (held := exchange.position(plan.symbol)) is not None:
        found.append(f"{plan.symbol} has a position of {held.side.value} {held.size}: close it first")
    if of_row is not None:
        found += _passed(context.database, of_row, plan, ticker.last, rules.tick_size)
    times = plan.times.between(max(now_ms, plan.anchor_ms) - 1, plan.end_ms or 2**53, SHOWN_TIMES)
    return Proposal(
        plan=plan,
        price=ticker.last,
        problems=found,
        qty=plan.scheduled_qty(ticker.last, rules),
        safety=plan.safety(ticker.last, rules),
        stop=plan.stop(ticker.last, rules.tick_size),
        target=plan.target(ticker.last, rules.tick_size),
        loses=worst_loss(plan, ticker.last, rules, taker),
        times=times,
    )


def _passed(database: Database, row: PlanRow, plan: Plan, price: Decimal, tick: Decimal) -> list[str]:
    """Whether the price has passed the stop that what is held would get: it would be closed at once."""
    with database.read() as connection:
        average = accounts_of(connection, row).books.average
    if average is None or not plan.is_beyond(price, plan.stop(average, tick)):
        return []
    return [
        f"the price {price} has passed the stop {plan.stop(average, tick)} of what is held at {average:.6g}: it would "
        f"be closed at once (trading-assets dca stop {row.symbol} does that)"
    ]


def start(context: ExecutionContext, plan: Plan) -> tuple[PlanRow, Proposal]:
    """Check a plan and write it; nothing is sent before the next pass of `maintain`.

    Raises:
        DcaError: a check fails, or the symbol is taken.
        TradingIsOffError: the account is not to be traded now.
        WrongBooksError: the ledger is not that of the key's account.
        ExchangeError: market or account cannot be read, or the leverage is refused.
    """
    context.require_bound()
    off = context.why_off() or ("the file in the home halts trading" if context.is_halted_by_file else "")
    if off:
        raise TradingIsOffError(f"no DCA plan was started: {off}")
    proposal = propose(context, plan)
    if proposal.problems:
        raise DcaError("no DCA plan was started: " + "; ".join(proposal.problems))
    plan, account = proposal.plan, context.settings.account
    context.exchange.set_leverage(plan.symbol, plan.leverage)
    now_ms = context.exchange.now_ms()
    try:
        with context.database.write(one_at_a_time=f"orders of {account}") as connection:
            taken = owners.owner(connection, account, plan.symbol)
            if taken is not None:
                raise DcaError(f"no DCA plan was started: {plan.symbol} has {taken} already")
            if not risk.entries_allowed(connection, account, now_ms):
                raise TradingIsOffError("no DCA plan was started: trading is halted or reduced")
            row = PlanRow(
                plan_id=dca.next_id(connection, account, plan.symbol),
                account=account,
                **columns_of(plan),
                state=dca.RUNNING,
                reason=None,
                closes=True,
                decided_ms=max(now_ms, plan.anchor_ms) - 1,
                hands_seen=0,
                resumed_ms=now_ms,
                differs_since_wall_ms=None,
                bare_since_wall_ms=None,
                told=None,
                read_ms=now_ms,
                mark_price=proposal.price,
                created_ms=now_ms,
                updated_ms=now_ms,
            )
            dca.add(connection, row)
    except ConflictError as error:
        raise DcaError(f"no DCA plan was started: {plan.symbol} has one already (trading-assets dca status)") from error
    return row, proposal


def pause(database: Database, account: str, symbol: str, reason: str, now_ms: int) -> PlanRow:
    """Open nothing more: scheduled times are skipped, safety orders are cancelled; stop and target stay."""
    return _change(database, account, symbol, (dca.RUNNING,), now_ms, {"state": dca.PAUSED, "reason": reason})


def resume(database: Database, account: str, symbol: str, now_ms: int) -> PlanRow:
    """Go on after a pause or a block; safety orders that a person was needed for are placed again."""
    states = (dca.RUNNING, dca.PAUSED, dca.BLOCKED)
    values = {"state": dca.RUNNING, "reason": None, "differs_since_wall_ms": None, "resumed_ms": now_ms, "told": None}
    return _change(database, account, symbol, states, now_ms, values)


def stop(database: Database, account: str, symbol: str, reason: str, now_ms: int, *, closes: bool) -> PlanRow:
    """Cancel what waits. With `closes` the position is closed at the market, else it stays, with stop and target."""
    states = (dca.RUNNING, dca.PAUSED, dca.BLOCKED, dca.STOPPING)
    values = {"state": dca.STOPPING, "reason": reason, "closes": closes}
    return _change(database, account, symbol, states, now_ms, values)


def adjust(context: ExecutionContext, plan: Plan) -> Proposal:
    """Change a plan: amounts, schedule, stop, target, safety orders. What it holds stays.

    Times of another schedule count from now on; those of the old one keep their outcomes.

    Raises:
        DcaError: there is no such plan, or a check fails.
    """
    account = context.settings.account
    row = living(context.database, account, plan.symbol)
    proposal = propose(context, plan, of_row=row)
    if plan.side is not row.side:
        proposal.problems.append(f"its side is {row.side.value}: stop it and start another one")
    if plan.leverage != row.leverage:
        proposal.problems.append("its leverage stays as it is: stop it and start another one")
    if proposal.problems:
        raise DcaError("the DCA plan stays as it is: " + "; ".join(proposal.problems))
    now_ms = context.exchange.now_ms()
    values = columns_of(proposal.plan)
    if (proposal.plan.schedule, proposal.plan.anchor_ms) != (row.schedule, row.anchor_ms):
        values["decided_ms"] = max(row.decided_ms, now_ms, proposal.plan.anchor_ms - 1)
    _change(context.database, account, plan.symbol, (dca.RUNNING, dca.PAUSED), now_ms, values)
    return proposal


def current_plan(database: Database, account: str, symbol: str) -> Plan:
    """The plan of the symbol as it is now."""
    return plan_of(living(database, account, symbol))


def living(database: Database, account: str, symbol: str) -> PlanRow:
    """The plan of a symbol that has not ended.

    Raises:
        DcaError: there is none.
    """
    for row in dca.living(database, account):
        if row.symbol == symbol:
            return row
    raise DcaError(f"account {account} has no DCA plan in {symbol}; see trading-assets dca list")


def describe(proposal: Proposal) -> list[str]:
    """A plan in sentences, for a person."""
    plan = proposal.plan
    lines = [
        f"{plan.symbol} at {proposal.price}: {plan.side.value} ${plan.amount} ({proposal.qty}) {plan.schedule}, at "
        f"most ${plan.max_deployed} deployed; stop {proposal.stop}, target {proposal.target or 'none'} for an entry now"
    ]
    lines += [
        f"safety order {number}: {qty} at {price}" for number, (price, qty) in enumerate(proposal.safety, start=1)
    ]
    lines.append(f"with all deployed, the stop costs about ${proposal.loses:.2f}")
    if proposal.times:
        lines.append(f"due at {', '.join(map(iso, proposal.times))} ...")
    return lines


def _change(
    database: Database, account: str, symbol: str, states: tuple[str, ...], now_ms: int, values: Mapping[str, object]
) -> PlanRow:
    row = living(database, account, symbol)
    if row.state not in states:
        raise DcaError(f"the DCA plan in {symbol} is {row.state}; that is possible while it is {', '.join(states)}")
    with database.write(one_at_a_time=f"orders of {account}") as connection:
        if not dca.change(connection, row.plan_id, now_ms, was=row.state, **values):
            raise DcaError(f"the DCA plan in {symbol} has just changed its state: look again")
        return dca.by_id(connection, row.plan_id)
