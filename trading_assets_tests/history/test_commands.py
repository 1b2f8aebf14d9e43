"""The commands of history, and the page that leads from files to a walk-forward report: run as printed."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from trading_assets.bench import history as bench
from trading_assets.cli.doctor import examine
from trading_assets.cli.doctor.findings import Level
from trading_assets.cli.main import cli
from trading_assets.core.configuration import CONFIG_VARIABLE, HOME_VARIABLE, trial_environment
from trading_assets.core.settings import Venue, load_settings
from trading_assets_tests.conftest import recorded_data
from trading_assets_tests.history import made

PAGE = Path(__file__).resolve().parents[2] / "docs" / "howto" / "real_history.md"
COINS = ("BTCUSDT", "ETHUSDT", "SOLUSDT")


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli, ["history", *map(str, arguments)])


@pytest.fixture
def files(tmp_path: Path) -> Path:
    folder = tmp_path / "files"
    folder.mkdir()
    made.binance_klines(folder, made.candles(3000))
    made.plain(folder / "XRPUSDT.csv", b"alpha,beta\nx,y\n")
    return folder


def test_import_status_instruments_and_export_tell_what_they_did(files: Path, tmp_path: Path) -> None:
    tried = run("import", files, "--dry-run")
    assert "binance-klines" in tried.output and "read as: open_time,open,high" in tried.output
    first = run("import", files, "--json", tmp_path / "report.json")
    assert first.exit_code == 1  # a file was refused
    assert "1 imported, 1 refused; 3,000 rows, 3,000 of them new" in first.output
    assert "XRPUSDT.csv" in first.output and "columns are not known" in first.output
    report = {one["status"]: one for one in json.loads((tmp_path / "report.json").read_text())}
    assert report["imported"]["series"][0]["stored"] == 3000
    (files / "XRPUSDT.csv").unlink()
    again = run("import", files)
    assert (again.exit_code, "1 imported before" in again.output) == (0, True)
    status = run("status")
    assert "BTCUSDT" in status.output and "No funding of BTCUSDT" in status.output
    assert "survivorship bias" in status.output
    assert "BTCUSDT-1m-2024-03.zip" in run("status", "--files").output
    assert "3,000 rows" in run("status", "--symbol", "BTCUSDT").output
    assert json.loads(run("status", "--json").output)["series"][0]["rows"] == 3000
    assert "0.5" in run("instruments", "--at", "2024-03-02").output
    out = tmp_path / "hours.parquet"
    assert "50 candles of BTCUSDT 60m" in run("export", "BTCUSDT", "--timeframe", "60m", "--out", out).output
    assert pq.read_table(out)["timeframe"].unique().to_pylist() == ["60m"]


def test_what_was_exported_is_imported_again_as_it_was(files: Path, tmp_path: Path) -> None:
    run("import", files / "BTCUSDT-1m-2024-03.zip")
    for suffix in ("parquet", "feather", "csv"):
        out = tmp_path / f"minutes.{suffix}"
        run("export", "BTCUSDT", "--out", out)
        taken = run("import", out)
        assert taken.exit_code == 0 and "3,000 rows, 0 of them new" in taken.output


@pytest.mark.slow
def test_a_home_becomes_one_of_history_and_says_so(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(CONFIG_VARIABLE, raising=False)
    run("import", files / "BTCUSDT-1m-2024-03.zip")
    used = run("use")
    assert used.exit_code == 0, used.exception
    settings = load_settings()
    assert (settings.venue, settings.partitions_start.isoformat()) == (Venue.HISTORY, "2024-03-01T00:00:00+00:00")
    findings = {one.what: one for one in examine(settings)}
    assert findings["research's market"].level is Level.OK and "never traded" in findings["research's market"].found
    assert "1 coins, 0 of them ended" in findings["library"].found
    assert "API key" not in findings
    (settings.home / ".env").write_text("TRADING_ASSETS_VENUE=paper\n")
    refused = run("use")
    assert refused.exit_code != 0 and "another market's" in str(refused.exception)


@pytest.mark.slow
def test_the_bench_imports_what_it_makes() -> None:
    found = bench.run(symbols=1, months=1)
    assert found["rows"] == 31 * 1440 and found["files"] == 1 and found["rows_per_second"] > 0


def transcript() -> list[tuple[str, list[str]]]:
    """The page's commands, each with the lines that it prints."""
    fenced = r"<!-- transcript: begin -->\n```text\n(.*?)```\n<!-- transcript: end -->"
    found = re.search(fenced, PAGE.read_text(), re.S)
    assert found is not None
    assert len(found[1].splitlines()) <= 25
    commands: list[tuple[str, list[str]]] = []
    for one in found[1].splitlines():
        if one.startswith("$ "):
            commands.append((one[2:], []))
        elif one != "...":
            commands[-1][1].append(one)
    return commands


def some_of(folder: Path) -> Path:
    """Three coins of the recorded minutes, their funding, and the recorded list of contracts."""
    folder.mkdir()
    for name in ("candles_1m.parquet", "funding.parquet"):
        table = pq.read_table(recorded_data(name))
        chosen = pc.is_in(table["symbol"].cast(pa.string()), pa.array(COINS))
        pq.write_table(table.filter(chosen), folder / name)
    shutil.copy(recorded_data("instruments.csv"), folder)
    return folder


def masked(text: str, home: Path) -> str:
    """Without what differs from machine to machine, and from one set of strategies to the next."""
    text = re.sub("library [0-9a-f]{8}", "library X", text.replace(str(home), "~"))
    if "s of CPU" in text or "hours followed" in text:
        return re.sub(r"(?<![\d-])\d[\d,.]*(?![\d:-])", "N", text)
    return text


@pytest.mark.slow
@pytest.mark.recorded
def test_the_five_commands_lead_from_recorded_files_to_the_report_as_printed(
    tmp_path: Path, dagster_home: Path
) -> None:
    """About 30 s of CPU: a backfill in a process of its own, as a user runs it."""
    some_of(tmp_path / "files")
    shutil.copytree(dagster_home, tmp_path / "dagster")
    environment = trial_environment(tmp_path / "trial", {}) | {"DAGSTER_HOME": str(tmp_path / "dagster")}
    del environment[CONFIG_VARIABLE]
    program = Path(sys.executable).with_name("trading-assets")
    (_, nothing), *commands = transcript()
    assert not nothing and len(commands) == 4
    environment[HOME_VARIABLE] = str(tmp_path / "past")
    for command, printed in commands:
        words = [program, *shlex.split(command)[1:]]
        done = subprocess.run(words, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        lines = [masked(line, tmp_path) for line in done.stdout.splitlines()]
        for line in printed:
            assert masked(line, tmp_path) in lines, (command, line, lines)
    page = next((tmp_path / "past" / "reports").glob("*.html"))
    assert "assumed" in page.read_text()
    assert os.environ.get(HOME_VARIABLE) != environment[HOME_VARIABLE]
