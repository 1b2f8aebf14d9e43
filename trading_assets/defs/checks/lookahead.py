"""Checks that backtests are free of bias: no look-ahead, enough warm-up, two engines agree, profits survive costs.

Each takes a deterministic sample of what the run wrote. One step does it for all timeframes: vectorbt costs seconds in
a process that has not loaded it yet, and every step costs some.
"""

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import dagster as dg
import pandas as pd

from trading_assets.backtesting.costs import costs_of
from trading_assets.backtesting.engine import Column
from trading_assets.backtesting.run import production_engine
from trading_assets.backtesting.significance import seed_from
from trading_assets.backtesting.validation import (
    COST_FACTOR,
    Difference,
    LoaderByHour,
    ReferenceEngine,
    at_double_costs,
    column_from_row,
    cross_validate,
    data_by_row,
    sample_backtests,
)
from trading_assets.core.schemas import BACKTEST_RESULTS, MARKET_SCAN
from trading_assets.core.settings import Settings
from trading_assets.core.strategy_data import DataNeeds, StrategyData
from trading_assets.core.timeframes import TRADED_TIMEFRAMES, Timeframe, as_of_ms, iso
from trading_assets.defs import metadata as md
from trading_assets.defs.checks.hours import NOTHING_YET, hours_to_check, record_verdicts
from trading_assets.defs.partitions import key_of
from trading_assets.defs.resources import CandleStoreResource, DatabaseResource, SettingsResource
from trading_assets.defs.table_io import rows_of, table_of
from trading_assets.ledger import checks
from trading_assets.ledger.database import Database
from trading_assets.ledger.fees import with_own_fees
from trading_assets.ledger.partitions import read_partitions
from trading_assets.market.loading import Loader, OpenedData, hour_loader, max_prices_by_symbol
from trading_assets.market.store import CandleStore
from trading_assets.strategies import bias_checks

AGREES = "agrees_with_vectorbt"
NO_LOOK_AHEAD = "no_look_ahead"
WARM_UP_SUFFICES = "warm_up_suffices"
SURVIVES = "survives_double_costs"

AGREEMENT_SAMPLE = 3
"""Backtests of each timeframe that are computed again."""

SIGNALS, OTHERS = 8, 4
"""Bars with and without an entry at which a strategy decides again."""

_EXCLUDED = "A strategy that fails is excluded, alone, from the hour's selections on this timeframe."

SELECTIONS_SAMPLE = 10

HOURS_SAMPLE = 4
"""A backfill writes hundreds of hours in one run; the checks take their samples from so many."""

_BACKTESTS = [dg.AssetKey(["backtest_results", timeframe.value]) for timeframe in TRADED_TIMEFRAMES]
_SELECTIONS = dg.AssetKey("strategy_selections")
_KEY = list(BACKTEST_RESULTS.key)


@dataclass(frozen=True)
class _Judged:
    """A backtest of the sample and what both checks of its strategy found."""

    row: dict[str, object]
    look_ahead: bias_checks.Verdict
    warm_up: bias_checks.Verdict
    declared: int = 0
    sufficient: bias_checks.SufficientWarmUp | None = None
    """How many bars of warm-up would do, where the declared ones do not."""


def _specs(name: str, description: str) -> list[dg.AssetCheckSpec]:
    return [dg.AssetCheckSpec(name, asset=key, blocking=True, description=description) for key in _BACKTESTS]


@dg.multi_asset_check(
    specs=_specs(
        AGREES,
        f"{AGREEMENT_SAMPLE} backtests of the run, drawn by their keys, are computed again by the engine that made "
        "them and by vectorbt: every trade and every figure must be equal.",
    ),
    can_subset=True,
)
def engines_agree(
    context: dg.AssetCheckExecutionContext,
    settings: SettingsResource,
    database: DatabaseResource,
    candle_store: CandleStoreResource,
) -> Iterable[dg.AssetCheckResult]:
    """`agrees_with_vectorbt` of each timeframe."""
    found = _agreement(
        context, with_own_fees(settings.of_research(), database.get()), database.get(), candle_store.get()
    )
    yield from record_verdicts(context, database.get(), found)


