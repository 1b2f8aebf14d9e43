"""Which strategies are found, how their rows are kept, and that a broken one never stops the others."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

import trading_assets.strategies as package
from trading_assets.core.errors import StrategyError
from trading_assets.core.settings import load_settings
from trading_assets.core.strategy_data import DataNeeds, StrategyData
from trading_assets.core.timeframes import TRADED_TIMEFRAMES, Timeframe
from trading_assets.ledger import strategies as strategy_rows
from trading_assets.ledger.database import Database
from trading_assets.ledger.tables import strategies as table
from trading_assets.strategies import registry
from trading_assets_tests.backtesting.windows import backtest_window
from trading_assets_tests.strategies import donchian_breakout
from trading_assets_tests.strategies.markets import walk
from trading_assets_tests.strategies.shipped import ACTIVE, SHIPPED

BUILT_IN = set(SHIPPED)
EXAMPLE = Path(donchian_breakout.__file__).read_text()

Drop = Callable[[str, str], None]


@pytest.fixture(autouse=True)
def _looks_anew() -> Iterator[None]:
    loaded = set(sys.modules)
    registry.discover.cache_clear()
    yield
    registry.discover.cache_clear()
    for name in set(sys.modules) - loaded:
        if name.startswith((package.__name__, "plugin_")):
            del sys.modules[name]


@pytest.fixture
def drop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Drop:
    """Puts a module into the package, as a user who saves a file there."""
    folder = tmp_path / "dropped"
    folder.mkdir()
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(folder)])

    def put(module: str, text: str) -> None:
        (folder / f"{module}.py").write_text(text)

    return put


@pytest.fixture
def plug(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Drop:
    """Installs a distribution with one module and an entry point to `module:DonchianBreakout`."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(str(site))

    def put(module: str, text: str) -> None:
        (site / f"{module}.py").write_text(text)
        info = site / f"{module}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[trading_assets.strategies]\n{module} = {module}:DonchianBreakout\n")

    return put


def change(database: Database, row: str, /, **values: object) -> None:
    with database.write() as connection:
        connection.execute(sa.update(table).where(table.c.name == row).values(**values))


def names(found: registry.ActiveStrategies) -> set[str]:
    return {entry.name for entry in found.usable}


def test_the_strategies_of_the_package_are_found_and_nothing_else() -> None:
    found = registry.discover()
    assert set(found.classes) == BUILT_IN >= {"bollinger_rsi", "fibonacci_bollinger", "hyperrsi"}
    assert found.broken == ()


def test_seeding_twice_changes_nothing(database: Database) -> None:
    strategy_rows.seed_registry(database)
    change(database, "bollinger_rsi", is_active=False, parameters='{"band": 0.9}')
    before = strategy_rows.registry_rows(database)
    strategy_rows.seed_registry(database)
    assert strategy_rows.registry_rows(database) == before
    assert {row.name for row in before} == BUILT_IN


