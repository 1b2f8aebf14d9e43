"""The real UI in a real browser, from the asset graph to the report. `make screenshots` takes its pictures here."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import pytest

from trading_assets.core.timeframes import HOUR_MS, hour_key
from trading_assets.simulator.clock import ClockMode, ClockSpec
from trading_assets.simulator.embedded import serve_in_thread
from trading_assets.simulator.venue import ServeConfig
from trading_assets_tests.ui.dev import Dev, dagster_dev
from trading_assets_tests.ui.pages import REPORT_SIZE, Pages, chromium, open_chromium, pictures_folder

LOCATION = "/locations/trading_assets"

GROUPS = ["scan", "market_data", "backtests", "grids", "selection", "trading", "reports"]
"""From left to right, by name where two stand one above the other."""

OPENED = ["scan", "selection", "trading", "reports"]
"""The others have an asset for each timeframe, or belong to what is switched off by default."""

HOUR = 1_772_413_200_000
"""2026-03-02 01:00 UTC: the hour that is materialised alone; the exchange's clock stands two hours after its end."""

RUN_WITHIN_S = 1500.0
"""The pictures' backfill takes minutes."""


@dataclass(frozen=True)
class Size:
    """How much is computed: little in a test, enough to look at in a picture.

    Attributes:
        hours: backfilled before `HOUR`.
    """

    symbols: int
    kept: int
    hours: int


SMALL = Size(symbols=14, kept=3, hours=2)
OF_PICTURES = Size(symbols=40, kept=20, hours=95)


@pytest.fixture
def size() -> Size:
    return OF_PICTURES if pictures_folder() else SMALL


@pytest.fixture
def chromium_paths() -> tuple[str, str]:
    found = chromium()
    # It comes from the system's packages, which neither `make setup` nor .ci/run may install: REQUIRE_SERVICES=1 asks
    # for services, and this is none.
    if found is None:
        pytest.skip("no Chromium with its driver is found; on Debian: apt-get install chromium chromium-driver")
    return found


@pytest.fixture
def dev(chromium_paths: tuple[str, str], size: Size, tmp_path: Path) -> Iterator[Dev]:
    """The UI with a small market whose clock stands still, nothing switched on."""
    market = ServeConfig(symbols=size.symbols, clock=ClockSpec(ClockMode.MANUAL, start_ms=HOUR + 3 * HOUR_MS))
    with serve_in_thread(market) as exchange:
        settings = {
            "SIMULATOR_URL": exchange.url,
            "MAX_SYMBOLS": str(size.kept),
            "AUTOMATION": "off",
            # Some backtests of three coins pass it.
            "SELECTION_PRESET": "volume_loose" if size is SMALL else "strict",
        }
        home = tmp_path / "home"
        home.mkdir()
        with dagster_dev(home, settings) as running:
            yield running


@pytest.fixture
def pages(chromium_paths: tuple[str, str], dev: Dev, tmp_path: Path) -> Iterator[Pages]:
    browser = open_chromium(chromium_paths, tmp_path / "profile")
    try:
        yield Pages(browser, dev.url, pictures_folder())
    finally:
        browser.quit()


@pytest.mark.slow
@pytest.mark.timeout(1800)  # the pictures' ninety-six hours; a test takes about a minute
def test_from_the_asset_graph_to_the_report(pages: Pages, dev: Dev, size: Size, tmp_path: Path) -> None:
    the_graph_reads_from_left_to_right(pages)
    backfill = a_range_is_backfilled(pages, size)
    an_hour_is_materialised(pages, dev)
    the_selection_shows_its_tables(pages)
    the_checks_have_passed(pages)
    a_sensor_is_switched_on_and_off(pages, dev)
    the_backfill_has_ended(pages, dev, backfill, size)
    the_report_is_one_click_away(pages, tmp_path / "profile" / "downloads")


def the_graph_reads_from_left_to_right(pages: Pages) -> None:
    pages.open("/asset-groups")
    pages.see("Materialize all")

    def boxes() -> dict[str, int] | None:
        drawn = pages.all("//*[contains(@class, 'collapsedGroupNodeContainer')]")
        found = {box.text.split("\n")[0]: box.location["x"] for box in drawn}
        return found if set(GROUPS) <= set(found) else None

    places = pages.until(boxes, "a box of each group")
    assert sorted(places, key=lambda name: (places[name], name)) == GROUPS
    if pages.takes_pictures:  # the rest of the graph costs a browser seconds
        pages.open("/asset-groups?expanded=" + quote(",".join(f"global@global:{group}" for group in OPENED)))
        pages.see("Materialize all", "performance_report")
    pages.picture("asset_graph")


