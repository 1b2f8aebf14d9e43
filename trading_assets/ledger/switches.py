"""The switch of each account: whether it is traded at all. Rows are only added. No decisions."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from trading_assets.ledger.database import Database
from trading_assets.ledger.tables import trading_switches as table

_ON, _OFF = "on", "off"


@dataclass(frozen=True)
class Switch:
    """How the switch stands. `actor` and `reason` are empty where nobody has ever set it."""

    is_on: bool
    actor: str = ""
    reason: str = ""


def set_switch(database: Database, account: str, *, on: bool, actor: str, reason: str, wall_ms: int) -> None:
    """Switch the account on or off."""
    with database.write() as connection:
        connection.execute(
            sa.insert(table).values(
                account=account, state=_ON if on else _OFF, actor=actor, reason=reason, time_wall_ms=wall_ms
            )
        )


def switch_of(database: Database, account: str, *, default: bool) -> Switch:
    """Return how the account's switch stands; `default` where nobody has ever set it."""
    newest = sa.select(table).where(table.c.account == account).order_by(table.c.switch_id.desc()).limit(1)
    with database.read() as connection:
        row = connection.execute(newest).mappings().one_or_none()
    return Switch(default) if row is None else Switch(row["state"] == _ON, str(row["actor"]), str(row["reason"]))
