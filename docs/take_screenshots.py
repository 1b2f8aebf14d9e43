"""Takes the pictures of README.md from a running UI: `make dev` in one terminal, `make screenshots` in another.

Needs Chromium and its driver (Debian: `apt-get install chromium chromium-driver`) and `pip install selenium`.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

UI = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:3000"
IMAGES = Path(__file__).parent / "images"
GROUPS = ("scan", "market_data", "backtests", "selection", "trading")


def open_browser() -> webdriver.Chrome:
    """A headless window of a laptop's size."""
    options = webdriver.ChromeOptions()
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-background-networking",
        "--window-size=1680,1050",
        f"--user-data-dir={tempfile.mkdtemp()}",
    ):
        options.add_argument(argument)
    return webdriver.Chrome(options=options)


def wait_for(browser: webdriver.Chrome, text: str) -> None:
    """Wait until the page shows a text."""
    WebDriverWait(browser, 60).until(lambda b: text in b.find_element(By.TAG_NAME, "body").text)


def asset_graph(browser: webdriver.Chrome) -> None:
    """The lineage with every group opened."""
    browser.get(f"{UI}/asset-groups")
    wait_for(browser, "backtests")
    time.sleep(3)
    for _ in GROUPS:
        closed = browser.find_elements(By.CSS_SELECTOR, "foreignObject.group, [class*='GroupNode'] ")
        if not closed:
            break
        closed[0].click()
        time.sleep(2)
    browser.save_screenshot(str(IMAGES / "asset_graph.png"))


def selection(browser: webdriver.Chrome) -> None:
    """The newest selection's metadata."""
    browser.get(f"{UI}/assets/strategy_selections?view=events")
    wait_for(browser, "selections")
    time.sleep(3)
    browser.save_screenshot(str(IMAGES / "selection.png"))


def main() -> None:
    """Take every picture."""
    IMAGES.mkdir(exist_ok=True)
    browser = open_browser()
    try:
        asset_graph(browser)
        selection(browser)
    finally:
        browser.quit()
    print(f"pictures are in {IMAGES}")


if __name__ == "__main__":
    main()
