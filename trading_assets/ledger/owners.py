"""Who owns a symbol of an account: a grid, a DCA plan, or the order or position of a strategy. One at a time."""

from __future__ import annotations

import sqlalchemy as sa

from trading_assets.ledger.tables import dca_plans, grids, order_intents

_PLANNED = ((grids, "a grid"), (dca_plans, "a DCA plan"))


def slot(account: str, symbol: str) -> str:
    """The value of `open_slot` of who owns a symbol."""
    return f"{account}:{symbol}"


def planned(connection: sa.Connection, account: str, symbol: str) -> str | None:
    """Return what has the symbol and keeps it until it ends, in words; None where neither grid nor plan has it."""
    for table, words in _PLANNED:
        taken = sa.select(table.c.account).where(table.c.open_slot == slot(account, symbol))
        if connection.execute(taken).first() is not None:
            return words
    return None


def planned_symbols(connection: sa.Connection, account: str) -> set[str]:
    """Return the symbols that grids and plans have, and keep until they end."""
    found = set[str]()
    for table, _ in _PLANNED:
        held = table.c.account == account, table.c.open_slot.is_not(None)
        found |= set(connection.execute(sa.select(table.c.symbol).where(*held)).scalars())
    return found


def owner(connection: sa.Connection, account: str, symbol: str) -> str | None:
    """Return who has the symbol, in words; None where nobody has.

    Ask in the transaction that takes it, under the lock of the account's orders.
    """
    found = planned(connection, account, symbol)
    if found is not None:
        return found
    taken = sa.select(order_intents.c.order_link_id).where(order_intents.c.open_slot == slot(account, symbol))
    return "an open order or position of a strategy" if connection.execute(taken).first() is not None else None
