"""`chaos mutants` in its small form: every mutant fits the code, and the fast ones are found."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from trading_assets.chaos.mutant_list import MUTANTS, Mutant
from trading_assets.chaos.mutants import FAST, Found, check, fingerprint, run_mutants, select
from trading_assets.core.errors import ConfigurationError

TESTS = Path(__file__).parents[1]


def test_every_mutant_fits_the_code_and_has_one_way_to_be_found() -> None:
    check(MUTANTS)
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS) >= 20
    assert [mutant.name for mutant in MUTANTS if bool(mutant.kills) == bool(mutant.test)] == []
    assert [mutant.test for mutant in MUTANTS if not (TESTS / mutant.test.partition("::")[0]).exists()] == []


def test_the_page_shows_how_each_mutant_is_found() -> None:
    page = (TESTS.parent / "docs/soak.md").read_text()
    table = page.partition("<!-- mutants: begin -->")[2].partition("<!-- mutants: end -->")[0]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.strip().splitlines()[2:]]
    shown = [(name, by, kills) for name, by, kills, _seconds in rows]
    assert [name for name, _, _ in shown] == [mutant.name for mutant in MUTANTS]
    for mutant, (_, by, kills) in zip(MUTANTS, shown, strict=True):
        assert by == ("chaos" if mutant.kills else f"`{mutant.test.partition('::')[2]}`")
        assert kills.endswith(f"({mutant.kills})") if mutant.kills else not kills


def test_results_are_kept_and_not_tried_again_in_the_same_program(tmp_path: Path) -> None:
    kept = tmp_path / "results"
    known = Found("triple quantity", "chaos", 3, 1.0, "it was seen", fingerprint())
    kept.write_text(json.dumps(asdict(known)) + "\n")
    told: list[Found] = []
    assert run_mutants(select(["triple quantity"]), told.append, results=kept) == [known]
    assert told == []


def test_a_mutant_that_no_longer_fits_is_named() -> None:
    gone = Mutant("of an older program", "core/ports.py", "this text is not there", "", 1)
    with pytest.raises(ConfigurationError, match=r"of an older program: its text is 0 times in core/ports\.py"):
        check([gone])


def test_a_name_that_is_no_mutant_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="there is no mutant nobody; there are: wrong stop level"):
        select(["nobody"])


@pytest.mark.slow
def test_fast_mutants_are_found() -> None:
    found = run_mutants(select(FAST), lambda _one: None)
    assert [one.name for one in found if one.by != "chaos"] == [], found


@pytest.mark.slow
def test_a_change_without_effect_survives() -> None:
    harmless = Mutant("nothing", "chaos/orders.py", "MAX_OPEN = 8", "MAX_OPEN = 8  # the same", 1)
    assert [one.by for one in run_mutants([harmless], lambda _one: None)] == [""]