def _agreement(
    context: dg.AssetCheckExecutionContext, settings: Settings, database: Database, store: CandleStore
) -> Iterator[dg.AssetCheckResult]:
    load = _loader(store, database)
    for key in _selected_assets(context):
        backtests = _written(context, database, key)
        if backtests is None:
            yield dg.AssetCheckResult(asset_key=key, check_name=AGREES, passed=True, description=NOTHING_YET)
            continue
        sample = sample_backtests(backtests, AGREEMENT_SAMPLE)
        found = cross_validate(sample, load, production_engine(), ReferenceEngine(), settings)
        yield dg.AssetCheckResult(
            asset_key=key,
            check_name=AGREES,
            passed=not found,
            severity=dg.AssetCheckSeverity.ERROR,
            description=f"{len(found)} differences in {len(sample)} backtests" if found else None,
            metadata={
                "hours": _hours(backtests),
                "backtests": len(sample),
                "trades": int(sample["total_trades"].sum()),
                "differences": len(found),
                "sample": md.table(_readable(sample[[*_KEY, "total_trades", "total_pnl"]])),
                "found": md.table(_readable(pd.DataFrame(map(_difference, found)))),
            },
        )


@dg.multi_asset_check(
    specs=[
        *_specs(
            NO_LOOK_AHEAD,
            f"One backtest of each strategy, drawn by its key, decides again at {SIGNALS} bars with an entry and "
            f"{OTHERS} others on what was known at their close: same decision, same indicators. {_EXCLUDED}",
        ),
        *_specs(
            WARM_UP_SUFFICES,
            "The same backtests begin their data later: after the declared warm-up the decisions are the same. "
            "A strategy that fails needs a longer one, and may be free of look-ahead. "
            f"{_EXCLUDED}",
        ),
    ],
    can_subset=True,
)
def strategies_are_unbiased(
    context: dg.AssetCheckExecutionContext, database: DatabaseResource, candle_store: CandleStoreResource
) -> Iterable[dg.AssetCheckResult]:
    """`no_look_ahead` and `warm_up_suffices` of each timeframe."""
    yield from record_verdicts(context, database.get(), _bias(context, database.get(), candle_store.get()))


def _bias(
    context: dg.AssetCheckExecutionContext, database: Database, store: CandleStore
) -> Iterator[dg.AssetCheckResult]:
    run = context.op_execution_context.run.run_id
    for key in _selected_assets(context):
        names = [name for name in (NO_LOOK_AHEAD, WARM_UP_SUFFICES) if _asked(context, key, name)]
        backtests = _written(context, database, key)
        if backtests is None:
            for name in names:
                yield dg.AssetCheckResult(asset_key=key, check_name=name, passed=True, description=NOTHING_YET)
            continue
        judged = list(_judge(sample_backtests(backtests, 1, each="strategy"), store))
        for name in names:
            found = _violations(name, judged)
            advice = {str(one.row["strategy"]): _advice(one) for one in judged} if name == WARM_UP_SUFFICES else {}
            faults = {
                str(row["strategy"]): _detail(name, row) + advice.get(str(row["strategy"]), "")
                for row in reversed(found)
            }
            timeframe, hours = rows_of(key)["timeframe"], hours_to_check(context, database, table_of(key))
            checks.exclude(database, timeframe, name, faults, hours, run)
            yield _verdict(key, name, backtests, judged, found)


