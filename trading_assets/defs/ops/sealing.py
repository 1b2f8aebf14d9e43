"""The `seal` job's op: backtests that are old enough by the settings go from SQL into files."""

import dagster as dg

from trading_assets.core.timeframes import iso, local_ms
from trading_assets.defs import metadata as md
from trading_assets.defs.resources import DatabaseResource, SettingsResource
from trading_assets.ledger import sealing


@dg.op(description="Seals backtests of days that ended long enough ago. Those selected or traded stay in SQL, too.")
def seal_old_results(context: dg.OpExecutionContext, settings: SettingsResource, database: DatabaseResource) -> None:
    ledger, after_days = database.get(), settings.of_research().seal_results_after_days
    found = sealing.seal(ledger, sealing.before_ms(ledger, after_days) or 0, local_ms)
    context.log.info(sealing.told(found))
    state = sealing.state(ledger, sealing.before_ms(ledger, after_days))
    context.add_output_metadata(
        {
            "days": [iso(day)[:10] for day in found.days],
            "rows": found.rows,
            "mb": round(found.bytes / 1e6, 2),
            "left_for_the_next_time": found.left,
            "failed": md.counts({iso(day)[:10]: 1 for day in found.failed}, "day"),
            "sealed_in_all": sealing.state_told(state),
        }
    )
    if found.failed:
        raise dg.Failure(
            "; ".join(f"{iso(day)[:10]}: {why}" for day, why in sorted(found.failed.items())),
            allow_retries=False,
        )
