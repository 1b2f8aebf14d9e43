"""The newest result of each blocking check on each partition, and the candles that were left out. No Dagster."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from trading_assets.core.candles import FUNDING, CandleFaults, DeepFaults
from trading_assets.core.errors import StrategyError
from trading_assets.core.schemas import CANDLE_COVERAGE, FUNDING_COVERAGE
from trading_assets.core.strategy_data import DataNeeds
from trading_assets.core.timeframes import DAY_MS, Timeframe, iso
from trading_assets.ledger.database import Database
from trading_assets.ledger.tables import check_results as table
from trading_assets.ledger.tables import excluded_strategies as _excluded
from trading_assets.ledger.tables import sql_table
from trading_assets.market.loading import exclusion_reason
from trading_assets.strategies.registry import make_strategy

TRIED_AGAIN_MS = DAY_MS
"""A blocked hour that is not older is researched again by itself after code, strategies or settings have changed."""

WHAT_TO_DO = (
    "Mend the cause, or stop the strategy: within a day the hour is then researched again by itself, later by "
    "trading-assets backfill"
)
"""With an hour that a check blocks."""

_AT_A_TIME = 500

_coverage, _funding = sql_table(CANDLE_COVERAGE), sql_table(FUNDING_COVERAGE)


@dataclass(frozen=True)
class Verdict:
    """A check's result on one asset. `detail` says what was found when it failed."""

    asset: str
    check: str
    passed: bool
    detail: str | None = None


def record(database: Database, verdicts: Sequence[Verdict], hours_ms: Sequence[int], run_id: str) -> None:
    """Record verdicts for these hours. They replace earlier ones of the same checks."""
    if not verdicts or not hours_ms:
        return
    rows = [
        {
            "asset": verdict.asset,
            "check_name": verdict.check,
            "hour_ms": hour,
            "passed": verdict.passed,
            "detail": None if verdict.passed else verdict.detail or "it failed",
            "run_id": run_id,
        }
        for verdict in verdicts
        for hour in hours_ms
    ]
    with database.write(one_at_a_time=table.name) as connection:
        for verdict in verdicts:
            same = (table.c.asset == verdict.asset, table.c.check_name == verdict.check)
            connection.execute(sa.delete(table).where(*same, _within(table.c.hour_ms, hours_ms)))
        connection.execute(sa.insert(table), rows)


def failed(source: Database | sa.Connection, hours_ms: Sequence[int], *, but: str = "") -> dict[int, str]:
    """Return what the failed blocking checks found in each hour, as one text. Hours without a failed check are absent.

    Args:
        but: an asset whose own checks do not count.
    """
    if isinstance(source, Database):
        with source.read() as connection:
            return failed(connection, hours_ms, but=but)
    if not hours_ms:
        return {}
    columns = (table.c.hour_ms, table.c.check_name, table.c.asset, table.c.detail)
    statement = (
        sa.select(*columns)
        .where(~table.c.passed, table.c.asset != but, _within(table.c.hour_ms, hours_ms))
        .order_by(*columns[:3])
    )
    found: dict[int, list[str]] = {}
    for hour, check, asset, detail in source.execute(statement):
        found.setdefault(hour, []).append(f"{check} of {asset} failed: {detail}")
    return {hour: "; ".join(texts) for hour, texts in found.items()}


def blocked_hours(database: Database, since_ms: int) -> dict[int, str]:
    """Return what blocks the hours from `since_ms` on, newest first, and what to do."""
    with database.read() as connection:
        hours = connection.execute(
            sa.select(table.c.hour_ms).where(~table.c.passed, table.c.hour_ms >= since_ms).distinct()
        )
        found = failed(connection, sorted(hours.scalars()))
    return {hour: f"{found[hour]}. {WHAT_TO_DO}" for hour in sorted(found, reverse=True)}


def candle_faults(source: Database | sa.Connection, hours_ms: Sequence[int]) -> dict[int, CandleFaults]:
    """Return the candles and payments that are left out, by hour. Hours without any are absent."""
    if isinstance(source, Database):
        with source.read() as connection:
            return candle_faults(connection, hours_ms)
    if not hours_ms:
        return {}
    statement = sa.union_all(
        sa.select(_coverage.c.hour_ms, _coverage.c.timeframe, _coverage.c.symbol, _coverage.c.fault).where(
            _coverage.c.fault.is_not(None), _within(_coverage.c.hour_ms, hours_ms)
        ),
        sa.select(_funding.c.hour_ms, sa.literal(FUNDING), _funding.c.symbol, _funding.c.fault).where(
            _funding.c.fault.is_not(None), _within(_funding.c.hour_ms, hours_ms)
        ),
    )
    found: dict[int, dict[tuple[str, str], str]] = {}
    for hour, timeframe, symbol, fault in source.execute(statement):
        found.setdefault(hour, {})[timeframe, symbol] = fault
    return dict(found)


