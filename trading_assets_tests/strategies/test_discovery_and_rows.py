"""More of the registry: rows that are gone, off or broken, entry points that fail, and equal parameter sets."""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

import trading_assets.strategies as package
from trading_assets.core.errors import StrategyError
from trading_assets.core.strategy_data import DataNeeds
from trading_assets.core.timeframes import TRADED_TIMEFRAMES, Timeframe
from trading_assets.ledger import strategies as strategy_rows
from trading_assets.ledger.database import Database
from trading_assets.ledger.tables import strategies as table
from trading_assets.strategies import registry
from trading_assets.strategies.grids import DECLARED, DESCRIBED, Grids
from trading_assets_tests.strategies.shipped import ACTIVE, SHIPPED

SOURCE = """
import json
from trading_assets.strategies.base import Entries, Strategy

class Dropped(Strategy):
    name = "{name}"
    description = "found by itself"

    def indicators(self, data):
        return {{}}

    @staticmethod
    def entries(v, p):
        return Entries(long=False, short=False, confidence=60.0)
"""

Drop = Callable[[str, str], None]


@pytest.fixture(autouse=True)
def _looks_afresh() -> Iterator[None]:
    """Each test discovers for itself, and leaves no module behind."""
    before = set(sys.modules)
    registry.discover.cache_clear()
    yield
    registry.discover.cache_clear()
    for name in set(sys.modules) - before:
        if name.startswith(("trading_assets.strategies.dropped", "other_package")):
            del sys.modules[name]
            if name.startswith(package.__name__):
                vars(package).pop(name.rpartition(".")[2], None)


@pytest.fixture
def sqlite(tmp_path: Path) -> Iterator[Database]:
    """For what does not depend on the engine."""
    database = Database(f"sqlite:///{tmp_path / 'ledger.db'}")
    yield database
    database.close()


@pytest.fixture
def drop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Drop:
    """Puts a module into a folder on the path of the package."""
    folder = tmp_path / "dropped"
    folder.mkdir()
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(folder)])

    def write(module: str, source: str) -> None:
        (folder / f"dropped_{module}.py").write_text(source)

    return write


@pytest.fixture
def offer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Drop:
    """Installs another package that offers strategies by entry points."""
    site = tmp_path / "site"
    info = site / "other_package-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: other-package\nVersion: 1.0\n")
    monkeypatch.syspath_prepend(str(site))

    def write(points: str, source: str) -> None:
        (info / "entry_points.txt").write_text(f"[{registry.ENTRY_POINTS}]\n{points}\n")
        (site / "other_package.py").write_text(source)
        (site / "other_script.py").write_text("import sys\nsys.exit(2)\n")

    return write


def rows_of(database: Database) -> list[dict[str, object]]:
    with database.read() as connection:
        return [dict(row) for row in connection.execute(sa.select(table).order_by(table.c.name)).mappings()]


def insert(database: Database, name: str, **changed: object) -> None:
    row = {"is_active": True, "exchange": "bybit", "pairs": "[]", "timeframes": "[]", "parameters": "{}"}
    with database.write() as connection:
        connection.execute(sa.insert(table).values(name=name, **{**row, **changed}))


def change(database: Database, name: str, **changed: object) -> None:
    with database.write() as connection:
        connection.execute(sa.update(table).where(table.c.name == name).values(**changed))


def names_of(database: Database) -> list[str]:
    return [one.name for one in strategy_rows.active_strategies(database).usable]


# Rows.


def test_seeding_brings_back_only_a_row_that_is_gone(database: Database) -> None:
    strategy_rows.seed_registry(database)
    change(database, "fibonacci_bollinger", is_active=False)
    with database.write() as connection:
        connection.execute(sa.delete(table).where(table.c.name == "bollinger_rsi"))
    strategy_rows.seed_registry(database)
    found = {row["name"]: row["is_active"] for row in rows_of(database)}
    assert found["bollinger_rsi"]
    assert not found["fibonacci_bollinger"]


@pytest.mark.parametrize(
    ("grids", "sets"),
    [
        (Grids(DECLARED), {"bollinger_rsi": 20, "fibonacci_bollinger": 20, "hyperrsi": 20}),
        (Grids(DESCRIBED), {"bollinger_rsi": 1, "fibonacci_bollinger": 1, "hyperrsi": 4}),
    ],
)
def test_a_seeded_row_tries_the_settings_grid_on_every_coin_and_timeframe_the_defaults_first(
    database: Database, grids: Grids, sets: dict[str, int]
) -> None:
    strategy_rows.seed_registry(database)
    found_sets = {one.name: one.sets for one in strategy_rows.active_strategies(database, grids).usable}
    assert {name: len(found_sets[name]) for name in sets} == sets
    for found in strategy_rows.active_strategies(database, grids).usable:
        assert len(found.sets) == len(set(found.parameters))
        assert found.pairs == frozenset()
        assert found.timeframes == frozenset(TRADED_TIMEFRAMES)
        assert found.parameters[0] == registry.canonical_json(registry.make_strategy(found.name, "{}"))
        assert found.covers("ANYUSDT", Timeframe.M1)
        assert not found.covers("ANYUSDT", Timeframe.D1)
        for strategy in found.sets:
            assert DataNeeds.deepest([found.needs(), strategy.needs()]) == found.needs()


