"""Rows of the registry as a person changes them: what is asked, what would change, what is refused."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from trading_assets.core.errors import StrategyError
from trading_assets.core.timeframes import HOUR_MS, Timeframe
from trading_assets.ledger import strategies as rows
from trading_assets.ledger import strategy_failures
from trading_assets.ledger.database import Database
from trading_assets.ledger.strategies import RegistryRow
from trading_assets.strategies.failures import StrategyFailure
from trading_assets.strategies.grids import AS_DESCRIBED, DECLARED, Grids
from trading_assets_tests.strategies.shipped import SHIPPED

ROW = RegistryRow("bollinger_rsi", True)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Database]:
    database = Database(f"sqlite:///{tmp_path / 'ledger.db'}")
    rows.seed_registry(database)
    yield database
    database.close()


def test_what_is_asked_is_stored_and_what_is_not_stays(database: Database) -> None:
    rows.seed_registry(database)
    before = rows.registry_row(database, "bollinger_rsi")
    after = before.asked(["band=0.9"], ["rsi_low=25,30"], ["BTCUSDT,ETHUSDT"], ["15m", "60m"])
    rows.write_row(database, after)
    assert rows.registry_row(database, "bollinger_rsi") == after
    again = after.asked([], [], [], ["all"])
    assert (again.parameters, again.grid, again.pairs) == (after.parameters, after.grid, after.pairs)
    assert again.timeframes == "[]"
    usable = after.usable()
    assert usable.pairs == {"BTCUSDT", "ETHUSDT"}
    assert sorted(one.value for one in usable.timeframes) == ["15m", "60m"]
    assert [one.parameters.rsi_low for one in usable.sets] == [25.0, 30.0]  # type: ignore[attr-defined]
    assert {one.parameters.band for one in usable.sets} == {0.9}  # type: ignore[attr-defined]


def test_a_parameter_and_a_grid_can_be_given_up_again() -> None:
    changed = ROW.asked(["band=0.9", "rsi_low=25"], ["declared"], [], [])
    assert changed.asked(["band=", "rsi_low="], ["setting"], [], []) == ROW


def test_what_would_change_is_told_line_by_line() -> None:
    after = ROW.asked(["band=0.9"], [], ["BTCUSDT"], [])
    told = rows.changes(ROW, after, Grids(DECLARED))
    assert told[:3] == [
        'parameters: {} -> {"band": 0.9}',
        'pairs: all -> ["BTCUSDT"]',
        "parameter sets tried: 20 (declared) -> 1 (pinned)",
    ]
    assert rows.changes(ROW, ROW, AS_DESCRIBED) == []


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ((["bandd=1"], [], [], []), "bandd"),
        ((["band=-1"], [], [], []), "band"),
        ((["rsi_low=80"], [], [], []), "rsi_low 80 must lie below"),
        (([], ["band=-1"], [], []), "band"),
        (([], [], [], ["7m"]), r"found \['7m'\]"),
        ((["band"], [], [], []), "expected NAME=VALUE"),
    ],
)
def test_a_row_that_could_not_be_used_is_refused(asked: tuple[list[str], ...], says: str) -> None:
    with pytest.raises(StrategyError, match=says):
        ROW.asked(*asked)


def test_a_row_that_a_hand_has_broken_can_be_set_anew() -> None:
    broken = RegistryRow("bollinger_rsi", True, parameters="{", grid="nonsense", timeframes='["7m"]')
    with pytest.raises(StrategyError, match="cannot be used"):
        broken.usable()
    assert broken.asked(["band=0.9"], ["described"], [], ["all"]).usable().sets


def test_a_row_in_full_has_every_parameter_with_what_is_tried_and_what_is_described(ledger: Database) -> None:
    shown = rows.description_of(rows.registry_row(ledger, "hyperrsi"), AS_DESCRIBED)
    assert shown.facts["parameter sets tried"] == "4 (described)"
    parameters = {name: (tried, described) for name, tried, described, _ in shown.parameters}
    assert parameters["rsi_period"] == ("14, 7", "")
    assert parameters["stop_atr"] == ("1.5", "1.5")
    gone = rows.description_of(RegistryRow("gone", True), AS_DESCRIBED)
    assert "unknown strategy 'gone'" in gone.facts["cannot be used"] and gone.parameters == ()


def test_only_a_strategy_whose_module_is_gone_is_removed(ledger: Database) -> None:
    with pytest.raises(StrategyError, match=r"still there, in trading_assets\.strategies\.hyperrsi"):
        rows.remove(ledger, "hyperrsi")
    with pytest.raises(StrategyError, match="unknown strategy 'gone'; known are bollinger_rsi"):
        rows.remove(ledger, "gone")
    with ledger.write() as connection:
        connection.exec_driver_sql("UPDATE strategies SET name = 'gone' WHERE name = 'hyperrsi'")
    assert [one.name for one in rows.active_strategies(ledger).broken] == ["gone"]
    failure = StrategyFailure("gone", "ETHUSDT", "15m", "{}", None, "KeyError: 'x'", "Traceback")
    other = replace(failure, strategy="bollinger_rsi")
    strategy_failures.record(
        ledger, Timeframe.M15, HOUR_MS, set(), {one.strategy: (HOUR_MS, one) for one in (failure, other)}
    )
    rows.remove(ledger, "gone")
    assert list(strategy_failures.by_strategy(ledger)) == ["bollinger_rsi"]
    assert rows.active_strategies(ledger).broken == ()
    assert [row.name for row in rows.registry_rows(ledger)] == [name for name in SHIPPED if name != "hyperrsi"]
