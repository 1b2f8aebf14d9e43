"""How far parameters are varied: as described, as declared, or as a file or a row says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from trading_assets.core.errors import ConfigurationError, StrategyError
from trading_assets.core.settings import load_settings
from trading_assets.core.strategy_data import DataNeeds
from trading_assets.strategies import registry
from trading_assets.strategies.base import STOP_PARAMETERS, STOPS, ParameterSets, combinations
from trading_assets.strategies.grids import (
    DECLARED,
    DESCRIBED,
    Grids,
    SearchSpace,
    Span,
    grid_of,
    grids_from,
    named_values,
    text_of,
)
from trading_assets.strategies.registry import BrokenStrategy, ConfiguredStrategy, configure, parameter_sets
from trading_assets_tests.strategies.donchian_breakout import DonchianBreakout

BUILT_IN = ("bollinger_rsi", "fibonacci_bollinger", "hyperrsi")


def row(name: str = "bollinger_rsi", **values: str | None) -> dict[str, object]:
    return {"name": name, "parameters": "{}", "grid": None, "pairs": "[]", "timeframes": "[]", **values}


def configured(of_row: dict[str, object], grids: Grids = Grids()) -> ConfiguredStrategy:  # noqa: B008 (frozen)
    found = configure(of_row, grids)
    assert isinstance(found, ConfiguredStrategy), found
    return found


def values_of(found: ConfiguredStrategy, name: str) -> list[object]:
    return [getattr(strategy.parameters, name) for strategy in found.sets]


@pytest.mark.parametrize("name", BUILT_IN)
def test_as_described_no_set_has_another_stop_target_band_or_rsi_range_than_the_described(name: str) -> None:
    sets = parameter_sets(name)
    kind = type(sets[0])
    for strategy in sets:
        changed = {
            field
            for field in kind.Parameters.model_fields
            if getattr(strategy.parameters, field) != getattr(kind().parameters, field)
        }
        assert not changed & kind.described_parameters
        assert (strategy.parameters.stop_atr, strategy.parameters.reward_risk) == (1.5, 2.0)
        assert strategy.parameters.atr_period == 14


def test_what_the_description_leaves_open_is_varied_as_before() -> None:
    sets = parameter_sets("hyperrsi")
    chosen = {(one.parameters.rsi_period, one.parameters.rsi_low, one.parameters.rsi_high) for one in sets}  # type: ignore[attr-defined]
    assert chosen == {(14, 30, 70), (14, 25, 75), (7, 30, 70), (7, 25, 75)}
    assert len(sets) == 4
    assert len(parameter_sets("hyperrsi", grid=DECLARED)) == 20


def test_a_strategy_of_a_user_keeps_its_own_choices_and_the_described_stop() -> None:
    class Wide(DonchianBreakout):
        @classmethod
        def grid(cls) -> ParameterSets:
            return combinations(cls.Parameters, [{"channel": bars} for bars in (40, 20)], STOPS[1:])

    sets = Wide.described_grid()
    assert [one.channel for one in sets] == [40, 20]  # type: ignore[attr-defined]
    assert {(one.stop_atr, one.reward_risk) for one in sets} == {(1.5, 2.0)}
    assert Wide.described_parameters == STOP_PARAMETERS


def test_the_row_says_how_far_it_goes_whatever_the_setting() -> None:
    assert len(configured(row(), Grids(DECLARED)).sets) == 20
    assert len(configured(row(grid="described"), Grids(DECLARED)).sets) == 1
    assert len(configured(row(grid="declared")).sets) == 20
    own = configured(row(grid='{"band": [0.7, 0.8], "stop_atr": [1.5, 2]}'))
    assert (own.grid, own.source, len(own.sets)) == ("own", "row", 4)
    assert values_of(own, "band") == [0.7, 0.7, 0.8, 0.8]
    both = configured(row(grid='[{"band": 0.7}, {"band": 0.9, "rsi_low": [25, 30]}]'))
    assert values_of(both, "band") == [0.7, 0.9, 0.9]


def test_parameters_of_the_row_hold_in_every_set_and_alone_they_are_one_set() -> None:
    one = configured(row(parameters='{"band": 0.9}'), Grids(DECLARED))
    assert (values_of(one, "band"), one.grid) == ([0.9], "pinned")
    pinned = configured(row("hyperrsi", parameters='{"rsi_period": 9}', grid="described"))
    assert values_of(pinned, "rsi_period") == [9, 9]
    assert values_of(pinned, "rsi_low") == [30.0, 25.0]


@pytest.mark.parametrize(
    ("grid", "says"),
    [
        ("everything", "malformed JSON"),
        ('"wide"', "found 'wide', expected 'described', 'declared'"),
        ("[]", "expected 'described'"),
        ("[1]", "expected 'described'"),
        ('{"bandd": [1]}', "bandd"),
        ('{"band": [-1]}', "band"),
        ('{"band": []}', "is empty"),
    ],
)
def test_a_grid_that_makes_no_sense_is_a_broken_row(grid: str, says: str) -> None:
    found = configure(row(grid=grid))
    assert isinstance(found, BrokenStrategy) and says in found.reason


TOML = """
hyperrsi = "declared"