@dg.asset_check(
    asset=_SELECTIONS,
    name=SURVIVES,
    description=f"{SELECTIONS_SAMPLE} selected backtests, drawn by their keys, still earn at {COST_FACTOR:g} times fee "
    "and slippage. A warning: an edge so thin may not survive a busy market.",
)
def survives_double_costs(
    context: dg.AssetCheckExecutionContext,
    settings: SettingsResource,
    database: DatabaseResource,
    candle_store: CandleStoreResource,
) -> dg.AssetCheckResult:
    """Simulates a sample of the selections again."""
    selected = _written(context, database.get(), _SELECTIONS)
    if selected is None:
        return dg.AssetCheckResult(passed=True, description=NOTHING_YET)
    load = _loader(candle_store.get(), database.get())
    drawn = sample_backtests(selected.assign(error=None), SELECTIONS_SAMPLE)
    made = [(row, _column(row, load)) for row in drawn.to_dict("records")]
    sample = pd.DataFrame([row for row, column in made if column is not None], columns=drawn.columns)
    fallback, engine = with_own_fees(settings.of_research(), database.get()), production_engine()
    results = [
        result
        for row, column in made
        if column is not None
        for result in at_double_costs([column], costs_of({str(name): row[name] for name in row}, fallback), engine)
    ]
    table = sample[["symbol", "timeframe", "strategy"]].assign(
        total_pnl=[result.pnl for result in results], pnl_at_double_costs=[result.pnl_at_double for result in results]
    )
    thin = sum(not result.survives for result in results)
    return dg.AssetCheckResult(
        passed=not thin,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"{thin} of {len(sample)} selections lose money at double costs" if thin else None,
        metadata={
            "hours": _hours(selected),
            "selections": len(sample),
            "thin": thin,
            "could_not_be_made_again": len(drawn) - len(sample),
            "sample": md.table(table.sort_values("pnl_at_double_costs")),
        },
    )


BACKTEST_CHECKS: list[dg.AssetChecksDefinition] = [engines_agree, strategies_are_unbiased, survives_double_costs]


def _selected_assets(context: dg.AssetCheckExecutionContext) -> list[dg.AssetKey]:
    asked = {key.asset_key for key in context.op_execution_context.selected_asset_check_keys}
    return [key for key in _BACKTESTS if key in asked]


def _asked(context: dg.AssetCheckExecutionContext, key: dg.AssetKey, name: str) -> bool:
    return dg.AssetCheckKey(key, name) in context.op_execution_context.selected_asset_check_keys


def _written(context: dg.AssetCheckExecutionContext, database: Database, key: dg.AssetKey) -> pd.DataFrame | None:
    """Rows of an asset in the hours to check, at most `HOURS_SAMPLE` of them; None if it has none at all."""
    table = table_of(key)
    hours = hours_to_check(context, database, table)
    if len(hours) > HOURS_SAMPLE:
        hours = sorted(sorted(hours, key=lambda hour_ms: seed_from((hour_ms,)))[:HOURS_SAMPLE])
    return read_partitions(database, table, hours, rows_of(key)) if hours else None


def _loader(store: CandleStore, database: Database) -> LoaderByHour:
    """What the backtests of an hour were given."""

    @cache
    def max_prices(hour_ms: int) -> dict[str, dict[int, float]]:
        return max_prices_by_symbol(read_partitions(database, MARKET_SCAN, [hour_ms]))

    def of_hour(hour_ms: int) -> Loader:
        load = hour_loader(store, hour_ms)

        def sized_load(symbol: str, timeframe: Timeframe, needs: DataNeeds) -> StrategyData:
            return OpenedData(lambda _hour: load(symbol, timeframe, needs), max_prices(hour_ms).get(symbol, {}))(
                hour_ms
            )

        return sized_load

    return of_hour


def _column(row: Mapping[Hashable, object], load: LoaderByHour) -> Column | None:
    """The column of a selection; None where it cannot be made any more, which is not for a warning to judge."""
    try:
        return column_from_row({str(name): value for name, value in row.items()}, load)
    except Exception:  # noqa: BLE001 (a user's strategy may raise anything)
        return None


def _judge(sample: pd.DataFrame, store: CandleStore) -> Iterator[_Judged]:
    for record in sample.to_dict("records"):
        row = {str(name): record[name] for name in _KEY}
        seed = seed_from(tuple(row.values()))
        try:
            strategy, data = data_by_row(row, lambda hour_ms: hour_loader(store, hour_ms))
            early = bias_checks.warm_up(strategy, data, seed=seed)
            yield _Judged(
                row,
                bias_checks.look_ahead(strategy, data, seed=seed, signals=SIGNALS, others=OTHERS),
                early,
                strategy.needs().warm_up_bars(data.timeframe),
                None if early.passed else bias_checks.sufficient_warm_up(strategy, data),
            )
        except Exception as error:  # noqa: BLE001 (a user's strategy may raise anything)
            failed = bias_checks.failed(as_of_ms(int(str(row["hour_ms"]))), error)
            yield _Judged(row, failed, failed)


