"""`market_scan`: which coins are worth a backtest in an hour."""

from collections.abc import Sequence

import dagster as dg
import pandas as pd

from trading_assets.core.models import Announcement, Instrument
from trading_assets.core.ports import PastMarket
from trading_assets.core.schemas import MARKET_SCAN, RULES_ASSUMED, RULES_KNOWN
from trading_assets.defs import metadata as md
from trading_assets.defs import pictures
from trading_assets.defs.assets.common import (
    HOURS,
    OWNERS,
    TABLES,
    ByHour,
    Progress,
    describe_hours,
    require_ended,
    traced,
)
from trading_assets.defs.checks.schema import column_schema
from trading_assets.defs.partitions import hourly, hours_of
from trading_assets.defs.research_settings import hours_alike
from trading_assets.defs.resources import (
    CandleStoreResource,
    DatabaseResource,
    ExchangeResource,
    SettingsResource,
    require_market,
)
from trading_assets.ledger import contract_rules, deliveries
from trading_assets.market import contract_lists
from trading_assets.market.stages import scan_hours
from trading_assets.market.universe import hour_rules, seen_ms

_RULES = {
    RULES_KNOWN: "known: tick, lot and leverage are those of the venue's list of that hour",
    RULES_ASSUMED: "assumed: tick, lot and leverage are those of a later list",
}


@dg.asset(
    group_name="scan",
    kinds={"sql", "bybit"},
    owners=OWNERS,
    code_version="3",
    partitions_def=hourly,
    io_manager_key=TABLES,
    backfill_policy=HOURS,
    metadata={"dagster/column_schema": column_schema(MARKET_SCAN)},
)
@traced
def market_scan(
    context: dg.AssetExecutionContext,
    settings: SettingsResource,
    exchange: ExchangeResource,
    candle_store: CandleStoreResource,
    database: DatabaseResource,
) -> pd.DataFrame:
    """USDT perpetuals that moved and traded enough in the 24 hours before the as-of; one row per hour and symbol.

    Every figure comes from hourly candles that had closed by the as-of, never from the ticker, so a backfilled hour
    equals the live one. The most volatile coins come first. A coin whose delivery is announced is left out in the hours
    whose own list of contracts knew of it.
    """
    hours = hours_of(context)
    source = exchange.market_data()
    require_market(source)
    require_ended(source, hours)
    installed, ledger = settings.installed(), database.get()
    venue, lists = installed.venue.value, installed.home / contract_lists.FOLDER / installed.venue.adapter.candle_folder

    def announce(instruments: Sequence[Instrument]) -> Sequence[Announcement]:
        seen = seen_ms(hours, source.now_ms())
        deliveries.note(ledger, venue, instruments, seen)
        if not isinstance(source, PastMarket):
            contract_lists.keep(lists, instruments, seen)
        return deliveries.announced(ledger, venue)

    known_rules = contract_rules.known(ledger, hours)
    parts, dropped_of, not_fetched = list[pd.DataFrame](), dict[int, dict[str, int]](), dict[str, str]()
    for alike in hours_alike(context, settings, database, exchange, hours):
        result = scan_hours(
            source,
            candle_store.get(),
            alike.hours,
            alike.used.settings,
            progress=Progress(context.log, "hourly candles"),
            announce=announce,
            known_rules=known_rules,
        )
        parts.append(alike.marked(result.rows))
        for hour in alike.hours:
            dropped_of[hour] = {reason: len(symbols) for reason, symbols in result.dropped[hour].items()}
        not_fetched |= result.not_fetched
    rows = MARKET_SCAN.conform(pd.concat(parts, ignore_index=True))
    by_hour = ByHour(rows, hours)
    dropped = [dropped_of[hour] for hour in hours]
    scanned, assumed = by_hour.count(), by_hour.count(rows["contract_rules"] == RULES_ASSUMED)
    figures: dict[str, Sequence[object]] = {
        "scanned": scanned,
        "looked_at": [kept + sum(of_hour.values()) for kept, of_hour in zip(scanned, dropped, strict=True)],
        "contract_rules": [
            _RULES[(RULES_ASSUMED if some else RULES_KNOWN) if count else hour_rules(hour, hours, result.now_ms)]
            for hour, count, some in zip(hours, scanned, assumed, strict=True)
        ],
    }
    describe_hours(context, by_hour, figures, lambda at, rows: _tables(dropped[at], rows.sort_values("rank")))
    if not_fetched:
        some = "; ".join(f"{symbol}: {reason}" for symbol, reason in sorted(not_fetched.items())[:5])
        context.log.warning(f"hourly candles of {len(not_fetched)} coins could not be fetched: {some}")
    context.log.info(f"{len(rows)} coins scanned in {len(hours)} hours")
    return rows


def _tables(dropped: dict[str, int], ranked: pd.DataFrame) -> dict[str, object]:
    columns = ["rank", "symbol", "price", "price_change_24h", "volatility_24h", "volume_24h", "size_error_pct"]
    return {
        "dropped": md.counts(dropped, "reason"),
        "coins": md.table(ranked, columns, limit=30),
        "volatility": pictures.bar_chart(
            ranked["volatility_24h"].tolist(), ranked["symbol"].tolist(), title="24 h range by coin, percent"
        ),
    }
