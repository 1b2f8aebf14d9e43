"""Keeps grids: reads the exchange, books what was filled, and does what `planning` decides. One process at a time.

A pass may end anywhere. Orders are written before they are sent, under ids that follow from grid, generation, level and
round, so the next pass finds what was sent. An answer only means that a request was accepted: what became of it is
seen. What was filled is told by executions alone, each of which the ledger has once.
"""

from __future__ import annotations

from trading_assets.core.errors import ExchangeError, ExchangeFatalError
from trading_assets.ledger import grids, leases
from trading_assets.trading import account_refusals
from trading_assets.trading.context import ExecutionContext
from trading_assets.trading.grid.acting import Acting
from trading_assets.trading.grid.booking import Booking
from trading_assets.trading.grid.levels import GridError
from trading_assets.trading.grid.one_pass import MaintainReport, Pass
from trading_assets.trading.grid.planning import decide
from trading_assets.trading.grid.reading import read
from trading_assets.trading.grid.steps import GridStep, grid_step
from trading_assets.trading.kept import LEASE_MS, PAUSE_S, ROUNDS


def grid_lease(account: str) -> str:
    """Return the name of the lease on the grids of an account."""
    return f"grids:{account}"


def maintain(context: ExecutionContext, *, rounds: int = ROUNDS) -> MaintainReport:
    """Do one pass over the account's grids, until nothing is left to be done now.

    What fails for one grid is reported, and tried again in the next pass; the others are looked after all the same.

    Raises:
        WrongBooksError: the ledger is not that of the key's account; nothing was done.
        StorageError: the ledger cannot be written.
    """
    report = MaintainReport()
    account, database = context.settings.account, context.database
    if not grids.living(database, account):
        return report
    context.require_bound()
    name = grid_lease(account)
    lease = leases.acquire(database, name, leases.this_holder(), ttl_ms=LEASE_MS, wall_ms=context.wall_ms())
    if lease is None:
        held = leases.holder_of(database, name, wall_ms=context.wall_ms())
        report.busy = held.holder if held is not None else "another process"
        return report
    try:
        for grid in grids.living(database, account):
            report.grids += 1
            try:
                for number in range(rounds):
                    lease = leases.renew(database, lease, ttl_ms=LEASE_MS, wall_ms=context.wall_ms())
                    if not _look(Pass(context, lease, report), grid.grid_id):
                        break
                    if number + 1 < rounds:
                        context.sleep(PAUSE_S)
            except ExchangeFatalError as error:
                account_refusals.tell(context, error)
                report.failed[grid.symbol] = str(error)
            except (ExchangeError, GridError) as error:
                report.failed[grid.symbol] = str(error)
    finally:
        leases.release(database, lease)
    return report


def _look(one: Pass, grid_id: str) -> bool:
    """Look at one grid, and do what follows. Return whether something was done, so that another look is due."""
    context = one.context
    with context.database.read() as connection:
        grid = grids.by_id(connection, grid_id)
        working = grids.orders_of(connection, grid_id, only_working=True)
    if grid.state == grids.ENDED:
        return False
    seen = read(context, grid, working)
    fills_before = one.report.fills
    with grid_step(context, GridStep.OBSERVE):
        view, accounts, orders = Booking(one).observe(grid, seen)
    acted = Acting(one).act(view, accounts, orders, seen, decide(view))
    context.tell(*one.told)
    return acted or one.report.fills > fills_before
