"""Takes the pictures of README.md from a running UI: `make dev` in one terminal, `make screenshots` in another.

Needs Chromium and its driver (Debian: `apt-get install chromium chromium-driver`); `make screenshots` brings Selenium.
"""

from __future__ import annotations

import sys
import tempfile
import time
from functools import partial
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

UI = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:3000"
IMAGES = Path(__file__).parent / "images"
OPENED = ("scan", "selection", "trading")
SETTLE_S = 3


def open_browser() -> webdriver.Chrome:
    """A headless window of a laptop's size."""
    options = webdriver.ChromeOptions()
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-background-networking",
        "--window-size=1680,900",
        f"--user-data-dir={tempfile.mkdtemp()}",
    ):
        options.add_argument(argument)
    return webdriver.Chrome(options=options)


def wait_for(browser: webdriver.Chrome, text: str) -> None:
    """Wait until the page shows a text."""
    WebDriverWait(browser, 60).until(lambda b: text in b.find_element(By.TAG_NAME, "body").text)


def asset_graph(browser: webdriver.Chrome) -> None:
    """The lineage from left to right; the two groups with an asset for each timeframe stay closed."""
    browser.get(f"{UI}/asset-groups")
    wait_for(browser, "Materialize all")
    # The list beside the graph takes the place of its right end.
    browser.find_element(By.XPATH, "//input[starts-with(@placeholder, 'Jump to')]/following::button[1]").click()
    for group in OPENED:
        closed = WebDriverWait(browser, 60).until(partial(closed_group, name=group))
        closed.click()
        time.sleep(SETTLE_S)
    browser.save_screenshot(str(IMAGES / "asset_graph.png"))


def closed_group(browser: webdriver.Chrome, name: str) -> WebElement | None:
    """The box of a closed group in the graph, once it is drawn."""
    boxes = browser.find_elements(By.CSS_SELECTOR, "foreignObject [class*='collapsedGroupNodeContainer']")
    return next((box for box in boxes if name in box.text), None)


def selection(browser: webdriver.Chrome) -> None:
    """The newest selection's metadata."""
    browser.get(f"{UI}/assets/strategy_selections?view=events")
    wait_for(browser, "failed_filters")
    time.sleep(SETTLE_S)
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
