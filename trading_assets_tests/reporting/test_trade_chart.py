"""The page of trades on candles: what is in it, what cannot get out of it, and that a browser draws it."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trading_assets.core.candles import Candles
from trading_assets.core.timeframes import MINUTE_MS, Timeframe
from trading_assets.reporting.trade_chart import ChartPage, ChartSeries, ChartTrade, chart_page
from trading_assets_tests.ui.pages import Pages, chromium, open_chromium

START = 1_772_409_600_000


def a_series(bars: int, *, gap: int = 0, price: float = 2500.0, tick: float = 0.01) -> ChartSeries:
    """A random walk on the tick, with a hole of so many bars in the middle, indicators and equity."""
    rng = np.random.default_rng(3)
    close = np.round(price * np.exp(np.cumsum(rng.normal(0, 0.001, bars))) / tick) * tick
    open_ = np.concatenate([[close[0]], close[:-1]])
    high, low = np.maximum(open_, close) + 3 * tick, np.minimum(open_, close) - 2 * tick
    starts = START + np.arange(bars) * MINUTE_MS
    starts[bars // 2 :] += gap * MINUTE_MS
    average = np.concatenate([np.full(9, np.nan), np.convolve(close, np.ones(10) / 10, "valid")])
    candles = Candles(Timeframe.M1, starts, open_, high, low, close, close, close)
    lines = {"average": average, "stretch": (close / average - 1) * 100}
    equity = 100 + np.cumsum(rng.normal(0, 0.1, bars))
    return ChartSeries("ETHUSDT 1m", candles, lines, equity, 100.0)


def a_trade(series: ChartSeries, entry: int, leave: int | None, reason: str = "stop", place: int = 0) -> ChartTrade:
    c = series.candles
    return ChartTrade(
        series=place,
        side=1,
        signal_ms=int(c.end_ms[entry]),
        entry_ms=int(c.end_ms[entry]),
        exit_ms=None if leave is None else int(c.end_ms[leave]),
        entry_price=float(c.close[entry]),
        exit_price=float(c.close[-1 if leave is None else leave]),
        stop=float(c.close[entry]) * 0.99,
        target=float(c.close[entry]) * 1.02,
        reason=reason,
        pnl=-1.0,
        r=-1.25,
        bars=None if leave is None else leave - entry,
        notes=[("strategy", "<script>document.title = 'planted'</script>")],
    )


def block(page: ChartPage) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page.html, re.S)
    assert found is not None
    return json.loads(found[1])  # type: ignore[no-any-return]


def unpacked(one: dict[str, Any]) -> tuple[np.ndarray, ...]:
    """As the page's script reads it."""
    times = np.concatenate([first + np.arange(count) * one["step"] for first, count in one["spans"]])
    moves = np.array(one["o"]) + np.array(one["c"])
    close = np.cumsum(moves)
    open_ = close - np.array(one["c"])
    high, low = np.maximum(open_, close) + np.array(one["h"]), np.minimum(open_, close) - np.array(one["l"])
    return times, *(values / 10 ** one["decimals"] for values in (open_, high, low, close))


@pytest.mark.parametrize(("price", "tick"), [(2500.0, 0.01), (0.0000123, 0.0000000001), (95_000.0, 0.5)])
def test_the_page_holds_every_candle_as_it_was(price: float, tick: float) -> None:
    series = a_series(500, gap=7, price=price, tick=tick)
    (one,) = block(chart_page("x", [], [series], []))["series"]
    assert len(one["spans"]) == 2
    for found, given in zip(unpacked(one), (series.candles.start_ms / 1000, *_prices(series.candles)), strict=True):
        np.testing.assert_allclose(found, given, rtol=0, atol=tick / 100)
    average, stretch = one["lines"]
    assert average["on_price"] and not stretch["on_price"]
    assert average["values"][:9] == [None] * 9 and average["values"][9] == pytest.approx(
        float(series.indicators["average"][9]), rel=1e-4
    )


