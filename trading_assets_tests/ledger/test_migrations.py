"""The ledger's schema over time: from the one before migrations to today's and back, with its rows."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from decimal import Decimal
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from trading_assets.core.errors import StorageError
from trading_assets.core.schemas import MARKET_SCAN
from trading_assets.ledger import balance, migrations
from trading_assets.ledger import executions as execution_ledger
from trading_assets.ledger.database import Database
from trading_assets.ledger.partitions import read_partitions, replace_partitions
from trading_assets.ledger.tables import DecimalText, history_tables, metadata
from trading_assets_tests.conftest import create_database, database_url, drop_database
from trading_assets_tests.forked import PROCESSES

BEFORE = Path(__file__).parent / "before_migrations"
"""What the version before migrations made of an empty database."""

ROWS = """
INSERT INTO fills (exec_id, account, symbol, order_id, order_link_id, side, exec_type, price, qty, value, fee, time_ms)
VALUES ('e1', 'main', 'AUSDT', 'o1', 'l1', 'Buy', 'Trade', '1.50', '2', '3.0', '0.001', 1),
       ('e2', 'main', 'AUSDT', 'o1', '', 'Buy', 'Funding', '1.50', '2', '3.0', '-0.002', 2),
       ('e3', 'main', 'AUSDT', 'o2', '', 'Sell', 'BustTrade', '1.50', '2', '3.0', '0', 3),
       ('e4', 'main', 'AUSDT', 'o3', '', 'Sell', 'AdlTrade', '1.50', '2', '3.0', '0', 4),
       ('e5', 'main', 'AUSDT', 'o4', '', 'Sell', 'Settle', '1.50', '2', '3.0', '0', 5),
       ('e6', 'main', 'AUSDT', 'o5', '', 'Sell', 'Unheard', '1.50', '2', '3.0', '0', 6);
INSERT INTO equity (account, equity, wallet_balance, available, unrealised_pnl, time_ms)
VALUES ('main', '1000.10', '1', '1', '0', 1), ('other', '5', '1', '1', '0', 1), ('main', '1200', '1', '1', '0', 2),
       ('main', '900', '1', '1', '0', 3), ('other', '4', '1', '1', '0', 3);
INSERT INTO risk_events (account, kind, symbol, detail, time_ms) VALUES ('main', 'difference', 'AUSDT', 'found', 1);
INSERT INTO market_scan (hour_ms, scan_id, symbol, rank, price, volume_24h, price_change_24h, volatility_24h,
                         size_error_pct, timestamp_ms)
