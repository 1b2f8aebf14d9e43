"""Starts grids and tells them what to do: rows of the ledger. Orders are sent by `maintain` alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal

from trading_assets.core.errors import ConflictError, TradingIsOffError
from trading_assets.core.models import Side
from trading_assets.ledger import grids, owners, risk
from trading_assets.ledger.database import Database
from trading_assets.ledger.grids import Grid
from trading_assets.trading.context import ExecutionContext
from trading_assets.trading.grid.checks import Surroundings, loss_at_stop, problems, round_trip
from trading_assets.trading.grid.laying import columns_of, plan_of, rows_of, written
from trading_assets.trading.grid.levels import ZERO, GridError, Level, Plan, build, stop_prices, worst_value
from trading_assets.trading.risk.plan_limits import broken_limits, kept_margin


@dataclass(frozen=True)
class Proposal:
    """A grid as it would start.

    Attributes:
        problems: why it must not; empty where it may.
        earns_pct: what the narrowest level earns in a round trip as maker, after fees, percent.
        loses: what is lost at each stop with every level of its side open, USD, by the stop.
    """

    plan: Plan
    levels: list[Level]
    price: Decimal
    problems: list[str]
    earns_pct: Decimal
    loses: dict[Decimal, Decimal]


def propose(context: ExecutionContext, plan: Plan, *, of_grid: Grid | None = None) -> Proposal:
    """Build a plan's levels at the price of now, and check them against market, account and limits.

    Args:
        of_grid: the grid that would move to this plan; None for a new one.

    Raises:
        GridError: bounds or number of levels make no grid, or the contract is not listed.
        ExchangeError: market or account cannot be read.
    """
    exchange, settings = context.exchange, context.settings
    rules = context.contracts.get(exchange, {plan.symbol}, context.wall_ms()).get(plan.symbol)
    if rules is None:
        raise GridError(f"{plan.symbol} is not listed")
    low, high = stop_prices(plan, rules.tick_size)
    plan = replace(plan, stop_low=low, stop_high=high)
    ticker, wallet = exchange.ticker(plan.symbol), exchange.wallet()
    fee = next((one for one in exchange.fee_rates() if one.symbol == plan.symbol), None)
    taker = fee.taker if fee is not None else Decimal(str(settings.taker_fee))
    maker = fee.maker if fee is not None else taker
    waiting = exchange.open_orders(plan.symbol)
    levels = build(plan, ticker.last, rules)
    working = grids.working_orders(context.database, settings.account) if of_grid is not None else []
    own = sum(one.symbol == plan.symbol for one in working)
    # The exchange holds margin for the worse side of its orders, not for both.
    kept = of_grid.worst_value / of_grid.leverage if of_grid is not None else ZERO
    around = Surroundings(
        instrument=rules,
        price=ticker.last,
        equity=wallet.equity - (wallet.maintenance_margin or ZERO),
        available=(wallet.available or ZERO) + kept - kept_margin(context, plan.symbol),
        maker=maker,
        taker=taker,
        orders=max(len(waiting) - own, 0),
        conditional=0 if of_grid is not None else sum(one.trigger_price is not None for one in waiting),
    )
    found = problems(plan, levels, around, settings)
    found += broken_limits(context, plan.symbol, worst_value(levels), is_running=of_grid is not None)
    if of_grid is None and (held := exchange.position(plan.symbol)) is not None:
        found.append(f"{plan.symbol} has a position of {held.side.value} {held.size}: close it first")
    loses = {
        stop: loss_at_stop(levels, side, stop, taker)
        for side, stop in ((Side.BUY, low), (Side.SELL, high))
        if stop is not None
    }
    earns = min(round_trip(level, maker, maker) for level in levels) * 100
    return Proposal(plan, levels, ticker.last, found, earns, loses)


def start(context: ExecutionContext, plan: Plan, *, evidence: str | None = None) -> tuple[Grid, Proposal]:
    """Check a plan and write its grid; nothing is sent before the next pass of `maintain`.

    Args:
        evidence: JSON of what the plan came from, kept with the grid.

    Raises:
        GridError: a check fails, or the symbol is taken.
        TradingIsOffError: the account is not to be traded now.
        WrongBooksError: the ledger is not that of the key's account.
        ExchangeError: market or account cannot be read, or the leverage is refused.
    """
    context.require_bound()
    off = context.why_off() or ("the file in the home halts trading" if context.is_halted_by_file else "")
    if off:
        raise TradingIsOffError(f"no grid was started: {off}")
    proposal = propose(context, plan)
    if proposal.problems:
        raise GridError("no grid was started: " + "; ".join(proposal.problems))
    plan, account = proposal.plan, context.settings.account
    context.exchange.set_leverage(plan.symbol, plan.leverage)
    now_ms = context.exchange.now_ms()
    try:
        with context.database.write(one_at_a_time=f"orders of {account}") as connection:
            taken = owners.owner(connection, account, plan.symbol)
            if taken is not None:
                raise GridError(f"no grid was started: {plan.symbol} has {taken} already")
            if not risk.entries_allowed(connection, account, now_ms):
                raise TradingIsOffError("no grid was started: trading is halted or reduced; see trading-assets status")
            grid = Grid(
                grid_id=grids.next_id(connection, account, plan.symbol),
                account=account,
                symbol=plan.symbol,
                **columns_of(plan),
                state=grids.RUNNING,
                reason=None,
                closes=True,
                wanted=None,
                generation=1,
                worst_value=worst_value(proposal.levels),
                profit_before=ZERO,
                differs_since_wall_ms=None,
                told=None,
                read_ms=now_ms,
                mark_price=proposal.price,
                created_ms=now_ms,
                updated_ms=now_ms,
                evidence=evidence,
            )
            grids.add(connection, grid, rows_of(grid, proposal.levels))
    except ConflictError as error:
        raise GridError(f"no grid was started: {plan.symbol} has one already (trading-assets grid status)") from error
    return grid, proposal


def pause(database: Database, account: str, symbol: str, reason: str, now_ms: int) -> Grid:
    """Open nothing more; what is held is closed at its levels as before."""
    return _change(database, account, symbol, (grids.RUNNING,), now_ms, {"state": grids.PAUSED, "reason": reason})


def resume(database: Database, account: str, symbol: str, now_ms: int) -> Grid:
    """Go on after a pause or a block; levels that a person was needed for are placed again."""
    states = (grids.RUNNING, grids.PAUSED, grids.BLOCKED)
    values = {"state": grids.RUNNING, "reason": None, "differs_since_wall_ms": None}
    return _change(database, account, symbol, states, now_ms, values, unblocks=True)


def stop(database: Database, account: str, symbol: str, reason: str, now_ms: int, *, closes: bool) -> Grid:
    """Cancel everything; with `closes` the inventory is closed at the market, else it stays, with its stop."""
    states = (grids.RUNNING, grids.PAUSED, grids.BLOCKED, grids.MOVING, grids.STOPPING)
    values = {"state": grids.STOPPING, "reason": reason, "closes": closes, "wanted": None}
    return _change(database, account, symbol, states, now_ms, values)


def adjust(context: ExecutionContext, plan: Plan) -> Proposal:
    """Move a grid to another plan: what waits is cancelled, what it holds goes over to the new levels.

    Raises:
        GridError: there is no such grid, it moves already, or a check fails.
    """
    grid = living(context.database, context.settings.account, plan.symbol)
    proposal = propose(context, plan, of_grid=grid)
    if plan.kind.value != grid.kind:
        proposal.problems.append(f"it is {grid.kind}, and cannot become {plan.kind}: stop it and start another one")
    if proposal.plan.leverage != grid.leverage:
        proposal.problems.append("its leverage stays as it is: stop it and start another one")
    if proposal.problems:
        raise GridError("the grid stays as it is: " + "; ".join(proposal.problems))
    paused = (grid.reason or "") if grid.state == grids.PAUSED else None
    values = {"state": grids.MOVING, "reason": "by command", "wanted": written(proposal.plan, paused)}
    states = (grids.RUNNING, grids.PAUSED)
    now_ms = context.exchange.now_ms()
    _change(context.database, context.settings.account, plan.symbol, states, now_ms, values)
    return proposal


def current_plan(database: Database, account: str, symbol: str) -> Plan:
    """The plan of the symbol's grid."""
    return plan_of(living(database, account, symbol))


def living(database: Database, account: str, symbol: str) -> Grid:
    """The grid of a symbol that has not ended.

    Raises:
        GridError: there is none.
    """
    for grid in grids.living(database, account):
        if grid.symbol == symbol:
            return grid
    raise GridError(f"account {account} has no grid in {symbol}; see trading-assets grid status")


def _change(
    database: Database,
    account: str,
    symbol: str,
    states: tuple[str, ...],
    now_ms: int,
    values: Mapping[str, object],
    *,
    unblocks: bool = False,
) -> Grid:
    grid = living(database, account, symbol)
    if grid.state not in states:
        raise GridError(f"the grid in {symbol} is {grid.state}; that is possible while it is {', '.join(states)}")
    with database.write(one_at_a_time=f"orders of {account}") as connection:
        if not grids.change(connection, grid.grid_id, now_ms, was=grid.state, **values):
            raise GridError(f"the grid in {symbol} has just changed its state: look again")
        if unblocks:
            grids.unblock_levels(connection, grid.grid_id)
        return grids.by_id(connection, grid.grid_id)
