"""A headless Chromium and what a person does with it: look for a text, press a button, open a page. No Dagster."""

from __future__ import annotations

import io
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from PIL import Image
from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

WIDTH, HEIGHT = 1680, 950
PATIENCE_S = 300.0
"""A step takes seconds; on a machine that is busy with other things, many of them."""

REPORT_SIZE = 1240, 1480
"""Width and height of a window that shows the first part of a report."""

POLL_S = 0.4
"""A look at a long page lays it out: more often, and the browser does little else."""

FREQUENT, RARE = 192, 64
"""Colours of a picture's palette: the commonest, and some that cover the rest. It looks the same, in half the bytes."""

Found = TypeVar("Found")


def chromium() -> tuple[str, str] | None:
    """The paths of a Chromium and of its driver; None where one of them is missing."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    browser = next(filter(None, map(shutil.which, names)), None)
    driver = shutil.which("chromedriver")
    return (browser, driver) if browser and driver else None


def open_chromium(paths: tuple[str, str], profile: Path) -> webdriver.Chrome:
    """A headless window. What it downloads lies in `profile / "downloads"`."""
    options = webdriver.ChromeOptions()
    options.binary_location = paths[0]
    for argument in (
        "--headless=new",
        "--no-sandbox",  # root has none in a container
        "--disable-gpu",
        "--disable-software-rasterizer",  # or a process of its own draws every turn of a spinner
        "--force-prefers-reduced-motion",
        "--disable-dev-shm-usage",
        "--disable-background-networking",
        "--hide-scrollbars",
        f"--window-size={WIDTH},{HEIGHT}",
        f"--user-data-dir={profile}",
    ):
        options.add_argument(argument)
    options.add_experimental_option("prefs", {"download.default_directory": str(profile / "downloads")})
    # A path, so that Selenium does not look for a driver in the network.
    return webdriver.Chrome(options=options, service=webdriver.ChromeService(paths[1]))


class Pages:
    """A window on the UI.

    Args:
        url: the UI's address.
        pictures: where pictures are written; None: none are taken.
    """

    def __init__(self, browser: webdriver.Chrome, url: str, pictures: Path | None) -> None:
        self.browser, self._url, self._pictures = browser, url, pictures

    @property
    def takes_pictures(self) -> bool:
        """Whether pictures are wanted."""
        return self._pictures is not None

    def open(self, path: str) -> None:
        """Go to a page of the UI."""
        self.browser.get(self._url + path)

    def rest(self) -> None:
        """Show nothing: a page of the UI goes on asking and drawing while a test waits for something else."""
        self.browser.get("about:blank")

    def text(self) -> str:
        """Everything that the page shows."""
        return self.browser.find_element(By.TAG_NAME, "body").text

    def see(self, *texts: str, within_s: float = PATIENCE_S) -> None:
        """Wait until the page shows all texts.

        Raises:
            AssertionError: it does not in time; the message tells what it shows.
        """
        until = time.monotonic() + within_s
        while missing := [text for text in texts if text not in self._shown()]:
            if time.monotonic() > until:
                raise AssertionError(f"{self.browser.current_url} does not show {missing}, but:\n{self._shown()}")
            time.sleep(POLL_S)

    def find(self, xpath: str) -> WebElement:
        """The first visible element, once there is one."""
        return self.until(lambda: next((e for e in self.all(xpath) if e.is_displayed()), None), xpath)

    def all(self, xpath: str) -> list[WebElement]:
        """The elements that are there now."""
        return self.browser.find_elements(By.XPATH, xpath)

    def press(self, button: str) -> None:
        """Press the button with this text, of a dialog if one is open, as soon as it can be pressed."""
        here = "//*[@role='dialog']" if self.all("//*[@role='dialog']") else ""
        self.find(f"{here}//button[normalize-space()='{button}'][not(@disabled)]").click()

    def scroll_to(self, xpath: str) -> None:
        """Bring an element to the upper end of what scrolls around it."""
        self.browser.execute_script("arguments[0].scrollIntoView()", self.find(xpath))

    def until(self, look: Callable[[], Found | None], what: str, within_s: float = PATIENCE_S) -> Found:
        """What a look finds, once it finds something."""

        def calm(_: webdriver.Chrome) -> Found | None:
            try:
                return look()
            except StaleElementReferenceException:
                return None  # drawn anew between two looks

        return WebDriverWait(self.browser, within_s, poll_frequency=POLL_S).until(calm, f"looked for {what}")

    def picture(self, name: str, *, down_to: str | None = None, settle_s: float = 1.5) -> None:
        """Take a picture for README.md and docs; nothing where none are wanted.

        Args:
            down_to: what is no more on it, as an XPath.
        """
        if self._pictures is None:
            return
        time.sleep(settle_s)
        image = Image.open(io.BytesIO(self.browser.get_screenshot_as_png())).convert("RGB")
        if down_to is not None:
            image = image.crop((0, 0, image.width, self.find(down_to).location["y"]))
        with_palette(image).save(self._pictures / f"{name}.png", optimize=True)

    def _shown(self) -> str:
        try:
            return self.text()
        except StaleElementReferenceException:
            return ""


def with_palette(image: Image.Image) -> Image.Image:
    """The same picture in `FREQUENT` + `RARE` colours."""
    counted = sorted(image.getcolors(image.width * image.height) or [], key=lambda one: -one[0])
    common = [int(part) for _, colour in counted[:FREQUENT] for part in colour]
    rare = image.quantize(RARE, method=Image.Quantize.MAXCOVERAGE).getpalette() or []
    palette = Image.new("P", (1, 1))
    palette.putpalette([*common, *rare[: 3 * RARE]])
    return image.quantize(palette=palette, dither=Image.Dither.NONE)


def pictures_folder() -> Path | None:
    """Where `make screenshots` wants pictures; None in a test."""
    folder = os.environ.get("UI_PICTURES")
    return Path(folder).resolve() if folder else None
