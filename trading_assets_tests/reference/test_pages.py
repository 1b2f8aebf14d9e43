"""The generated pages: what lies on disk is what the code says, and everything in the code is described."""

from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pandas as pd
import pytest

from trading_assets.backtesting.metrics import Metrics
from trading_assets.cli.main import cli
from trading_assets.core.errors import ConfigurationError, StorageError
from trading_assets.core.schemas import (
    BACKTEST_RESULTS,
    ENTRY_SIGNALS,
    GRID_TABLES,
    HOURLY_TABLES,
    LIVE_PARITY,
    MARKET_SCAN,
    STRATEGY_SELECTIONS,
    Table,
)
from trading_assets.ledger.tables import account_tables
from trading_assets.reference import pages, settings_page
from trading_assets.reference.dagster_page import build as dagster_page
from trading_assets.reference.metric_definitions import ACCOUNT, BACKTEST, PARITY, REPORT, SCAN, Chapter
from trading_assets.reporting.figures import Figures
from trading_assets.trading.portfolio import Portfolio

ROOT = pages.checkout()


@pytest.fixture(scope="module")
def expected() -> dict[Path, str]:
    """Every generated file as the code says it."""
    return pages.texts(ROOT, dagster_page=dagster_page(), commands=cli)


def test_what_lies_on_disk_is_what_the_code_says(expected: dict[Path, str]) -> None:
    assert pages.stale(ROOT, expected) == [], "to write them again: make docs"


def test_every_page_of_the_folder_is_generated(expected: dict[Path, str]) -> None:
    assert {path.relative_to(ROOT) for path in (ROOT / pages.FOLDER).iterdir()} == {
        path for path in expected if path.parent == pages.FOLDER
    }


def test_a_page_that_was_changed_by_hand_is_found_and_written_again(tmp_path: Path, expected: dict[Path, str]) -> None:
    assert pages.write(tmp_path, expected) == list(expected)
    changed = pages.FOLDER / "tables.md"
    (tmp_path / changed).write_text("by hand")
    assert pages.stale(tmp_path, expected) == [changed]
    assert pages.write(tmp_path, expected) == [changed]
    assert pages.stale(tmp_path, expected) == []


def test_a_page_without_a_place_for_its_settings_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "docs/howto").mkdir(parents=True)
    (tmp_path / "docs/howto/configure.md").write_text("# Configure\n")
    with pytest.raises(StorageError, match=r"configure\.md has 0 places for its settings"):
        pages.texts(tmp_path, dagster_page="", commands=cli)


def test_a_group_that_begins_with_no_setting_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings_page, "GROUPS", {"home": "Where things are", "no_such_setting": "Nothing"})
    with pytest.raises(ConfigurationError, match="no_such_setting"):
        settings_page.build()


def _undescribed() -> Iterator[str]:
    for table in (*HOURLY_TABLES, *GRID_TABLES, ENTRY_SIGNALS, LIVE_PARITY):
        for name, column in table.model.to_schema().columns.items():
            if not column.description:
                yield f"{table.name}.{name}"
    for ledger_table in account_tables:
        if not ledger_table.comment:
            yield ledger_table.name
        for of_ledger in ledger_table.columns:
            if not of_ledger.comment:
                yield f"{ledger_table.name}.{of_ledger.name}"


def test_every_table_and_column_is_described() -> None:
    assert list(_undescribed()) == []


def test_every_asset_check_job_op_field_schedule_and_sensor_is_described(expected: dict[Path, str]) -> None:
    page = expected[pages.FOLDER / "dagster.md"]
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    assert len(rows) > 30
    assert [row for row in rows if row.endswith("|  |")] == []
    headings = [index for index, line in enumerate(page.splitlines()) if line.startswith("### ")]
    assert all(page.splitlines()[index + 2].strip() for index in headings)


def test_every_command_and_option_is_described(expected: dict[Path, str]) -> None:
    rows = [line for line in expected[pages.FOLDER / "commands.md"].splitlines() if line.startswith("| `-")]
    assert len(rows) > 40
    assert [row for row in rows if row.endswith("|  |")] == []


NO_METRICS = {
    "bars",
    "rank",
    "price",
    "timestamp_ms",
    "hour_ms",
    "day_ms",
    "bar_close_ms",
    "expected",
    "live",
    "explained",
    "settings_version",
}
"""Numbers that are read, counted or marked, not computed: the table's description says all."""

PRICES = {"entry_price", "live_entry_price", "exit_price", "live_exit_price"}


def _numbers(table: Table) -> set[str]:
    numeric = {name for name, dtype in table.dtypes.items() if pd.api.types.is_numeric_dtype(dtype)}
    return numeric - NO_METRICS - PRICES


def _defined(chapter: Chapter) -> set[str]:
    return {metric.name for metric in chapter.metrics}


@pytest.mark.parametrize(
    ("figures", "chapter"),
    [
        (_numbers(MARKET_SCAN), SCAN),
        (_numbers(BACKTEST_RESULTS) | _numbers(STRATEGY_SELECTIONS), BACKTEST),
        ({field.name for field in fields(Figures)}, REPORT),
        (_numbers(LIVE_PARITY), PARITY),
    ],
    ids=["scan", "backtests and selections", "reports", "parity"],
)
def test_every_figure_has_its_definition_and_no_definition_is_of_nothing(figures: set[str], chapter: Chapter) -> None:
    assert _defined(chapter) == figures


def test_figures_of_a_backtest_are_columns_and_those_of_the_account_exist() -> None:
    assert {field.name for field in fields(Metrics)} <= _defined(BACKTEST)
    of_positions = {"share_pct", "liquidation_pct", "net"}
    assert {name for name in _defined(ACCOUNT) - of_positions if not _has(Portfolio, name)} == set()


def _has(kind: type, name: str) -> bool:
    return hasattr(kind, name) or name in {field.name for field in fields(kind)}  # type: ignore[arg-type]
