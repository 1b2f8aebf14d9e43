"""The research job on the embedded exchange: honest, repeatable, and the same hour by hour or as a range."""

import math
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pandas as pd
import pytest

from trading_assets.backtesting.run import configurations
from trading_assets.core import counters, trace
from trading_assets.core.candles import Candles, Funding
from trading_assets.core.errors import DataError
from trading_assets.core.models import Instrument, OrderBook, Rows, Ticker, Tickers
from trading_assets.core.ports import MarketData
from trading_assets.core.schemas import HOURLY_TABLES, MARKET_SCAN
from trading_assets.core.settings import Settings, load_settings
from trading_assets.core.timeframes import HOUR_MS, TRADED_TIMEFRAMES, Timeframe, as_of_ms
from trading_assets.defs.assets import scan as scan_asset
from trading_assets.defs.checks.schema import validate
from trading_assets.defs.metadata import MOST_COLUMNS
from trading_assets.defs.resources import ExchangeResource
from trading_assets.ledger import process_reports
from trading_assets.ledger.database import Database
from trading_assets.ledger.partitions import read_partitions, replace_partitions
from trading_assets.reporting.load import selected_hours
from trading_assets.simulator.embedded import RunningExchange
from trading_assets.venues import open_market_data
from trading_assets_tests.defs.conftest import HOUR, HOUR_KEY, ResearchedHour, definitions, run_job, tables
from trading_assets_tests.otlp import collecting

NEXT_KEY = "2026-03-02-02:00"


class PoisonedMarket:
    """The real market up to a moment; nonsense from there on."""

    def __init__(self, real: MarketData, from_ms: int) -> None:
        self._real, self._from_ms = real, from_ms
        self.poisoned = 0

    def market(self) -> str:
        return self._real.market()

    def finest_timeframe(self) -> Timeframe:
        return self._real.finest_timeframe()

    def now_ms(self) -> int:
        return self._real.now_ms()

    def instruments(self) -> Rows[Instrument]:
        return self._real.instruments()

    def candles(self, symbol: str, timeframe: Timeframe, start_ms: int, end_ms: int) -> Candles:
        candles = self._real.candles(symbol, timeframe, start_ms, end_ms)
        bad = candles.end_ms > self._from_ms
        self.poisoned += int(bad.sum())
        nonsense = np.where(bad, 1e9, 1.0)
        return replace(
            candles,
            open=candles.open * nonsense,
            high=candles.high * nonsense * np.where(bad, 7.0, 1.0),
            low=candles.low * nonsense,
            close=candles.close * nonsense,
            turnover=candles.turnover * nonsense,
        )

    def funding(self, symbol: str, start_ms: int, end_ms: int) -> Funding:
        funding = self._real.funding(symbol, start_ms, end_ms)
        return Funding(funding.time_ms, np.where(funding.time_ms >= self._from_ms, 0.9, funding.rate))

    def tickers(self) -> Tickers:
        raise AssertionError("research must not read the ticker: it is newer than the as-of")

    def ticker(self, symbol: str) -> Ticker:
        raise AssertionError("research must not read the ticker: it is newer than the as-of")

    def order_book(self, symbol: str, depth: int = 25) -> OrderBook:
        raise AssertionError("research must not read the order book: it is newer than the as-of")


class GivenMarket(ExchangeResource):
    """Gives a market put into it. Dagster copies resources by their fields, so the field is a key of `MARKETS`."""

    key: int

    @classmethod
    def of(cls, market: MarketData) -> "GivenMarket":
        MARKETS[id(market)] = market
        return cls(key=id(market))

    def market_data(self) -> MarketData:
        return MARKETS[self.key]


MARKETS: dict[int, MarketData] = {}


def assert_same(left: dict[str, pd.DataFrame], right: dict[str, pd.DataFrame]) -> None:
    for name, rows in left.items():
        pd.testing.assert_frame_equal(rows, right[name], check_exact=True, obj=name)


def test_an_hour_fills_every_table(researched: dict[str, pd.DataFrame]) -> None:
    assert {name for name, rows in researched.items() if len(rows)} == {table.name for table in HOURLY_TABLES}
    scan, backtests = researched["market_scan"], researched["backtest_results"]
    assert scan["rank"].tolist() != [] and len(scan) == 3
    assert (scan["timestamp_ms"] == as_of_ms(HOUR)).all()
    assert configurations(backtests) == 3 * 8 * (1 + 1 + 4)
    assert len(backtests) == 3 * 8 * 3
    assert backtests["error"].isna().all()
    assert backtests["total_trades"].sum() > 100
    assert researched["candle_coverage"].groupby("timeframe")["symbol"].nunique().min() >= 3
    assert (researched["candle_coverage"]["missing_bars"] == 0).all()