def a_range_is_backfilled(pages: Pages, size: Size) -> str:
    """Returns the backfill's id."""
    first, last = hour_key(HOUR - size.hours * HOUR_MS), hour_key(HOUR - HOUR_MS)
    _choose_partitions(pages, f"[{first}...{last}]")
    pages.see(f"{size.hours} partitions")
    pages.picture("backfill_dialog")
    pages.press("Launch backfill")
    pages.see("Created backfill")
    found = re.search(r"Created backfill (\w+)", pages.text())
    assert found is not None
    return found.group(1)


def an_hour_is_materialised(pages: Pages, dev: Dev) -> None:
    _choose_partitions(pages, hour_key(HOUR))
    pages.see("1 partition")
    pages.press("Launch 1 run")
    pages.see("Launched run")
    run = _ended(pages, dev, ("dagster/partition", hour_key(HOUR)))
    pages.open(f"/runs/{run}")
    pages.see("Success", "Executing (0)", f"partition: {hour_key(HOUR)}")


def _ended(pages: Pages, dev: Dev, tag: tuple[str, str]) -> str:
    """Wait until the one run with a tag has succeeded: pages of runs in progress are long, or look seldom.

    Returns:
        Its id.
    """

    def ended() -> dict[str, str] | None:
        runs = dev.runs(tag=tag)
        return runs[0] if runs and runs[0]["status"] in ("SUCCESS", "FAILURE") else None

    pages.rest()
    run = pages.until(ended, f"the end of the run of {tag[1]}", RUN_WITHIN_S)
    assert run["status"] == "SUCCESS", f"the run of {tag[1]} has failed: {(dev.home / 'dev.log').read_text()[-2000:]}"
    return run["runId"]


def _choose_partitions(pages: Pages, text: str) -> None:
    """Open the dialog of `research` and type partitions into it."""
    pages.open(f"{LOCATION}/jobs/research")
    pages.press("Materialize all…")
    pages.see("Partition selection")
    pages.press("Show all partitions")
    field = pages.find("//*[@role='dialog']//input[@type='text']")
    field.send_keys(text + "\n")


def the_selection_shows_its_tables(pages: Pages) -> None:
    pages.open("/assets/strategy_selections?view=events")
    pages.see("failed_filters", "selections", "by_coin", "deflated Sharpe", hour_key(HOUR))
    pages.scroll_to("//td[normalize-space()='failed_filters']")
    pages.picture("selection")


def the_checks_have_passed(pages: Pages) -> None:
    pages.open("/assets/backtest_results/15m?view=checks")
    pages.see("agrees_with_vectorbt", "no_look_ahead", "warm_up_suffices", "SCHEMA", "Passed")
    pages.picture("checks")


def a_sensor_is_switched_on_and_off(pages: Pages, dev: Dev) -> None:
    pages.open("/automation")
    pages.see("reconcile_books", "trade_when_candles_close", "research_hourly", "Scheduled Every minute")
    pages.open(f"{LOCATION}/sensors/reconcile_books")
    pages.see("Reads the exchange's books", "Sensor has never run")
    switch = pages.find("//input[@type='checkbox']/..")
    switch.click()
    # The first tick has the books read, the second one tells what it has seen.
    pages.see("1 run requested", "0 runs requested")
    pages.find("//*[text()='0 runs requested'][self::button or ancestor::button]").click()
    pages.see("Skip reason: ")
    assert re.search(r"Skip reason: (a reconcile run is in progress|0 positions, 0 unresolved orders)", pages.text())
    pages.press("Close")
    switch.click()
    status = pages.until(lambda: "STOPPED" if dev.sensor_status("reconcile_books") == "STOPPED" else None, "the end")
    assert status == "STOPPED"


def the_backfill_has_ended(pages: Pages, dev: Dev, backfill: str, size: Size) -> None:
    _ended(pages, dev, ("dagster/backfill", backfill))
    pages.open(f"/runs/b/{backfill}")
    pages.see(f"{size.hours} partitions", "100% completed")


def the_report_is_one_click_away(pages: Pages, downloads: Path) -> None:
    pages.open("/assets/walk_forward_report?view=events")
    pages.press("Materialize")
    pages.see("Launched run")
    pages.see("page_path", "trades_csv")
    link = pages.find("//a[contains(@href, '/logs/') and contains(@href, '/html')]")
    pages.picture("report_metadata", down_to="//tr[td[normalize-space()='page_path']]")  # a path of this machine
    path = next(Path(line) for line in pages.text().splitlines() if line.endswith(".html") and line.startswith("/"))
    link.click()
    found = pages.until(lambda: next(iter(downloads.glob("*.html")), None), "the downloaded page")
    assert found.read_bytes() == path.read_bytes()
    pages.browser.get(found.as_uri())
    pages.see("Random choice", "Holding BTC")
    pages.browser.set_window_size(*REPORT_SIZE)
    pages.picture("report")
