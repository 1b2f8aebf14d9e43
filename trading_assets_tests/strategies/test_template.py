"""The module and test that `strategies new` writes: found as a strategy, and passing as they are."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import FunctionType

import pytest
from click.testing import CliRunner

import trading_assets.strategies as package
from trading_assets.cli.strategies import strategies
from trading_assets.core.errors import StrategyError
from trading_assets.strategies import registry, template
from trading_assets.strategies.template import write_new


def run(test: Path) -> int:
    """Run the functions of a test file; how many."""
    scope: dict[str, object] = {"__name__": test.stem}
    exec(compile(test.read_text(), test.name, "exec"), scope)
    found = [one for name, one in scope.items() if name.startswith("test_") and isinstance(one, FunctionType)]
    for one in found:
        one()
    return len(found)


def test_what_the_command_writes_is_a_strategy_and_its_test_passes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = CliRunner().invoke(strategies, ["new", "my_idea", "--folder", str(tmp_path / "mine")])
    assert ran.exit_code == 0, ran.output
    module, test = tmp_path / "mine" / "my_idea.py", tmp_path / "mine" / "test_my_idea.py"
    assert str(module) in ran.output and str(test) in ran.output and "entry points" in ran.output
    monkeypatch.syspath_prepend(str(tmp_path / "mine"))
    assert run(test) == 2
    kind = importlib.import_module("my_idea").MyIdea
    with registry.offering(kind):
        assert registry.strategy_classes()["my_idea"] is kind
        with pytest.raises(StrategyError, match="there is a strategy 'my_idea' already"):
            write_new("my_idea", tmp_path / "other")


def test_by_default_it_goes_beside_the_strategies_that_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "trading_assets" / "strategies"
    (tmp_path / "trading_assets_tests" / "strategies").mkdir(parents=True)
    home.mkdir(parents=True)
    monkeypatch.setattr(template, "__file__", str(home / "template.py"))
    module, test = write_new("second_idea")
    assert module == home / "second_idea.py"
    assert test == tmp_path / "trading_assets_tests" / "strategies" / "test_second_idea.py"
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(home)])
    registry.discover.cache_clear()
    try:
        assert "second_idea" in registry.strategy_classes()
        assert run(test) == 2
    finally:
        registry.discover.cache_clear()


@pytest.mark.parametrize("name", ["", "My", "1st", "a-b", "../up", "class", "bollinger_rsi", "x" * 65])
def test_a_name_that_cannot_be_one_writes_nothing(name: str, tmp_path: Path) -> None:
    with pytest.raises(StrategyError):
        write_new(name, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_file_that_is_there_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "test_mine.py").write_text("kept")
    with pytest.raises(StrategyError, match="is there already"):
        write_new("mine", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["test_mine.py"]
