"""Selections followed: single trades, a home's walk-forward, and decisions of a home on their candles."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from click.testing import CliRunner

from trading_assets import research
from trading_assets.cli.main import cli
from trading_assets.core.errors import DataError
from trading_assets.core.schemas import MARKET_SCAN
from trading_assets.core.timeframes import DAY_MS, HOUR_MS, LIVE_BARS, Timeframe, as_of_ms, floor_ms, hour_key
from trading_assets.ledger import signals
from trading_assets.ledger.database import Database
from trading_assets.ledger.partitions import replace_partitions
from trading_assets.market.loading import load_strategy_data
from trading_assets.reporting.build import Sources, make_walk_forward, write
from trading_assets.reporting.figures import trades_frame
from trading_assets.reporting.trade_chart import ChartPage
from trading_assets.research.sources import Home
from trading_assets.strategies.registry import make_strategy
from trading_assets.trading.decide.entry import Signal, decide
from trading_assets_tests.fakes import an_instrument
from trading_assets_tests.reporting.fixtures import HOUR, forward_tested, market, selections
from trading_assets_tests.research.homes import a_home, a_market, scan_rows, stored

HOURS = 4


def block(page: ChartPage) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page.html, re.S)
    assert found is not None
    return json.loads(found[1])  # type: ignore[no-any-return]


def sources_of(home: Home) -> Sources:
    return Sources(home.settings, home.database, home.store, home.market)


@pytest.mark.slow
def test_a_forward_test_has_the_trades_of_the_reports_function() -> None:
    chosen = selections(3, "ETHUSDT", "SOLUSDT")
    frame = pd.DataFrame([one._asdict() for one in chosen])
    end = as_of_ms(HOUR) + 3 * HOUR_MS
    found = research.forward_test(frame, source=research.seeded(7, 12, now=end + DAY_MS))
    theirs = trades_frame(forward_tested(chosen, end_ms=end).of(chosen))
    assert len(theirs) > 3
    for name in ("symbol", "side", "reason"):
        assert found.trades[name].tolist() == theirs[name].tolist()
    assert found.trades["entry_time"].iloc[0] == pd.Timestamp(theirs["entry_ms"].iloc[0], unit="ms", tz="UTC")
    drawn = block(found.plot())
    assert len(drawn["trades"]) == len(theirs)
    first, row = drawn["trades"][0], theirs.iloc[0]
    # The stop is where the trade loses what it risks, before costs and slippage.
    side = 1 if row["side"] == "LONG" else -1
    assert side * (first["entry_price"] - first["stop"]) > 0 and side * (first["target"] - first["entry_price"]) > 0
    named = frame.assign(selected_hour=[hour_key(hour) for hour in frame["hour_ms"]]).drop(columns="hour_ms")
    again = research.forward_test(named, source=research.seeded(7, 12, now=end + DAY_MS))
    pd.testing.assert_frame_equal(again.trades, found.trades)
    with pytest.raises(DataError, match="lack parameters"):
        research.forward_test(frame.drop(columns="parameters"), source=a_market())


@pytest.mark.slow
def test_a_walk_forward_is_the_report_and_its_trades_lead_to_their_candles(sqlite: Database, tmp_path: Path) -> None:
    home = a_home(sqlite, tmp_path / "home", HOURS, report_random_choices=2)
    found = research.walk_forward(source=home)
    report = make_walk_forward(sources_of(home))
    assert found.figures == report.main.figures and len(found.trades) == len(report.main.trades) > 3
    assert found.equity.iloc[-1].tolist() == [float(curve.equity[-1]) for curve in report.curves]
    groups = found.by("strategy", "timeframe")
    assert groups["trades"].sum() == found.figures.trades
    assert groups["pnl"].sum() == pytest.approx(found.figures.pnl)
    written = write(report, home.settings)
    assert written.charts is not None and written.charts.is_file()
    page = written.page.read_text()
    links = re.findall(rf'href="{re.escape(written.charts.name)}#t(\d+)"', page)
    assert links == [str(number) for number in range(len(report.main.trades), 0, -1)]
    drawn = block(found.chart())
    for trade, row in zip(drawn["trades"], report.main.trades.to_dict("records"), strict=True):
        of = drawn["series"][trade["series"]]
        assert of["name"] == f"{row['symbol']} {row['timeframe']}"
        assert trade["entry"] * 1000 == row["entry_ms"]
        assert any(first <= trade["entry"] - 1 < first + count * of["step"] for first, count in of["spans"])


@pytest.mark.slow
def test_a_home_without_fetch_follows_what_it_holds_and_says_what_is_missing(sqlite: Database, tmp_path: Path) -> None:
    fetched = a_home(sqlite, tmp_path / "home", HOURS, report_random_choices=0)
    whole = research.walk_forward(source=fetched)
    replace_partitions(
        sqlite, MARKET_SCAN, scan_rows(HOURS + 1), [HOUR + number * HOUR_MS for number in range(HOURS + 1)]
    )
    held = a_home(sqlite, tmp_path / "home", HOURS, fetch=False, report_random_choices=0)
    again = research.walk_forward(source=held)
    assert again.figures.trades == whole.figures.trades
    empty = a_home(sqlite, tmp_path / "other", HOURS, fetch=False, report_random_choices=0)
    with pytest.warns(UserWarning, match="are not held to the end of the range"):
        assert research.walk_forward(source=empty).trades.empty
    with pytest.raises(DataError, match="has no selections; expected a home"):
        research.walk_forward(source=a_market())


def a_signal(database: Database, home: Home) -> str:
    """A signal of the live finder in the ledger of a home that holds its candles."""
    stored(home, "ETHUSDT", Timeframe.M15, as_of_ms(HOUR) - 10 * DAY_MS, as_of_ms(HOUR) + DAY_MS)
    strategy = make_strategy("bollinger_rsi", "{}")
    for now_ms in range(as_of_ms(HOUR) + 300, as_of_ms(HOUR) + DAY_MS, Timeframe.M15.ms):
        start_ms = floor_ms(now_ms, Timeframe.M15.ms) - LIVE_BARS * Timeframe.M15.ms
        found = decide(
            hour_ms=HOUR,
            strategy=strategy,
            parameters="{}",
            data=load_strategy_data(market(), "ETHUSDT", Timeframe.M15, strategy.needs(), start_ms, now_ms),
            instrument=an_instrument("ETHUSDT"),
            settings=home.settings,
            now_ms=now_ms,
            last_exit_ms=None,
        )
        if isinstance(found, Signal):
            (signal_id,) = signals.insert_new(database, [{**found.row, "run_id": None}])
            return signal_id
    raise AssertionError("the day had no signal")


def test_a_signal_and_a_selection_are_drawn_from_the_ledger(sqlite: Database, tmp_path: Path) -> None:
    home = a_home(sqlite, tmp_path / "home", HOURS, fetch=False)
    signal_id = a_signal(sqlite, home)
    row = signals.by_ids(sqlite, [signal_id]).iloc[0]
    drawn = block(research.chart(signal_id[:-3], source=home))
    (trade,), (series,) = drawn["trades"], drawn["series"]
    assert trade["signal"] * 1000 == row["signal_timestamp_ms"] and trade["reason"] == "active"
    assert (trade["stop"], trade["target"]) == (row["stop_loss"], row["take_profit"])
    assert {one["name"] for one in series["lines"]} == {"bb_position", "rsi"}
    bar = (trade["signal"] - series["spans"][0][0]) // series["step"] - 1
    rsi = next(one for one in series["lines"] if one["name"] == "rsi")["values"][bar]
    assert rsi == pytest.approx(row["rsi"], rel=1e-4)
    assert "selection" in [name for name, _ in trade["notes"]]
    chosen = research.selections(source=home).set_index("symbol").loc["ETHUSDT"]
    of = Timeframe(chosen["timeframe"])
    newest = HOUR + (HOURS - 1) * HOUR_MS
    stored(home, "ETHUSDT", of, as_of_ms(newest) - (of.window_bars + 210) * of.ms - DAY_MS, as_of_ms(newest))
    page = research.chart(f"{hour_key(newest)}/ETHUSDT", source=home)
    assert f"selected in the hour {hour_key(newest)}" in page.title and block(page)["series"][0]["equity"]
    for what, words in (("2020-01-01-00:00/ETHUSDT", "was not selected in the hour"), ("nothing", "no order and no")):
        with pytest.raises(DataError, match=words):
            research.chart(what, source=home)


def test_the_commands_write_a_chart_and_trades(tmp_path: Path) -> None:
    chart, trades = tmp_path / "chart.html", tmp_path / "trades.csv"
    base = ["backtest", "bollinger_rsi", "ethusdt", "15m", "--seeded", "--from", "2026-02-01", "--to", "2026-02-05"]
    done = CliRunner().invoke(cli, [*base, "--parameter", "stop_atr=3", "--chart", str(chart), "--trades", str(trades)])
    assert done.exit_code == 0, done.output
    assert "closed trades" in done.stdout and "ended by" in done.stdout
    written = pd.read_csv(trades)
    found = research.backtest(
        "bollinger_rsi",
        "ETHUSDT",
        "15m",
        "2026-02-01",
        "2026-02-06",
        parameters={"stop_atr": 3},
        source=research.seeded(),
    )
    assert written["pnl"].tolist() == pytest.approx(found.trades["pnl"].tolist())
    assert chart.read_text() == found.plot().html
    told = CliRunner().invoke(cli, [*base, "--json"])
    assert json.loads(told.stdout)["bars"] == 480
    wrong = CliRunner().invoke(cli, [*base, "--parameter", "stop_atr"])
    assert wrong.exit_code != 0 and "expected NAME=VALUE" in str(wrong.exception or wrong.output)
