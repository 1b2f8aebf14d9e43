"""Takes the report's picture of README.md: `python -m trading_assets_tests.ui.report_picture PAGE.html`.

It shows 30 days, which the browser test has not the time for: `docs/walk_forward.md` has the two commands that make the
page.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from trading_assets_tests.ui.pages import REPORT_SIZE, Pages, chromium, open_chromium

NAME = "walk_forward"
IMAGES = Path(__file__).parents[2] / "docs" / "images"


def main() -> None:
    paths = chromium()
    if len(sys.argv) != 2 or paths is None:
        sys.exit(f"{__doc__}\nIt needs a page and Chromium with its driver; found {sys.argv[1:]} and {paths}")
    with tempfile.TemporaryDirectory() as profile:
        browser = open_chromium(paths, Path(profile))
        try:
            pages = Pages(browser, "", IMAGES)
            browser.get(Path(sys.argv[1]).resolve().as_uri())
            pages.see("Holding BTC")
            browser.set_window_size(*REPORT_SIZE)
            pages.picture(NAME)
        finally:
            browser.quit()


if __name__ == "__main__":
    main()
