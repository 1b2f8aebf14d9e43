"""README.md: what it names exists, and its strategy works as printed."""

import re
from pathlib import Path

import pytest

from trading_assets_tests.printed_examples import backtests_of, example

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.slow
def test_its_strategy_is_twelve_lines_and_is_found_started_and_backtested_as_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = example("README.md", "strategy")
    assert len([line for line in code.splitlines() if line.strip()]) <= 12
    rows = backtests_of(code, "breakout", tmp_path, monkeypatch)
    assert rows["error"].isna().all()
    assert rows["total_trades"].iloc[0] > 5


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
    taken += re.findall(r'picture\(pages, "(\w+)"', (ROOT / "trading_assets_tests/ui/test_live_page.py").read_text())
    for page in (ROOT / "trading_assets_tests/ui").glob("*_picture.py"):
        taken += re.findall(r'^NAME = "(\w+)"', page.read_text(), re.M)
    assert {picture.stem for picture in shown} == set(taken)
