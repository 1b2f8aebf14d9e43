"""The fees that the venue takes of an account, as it told when it was asked last."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from trading_assets.core.settings import Settings
from trading_assets.ledger.database import Database
from trading_assets.ledger.tables import account_fees as table


@dataclass(frozen=True)
class AccountFees:
    """Fractions of notional, and when the venue was asked (its time, UTC ms)."""

    taker: float
    maker: float
    time_ms: int


def write(database: Database, account: str, fees: AccountFees) -> None:
    """Keep what the venue told, in place of what it told before."""
    with database.write() as connection:
        connection.execute(sa.delete(table).where(table.c.account == account))
        connection.execute(
            sa.insert(table).values(account=account, taker=fees.taker, maker=fees.maker, time_ms=fees.time_ms)
        )


def read(database: Database, account: str) -> AccountFees | None:
    """Return what the venue told last; None where it was never asked."""
    with database.read() as connection:
        row = connection.execute(sa.select(table).where(table.c.account == account)).mappings().one_or_none()
    return None if row is None else AccountFees(float(row["taker"]), float(row["maker"]), int(row["time_ms"]))


def with_own_fees(settings: Settings, database: Database) -> Settings:
    """Return the settings with the account's own fees, where the venue has been asked for it."""
    fees = read(database, settings.account)
    return settings if fees is None else settings.model_copy(update={"taker_fee": fees.taker, "maker_fee": fees.maker})
