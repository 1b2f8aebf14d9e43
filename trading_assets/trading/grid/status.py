"""Grids for a reader: state, levels and figures, from the ledger alone, as they were seen last."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from trading_assets.ledger import grids
from trading_assets.ledger.database import Database
from trading_assets.ledger.grids import FillRow, Grid
from trading_assets.trading.grid.accounting import accounts_of
from trading_assets.trading.grid.books import Sums
from trading_assets.trading.grid.levels import ZERO, GridError
from trading_assets.trading.grid.planning import Cell


@dataclass(frozen=True)
class GridStatus:
    """A grid as the ledger has it.

    Attributes:
        figures: at the price of the last pass.
        fills: its own, ascending.
        waiting: orders that wait at the exchange, its stops included.
    """

    grid: Grid
    cells: list[Cell]
    figures: Sums
    fills: list[FillRow]
    waiting: int

    def count(self, status: str) -> int:
        """How many levels have a status."""
        return sum(cell.status == status for cell in self.cells)

    def as_row(self) -> dict[str, object]:
        """The grid in plain values: text, numbers, None."""
        grid, found = self.grid, self.figures
        numbers = {
            "low": grid.low,
            "high": grid.high,
            "stop_low": grid.stop_low,
            "stop_high": grid.stop_high,
            "capital": grid.capital,
            "leverage": grid.leverage,
            "mark_price": grid.mark_price,
            "inventory": found.inventory,
            "grid_profit": found.grid_profit,
            "inventory_pnl": found.inventory_pnl,
            "fees": found.fees,
            "funding": found.funding,
            "total": found.total,
        }
        return {
            "grid_id": grid.grid_id,
            "symbol": grid.symbol,
            "kind": grid.kind,
            "spacing": grid.spacing,
            "state": grid.state,
            "reason": grid.reason,
            "out_of_range": grid.out_of_range,
            "generation": grid.generation,
            "levels": grid.levels,
            **{name: None if value is None else float(value) for name, value in numbers.items()},
            "round_trips": found.round_trips,
            "waiting_orders": self.waiting,
            "blocked_levels": self.count("blocked"),
            "created_ms": grid.created_ms,
            "read_ms": grid.read_ms,
            "ended_ms": grid.ended_ms,
        }

    def level_rows(self) -> list[dict[str, object]]:
        """The levels in plain values, the highest first."""
        return [
            {
                "level": cell.row.level_index,
                "low": float(cell.row.low),
                "high": float(cell.row.high),
                "side": cell.row.side.value,
                "qty": float(cell.row.qty),
                "status": cell.status,
                "held": float(cell.books.held),
                "order": ""
                if cell.order is None
                else f"{cell.order.side.value} {cell.order.qty} at {cell.order.price}",
                "order_link_id": None if cell.order is None else cell.order.order_link_id,
                "filled": None if cell.order is None else float(cell.order.filled_qty),
                "round_trips": cell.books.round_trips,
                "profit": float(cell.books.profit),
                "blocked": cell.row.blocked,
            }
            for cell in reversed(self.cells)
        ]


def status_of(
    database: Database, account: str, symbol: str | None = None, *, all_of_them: bool = True
) -> list[GridStatus]:
    """Return the newest grid of each symbol, or of one.

    Args:
        all_of_them: also those that have ended.

    Raises:
        GridError: the symbol never had one.
    """
    found = []
    with database.read() as connection:
        for grid in grids.newest(connection, account, symbol):
            if grid.state == grids.ENDED and not all_of_them:
                continue
            accounts = accounts_of(connection, grid)
            price = grid.mark_price if grid.mark_price is not None else ZERO
            waiting = sum(order.status != grids.DONE for order in accounts.orders)
            found.append(GridStatus(grid, accounts.cells, accounts.sums(Decimal(price)), accounts.rows, waiting))
    if symbol is not None and not found:
        raise GridError(f"account {account} never had a grid in {symbol}; see trading-assets grid status")
    return found