def deep_faults(source: Database | sa.Connection, hours_ms: Sequence[int]) -> dict[int, DeepFaults]:
    """Return what is wrong with older candles, which some strategies alone read, by hour; other hours are absent."""
    if isinstance(source, Database):
        with source.read() as connection:
            return deep_faults(connection, hours_ms)
    if not hours_ms:
        return {}
    c = _coverage.c
    statement = sa.select(c.hour_ms, c.timeframe, c.symbol, c.deep_faults).where(
        c.deep_faults.is_not(None), _within(c.hour_ms, hours_ms)
    )
    found: dict[int, dict[tuple[str, str], dict[int, str | None]]] = {}
    for hour, timeframe, symbol, text in source.execute(statement):
        by_reach = {int(reach): fault for reach, fault in json.loads(text).items()}
        found.setdefault(hour, {})[timeframe, symbol] = by_reach
    return dict(found)


def exclude(
    database: Database,
    timeframe: str,
    check: str,
    faults: Mapping[str, str],
    hours_ms: Sequence[int],
    run_id: str,
) -> None:
    """Record which strategies failed a check on a timeframe in these hours, and why; it replaces earlier verdicts.

    Args:
        faults: what was found, by strategy; empty where all passed.
    """
    if not hours_ms:
        return
    rows = [
        {
            "timeframe": timeframe,
            "strategy": strategy,
            "check_name": check,
            "hour_ms": hour,
            "detail": detail,
            "run_id": run_id,
        }
        for strategy, detail in faults.items()
        for hour in hours_ms
    ]
    with database.write(one_at_a_time=_excluded.name) as connection:
        same = (_excluded.c.timeframe == timeframe, _excluded.c.check_name == check)
        connection.execute(sa.delete(_excluded).where(*same, _within(_excluded.c.hour_ms, hours_ms)))
        if rows:
            connection.execute(sa.insert(_excluded), rows)


def excluded(source: Database | sa.Connection, hours_ms: Sequence[int]) -> dict[int, dict[tuple[str, str], str]]:
    """Return why strategies are excluded, by hour and (timeframe, strategy). Hours without any are absent."""
    if isinstance(source, Database):
        with source.read() as connection:
            return excluded(connection, hours_ms)
    if not hours_ms:
        return {}
    c = _excluded.c
    statement = sa.select(c.hour_ms, c.timeframe, c.strategy, c.check_name, c.detail).where(
        _within(c.hour_ms, hours_ms)
    )
    found: dict[int, dict[tuple[str, str], str]] = {}
    for hour, timeframe, strategy, check, detail in source.execute(statement):
        of_hour, key = found.setdefault(hour, {}), (timeframe, strategy)
        of_hour[key] = "; ".join(filter(None, [of_hour.get(key), f"{check}: {detail}"]))
    return found


def blocked(database: Database, signals: Iterable[Mapping[str, Any]], btc: str) -> dict[str, str]:
    """Return why signals are blocked, by id: a blocking check failed for their hour, candles that their strategy reads
    are left out, or the strategy is.

    Args:
        signals: rows of `entry_signals`.
        btc: the venue's symbol of the BTC perpetual.
    """
    rows = list(signals)
    hours = sorted({int(row["hour_ms"]) for row in rows})
    with database.read() as connection:
        failures, faulty = failed(connection, hours), candle_faults(connection, hours)
        without, deep = excluded(connection, hours), deep_faults(connection, hours)
    found: dict[str, str] = {}
    for row in rows:
        hour, strategy, timeframe = int(row["hour_ms"]), str(row["strategy"]), Timeframe(str(row["timeframe"]))
        reason = failures.get(hour)
        if reason is None and (hour in faulty or hour in deep):
            needs, faults = _needs(row), (faulty.get(hour, {}), deep.get(hour, {}))
            reason = exclusion_reason(str(row["symbol"]), timeframe, needs, faults[0], btc, faults[1])
        if reason is None and (why := without.get(hour, {}).get((timeframe.value, strategy))) is not None:
            reason = f"strategy {strategy} is excluded on {timeframe}: {why}"
        if reason is not None:
            found[str(row["signal_id"])] = f"{reason} (hour of {iso(hour)})"
    return found


def _needs(signal: Mapping[str, Any]) -> DataNeeds:
    """What a signal's strategy reads; its own candles alone where it is gone."""
    try:
        return make_strategy(str(signal["strategy"]), str(signal["parameters"])).needs()
    except StrategyError:
        return DataNeeds()


def by_asset(connection: sa.Connection, hour_ms: int, assets: Collection[str]) -> list[dict[str, Any]]:
    """Return every verdict on these assets in an hour, as rows of `check_results`."""
    some = (table.c.hour_ms == hour_ms, table.c.asset.in_(sorted(assets)))
    statement = sa.select(table).where(*some).order_by(table.c.asset, table.c.check_name)
    return [dict(row) for row in connection.execute(statement).mappings()]


def _within(column: sa.ColumnElement[int], hours_ms: Sequence[int]) -> sa.ColumnElement[bool]:
    """Match a few hours one by one; many by the first and the last, since a range is contiguous."""
    hours = sorted(set(hours_ms))
    return column.in_(hours) if len(hours) <= _AT_A_TIME else column.between(hours[0], hours[-1])