def _verdicts(name: str, judged: Sequence[_Judged]) -> list[tuple[Mapping[str, object], bias_checks.Verdict]]:
    return [(one.row, one.look_ahead if name == NO_LOOK_AHEAD else one.warm_up) for one in judged]


def _violations(name: str, judged: Sequence[_Judged]) -> list[dict[str, object]]:
    return [
        {
            "symbol": row["symbol"],
            "strategy": row["strategy"],
            "bar_closed": iso(violation.time_ms),
            "what": violation.what,
            "on_all_data": violation.whole,
            "on_cut_data": violation.cut,
        }
        for row, verdict in _verdicts(name, judged)
        for violation in verdict.violations
    ]


def _detail(name: str, violation: Mapping[str, object]) -> str:
    """What a person reads of an excluded strategy."""
    cut = "on what was known then" if name == NO_LOOK_AHEAD else "on data that begin later"
    return (
        f"{violation['what']} of {violation['symbol']} at {violation['bar_closed']} is {violation['on_all_data']} on "
        f"all data and {violation['on_cut_data']} {cut}"
    )


def _advice(judged: _Judged) -> str:
    """How many bars of warm-up would do, as the end of a sentence."""
    if judged.sufficient is None:
        return ""
    return f" (it declares {judged.declared} bars of warm-up and needs {judged.sufficient.words})"


def _verdict(
    key: dg.AssetKey,
    name: str,
    backtests: pd.DataFrame,
    judged: Sequence[_Judged],
    found: Sequence[Mapping[str, object]],
) -> dg.AssetCheckResult:
    """A failure is a warning: it concerns the strategies that are excluded, not the hour."""
    verdicts = _verdicts(name, judged)
    excluded = sorted({str(violation["strategy"]) for violation in found})
    unchecked = sorted(str(row["strategy"]) for row, one in verdicts if one.passed and not one.signals)
    what = "stop the strategy or mend it" if name == NO_LOOK_AHEAD else "let needs() declare a longer warm_up"
    parts = [f"{', '.join(excluded)}: {len(found)} values differ. Excluded; {what}."] * bool(found)
    parts += [f"{', '.join(unchecked)}: no signal, so nothing could be checked."] * bool(unchecked)
    return dg.AssetCheckResult(
        asset_key=key,
        check_name=name,
        passed=not found,
        severity=dg.AssetCheckSeverity.WARN,
        description=" ".join(parts) or None,
        metadata={
            "hours": _hours(backtests),
            "strategies": len(verdicts),
            "bars": sum(verdict.bars for _, verdict in verdicts),
            "signals": sum(verdict.signals for _, verdict in verdicts),
            "violations": len(found),
            "excluded": ", ".join(excluded) or "none",
            "not_checked": ", ".join(unchecked) or "none",
            "found": md.table(pd.DataFrame(found)),
        },
    )


def _readable(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows whose first columns are the key of a backtest, with readable hours and parameters."""
    if rows.empty:
        return rows
    parameters = [md.changed_parameters(*both) for both in zip(rows["strategy"], rows["parameters"], strict=True)]
    hours = [key_of(int(hour)) for hour in rows["hour_ms"]]
    shown = rows.assign(hour_ms=hours, parameters=parameters).rename(columns={"hour_ms": "hour"})
    return shown.drop(columns="timeframe")


def _difference(found: Difference) -> dict[str, object]:
    return {**found.row, "what": found.what, "stored_or_production": found.first, "vectorbt": found.second}


def _hours(rows: pd.DataFrame) -> str:
    hours = rows["hour_ms"]
    return f"{key_of(int(hours.min()))} .. {key_of(int(hours.max()))}" if len(rows) else "no rows"
