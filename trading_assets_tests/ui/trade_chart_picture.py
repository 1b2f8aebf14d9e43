"""Takes the picture of trades on candles: `python -m trading_assets_tests.ui.trade_chart_picture`."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from trading_assets import research
from trading_assets_tests.ui.pages import Pages, chromium, open_chromium

NAME = "trade_chart"
IMAGES = Path(__file__).parents[2] / "docs" / "images"
SIZE = 1500, 900


def main() -> None:
    paths = chromium()
    if paths is None:
        sys.exit("no Chromium with its driver is found; on Debian: apt-get install chromium chromium-driver")
    market = research.seeded()
    bt = research.backtest("bollinger_rsi", "ETHUSDT", "15m", "2026-02-01", "2026-02-15", source=market)
    with tempfile.TemporaryDirectory() as folder:
        page = bt.plot().save(Path(folder) / "chart.html")
        browser = open_chromium(paths, Path(folder) / "profile")
        try:
            pages = Pages(browser, "", IMAGES)
            browser.set_window_size(*SIZE)
            browser.get(f"{page.as_uri()}#t17")
            pages.until(lambda: browser.execute_script("return document.body.dataset.readyMs") or None, "the chart")
            pages.picture(NAME)
        finally:
            browser.quit()


if __name__ == "__main__":
    main()
