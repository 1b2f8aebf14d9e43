"""The sensor of hours that a check blocks: each is tried again when what it failed under has changed.

What blocks an hour, `ledger.checks` knows; when it is tried again, `trading.automation` decides.
"""

import hashlib
import inspect
import json
from collections.abc import Iterator
from pathlib import Path

import dagster as dg

import trading_assets
from trading_assets.core.errors import TradingAssetsError
from trading_assets.core.settings import Settings
from trading_assets.core.timeframes import HOUR_MS, floor_ms
from trading_assets.defs import instance_queries
from trading_assets.defs.jobs import research
from trading_assets.defs.partitions import key_of
from trading_assets.defs.resources import DatabaseResource, ExchangeResource, SettingsResource
from trading_assets.defs.sensors import default_status
from trading_assets.ledger import checks
from trading_assets.ledger.database import Database
from trading_assets.ledger.strategies import registry_rows
from trading_assets.strategies.registry import strategy_classes
from trading_assets.trading.automation import decide_blocked

REASON_TAG = "trading_assets/reason"


@dg.sensor(
    job=research,
    minimum_interval_seconds=60,
    default_status=default_status(),
    description="Researches an hour of the last day that a check blocks once more after the check passes, or after "
    "code, strategies or settings have changed. Skips otherwise, and says which hours are blocked, why, and what to "
    "do.",
)
def research_blocked_hours(
    context: dg.SensorEvaluationContext,
    settings: SettingsResource,
    exchange: ExchangeResource,
    database: DatabaseResource,
) -> dg.RunRequest | dg.SkipReason:
    try:
        newest = floor_ms(exchange.market_data().now_ms(), HOUR_MS) - HOUR_MS
        blocked = checks.blocked_hours(database.get(), newest - checks.TRIED_AGAIN_MS)
        state = research_state(settings.of_research(), database.get()) if blocked else ""
    except TradingAssetsError as error:
        return dg.SkipReason(f"cannot look: {error}")
    since = newest - checks.TRIED_AGAIN_MS
    judged = {int(hour): found for hour, found in json.loads(context.cursor or "{}").items() if int(hour) >= since}
    decision = decide_blocked(
        blocked=blocked,
        judged=judged,
        selected_hours=instance_queries.latest_materializations(
            context.instance, [instance_queries.SELECTION_KEY], list(judged)
        ),
        state=state,
        run_in_progress=instance_queries.in_progress(context.instance, research.name),
    )
    context.update_cursor(json.dumps(decision.judged))
    if decision.hour_ms is None:
        return dg.SkipReason(decision.reason)
    partition = key_of(decision.hour_ms)
    return dg.RunRequest(
        run_key=f"blocked-{partition}-{state}", partition_key=partition, tags={REASON_TAG: decision.reason}
    )


def research_state(settings: Settings, database: Database) -> str:
    """Digest of what decides whether an hour passes its checks, besides the market: code, strategies and settings."""
    digest = hashlib.blake2b(digest_size=8)
    for path in _sources():
        digest.update(path.read_bytes())
    for row in registry_rows(database):
        digest.update(json.dumps(vars(row), sort_keys=True).encode())
    # Secrets are masked in it, and decide nothing here.
    digest.update(settings.model_dump_json().encode())
    return digest.hexdigest()


def _sources() -> Iterator[Path]:
    """The package's modules, and those of strategies from elsewhere."""
    yield from sorted(Path(trading_assets.__file__).parent.rglob("*.py"))
    for kind in strategy_classes().values():
        path = Path(inspect.getfile(kind))
        if path.is_file():
            yield path