def test_an_indicator_that_is_never_a_number_has_no_pane() -> None:
    series = a_series(50)
    never = {"nan": np.full(50, np.nan), "inf": np.full(50, np.inf), "once": np.where(np.arange(50) == 7, 1.0, np.nan)}
    page = chart_page("Odd", [], [replace(series, indicators={**series.indicators, **never})], [])
    assert [one["name"] for one in block(page)["series"][0]["lines"]] == ["average", "stretch", "once"]


def _prices(candles: Candles) -> tuple[np.ndarray, ...]:
    return candles.open, candles.high, candles.low, candles.close


def test_the_same_input_gives_the_same_bytes_and_nothing_of_others_is_code() -> None:
    series = a_series(300)
    trades = [a_trade(series, 10, 30), a_trade(series, 50, None, "open")]
    page = chart_page("</title><script>", [("</script>", "<!--")], [series], trades)
    assert page.html == chart_page("</title><script>", [("</script>", "<!--")], [series], trades).html
    assert page.html.count("<script") == 3 + page.html.count("createElement('<script") and "<!--" not in page.html[50:]
    scripts = re.findall(r"<script>(.*?)</script>", page.html, re.S)
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page.html)
    assert policy is not None and "default-src 'none'" in policy[1]
    for script in scripts:
        assert f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'" in policy[1]
    assert "https://www.tradingview.com/" in page.html and "Apache-2.0" in page.html
    shown = block(page)
    assert shown["trades"][1]["exit"] is None and shown["trades"][0]["notes"][0][1].startswith("<script>")


def test_a_notebook_shows_the_page_apart_from_its_own() -> None:
    page = chart_page("x", [], [a_series(60)], [])
    frame = page._repr_html_()
    assert frame.startswith("<iframe srcdoc=") and 'sandbox="allow-scripts allow-popups"' in frame
    assert "<script" not in frame


@pytest.mark.slow
def test_a_browser_draws_fifty_thousand_bars_and_jumps_to_a_trade(tmp_path: Path) -> None:
    paths = chromium()
    if paths is None:
        pytest.skip("no Chromium with its driver is found; on Debian: apt-get install chromium chromium-driver")
    series, other = a_series(50_000), a_series(300, price=10.0, tick=0.001)
    trades = [a_trade(series, at, at + 15, ("stop", "target")[at // 1000 % 2]) for at in range(100, 49_000, 500)]
    trades.append(a_trade(other, 100, 140, "target", place=1))
    trades.append(replace(a_trade(other, 200, None, "open", place=1), r=50.0))
    page = chart_page("Many bars", [("trades", "99")], [series, other], trades)
    assert len(page.html) < 4_000_000
    path = page.save(tmp_path / "chart.html")
    browser = open_chromium(paths, tmp_path / "profile")
    try:
        browser.get(f"{path.as_uri()}#t3")
        pages = Pages(browser, "", None)
        pages.until(lambda: browser.execute_script("return document.body.dataset.readyMs") or None, "the chart")
        pages.see("Many bars", "100 trades (1 open), mean -1.25 R", "ended by")
        assert browser.find_element("css selector", ".row.chosen .c-n").text == "3"
        assert browser.title == "Many bars"
        assert len(browser.find_elements("css selector", ".row")) < 99, "rows out of sight are not there"
        pages.press("next")
        assert browser.find_element("css selector", ".row.chosen .c-n").text == "4"
        browser.execute_script("location.hash = '#t99'")
        pages.until(lambda: browser.find_element("id", "what").text == "ETHUSDT 1m" or None, "the other series")
        browser.find_element("css selector", "#filter option[value='reason:target']").click()
        pages.see(f"{sum(one.reason == 'target' for one in trades)} trades", within_s=60)
        assert not [line for line in browser.get_log("browser") if line["level"] == "SEVERE"]
    finally:
        browser.quit()