def test_processes_that_seed_at_the_same_time_do_not_disturb_each_other(database: Database) -> None:
    url = database.url.render_as_string(hide_password=False)
    failures: list[BaseException] = []
    barrier = threading.Barrier(4)

    def seed() -> None:
        other = Database(url, busy_timeout_s=60.0)
        try:
            barrier.wait(60)
            strategy_rows.seed_registry(other)
        except Exception as error:  # noqa: BLE001 (handed to the test)
            failures.append(error)
        finally:
            other.close()

    registry.discover()
    threads = [threading.Thread(target=seed) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert {row.name for row in strategy_rows.registry_rows(database)} == BUILT_IN


def test_an_active_row_is_ready_for_use(database: Database) -> None:
    strategy_rows.seed_registry(database)
    change(database, "bollinger_rsi", parameters='{"band": 0.8}', pairs='["BTCUSDT"]', timeframes='["15m", "60m"]')
    found = strategy_rows.active_strategies(database)
    assert found.broken == ()
    assert [one.name for one in found.usable] == ACTIVE
    first, second = (one for one in found.usable if one.name in ("bollinger_rsi", "fibonacci_bollinger"))
    (text,) = first.parameters
    parameters = json.loads(text)
    assert parameters["band"] == 0.8
    assert parameters["rsi_period"] == 14
    assert text == json.dumps(parameters, sort_keys=True, separators=(",", ":"))
    assert registry.canonical_json(registry.make_strategy(first.name, text)) == text
    assert first.covers("BTCUSDT", Timeframe.M15)
    assert not first.covers("ETHUSDT", Timeframe.M15)
    assert not first.covers("BTCUSDT", Timeframe.M240)
    assert all(second.covers("ETHUSDT", timeframe) for timeframe in TRADED_TIMEFRAMES)


def test_a_stopped_strategy_is_left_out_until_it_is_started(database: Database) -> None:
    strategy_rows.seed_registry(database)
    strategy_rows.set_active(database, "bollinger_rsi", False)
    assert names(strategy_rows.active_strategies(database)) == set(ACTIVE) - {"bollinger_rsi"}
    strategy_rows.set_active(database, "bollinger_rsi", True)
    assert names(strategy_rows.active_strategies(database)) == set(ACTIVE)


def test_an_unknown_name_is_answered_with_the_known_ones(database: Database) -> None:
    strategy_rows.seed_registry(database)
    known = f"known are {', '.join(SHIPPED)}"
    with pytest.raises(StrategyError, match=f"unknown strategy 'grid'; {known}"):
        strategy_rows.set_active(database, "grid", True)
    with pytest.raises(StrategyError, match=f"unknown strategy 'grid'; {known}"):
        registry.make_strategy("grid", "{}")


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"parameters": '{"bandd": 1}'}, "bandd"),
        ({"parameters": '{"band": -1}'}, "band: .*greater than 0"),
        ({"parameters": "{"}, "malformed JSON"),
        ({"parameters": "[]"}, "expected a JSON object, found \\[\\]"),
        ({"pairs": '"BTCUSDT"'}, "expected a JSON list"),
        ({"timeframes": '["7m"]'}, "found \\['7m'\\], expected some of 1m, 3m"),
        ({"timeframes": '["1D"]'}, "found \\['1D'\\]"),
        ({"timeframes": "[[]]"}, "found"),
    ],
)
def test_a_malformed_row_is_reported_and_the_others_go_on(
    database: Database, values: dict[str, str], reason: str
) -> None:
    strategy_rows.seed_registry(database)
    change(database, "bollinger_rsi", **values)
    found = strategy_rows.active_strategies(database)
    assert names(found) == set(ACTIVE) - {"bollinger_rsi"}
    (broken,) = found.broken
    assert broken.name == "bollinger_rsi"
    with pytest.raises(StrategyError, match=reason):
        raise StrategyError(broken.reason)


def test_a_row_whose_class_is_gone_is_reported_and_the_others_go_on(sqlite: Database) -> None:
    strategy_rows.seed_registry(sqlite)
    change(sqlite, "bollinger_rsi", name="removed")
    found = strategy_rows.active_strategies(sqlite)
    assert names(found) == set(ACTIVE) - {"bollinger_rsi"}
    assert "unknown strategy 'removed'" in found.broken[0].reason
    assert {row.name: row.description for row in strategy_rows.registry_rows(sqlite)}["removed"].startswith("its class")
    strategy_rows.set_active(sqlite, "removed", False)
    assert strategy_rows.active_strategies(sqlite).broken == ()


@pytest.fixture
def sqlite(tmp_path: Path) -> Iterator[Database]:
    database = Database(f"sqlite:///{tmp_path / 'ledger.db'}")
    yield database
    database.close()


