"""Whether live can be explained by the backtest. How a day is compared stands in `trading.parity`."""

import dagster as dg

from trading_assets.core.schemas import LIVE_PARITY
from trading_assets.defs import metadata as md
from trading_assets.defs.checks.hours import NOTHING_YET, hours_to_check
from trading_assets.defs.partitions import day_key_of
from trading_assets.defs.resources import DatabaseResource, SettingsResource
from trading_assets.ledger.partitions import read_partitions

EXPLAINED = "LIVE_IS_EXPLAINED"

_SHOWN = ["signal_id", "outcome", "reason", "live_entry_price", "entry_price", "live_exit_reason", "exit_reason"]


@dg.asset_check(
    asset="live_parity",
    name=EXPLAINED,
    description="Of the day's decisions at least the set share agrees with the backtest, or differs for a reason that "
    "the ledger tells. The sample shows the others: look at them before trading goes on.",
)
def live_is_explained(
    context: dg.AssetCheckExecutionContext, settings: SettingsResource, database: DatabaseResource
) -> dg.AssetCheckResult:
    """The share of `live_parity` that is explained."""
    days = hours_to_check(context, database.get(), LIVE_PARITY)
    if not days:
        return dg.AssetCheckResult(passed=True, description=NOTHING_YET)
    rows = read_partitions(database.get(), LIVE_PARITY, days)
    unexplained = rows[rows["explained"] == 0]
    share = 100.0 * (1 - len(unexplained) / len(rows)) if len(rows) else 100.0
    least = settings.get().min_parity_pct
    passed = share >= least
    return dg.AssetCheckResult(
        passed=passed,
        severity=dg.AssetCheckSeverity.ERROR,
        description=None if passed else f"{share:.1f} % of {len(rows)} decisions are explained, at least {least:g} %",
        metadata={
            "days": f"{day_key_of(days[0])} .. {day_key_of(days[-1])}",
            "decisions": len(rows),
            "explained_pct": round(share, 2),
            "unexplained": len(unexplained),
            "sample": md.table(unexplained, _SHOWN),
        },
    )
