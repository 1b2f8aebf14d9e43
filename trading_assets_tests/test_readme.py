"""README.md: what it names exists."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_every_make_target_and_picture_that_it_names_exists() -> None:
    text = (ROOT / "README.md").read_text()
    targets = set(re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(), re.M))
    assert set(re.findall(r"make ([a-z-]+)", text)) - {"sense"} <= targets


def test_every_picture_is_there_small_shown_and_taken_by_the_browser_test() -> None:
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    shown = {
        (page.parent / picture).resolve()
        for page in pages
        for picture in re.findall(r"\]\(([^)]+\.png)\)", page.read_text())
    }
    assert shown == set((ROOT / "docs" / "images").glob("*.png"))
    assert all(picture.stat().st_size < 200_000 for picture in shown)
    taken = re.findall(r'picture\("(\w+)"', (ROOT / "trading_assets_tests/ui/test_in_the_browser.py").read_text())
    taken += re.findall(r'^NAME = "(\w+)"', (ROOT / "trading_assets_tests/ui/report_picture.py").read_text(), re.M)
    assert {picture.stem for picture in shown} == set(taken)