VALUES (0, 'scan-19700101-010000', 'AUSDT', 1, 1.5, 2.0, 3.0, 4.0, 0.0, 3600000);
"""


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database without a single table, on either engine."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'ledger.db'}"
        return
    server = request.getfixturevalue("postgres_url")
    name = f"m{uuid.uuid4().hex[:12]}"
    create_database(server, name)
    yield database_url(server, name)
    drop_database(server, name)


@pytest.fixture
def before(empty_url: str) -> str:
    """A ledger of the version before migrations, with rows."""
    database = Database(empty_url, upgrade=False)
    script = (BEFORE / f"{database.dialect}.sql").read_text() + ROWS
    with database.write() as connection:
        for statement in filter(str.strip, script.split(";\n")):
            connection.exec_driver_sql(statement)
    database.close()
    return empty_url


def opened(url: str, look: Callable[[sa.Connection], object], *, upgrade: bool = True) -> object:
    """What a look finds in the ledger."""
    database = Database(url, upgrade=upgrade)
    try:
        with database.read() as connection:
            return look(connection)
    finally:
        database.close()


def taken_back(url: str, revision: str) -> None:
    database = Database(url, upgrade=False)
    try:
        with database.write() as connection:
            migrations.downgrade(connection, revision)
    finally:
        database.close()


def differences(connection: sa.Connection) -> list[object]:
    """Where the schema and `ledger.tables` differ, comments apart."""
    context = MigrationContext.configure(connection, opts={"compare_type": True})
    return [found for found in compare_metadata(context, metadata) if "comment" not in repr(found).split(",")[0]]


def shape(connection: sa.Connection) -> dict[str, list[str]]:
    """Columns, constraints, indexes and triggers by table."""
    look = sa.inspect(connection)
    if connection.dialect.name == "sqlite":
        triggers = "SELECT tbl_name, name FROM sqlite_master WHERE type = 'trigger'"
    else:
        triggers = "SELECT tgrelid::regclass::text, tgname FROM pg_trigger WHERE NOT tgisinternal"
    found = {
        table: [
            *(f"{column['name']} {column['type']!r} {column['nullable']}" for column in look.get_columns(table)),
            *(index["name"] or "" for index in look.get_indexes(table)),
            *(str(key["column_names"]) for key in look.get_unique_constraints(table)),
        ]
        for table in look.get_table_names()
    }
    for table, name in connection.exec_driver_sql(triggers):
        found[table].append(name)
    return {table: sorted(parts) for table, parts in found.items()}


def test_the_newest_revision_is_the_one_that_the_program_names() -> None:
    numbers = migrations.revisions()
    assert numbers[-1] == migrations.HEAD
    assert numbers == sorted(set(numbers))


def test_each_revision_follows_the_one_before_it() -> None:
    numbers = migrations.revisions()
    modules = [import_module(f"{migrations.__name__}.versions.{path.stem}") for path in revision_files()]
    assert [module.revision for module in modules] == numbers
    assert [module.down_revision for module in modules] == [None, *numbers[:-1]]


def revision_files() -> list[Path]:
    return sorted((Path(migrations.__file__).parent / "versions").glob("r[0-9]*.py"))


def test_an_empty_database_becomes_what_the_tables_say(empty_url: str) -> None:
    assert opened(empty_url, differences) == []
    assert opened(empty_url, migrations.revision_of, upgrade=False) == migrations.HEAD


@pytest.mark.slow
def test_a_ledger_from_before_migrations_keeps_its_rows_and_becomes_the_same(before: str) -> None:
    assert opened(before, migrations.revision_of, upgrade=False) is None
    assert opened(before, differences) == []
    database = Database(before)
    fills = execution_ledger.fill_rows(database, "main")
    assert fills["kind"].tolist() == ["trade", "funding", "liquidation", "adl", "settlement", "other"]
    assert balance.equity_rows(database, "main")["equity"].tolist() == [1000.1, 1200.0, 900.0]
    assert [str(balance.peak_equity(database, name)) for name in ("main", "other", "nobody")] == [
        "1200",
        "5",
        "0",
    ]
    assert read_partitions(database, MARKET_SCAN, [0])["symbol"].tolist() == ["AUSDT"]
    database.close()


@pytest.mark.slow
def test_every_revision_can_be_taken_back_and_made_again(before: str) -> None:
    shapes = {None: opened(before, shape, upgrade=False)}
    opened(before, shape)
    shapes[migrations.HEAD] = opened(before, shape)
    numbers = migrations.revisions()
    for number in reversed(numbers[:-1]):
        taken_back(before, number)
        assert opened(before, migrations.revision_of, upgrade=False) == number
    first = opened(before, shape, upgrade=False)
    assert isinstance(first, dict)
    first.pop("alembic_version")
    assert first == shapes[None]
    assert opened(before, shape) == shapes[migrations.HEAD]
    database = Database(before)
    assert execution_ledger.fill_rows(database, "main")["kind"].tolist()[:2] == ["trade", "funding"]
    database.close()


@pytest.mark.slow
def test_a_ledger_that_lacks_columns_gets_them_and_keeps_its_rows(before: str) -> None:
    old = Database(before, upgrade=False)
    with old.write() as connection:
        for column in ("rank", "price_change_24h"):
            connection.exec_driver_sql(f"ALTER TABLE market_scan DROP COLUMN {column}")
        connection.exec_driver_sql("ALTER TABLE backtest_results DROP COLUMN p_value")
        connection.exec_driver_sql("ALTER TABLE entry_signals DROP COLUMN reason")
        connection.exec_driver_sql("DROP TABLE strategies")
    old.close()
    assert opened(before, differences) == []
    database = Database(before)
    held = read_partitions(database, MARKET_SCAN, [0])
    assert held[["symbol", "price", "rank", "price_change_24h"]].to_numpy().tolist() == [["AUSDT", 1.5, 0, 0.0]]
    replace_partitions(database, MARKET_SCAN, held.assign(rank=1), [0])
    assert read_partitions(database, MARKET_SCAN, [0])["rank"].tolist() == [1]
    database.close()


def test_a_ledger_of_a_newer_version_is_left_alone(empty_url: str) -> None:
    database = Database(empty_url)
    with database.write() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
        connection.exec_driver_sql("UPDATE schema_compatibility SET works_since = '9999'")
    for act in (lambda: Database(empty_url), lambda: taken_back(empty_url, "0001")):
        with pytest.raises(StorageError, match=r"revision 9999.*a newer version wrote it"):
            act()
    database.close()


def test_a_newer_version_that_says_so_has_only_added_and_an_older_program_works_on(empty_url: str) -> None:
    database = Database(empty_url)
    with database.write() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
        connection.exec_driver_sql("ALTER TABLE order_intents ADD COLUMN of_the_next TEXT")
        connection.exec_driver_sql("CREATE TABLE of_the_next (name TEXT)")
    database.close()
    assert opened(empty_url, migrations.is_usable) is True
    assert opened(empty_url, migrations.revision_of) == "9999"
    with pytest.raises(StorageError, match="a newer version wrote it"):
        taken_back(empty_url, "0001")


def test_a_schema_that_none_but_newer_programs_work_with_says_which(empty_url: str) -> None:
    assert migrations.WORKS_SINCE in migrations.revisions()
    with_the_table = sa.text("SELECT works_since FROM schema_compatibility")
    said = opened(empty_url, lambda connection: connection.execute(with_the_table).scalars().all())
    assert said == [migrations.WORKS_SINCE]
    database = Database(empty_url)
    with database.write() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
        connection.exec_driver_sql("DROP TABLE schema_compatibility")
    assert opened(empty_url, migrations.is_usable, upgrade=False) is False
    database.close()


@pytest.mark.parametrize("revision", ["0000", "9999", "head", ""])
def test_an_unknown_revision_to_go_back_to_is_a_clear_error(tmp_path: Path, revision: str) -> None:
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    Database(url).close()
    with pytest.raises(StorageError, match="can be taken back to 0001"):
        taken_back(url, revision)


def test_a_ledger_at_head_is_opened_without_migrating(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(migrations, "upgrade", lambda _connection: pytest.fail("it migrated"))
    Database(database.url.render_as_string(hide_password=False)).close()


def _open(url: str, ready: object) -> None:
    ready.wait(120)  # type: ignore[attr-defined]
    Database(url, busy_timeout_s=60).close()


@pytest.mark.slow
def test_processes_that_open_an_old_ledger_at_once_all_find_it_at_head(before: str) -> None:
    ready = PROCESSES.Barrier(4)
    processes = [PROCESSES.Process(target=_open, args=(before, ready)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0] * 4
    assert opened(before, differences, upgrade=False) == []


@pytest.mark.parametrize("verb", ["UPDATE", "DELETE"])
def test_history_cannot_be_changed(database: Database, verb: str) -> None:
    for table in history_tables:
        values = {column.name: _any(column) for column in table.columns if column.autoincrement is not True}
        with database.write() as connection:
            connection.execute(sa.insert(table), values)
        change = sa.delete(table) if verb == "DELETE" else sa.update(table).values(**values)
        refused = pytest.raises(StorageError, match=rf"{table.name} is append-only")
        with refused, database.write() as connection:
            connection.execute(change)
        with database.read() as connection:
            assert len(connection.execute(sa.select(table)).all()) == 1


def _any(column: sa.Column[Any]) -> object:
    if isinstance(column.type, DecimalText):
        return Decimal(1)
    return 1 if isinstance(column.type, sa.Integer) else "x"


def test_history_is_every_table_that_has_a_trigger(database: Database) -> None:
    with database.read() as connection:
        guarded = {table for table, parts in shape(connection).items() if any("append_only" in part for part in parts)}
    assert guarded == {table.name for table in history_tables}


def test_tables_and_columns_carry_their_descriptions_where_the_database_keeps_them(postgres_database: Database) -> None:
    with postgres_database.read() as connection:
        inspector = sa.inspect(connection)
        for table in metadata.tables.values():
            assert inspector.get_table_comment(table.name)["text"] == table.comment
            found = {column["name"]: column["comment"] for column in inspector.get_columns(table.name)}
            assert found == {column.name: column.comment for column in table.columns}