@pytest.mark.slow
def test_the_time_of_each_stage_is_counted(researched_hour: ResearchedHour) -> None:
    url = Settings(_env_file=None, home=researched_hour.home, database_url=None).resolved_database_url
    with closing(Database(url)) as database:
        (report,) = [one for one in process_reports.read(database) if one.role == process_reports.RESEARCH]
    assert report.has_ended
    seconds = {key[1]: value for key, value in report.counts.items() if key[0] == counters.RESEARCH_SECONDS}
    hours = {key[1]: value for key, value in report.counts.items() if key[0] == counters.RESEARCH_HOURS}
    by_timeframe = {f"{name}/{one.value}" for name in ("candles", "backtest_results") for one in TRADED_TIMEFRAMES}
    of_grids = {"grid_results", "grid_selections"}
    alone = {"market_scan", "funding_rates", "strategy_selections", *of_grids}
    assert alone | by_timeframe == seconds.keys() == hours.keys()
    assert min(hours.values()) >= 1 and min(seconds.values()) > 0  # other tests may compute hours in that home, too


@pytest.mark.slow
def test_a_stage_of_research_is_one_trace_with_its_run_and_its_hours(
    small: RunningExchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    with collecting() as collector, dg.DagsterInstance.ephemeral() as instance:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        assert trace.start("test")
        try:
            result = (
                definitions()
                .resolve_job_def("research")
                .execute_in_process(
                    instance=instance, partition_key=HOUR_KEY, asset_selection=[dg.AssetKey("market_scan")]
                )
            )
        finally:
            trace.stop()
    (span,) = [one for one in collector.spans if one.name.startswith("research.")]
    about = {one.key: one.value.string_value for one in span.attributes}
    assert span.name == "research.market_scan" and not span.parent_span_id
    assert span.end_time_unix_nano > span.start_time_unix_nano
    assert (about["run_id"], about["first_hour"], about["last_hour"]) == (result.run_id, HOUR_KEY, HOUR_KEY)


@pytest.mark.slow
def test_poison_after_the_as_of_changes_no_row_of_any_asset(
    researched: dict[str, pd.DataFrame], small: RunningExchange
) -> None:
    poisoned = PoisonedMarket(open_market_data(load_settings()), as_of_ms(HOUR))
    # A later hour first, so that the store holds nonsense beyond the as-of when the hour itself is computed.
    run_job("research", NEXT_KEY, raise_on_error=False, exchange=GivenMarket.of(poisoned))
    assert poisoned.poisoned > 100
    run_job("research", HOUR_KEY, exchange=GivenMarket.of(poisoned))
    assert_same(researched, tables([HOUR]))


@pytest.mark.slow
def test_a_range_in_one_run_equals_its_hours_and_running_an_hour_again_changes_nothing(
    researched: dict[str, pd.DataFrame], small: RunningExchange
) -> None:
    result = run_job("research", HOUR_KEY, until=NEXT_KEY)
    both = tables([HOUR, HOUR + HOUR_MS])
    kept = both["backtest_results"].groupby(["hour_ms", "strategy"])["parameters"].nunique()
    assert len(kept) == 2 * 3 and kept.max() > 1  # the grids are in it
    assert_same(researched, tables([HOUR]))
    run_job("research", NEXT_KEY)
    assert_same(both, tables([HOUR, HOUR + HOUR_MS]))
    partitions = {
        event.partition for event in result.get_asset_materialization_events() if event.asset_key.path[-1] == "1m"
    }
    assert partitions == {HOUR_KEY, NEXT_KEY}
    scans = {
        event.partition: event.materialization.metadata
        for event in result.get_asset_materialization_events()
        if event.asset_key == dg.AssetKey("market_scan")
    }
    assert set(scans) == {HOUR_KEY, NEXT_KEY}
    for metadata in scans.values():
        assert metadata["scanned"].value == metadata["dagster/row_count"].value == 3
        assert metadata["looked_at"].value > 10
        assert isinstance(metadata["coins"], dg.TableMetadataValue)
    (selected, *_) = [
        event.materialization.metadata["selections"]
        for event in result.get_asset_materialization_events()
        if event.asset_key == dg.AssetKey("strategy_selections")
    ]
    assert {"tried", "deflated Sharpe", "p", "unseen"} <= set(selected.records[0].data)
    tables_told = [
        value
        for event in result.get_asset_materialization_events()
        for value in event.materialization.metadata.values()
        if isinstance(value, dg.TableMetadataValue)
    ]
    assert max(len(value.schema.columns) for value in tables_told) <= MOST_COLUMNS


@pytest.mark.slow
def test_an_hour_that_has_not_ended_is_refused_and_writes_nothing(small: RunningExchange) -> None:
    result = run_job("research", "2026-03-02-07:00", raise_on_error=False)
    assert not result.success
    failure = result.get_step_failure_events()[0].step_failure_data.error
    assert failure is not None and failure.cause is not None
    assert "has not ended" in failure.cause.message
    assert all(rows.empty for rows in tables([HOUR + 6 * HOUR_MS]).values())


@pytest.mark.slow
def test_rows_that_break_the_schema_fail_the_check_and_stop_the_run(
    small: RunningExchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = scan_asset.scan_hours

    def broken(*given: Any, **more: Any) -> Any:
        found = real(*given, **more)
        return replace(found, rows=found.rows.assign(price_change_24h=-250.0))

    monkeypatch.setattr(scan_asset, "scan_hours", broken)
    result = run_job("research", HOUR_KEY, raise_on_error=False)
    assert not result.success
    checks = {check.asset_key: check for check in result.get_asset_check_evaluations()}
    scan = checks[dg.AssetKey("market_scan")]
    assert not scan.passed
    assert scan.metadata["failures"].value == 3
    assert "price_change_24h" in str(scan.metadata["sample"])
    assert tables([HOUR])["backtest_results"].empty


def test_the_check_counts_every_failure_and_shows_a_sample(small: RunningExchange) -> None:
    database = Database(load_settings().resolved_database_url)
    row = {
        "hour_ms": HOUR,
        "scan_id": "nonsense",
        "symbol": "AUSDT",
        "rank": 1,
        "price": -1.0,
        "volume_24h": 2e6,
        "price_change_24h": 1.0,
        "volatility_24h": 3.0,
        "size_error_pct": 0.0,
        "max_price": 1e9,
        "timestamp_ms": 0,
    }
    replace_partitions(database, MARKET_SCAN, pd.DataFrame([row]), [HOUR])
    outcome = validate(MARKET_SCAN, read_partitions(database, MARKET_SCAN, [HOUR]))
    assert not outcome.passed
    assert outcome.metadata["failures"].value == 2


def test_the_selection_is_the_best_passing_backtest_of_each_coin(researched: dict[str, pd.DataFrame]) -> None:
    selections, backtests = researched["strategy_selections"], researched["backtest_results"]
    assert len(selections)
    for row in selections.itertuples():
        of_coin = backtests[(backtests["symbol"] == row.symbol)]
        passing = of_coin[(of_coin["win_rate"] >= 40) & (of_coin["total_pnl"] >= 5) & (of_coin["total_trades"] >= 10)]
        scores = passing["win_rate"] * passing["profit_factor"] * np.log(passing["total_trades"] + 1)
        assert row.score == pytest.approx(scores.max(), rel=1e-12)
        (of_row,) = of_coin[
            (of_coin["timeframe"] == row.timeframe) & (of_coin["strategy"] == row.strategy)
        ].itertuples()
        assert row.configurations_tried == of_coin["configurations"].sum() == 8 * (1 + 1 + 4)
        assert 0 < row.p_value == of_row.p_value <= 1
        assert 0 <= row.deflated_sharpe <= 1 if row.total_trades >= 20 else math.isnan(row.deflated_sharpe)
        assert row.p_value <= row.p_value_corrected <= row.p_value_hour <= 1
        assert (row.out_of_sample_trades, row.out_of_sample_pnl) == (
            of_row.out_of_sample_trades,
            of_row.out_of_sample_pnl,
        )


def test_an_unreachable_exchange_is_a_clear_error(small: RunningExchange, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRADING_ASSETS_SIMULATOR_URL", "http://127.0.0.1:9")
    result = run_job("research", HOUR_KEY, raise_on_error=False)
    failure = result.get_step_failure_events()[0].step_failure_data.error
    assert failure is not None and failure.cause is not None
    assert "TRADING_ASSETS_SIMULATOR_URL" in failure.cause.message
    assert all(rows.empty for rows in tables([HOUR]).values())


@pytest.mark.slow
def test_an_hour_without_a_coin_goes_through_all_stages_and_says_that_there_is_nothing_to_follow(
    small: RunningExchange, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRADING_ASSETS_HOME", str(tmp_path / "empty"))
    monkeypatch.setenv("TRADING_ASSETS_MIN_VOLUME_24H", "1e15")
    result = run_job("research", HOUR_KEY, until=NEXT_KEY)
    assert result.success and all(check.passed for check in result.get_asset_check_evaluations())
    rows = tables([HOUR, HOUR + HOUR_MS])
    assert {name for name, found in rows.items() if len(found)} == {"candle_coverage"}
    assert set(rows["candle_coverage"]["symbol"]) == {"BTCUSDT"}, "what every strategy may read"
    for event in result.get_asset_materialization_events():
        if event.asset_key == dg.AssetKey("market_scan"):
            assert "24 h turnover up to" in str(event.materialization.metadata["dropped"])
    settings = load_settings()
    database = Database(settings.resolved_database_url)
    with pytest.raises(DataError, match="were selected, and none chose a coin"):
        selected_hours(database, None, None, HOUR + 4 * HOUR_MS)
    database.close()