[bollinger_rsi]
band = [0.7, 0.8]

[[no_such_strategy]]
x = 1
"""


@pytest.mark.parametrize("suffix", ["toml", "json"])
def test_a_file_says_it_for_each_strategy_and_others_are_as_described(
    suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / f"grids.{suffix}"
    content = {"hyperrsi": "declared", "bollinger_rsi": {"band": [0.7, 0.8]}}
    path.write_text(TOML if suffix == "toml" else json.dumps(content))
    monkeypatch.setenv("TRADING_ASSETS_PARAMETERS", str(path))
    grids = grids_from(load_settings().parameters)
    assert values_of(configured(row(), grids), "band") == [0.7, 0.8]
    assert configured(row(), grids).source == str(path)
    assert len(configured(row("hyperrsi"), grids).sets) == 20
    assert len(configured(row("fibonacci_bollinger"), grids).sets) == 1


@pytest.mark.parametrize("text", ["band = [", "bollinger_rsi = 3", 'bollinger_rsi = "wide"', "bollinger_rsi = []"])
def test_a_malformed_file_is_named(text: str, tmp_path: Path) -> None:
    path = tmp_path / "grids.toml"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=r"TRADING_ASSETS_PARAMETERS.*grids\.toml"):
        grids_from(str(path))


def test_a_word_that_is_no_grid_and_no_file_is_refused_where_settings_are_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert load_settings().parameters == DESCRIBED
    monkeypatch.setenv("TRADING_ASSETS_PARAMETERS", "wide")
    with pytest.raises(ConfigurationError, match="TRADING_ASSETS_PARAMETERS: expected described, declared"):
        load_settings()


def test_what_a_person_types_is_read_as_json_or_else_as_text() -> None:
    typed = ["band=0.9", "extreme_required=true", "name=x y", "rsi_low="]
    assert named_values(typed) == {"band": 0.9, "extreme_required": True, "name": "x y", "rsi_low": None}
    assert grid_of(["declared"]) == "declared"
    assert grid_of(["setting"]) is None
    assert grid_of(["band=0.7,0.9", "rsi_low=30"]) == [{"band": [0.7, 0.9], "rsi_low": [30]}]
    for malformed in ("band", "=3", "wide"):
        with pytest.raises(StrategyError, match="expected NAME=VALUE"):
            grid_of([malformed])


SEARCH = ["search:16:5", "stop_atr=1..4", "reward_risk=1.5,2"]
SPACE = SearchSpace((("stop_atr", Span(1, 4)), ("reward_risk", (1.5, 2))), 16, 5)


def test_a_space_to_search_is_the_same_from_a_command_a_row_and_a_file(tmp_path: Path) -> None:
    assert grid_of(SEARCH) == SPACE
    assert grid_of(["search", "stop_atr=1..4"]) == SearchSpace((("stop_atr", Span(1, 4)),))
    text = text_of(SPACE)
    assert json.loads(text) == {
        "search": {"stop_atr": {"from": 1, "to": 4}, "reward_risk": [1.5, 2]},
        "trials": 16,
        "seed": 5,
    }
    assert configured(row(grid=text)).search == SPACE
    file = tmp_path / "grids.toml"
    file.write_text(
        "[bollinger_rsi]\ntrials = 16\nseed = 5\n"
        "[bollinger_rsi.search]\nstop_atr = { from = 1, to = 4 }\nreward_risk = [1.5, 2]\n"
    )
    found = configured(row(), grids_from(str(file)))
    assert found.search == SPACE and found.grid == "search" and found.source == str(file)
    assert configured(row("hyperrsi"), grids_from(str(file))).search is None


def test_a_strategy_that_searches_needs_what_the_corners_of_its_space_need() -> None:
    class Deep(DonchianBreakout):
        name = "deep_breakout"

        def needs(self) -> DataNeeds:
            return DataNeeds(warm_up=4 * self.parameters.channel)

    with registry.offering(Deep):
        text = text_of(SearchSpace((("channel", Span(20, 300)), ("stop_atr", Span(1, 2)))))
        found = configured(row("deep_breakout", grid=text, parameters='{"reward_risk": 3.0}'))
    assert found.needs().warm_up == 1_200 and found.pinned == '{"reward_risk": 3.0}'
    assert found.sets[0].parameters.reward_risk == 3.0 and len(found.sets) == 2


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        (["search"], "a search needs at least one parameter"),
        (["search:x", "stop_atr=1..2"], "expected search, search:TRIALS or search:TRIALS:SEED"),
        (["search:0", "stop_atr=1..2"], "found 0 trials of a search, expected 1 to 1000"),
        (["search:4:-1", "stop_atr=1..2"], "expected search, search:TRIALS"),
        (["search", "stop_atr=4..1"], "expected the smaller number first"),
        (["search", "stop_atr=1.."], "expected two numbers, FROM..TO"),
        (["search", "stop_atr=1..nan"], "expected two numbers, FROM..TO"),
        (["search", "stop_atr=1..NaN"], "expected the smaller number first"),
        (["search", 'stop_atr=1.."x"'], "expected the smaller number first"),
        (["search", "stop_atr=1..2", "stop_atr=1..3"], "names a parameter twice"),
        (["search", "atr_period=" + ",".join(map(str, range(2, 100))), *(f"p{n}=1..2" for n in range(7))], "corners"),
        (["search", "stop_atr"], "expected NAME=VALUE"),
    ],
)
def test_a_space_that_cannot_be_meant_is_refused(texts: list[str], said: str) -> None:
    with pytest.raises(StrategyError, match=said):
        grid_of(texts)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"grid": '{"search": {"stop": {"from": 1, "to": 2}}}'}, "has no parameter stop; expected some of"),
        ({"grid": text_of(SPACE), "parameters": '{"stop_atr": 2}'}, "stop_atr of bollinger_rsi cannot be searched"),
        ({"grid": '{"search": {"stop_atr": [-1]}}'}, "no corner of the space is allowed"),
        ({"grid": '{"search": {"stop_atr": {"from": 1}}}'}, "expected the numbers from and to"),
        ({"grid": '{"search": {"stop_atr": [1]}, "trails": 3}'}, "found trails, expected search, trials, seed"),
        ({"grid": '{"search": {"stop_atr": [1]}, "trials": "3"}'}, "found '3' trials"),
    ],
)
def test_a_row_with_such_a_space_cannot_be_used_and_says_why(changes: dict[str, str], said: str) -> None:
    found = configure(row(**changes))
    assert isinstance(found, BrokenStrategy) and said in found.reason


def test_without_optuna_a_row_that_searches_cannot_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry.importlib.util, "find_spec", lambda _name: None)
    found = configure(row(grid=text_of(SPACE)))
    assert isinstance(found, BrokenStrategy) and "pip install 'trading-assets[optuna]'" in found.reason
    assert isinstance(configure(row()), ConfiguredStrategy)