@pytest.mark.slow
@pytest.mark.parametrize("way", ["drop", "plug"])
def test_a_new_strategy_is_found_waits_to_be_started_and_is_backtested(
    way: str, sqlite: Database, request: pytest.FixtureRequest
) -> None:
    request.getfixturevalue(way)(f"plugin_{way}", EXAMPLE)
    strategy_rows.seed_registry(sqlite)
    assert names(strategy_rows.active_strategies(sqlite)) == set(ACTIVE)
    strategy_rows.set_active(sqlite, "donchian_breakout", True)
    for name in set(ACTIVE) - {"bollinger_rsi"}:
        strategy_rows.set_active(sqlite, name, False)
    found = strategy_rows.active_strategies(sqlite)
    assert names(found) == {"bollinger_rsi", "donchian_breakout"}

    def load(symbol: str, timeframe: Timeframe, needs: DataNeeds) -> StrategyData:
        return StrategyData(symbol, walk(11, 1256, timeframe))

    rows = backtest_window(
        walk(11, 1256).start_ms[-1],
        Timeframe.M15,
        {"AUSDT": "scan-20260301-010000"},
        load,
        found.usable,
        load_settings(),
    )
    assert rows["strategy"].unique().tolist() == ["bollinger_rsi", "donchian_breakout"]
    assert (rows["total_trades"] > 0).all()


OK = EXAMPLE.replace("donchian_breakout", "other_name")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("import a_module_that_does_not_exist", "ModuleNotFoundError"),
        ("def broken(:", "SyntaxError"),
        ("raise RuntimeError('at import')", "RuntimeError: at import"),
        (EXAMPLE.replace('name = "donchian_breakout"', "pass"), "needs a class attribute 'name'"),
        (EXAMPLE.replace('"donchian_breakout"', '"Donchian Breakout"'), "must be 1 to 64 of a-z"),
        (EXAMPLE.replace("description =", "text ="), "needs a class attribute 'description'"),
        (EXAMPLE + "\n    def needs(self): raise KeyError('needs')\n", "fails with default parameters: KeyError"),
        (EXAMPLE + "\n    def needs(self): return None\n", "expected DataNeeds"),
    ],
)
def test_a_module_that_cannot_be_used_is_reported_and_the_others_go_on(
    drop: Drop, sqlite: Database, text: str, reason: str
) -> None:
    drop("plugin_bad", text)
    drop("plugin_good", OK)
    strategy_rows.seed_registry(sqlite)
    found = strategy_rows.active_strategies(sqlite)
    assert names(found) == set(ACTIVE)
    assert "other_name" in registry.strategy_classes()
    (broken,) = found.broken
    assert broken.name == "trading_assets.strategies.plugin_bad"
    assert reason in broken.reason
    with pytest.raises(StrategyError, match=r"cannot be used: .*plugin_bad"):
        registry.make_strategy("donchian_breakout", "{}")


def test_an_entry_point_that_cannot_be_imported_is_reported(plug: Drop, sqlite: Database) -> None:
    plug("plugin_bad", "DonchianBreakout = 3")
    strategy_rows.seed_registry(sqlite)
    (broken,) = strategy_rows.active_strategies(sqlite).broken
    assert broken.name == "entry point plugin_bad"
    assert "is 3, expected a concrete subclass of Strategy" in broken.reason


def test_two_strategies_of_one_name_are_an_error_that_names_both(drop: Drop) -> None:
    drop("plugin_one", EXAMPLE)
    drop("plugin_two", EXAMPLE)
    with pytest.raises(StrategyError, match=r"two strategies are named 'donchian_breakout'.*plugin_one.*plugin_two"):
        registry.strategy_classes()


def test_an_abstract_base_of_several_strategies_is_no_strategy(drop: Drop) -> None:
    drop("plugin_base", "from trading_assets.strategies.base import Strategy\nclass Common(Strategy):\n    pass\n")
    found = registry.discover()
    assert set(found.classes) == BUILT_IN
    assert found.broken == ()
