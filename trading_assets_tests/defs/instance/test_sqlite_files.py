"""A process keeps connections to the files of SQLite that Dagster's storages share, and to no file that is gone."""

import json
import os
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import psutil
import pytest
from dagster._core.storage.runs import SqliteRunStorage
from dagster._core.storage.runs.sqlite import sqlite_run_storage

from trading_assets.defs.instance import sqlite_files


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    sqlite_files.close()
    yield
    sqlite_files.close()


def opened(home: Path) -> dg.DagsterInstance:
    storage = {
        "module": "trading_assets.defs.instance.storage",
        "class": "BatchedSqliteStorage",
        "config": {"base_dir": str(home / "history")},
    }
    home.mkdir(exist_ok=True)
    (home / "dagster.yaml").write_text(json.dumps({"telemetry": {"enabled": False}, "storage": {"custom": storage}}))
    return dg.DagsterInstance.from_config(str(home))


def open_files(folder: Path) -> list[str]:
    """Databases below the folder that this process has open: tests before this one may have left others."""
    paths = [Path(file.path) for file in psutil.Process().open_files()]
    return sorted(str(path) for path in paths if path.suffix == ".db" and path.is_relative_to(folder))


def test_the_second_instance_looks_at_no_revision_and_opens_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(tmp_path) as first:
        first.add_dynamic_partitions("days", ["one"])
        first.all_instigator_state()
        run = first.create_run_for_job(JOB)
    kept = open_files(tmp_path)
    assert sorted(Path(path).name for path in kept) == ["index.db", "runs.db", "schedules.db"]
    monkeypatch.setattr(sqlite_run_storage, "check_alembic_revision", lambda *_args: pytest.fail("looked again"))
    with opened(tmp_path) as second:
        assert second.get_dynamic_partitions("days") == ["one"]
        assert [one.run_id for one in second.get_runs()] == [run.run_id]
        assert second.all_instigator_state() == []
    assert open_files(tmp_path) == kept


def test_what_another_process_has_written_is_seen_at_once(tmp_path: Path) -> None:
    with opened(tmp_path) as instance:
        run = instance.create_run_for_job(JOB)
        for status in ("STARTED", "SUCCESS", "FAILURE"):
            other = sqlite3.connect(tmp_path / "history" / "history" / "runs.db")
            other.execute("UPDATE runs SET status = ?", [status])
            other.commit()
            other.close()
            found = instance.get_run_by_id(run.run_id)
            assert found is not None and found.status.value == status


def test_what_is_asked_again_is_read_again_only_after_a_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = 0
    stock = SqliteRunStorage.fetchall

    def counted(self: SqliteRunStorage, query: object) -> object:
        nonlocal read
        read += 1
        return stock(self, query)  # type: ignore[arg-type]

    monkeypatch.setattr(SqliteRunStorage, "fetchall", counted)
    failed, started = (dg.RunsFilter(statuses=[dg.DagsterRunStatus(name)]) for name in ("FAILURE", "STARTED"))
    with opened(tmp_path) as instance:
        run = instance.create_run_for_job(JOB)
        asked: list[object] = []
        for status, reads in ((None, 2), (None, 0), ("FAILURE", 2), ("STARTED", 2), (None, 0)):
            if status is not None:
                other = sqlite3.connect(tmp_path / "history" / "history" / "runs.db")
                other.execute("UPDATE runs SET status = ?", [status])
                other.commit()
                other.close()
            before = read
            asked.append(tuple(len(instance.get_runs(one, limit=9)) for one in (failed, started)))
            assert read - before == reads
        assert asked == [(0, 0), (0, 0), (1, 0), (0, 1), (0, 1)]
        assert instance.get_runs_count(started) == 1
        instance.get_runs(started, limit=9).clear()  # type: ignore[attr-defined]
        assert len(instance.get_runs(started, limit=9)) == 1, "an answer is the asker's own"
        instance.add_run_tags(run.run_id, {"written": "here"})
        assert instance.get_runs(started, limit=9)[0].tags["written"] == "here", "of this process, too"
        assert run.run_id == instance.get_run_records(limit=1)[0].dagster_run.run_id


def test_a_child_of_a_fork_asks_for_itself(tmp_path: Path) -> None:
    with opened(tmp_path) as instance:
        instance.create_run_for_job(JOB)
        assert instance.get_runs_count() == 1
        child = os.fork()
        if not child:
            with opened(tmp_path) as own:
                own.create_run_for_job(JOB)
                os._exit(own.get_runs_count())
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 2
        assert instance.get_runs_count() == 2


def test_a_home_that_was_replaced_is_opened_anew(tmp_path: Path) -> None:
    with opened(tmp_path / "one") as instance:
        instance.create_run_for_job(JOB)
    with opened(tmp_path / "two"):
        pass
    shutil.rmtree(tmp_path / "one" / "history")
    shutil.copytree(tmp_path / "two" / "history", tmp_path / "one" / "history")
    with opened(tmp_path / "one") as instance:
        assert instance.get_runs() == []


def test_a_home_that_was_deleted_is_made_anew(tmp_path: Path) -> None:
    with opened(tmp_path) as instance:
        instance.create_run_for_job(JOB)
        instance.add_dynamic_partitions("days", ["one"])
    shutil.rmtree(tmp_path / "history")
    with opened(tmp_path) as instance:
        assert instance.get_runs() == [] and instance.get_dynamic_partitions("days") == []
        instance.create_run_for_job(JOB)


def test_homes_are_told_apart_where_the_configuration_names_a_relative_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("one", "two"):
        home = tmp_path / name
        home.mkdir()
        monkeypatch.chdir(home)
        with opened(Path()) as instance:
            assert instance.get_runs() == []
            instance.create_run_for_job(JOB)


def test_no_more_files_are_kept_than_an_instance_or_two_have(tmp_path: Path) -> None:
    for number in range(4):
        with opened(tmp_path / str(number)) as instance:
            instance.create_run_for_job(JOB)
            instance.add_dynamic_partitions("days", ["one"])
    assert len(open_files(tmp_path)) <= sqlite_files.FILES_KEPT


def test_the_last_who_closes_a_file_leaves_no_log_of_writes(tmp_path: Path) -> None:
    with opened(tmp_path) as instance:
        instance.create_run_for_job(JOB)
    log = tmp_path / "history" / "history" / "runs.db-wal"
    assert log.exists()
    sqlite_files.close()
    assert not log.exists()


def test_a_large_transaction_leaves_no_large_log(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    sqlite3.connect(path).execute("PRAGMA journal_mode=WAL").close()
    url = f"sqlite:///{path}"
    with sqlite_files.opened(url).engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE rows (text TEXT)")
        connection.exec_driver_sql("INSERT INTO rows VALUES (?)", (os.urandom(8_000_000).hex(),))
    assert (tmp_path / "a.db-wal").stat().st_size > 2 * sqlite_files.LOG_BYTES
    for _ in range(2):
        with sqlite_files.opened(url).engine.begin() as connection:
            connection.exec_driver_sql("INSERT INTO rows VALUES ('a')")
    assert (tmp_path / "a.db-wal").stat().st_size <= sqlite_files.LOG_BYTES


@dg.job
def nothing() -> None:
    pass


JOB = nothing
