"""The first screen: verdicts follow intervals, "too few" is an answer, and the page, its JSON and a comparison say the
same."""

from __future__ import annotations

import json
import math
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from trading_assets.cli.main import cli
from trading_assets.core.errors import DataError
from trading_assets.reporting import comparison
from trading_assets.reporting.answers import Tone, answers
from trading_assets.reporting.build import compare_reports, write
from trading_assets.reporting.compare_page import apart, told
from trading_assets.reporting.first_screen import first_screen, sections
from trading_assets.reporting.report import Report
from trading_assets.reporting.saved import as_json, read_saved
from trading_assets_tests.reporting.fixtures import settings
from trading_assets_tests.reporting.made_reports import drawn_report
from trading_assets_tests.reporting.test_page_policy import require_policy

QUESTIONS = [
    *("Would it have earned?", "Compared with what?", "Is it luck?", "What does it cost?"),
    *("When does it break?", "Since when?"),
]


def verdicts(report: Report) -> dict[str, tuple[str, Tone]]:
    return {one.question: (one.verdict, one.tone) for one in answers(report)}


@pytest.mark.slow
def test_verdicts_follow_the_intervals() -> None:
    good, none, bad = (verdicts(drawn_report(40, mean, seed)) for mean, seed in ((0.4, 1), (0.0, 1), (-0.5, 1)))
    assert list(good) == QUESTIONS
    assert good["Would it have earned?"] == ("it earned", Tone.GOOD)
    assert good["Compared with what?"] == ("better than chance", Tone.GOOD)
    assert good["Is it luck?"] == ("more than luck", Tone.GOOD)
    assert good["What does it cost?"] == ("it can pay them", Tone.GOOD)
    assert good["Since when?"] == ("long enough", Tone.GOOD)
    assert none["Would it have earned?"] == ("cannot be told", Tone.OPEN)
    assert none["Since when?"] == ("too short", Tone.OPEN)
    assert bad["Would it have earned?"] == ("it lost", Tone.BAD)
    assert bad["Compared with what?"] == ("worse than chance", Tone.BAD)
    assert bad["What does it cost?"] == ("more than it earns", Tone.BAD)
    assert bad["When does it break?"][1] is Tone.BAD


def test_of_a_few_days_nothing_can_be_told() -> None:
    found = answers(drawn_report(1, 0.4))
    assert {one.verdict for one in found if one.question != "Compared with what?"} == {"too few"}
    assert all(one.tone is Tone.OPEN for one in found)
    assert answers(replace(drawn_report(1, 0.4), evidence=None)) == []


def test_the_screen_says_what_the_figures_are() -> None:
    report = drawn_report()
    page = first_screen(answers(report)) + sections(report.evidence)
    found = report.evidence
    assert found is not None
    for text in (
        f"{found.mean_r.value:+.3f} R a trade",
        f"{found.mean_r.low:+.3f} to {found.mean_r.high:+.3f} R",
        f"{report.main.figures.max_drawdown_pct:.2f} % fall",
        "By state of the market",
        "By strategy and timeframe",
        "If positions were larger",
    ):
        assert text in page
    assert not re.search(r"\bnan\b", page, re.IGNORECASE) and "\u2013" not in first_screen(answers(report))


def test_a_report_without_a_trade_is_saved_too() -> None:
    empty = replace(drawn_report(2), matched=None, sample=None, beside=[])
    assert "NaN" not in as_json(empty)
    shown = next(one for one in answers(empty) if one.question == "Compared with what?")
    assert shown.interval == "nothing beside it"


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with two reports, the second better: `drawn_report()` and `drawn_report(39, 0.6, 2)`."""
    home = tmp_path_factory.mktemp("two")
    for report in (drawn_report(), drawn_report(39, 0.6, 2)):
        write(report, settings(home=home))
    return home


NAMES = ("walk_forward_20260302T0000_20260411T0000", "walk_forward_20260302T0000_20260410T0000")


@pytest.mark.slow
def test_the_figures_beside_a_page_are_those_of_the_report_and_come_back(two: Path, tmp_path: Path) -> None:
    report = drawn_report()
    for ending in ("json", "csv"):
        shutil.copy(two / "reports" / f"{NAMES[0]}.{ending}", tmp_path / f"one.{ending}")
    page = tmp_path / "one.html"
    text = page.with_suffix(".json").read_text()
    held = json.loads(text)
    assert [one["question"] for one in held["answers"]] == QUESTIONS
    assert held["figures"]["Selected"]["mean_r"] == report.main.figures.mean_r
    assert held["evidence"]["mean_r"]["high"] == report.evidence.mean_r.high  # type: ignore[union-attr]
    assert as_json(report) == text, "the same report, the same text"
    saved = read_saved(page)
    assert saved.main["trades"] == report.main.figures.trades and saved.trades is not None
    assert len(saved.trades) == len(report.main.trades) and len(saved.days) == 40
    for wrong, said in (("{}", "no figures"), ('{"format": 99}', "has format 99"), (None, "is not there")):
        page.with_suffix(".json").unlink() if wrong is None else page.with_suffix(".json").write_text(wrong)
        with pytest.raises(DataError, match=said):
            read_saved(page)


@pytest.mark.slow
def test_two_reports_are_compared_and_one_is_not_compared_with_itself(two: Path) -> None:
    made = settings(home=two)
    found, page = compare_reports(NAMES[0], str(two / "reports" / f"{NAMES[1]}.html"), made)
    assert found.per_day.low > 0 and found.per_trade is not None and found.per_trade.low > 0
    assert found.per_day.days == 39
    assert found.only_second == ["hours followed: 936", "seed: 2", "Drawn with a mean of 0.6 R."]
    both, alone, other = found.groups
    assert both.trades + alone.trades == 480 and both.trades + other.trades == 468
    html = page.read_text()
    require_policy(html)
    assert page.name == f"compare_{NAMES[0]}_with_{NAMES[1]}.html" and "Does the second earn more?" in html
    (sentence,) = apart(found)
    assert sentence in html and f"{found.first.begins} to {found.first.ends}, and" in sentence
    same = replace(found.second, begins=found.first.begins, ends=found.first.ends)
    assert apart(replace(found, second=same)) == []
    turned = comparison.compare(found.second, found.first)
    assert turned.per_day.value == pytest.approx(-found.per_day.value)
    assert [one.verdict for one in told(turned)] == ["no, less", "no, less", "in part" if both.trades else "nothing"]
    with pytest.raises(DataError, match="both are the report"):
        compare_reports(NAMES[0], f"{NAMES[0]}.csv", made)
    with pytest.raises(DataError, match="is not there"):
        compare_reports(NAMES[0], "walk_forward_of_nothing", made)


@pytest.mark.slow
def test_without_its_trades_a_report_is_compared_by_days(two: Path, tmp_path: Path) -> None:
    first, second = (shutil.copy(two / "reports" / f"{name}.json", tmp_path) for name in NAMES)
    found = comparison.compare(read_saved(Path(first)), read_saved(Path(second)))
    assert found.per_trade is None and not found.groups and math.isfinite(found.per_day.low)
    assert [one.verdict for one in told(found)] == ["yes"]


def test_the_command_prints_the_difference(two: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRADING_ASSETS_HOME", str(two))
    ran = CliRunner().invoke(cli, ["report", "compare", *NAMES])
    assert ran.exit_code == 0, ran.output
    assert "Does the second earn more?" in ran.output and "closed trades" in ran.output
    assert "The reports are of other times" in ran.output
