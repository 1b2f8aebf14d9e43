"""What the page about the account quotes is what is told, all of it; each row of what you may do has tests."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from trading_assets.core.settings import Settings

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "account.md").read_text(encoding="utf-8")
MODULES = sorted((ROOT / "trading_assets" / "trading" / "reconcile").glob("*.py"))


def _plain(text: str) -> str:
    return re.sub(r"[^a-z]+", " ", text.lower()).strip()


def _quoted() -> list[list[str]]:
    """Of each quoted difference of the page its parts between the ellipses, as plain words."""
    table = PAGE.split("## What the differences mean")[1]
    return [
        [_plain(part) for part in quote.split("...") if _plain(part)]
        for line in table.splitlines()
        if line.startswith("| `")
        for quote in re.findall(r"`([^`]+)`", line.split(" | ")[0])
    ]


@cache
def _texts() -> list[str]:
    """Literal texts of the modules, formatted values left out; docstrings are none."""
    found = []
    for module in MODULES:
        tree = ast.parse(module.read_text(encoding="utf-8"))
        documented = {
            id(node.body[0].value)
            for node in ast.walk(tree)
            if isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef)
            and node.body
            and isinstance(node.body[0], ast.Expr)
        }
        documented |= {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        inside = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in ast.walk(node)} - {
            id(node) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr)
        }
        for node in ast.walk(tree):
            if id(node) in documented or id(node) in inside:
                continue
            if isinstance(node, ast.JoinedStr):
                found.append("".join(str(part.value) for part in node.values if isinstance(part, ast.Constant)))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return found


@pytest.mark.parametrize("parts", _quoted(), ids=" ".join)
def test_what_the_page_quotes_is_what_the_code_says(parts: list[str]) -> None:
    texts = [_plain(text) for text in _texts()]
    assert all(any(part in text for text in texts) for part in parts), parts


SENTENCE = 4
"""Words that a text has at least which is told; shorter ones are names, and words between values."""

NO_DIFFERENCES = ("session of was settled", "position is to be delivered", "but the exchange filled it")
"""Titles of messages, and a part of another text."""


def test_the_page_quotes_all_that_the_code_says() -> None:
    told = [text for text in map(_plain, _texts()) if len(text.split()) >= SENTENCE and text not in NO_DIFFERENCES]
    parts = [part for quote in _quoted() for part in quote if len(part.split()) > 1]
    missing = [text for text in told if not any(part in text or text in part for part in parts)]
    assert len(told) > 20 and missing == []


DONE = {
    "open a position in another coin": [
        "alerts_follow_the_state::a_persons_position_is_told_each_time_it_comes",
        "account_shape::exposure_is_that_of_every_settle_coin",
        "account_shape::places_are_taken_by_every_settle_coin",
    ],
    "leave orders open": [
        "alerts_follow_the_state::an_open_order_of_a_person_is_told_again_after_it_was_gone",
        "attribution::a_resting_reduce_only_order_of_a_person_is_told_and_changes_nothing",
    ],
    "add to a position of ours": [
        "attribution::a_persons_addition_is_told_with_its_quantity",
        "attribution::flatten_leaves_what_a_person_has_added",
    ],
    "reduce a position of ours": ["attribution::ours_outlives_an_addition_and_a_reduction_by_hand"],
    "close a position of ours, or move it to another account": [
        "attribution::two_halves_closed_by_hand_end_ours",
        "coins_that_leave::a_position_that_a_person_moves_away_ends_the_intent",
        "coins_that_leave::what_is_no_stop_is_booked_as_what_it_is",
    ],
    "turn a position of ours around": ["attribution::a_reversal_by_hand_ends_ours_and_leaves_the_rest"],
    "open a position where ours was closed": [
        "attribution::a_persons_long_after_ours_is_not_ours",
        "absence_is_no_evidence::a_persons_later_position_gets_no_stop_of_ours",
    ],
    "tighten a stop of ours": [
        "changed_stops::a_tighter_stop_is_left_and_told",
        "changed_stops::a_tighter_stop_is_put_back_where_the_setting_says_so",
    ],
    "loosen or remove a stop of ours": [
        "changed_stops::a_looser_stop_is_put_back_and_told",
        "changed_stops::a_stop_taken_off_is_always_put_back",
    ],
    "set a trailing stop on a position of ours": ["changed_stops::a_trailing_stop_of_a_person_is_told_once_and_left"],
    "move or remove a target of ours": ["changed_stops::a_target_taken_or_moved_is_told"],
    "pay in, withdraw, transfer": [
        "known_in_full::a_withdrawal_is_no_drawdown",
        "known_in_full::a_deposit_hides_no_drawdown",
    ],
    "change position mode or margin mode": [
        "account_shape::what_has_changed_meanwhile_is_told_in_a_sentence",
        "account_shape::an_account_that_can_be_traded_again_is_traded_again",
    ],
    "let the API key expire, restrict it": [
        "alerts_follow_the_state::callers_share_an_episode",
        "account_shape::what_has_changed_meanwhile_is_told_in_a_sentence",
    ],
}
"""The tests in `wild_account` of each row of what a person may do."""


def test_each_row_of_what_you_may_do_has_tests() -> None:
    table = PAGE.split("## What you may do")[1].split("##")[0]
    rows = [line.split(" | ")[0].removeprefix("| ") for line in table.splitlines() if line.startswith("| ")][1:]
    assert rows == list(DONE)
    for test in {name for names in DONE.values() for name in names}:
        module, _, function = test.partition("::")
        path = ROOT / "trading_assets_tests" / "wild_account" / f"test_{module}.py"
        assert f"def test_{function}(" in path.read_text(encoding="utf-8"), test


def test_the_settings_that_the_page_names_are_there() -> None:
    named = re.findall(r"`(?:TRADING_ASSETS_)?([A-Z][A-Z_]+)(?:=\w+)?`", PAGE)
    assert named and {name.lower() for name in named} <= set(Settings.model_fields)
