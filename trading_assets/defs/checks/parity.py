"""Whether live can be explained by the backtest. How a day is compared stands in `trading.parity`."""

from collections.abc import Mapping

import dagster as dg
import pandas as pd

from trading_assets.accounts import effective
from trading_assets.core.errors import UnknownAccountError
from trading_assets.core.schemas import LIVE_PARITY
from trading_assets.core.settings import Settings
from trading_assets.defs import metadata as md
from trading_assets.defs.checks.hours import NOTHING_YET, hours_to_check
from trading_assets.defs.partitions import day_key_of
from trading_assets.defs.resources import DatabaseResource, SettingsResource
from trading_assets.ledger.database import Database
from trading_assets.ledger.partitions import read_partitions

EXPLAINED = "LIVE_IS_EXPLAINED"

_SHOWN = ["signal_id", "outcome", "reason", "live_entry_price", "entry_price", "live_exit_reason", "exit_reason"]


@dg.asset_check(
    asset="live_parity",
    name=EXPLAINED,
    description="Of the day's decisions of each account at least the set share agrees with the backtest, or differs "
    "for a reason that the ledger tells. The sample shows the others: look at them before trading goes on.",
)
def live_is_explained(
    context: dg.AssetCheckExecutionContext, settings: SettingsResource, database: DatabaseResource
) -> dg.AssetCheckResult:
    """The share of `live_parity` that is explained, of the account where it is the least."""
    days = hours_to_check(context, database.get(), LIVE_PARITY)
    if not days:
        return dg.AssetCheckResult(passed=True, description=NOTHING_YET)
    rows = read_partitions(database.get(), LIVE_PARITY, days)
    unexplained = rows[rows["explained"] == 0]
    base = settings.get()
    asked = {name: _asked_of(database.get(), base, name) for name in map(str, rows["account"].unique())}
    share, whose = least_explained(rows, asked)
    least = asked.get(whose, base.min_parity_pct)
    passed = share >= least
    of_whom = f" of account {whose}" if rows["account"].nunique() > 1 else ""
    count = int((rows["account"] == whose).sum())
    return dg.AssetCheckResult(
        passed=passed,
        severity=dg.AssetCheckSeverity.ERROR,
        description=None
        if passed
        else f"{share:.1f} % of {count} decisions{of_whom} are explained, at least {least:g} %",
        metadata={
            "days": f"{day_key_of(days[0])} .. {day_key_of(days[-1])}",
            "decisions": len(rows),
            "explained_pct": round(share, 2),
            "unexplained": len(unexplained),
            "sample": md.table(unexplained, _SHOWN),
        },
    )


def _asked_of(database: Database, base: Settings, account: str) -> float:
    """The share that an account asks for, percent; that of the settings where it is removed."""
    try:
        return effective.settings_of(database, base, account, with_keys=False).min_parity_pct
    except UnknownAccountError:
        return base.min_parity_pct


def least_explained(rows: pd.DataFrame, asked: Mapping[str, float]) -> tuple[float, str]:
    """The account that is farthest below what it asks for, or nearest to it, with the share of its decisions, percent.

    Args:
        asked: the share that each account asks for, percent.

    Without a decision it is 100 of nobody.
    """
    shares = {str(name): 100.0 * float((of["explained"] == 1).mean()) for name, of in rows.groupby("account")}
    whose = min(shares, key=lambda name: shares[name] - asked.get(name, 0.0), default="")
    return shares.get(whose, 100.0), whose
