"""Reports from a ledger with selections to the page: repeatable, honest about the future, and readable."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from trading_assets.chaos.signal_source import selection_row
from trading_assets.core.errors import ConfigurationError, DataError, NothingYetError
from trading_assets.core.schemas import BACKTEST_RESULTS, STRATEGY_SELECTIONS
from trading_assets.core.timeframes import DAY_MS, HOUR_MS, as_of_ms
from trading_assets.ledger import checks
from trading_assets.ledger.database import Database
from trading_assets.ledger.partitions import Write, replace_partitions
from trading_assets.ledger.tables import sql_table
from trading_assets.market.loading import CandleReader
from trading_assets.market.store import CandleStore
from trading_assets.reporting import load as reading
from trading_assets.reporting.build import Sources, make_walk_forward, write
from trading_assets.reporting.page import headline, render
from trading_assets.reporting.report import Report
from trading_assets.reporting.walk_forward import short_range
from trading_assets_tests.reporting.fixtures import HOUR, Poisoned, SeededSource, market, settings
from trading_assets_tests.ui.pages import Pages, chromium, open_chromium

COINS = ("BTCUSDT", "ETHUSDT", "SOLUSDT", "XRPUSDT")
HOURS = 12
FRAMES = ("1m", "5m", "15m", "60m")


def selection_rows(hours: int) -> pd.DataFrame:
    """Each hour each coin with a strategy of its own."""
    return pd.DataFrame(
        [
            selection_row(
                HOUR + number * HOUR_MS,
                coin,
                FRAMES[(number // 4 + place) % 4],
                strategy=("bollinger_rsi", "hyperrsi")[place % 2],
            )
            for number in range(hours)
            for place, coin in enumerate(COINS)
        ]
    )


def backtest_rows(hours: int) -> pd.DataFrame:
    """Three backtests of each coin and hour; one of them failed."""
    zeros = dict.fromkeys(BACKTEST_RESULTS.columns, 0)
    return pd.DataFrame(
        [
            {
                **zeros,
                **{"hour_ms": HOUR + number * HOUR_MS, "symbol": coin, "timeframe": frame, "parameters": "{}"},
                **{"strategy": "bollinger_rsi", "scan_id": "scan-20260302-020000", "configurations": 1},
                **{"p_value": None, "break_even": None, "error": "no candles" if frame == "30m" else None},
            }
            for number in range(hours)
            for coin in COINS
            for frame in ("3m", "15m", "30m")
        ]
    )


def fill(database: Database, hours: int = HOURS) -> None:
    every = [HOUR + number * HOUR_MS for number in range(hours)]
    replace_partitions(database, STRATEGY_SELECTIONS, selection_rows(hours), every)
    replace_partitions(database, BACKTEST_RESULTS, backtest_rows(hours), every)


def sources(database: Database, home: Path, reader: CandleReader | None = None, **changes: Any) -> Sources:
    now_ms = as_of_ms(HOUR) + (HOURS + 30) * HOUR_MS
    source: Any = SeededSource(now_ms, reader)
    return Sources(settings(home=home, **changes), database, CandleStore(home / "candles"), source)


@pytest.mark.slow
def test_the_same_hours_give_the_same_page_byte_for_byte(database: Database, tmp_path: Path) -> None:
    fill(database)
    first, second = sources(database, tmp_path / "one"), sources(database, tmp_path / "two")
    report = make_walk_forward(first)
    pages = [write(report, first.settings), write(make_walk_forward(second), second.settings)]
    assert len(report.main.trades) > 5 and len(report.beside[0].trades) > 5
    assert pages[0].page.read_bytes() == pages[1].page.read_bytes()
    assert pages[0].trades.read_bytes() == pages[1].trades.read_bytes()
    assert pages[0].page.name == "walk_forward_20260302T0200_20260302T1400.html"
    stored = pd.read_csv(pages[0].trades)
    np.testing.assert_allclose(stored["pnl"], report.main.trades["pnl"], rtol=1e-12)


@pytest.mark.slow
def test_nonsense_after_a_moment_changes_the_report_only_from_there_on(sqlite: Database, tmp_path: Path) -> None:
    fill(sqlite)
    moment = as_of_ms(HOUR) + 6 * HOUR_MS
    poison = Poisoned(market(), moment)
    # Of one random choice: which of several ends in the middle, only the end tells.
    honest = make_walk_forward(sources(sqlite, tmp_path / "honest", report_random_choices=1))
    changed = make_walk_forward(sources(sqlite, tmp_path / "poisoned", poison, report_random_choices=1))
    assert poison.poisoned > 100
    known = int(np.searchsorted(honest.main.curve.times_ms, moment, side="right"))
    for left, right in zip(honest.curves, changed.curves, strict=True):
        np.testing.assert_array_equal(left.equity[:known], right.equity[:known])
        # A choice that has no trade any more ends as it is, whatever comes.
        moves = bool(np.ptp(left.equity[known:]) > 0)
        assert moves != np.array_equal(left.equity[known:], right.equity[known:])
    assert np.ptp(honest.main.curve.equity[known:]) > 0
    for left, right in zip((honest.main, *honest.beside), (changed.main, *changed.beside), strict=True):
        past = [track.trades[track.trades["entry_ms"] <= moment] for track in (left, right)]
        assert len(past[0]) > 3
        # How a trade ends that was open at that moment is future, too.
        future = ["exit_ms", "exit_price", "fees", "slippage", "funding", "pnl", "reason"]
        pd.testing.assert_frame_equal(*(frame.drop(columns=future) for frame in past), check_exact=True)
        ended = [frame[frame["exit_ms"] <= moment] for frame in past]
        pd.testing.assert_frame_equal(*ended, check_exact=True)


def test_hours_that_have_not_ended_are_left_out_and_a_range_can_be_chosen(database: Database, tmp_path: Path) -> None:
    fill(database, 5)
    now_ms = as_of_ms(HOUR) + 3 * HOUR_MS + 60_000
    assert reading.selected_hours(database, None, None, now_ms) == [HOUR, HOUR + HOUR_MS, HOUR + 2 * HOUR_MS]
    assert reading.selected_hours(database, HOUR + HOUR_MS, HOUR + HOUR_MS, now_ms) == [HOUR + HOUR_MS]
    with pytest.raises(NothingYetError, match="no whole hour to follow yet"):
        reading.selected_hours(database, HOUR + 3 * HOUR_MS, None, now_ms)
    with pytest.raises(DataError, match="no hour with selections between 2026-03-02T06:00:00Z and the last"):
        reading.selected_hours(database, HOUR + 5 * HOUR_MS, None, now_ms)


@pytest.mark.slow
def test_an_hour_that_chose_no_coin_is_told_and_trades_nothing_as_one_that_is_blocked(
    sqlite: Database, tmp_path: Path
) -> None:
    """Of five hours the second chose nothing and the fourth is blocked; the third has coins, of which some trade."""
    source = sources(sqlite, tmp_path, report_random_choices=0)
    fill(sqlite, 5)
    empty, blocked = HOUR + HOUR_MS, HOUR + 3 * HOUR_MS
    written = Write("strategy_selections", "run", "5", 0)
    replace_partitions(sqlite, STRATEGY_SELECTIONS, STRATEGY_SELECTIONS.empty(), [empty, blocked], written=written)
    checks.record(sqlite, [checks.Verdict("market_scan", "SCHEMA", False, "3 values")], [blocked], "run")
    report = make_walk_forward(source)
    assert report.facts["hours followed"] == "3 of 5; 1 more chose no coin"
    entries = report.main.trades["entry_ms"]
    assert len(entries)
    for hour in (empty, blocked):  # a bar that closes as the hour begins is the older selection's
        assert not ((entries > as_of_ms(hour)) & (entries < as_of_ms(hour) + HOUR_MS)).any()
    with pytest.raises(DataError, match=r"1 hours from .* were selected, and none chose a coin"):
        make_walk_forward(source, empty, empty)
    with pytest.raises(DataError, match="no hour with selections"):
        make_walk_forward(source, blocked, blocked)


def test_the_random_choice_is_as_many_backtests_of_the_same_hour_one_a_coin(database: Database) -> None:
    fill(database, 3)
    chosen = [one for one in reading.selected(database, [HOUR, HOUR + HOUR_MS]) if one.symbol != "XRPUSDT"]
    drawn, other = reading.drawn_at_random(database, chosen, 2)
    assert [drawn, other] == reading.drawn_at_random(database, chosen, 3)[:2]
    assert drawn != other and len(drawn) == len(other)
    assert {selection.timeframe for selection in drawn} <= {"3m", "15m"}, "a backtest that failed is never drawn"
    for hour in (HOUR, HOUR + HOUR_MS):
        coins = [selection.symbol for selection in drawn if selection.hour_ms == hour]
        assert len(coins) == len(set(coins)) == 3
    assert [f[1:] for f in drawn[:3]] != [f[1:] for f in drawn[3:]], "each hour draws anew"


@pytest.mark.slow
def test_the_random_choices_are_a_band_a_median_and_a_rank(database: Database, tmp_path: Path) -> None:
    fill(database)
    made = make_walk_forward(sources(database, tmp_path, report_random_choices=7))
    assert made.sample is not None and len(made.sample.ends) == 7
    ends = np.sort(made.sample.ends)
    assert len(set(ends.tolist())) > 1
    [median] = made.beside
    assert median.curve.equity[-1] == ends[3]
    assert made.sample.low[0] == made.sample.high[0] == 1000.0
    assert (made.sample.low <= made.sample.high).all() and made.sample.low[-1] < ends[3] < made.sample.high[-1]
    assert made.sample.behind == (ends < made.main.curve.equity[-1]).sum()
    assert f"of {len(ends)} random choices" in render(made)
    none = make_walk_forward(sources(database, tmp_path, report_random_choices=0))
    assert none.sample is None and not none.beside and "random choices" not in headline(none)
    np.testing.assert_array_equal(none.main.curve.equity, made.main.curve.equity)


def test_hours_whose_backtests_are_gone_are_told(database: Database, tmp_path: Path) -> None:
    fill(database, 3)
    with database.write() as connection:
        connection.execute(sql_table(BACKTEST_RESULTS).delete())
    report = make_walk_forward(sources(database, tmp_path))
    assert any("The backtests of 3 of 3 hours are no longer kept" in note for note in report.notes)
    assert not report.beside and report.sample is None
    assert report.matched is not None, "random entries need no backtests"


@pytest.mark.slow
def test_random_choices_are_compared_in_the_hours_of_which_there_are_backtests(
    sqlite: Database, tmp_path: Path
) -> None:
    fill(sqlite)
    backtests = sql_table(BACKTEST_RESULTS)
    with sqlite.write() as connection:
        connection.execute(backtests.delete().where(backtests.c.hour_ms < HOUR + 6 * HOUR_MS))
    some = make_walk_forward(sources(sqlite, tmp_path))
    [same, median] = some.beside
    assert some.sample is not None and same.curve.name == "Selected, hours with backtests"
    assert same.trades["hour_ms"].min() >= HOUR + 6 * HOUR_MS > some.main.trades["hour_ms"].min()
    assert median.trades["hour_ms"].min() >= HOUR + 6 * HOUR_MS
    assert some.sample.behind == (some.sample.ends < same.curve.equity[-1]).sum()
    assert some.sample.compared != some.main.curve.equity[-1]


@pytest.mark.slow
def test_signals_are_those_that_were_taken_and_those_that_were_not(sqlite: Database, tmp_path: Path) -> None:
    fill(sqlite)
    made = make_walk_forward(sources(sqlite, tmp_path, max_positions=1))
    refused = sum(made.refused.values())
    assert refused > 3
    assert int(made.facts["signals"]) == len(made.main.trades) + refused
    numbers = made.main.figures
    assert numbers.trades + numbers.open_trades == len(made.main.trades)
    assert numbers.whole_pnl == pytest.approx(made.main.trades["pnl"].sum())
    assert numbers.whole_pnl == pytest.approx(made.main.curve.equity[-1] - made.main.curve.equity[0])


@pytest.mark.slow
def test_a_day_is_not_scaled_up_to_a_year_without_a_warning(sqlite: Database, tmp_path: Path) -> None:
    fill(sqlite)
    made = make_walk_forward(sources(sqlite, tmp_path))
    assert "of 0.5 days, scaled up to a year" in made.notes[0] and made.notes[0] in render(made)
    (of_one_day,) = short_range(0, DAY_MS)
    assert "of 1 day, scaled up to a year" in of_one_day and of_one_day.endswith("which is about 19.")
    assert not short_range(0, 30 * DAY_MS)


@pytest.mark.slow
def test_no_page_prints_nan(sqlite: Database, tmp_path: Path) -> None:
    fill(sqlite, 2)
    for confidence in (60.0, 100.0):
        page = render(make_walk_forward(sources(sqlite, tmp_path, min_confidence=confidence)))
        text = re.sub(r"<script.*?</script>|<style.*?</style>", "", page, flags=re.DOTALL)
        assert not re.search(r"\bnan\b", text, re.IGNORECASE)


@pytest.mark.slow
def test_the_page_needs_nothing_else_and_shows_what_the_report_holds(sqlite: Database, tmp_path: Path) -> None:
    fill(sqlite)
    made = make_walk_forward(sources(sqlite, tmp_path))
    page = render(made)
    assert 'src="http' not in page and "<link" not in page
    for heading in ("Equity", "Drawdown", "Returns by day", "By strategy", "By timeframe", "By symbol", "assume"):
        assert heading in page
    for number in (f"{made.main.figures.return_pct:+.2f} %", f"{made.main.figures.trades:,}"):
        assert number in page
    assert all(curve.name in page for curve in made.curves)


@pytest.mark.slow
def test_the_page_in_a_browser_draws_its_charts_and_runs_no_other_script(sqlite: Database, tmp_path: Path) -> None:
    paths = chromium()
    if paths is None:
        pytest.skip("no Chromium with its driver is found; on Debian: apt-get install chromium chromium-driver")
    fill(sqlite)
    page = render(make_walk_forward(sources(sqlite, tmp_path)))
    planted = page.replace("<main>", "<main><script>document.title = 'planted'</script>")
    assert planted != page
    (tmp_path / "planted.html").write_text(planted)
    browser = open_chromium(paths, tmp_path / "profile")
    try:
        browser.get((tmp_path / "planted.html").as_uri())
        pages = Pages(browser, "", None)
        pages.until(lambda: len(pages.all("//*[local-name()='svg' and @class='main-svg']")) > 3 or None, "its charts")
        assert "planted" not in browser.title
        refused = [
            line["message"] for line in browser.get_log("browser") if "Content Security Policy" in line["message"]
        ]
        assert len(refused) == 1, "the planted script alone is refused"
    finally:
        browser.quit()


def test_a_report_without_a_single_trade_is_a_page_all_the_same(sqlite: Database, tmp_path: Path) -> None:
    fill(sqlite, 1)
    made = make_walk_forward(sources(sqlite, tmp_path, min_confidence=100.0))
    assert isinstance(made, Report) and made.main.trades.empty
    assert "none" in render(made)


@pytest.mark.slow
def test_a_report_with_a_name_of_its_own_stays_and_is_never_overwritten(sqlite: Database, tmp_path: Path) -> None:
    fill(sqlite, 1)
    of = sources(sqlite, tmp_path, min_confidence=100.0, reports_kept=1)
    made = make_walk_forward(of)
    named = write(made, of.settings, "wide_stops")
    assert (named.page.name, named.figures.name) == ("wide_stops.html", "wide_stops.json")
    write(made, of.settings)
    assert named.page.exists() and named.trades.exists() and named.figures.exists()
    kept = named.page.read_bytes()
    for name in ("wide_stops", "../wide", "walk_forward_20260302T0200_20260302T0500", "a.b"):
        with pytest.raises(ConfigurationError, match="there already" if name == "wide_stops" else "cannot be named"):
            write(made, of.settings, name)
    assert named.page.read_bytes() == kept


@pytest.mark.slow
def test_of_each_report_the_newest_pages_are_kept(database: Database, tmp_path: Path) -> None:
    fill(database, 4)
    made = sources(database, tmp_path, reports_kept=2)
    for last in range(4):
        write(make_walk_forward(made, HOUR, HOUR + last * HOUR_MS), made.settings)
    written = {path.name for path in (tmp_path / "reports").iterdir()}
    kept = sorted(name for name in written if re.fullmatch(r"walk_forward_\w{13}_\w{13}\.html", name))
    assert kept == ["walk_forward_20260302T0200_20260302T0500.html", "walk_forward_20260302T0200_20260302T0600.html"]
    beside = {name.replace(".html", end) for name in kept for end in (".csv", ".json", "_trades.html")}
    assert written == {*kept, *beside}, "what stands beside a page goes with it"
    second = made.settings.changed({"account": "second"}).as_named()
    page = write(make_walk_forward(made, HOUR, HOUR + 3 * HOUR_MS), second).page
    assert page.name == "walk_forward-second_20260302T0200_20260302T0600.html"
    assert all((tmp_path / "reports" / name).exists() for name in kept), "those of another account are not among them"