@pytest.mark.parametrize(
    ("name", "changed", "reason"),
    [
        ("no_such_strategy", {}, "unknown strategy 'no_such_strategy'; known are bollinger_rsi"),
        ("bollinger_rsi", {"parameters": "null"}, "expected a JSON object"),
        ("bollinger_rsi", {"parameters": '{"rsi_period":1}'}, "rsi_period"),
        ("bollinger_rsi", {"pairs": ""}, "malformed JSON"),
        ("bollinger_rsi", {"timeframes": "[60]"}, "60"),
        ("bollinger_rsi", {"timeframes": "{}"}, "expected a JSON list"),
    ],
)
def test_a_broken_row_is_named_with_its_reason_and_does_not_stop_the_others(
    sqlite: Database, name: str, changed: dict[str, str], reason: str
) -> None:
    insert(sqlite, name, **changed)
    insert(sqlite, "fibonacci_bollinger")
    found = strategy_rows.active_strategies(sqlite)
    assert [one.name for one in found.usable] == ["fibonacci_bollinger"]
    (broken,) = found.broken
    assert broken.name == name
    assert reason in broken.reason


def test_rows_that_are_off_or_of_another_exchange_are_neither_usable_nor_broken(database: Database) -> None:
    insert(database, "bollinger_rsi", is_active=False, parameters="broken")
    insert(database, "fibonacci_bollinger", exchange="binance", parameters="broken")
    found = strategy_rows.active_strategies(database)
    assert (found.usable, found.broken) == ((), ())


def test_switching_an_unknown_strategy_names_the_known_ones_and_changes_nothing(database: Database) -> None:
    strategy_rows.seed_registry(database)
    before = rows_of(database)
    with pytest.raises(StrategyError, match=r"unknown strategy 'bolinger'; known are bollinger_rsi"):
        strategy_rows.set_active(database, "bolinger", False)
    assert rows_of(database) == before


# Names and parameters.


def test_equal_parameter_sets_have_equal_text() -> None:
    texts = {
        registry.canonical_json(registry.make_strategy("bollinger_rsi", text))
        for text in ("{}", '{"rsi_period":14}', '{"band": 0.7, "rsi_period": 14}', '{"rsi_period":14,"band":0.7}')
    }
    (text,) = texts
    assert list(json.loads(text)) == sorted(json.loads(text))
    assert registry.canonical_json(registry.make_strategy("bollinger_rsi", '{"band":0.8}')) != text
    assert registry.canonical_json(registry.make_strategy("bollinger_rsi", text)) == text


def test_every_known_strategy_is_made_with_default_parameters() -> None:
    known = registry.known_strategies()
    assert [one.name for one in known] == sorted(registry.strategy_classes())
    assert all(isinstance(one.needs(), DataNeeds) for one in known)


# Discovery.


def test_a_strategy_offered_by_an_entry_point_is_found(offer: Drop, database: Database) -> None:
    offer("any_name = other_package:Dropped", SOURCE.format(name="offered"))
    assert registry.strategy_classes()["offered"].__module__ == "other_package"
    strategy_rows.seed_registry(database)
    strategy_rows.set_active(database, "offered", True)
    assert set(names_of(database)) == {*ACTIVE, "offered"}


@pytest.mark.parametrize(
    ("points", "reason"),
    [
        ("bad = other_package:Missing", "Missing"),
        ("bad = no_such_package_at_all:Thing", "no_such_package_at_all"),
        ("bad = other_package:json", "expected a concrete subclass"),
        ("bad = other_package:Strategy", "expected a concrete subclass"),
        ("bad = other_package:Entries", "expected a concrete subclass"),
        ("bad = other_script:Dropped", "SystemExit: 2"),
    ],
)
def test_a_broken_entry_point_is_named_and_does_not_stop_the_others(
    offer: Drop, sqlite: Database, points: str, reason: str
) -> None:
    offer(f"{points}\ngood = other_package:Dropped", SOURCE.format(name="offered"))
    assert set(registry.strategy_classes()) == {*SHIPPED, "offered"}
    strategy_rows.seed_registry(sqlite)
    found = strategy_rows.active_strategies(sqlite)
    assert [one.name for one in found.usable] == ACTIVE
    (broken,) = found.broken
    assert "bad" in broken.name
    assert reason in broken.reason


def test_a_class_offered_twice_is_one_strategy(offer: Drop) -> None:
    offer("a = other_package:Dropped\nb = other_package:Dropped", SOURCE.format(name="offered"))
    assert set(registry.strategy_classes()) == {*SHIPPED, "offered"}


def test_a_script_among_the_modules_that_exits_is_named_and_ends_nothing_else(drop: Drop) -> None:
    drop("script", "import sys\n\nif True:  # as one that was written to be run\n    sys.exit(3)\n")
    drop("good", SOURCE.format(name="offered"))
    assert set(registry.strategy_classes()) == {*SHIPPED, "offered"}
    (broken,) = registry.discover().broken
    assert "script" in broken.name and "SystemExit: 3" in broken.reason


def test_a_class_that_a_module_only_imports_is_not_found_twice(drop: Drop) -> None:
    drop("user", "from trading_assets.strategies.bollinger_rsi import BollingerRsi as Mine\n")
    assert sorted(registry.strategy_classes()) == SHIPPED
    assert registry.discover().broken == ()
