"""The command line: what a user types, and the one clear line when something is wrong."""

import contextlib
import io
import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from trading_assets.cli.main import main

TOOL = [sys.executable, "-m", "trading_assets.cli.main"]


def environment_of(home: Path, given: Mapping[str, str]) -> dict[str, str]:
    """A home of its own, and nothing of ours but what is given."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("TRADING_ASSETS_", "BYBIT_"))}
    return {**clean, "TRADING_ASSETS_HOME": str(home / "state"), "COLUMNS": "200", **given}


DEMO_WITHIN_S = 900
"""It takes half a minute of processor time, which a busy machine gives late; how fast it is is not tested here."""


def run_process(
    *arguments: str, home: Path, timeout_s: float = 280, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run the tool as a user does, in a process of its own."""
    return subprocess.run(
        [*TOOL, *arguments],
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
        cwd=home,
        env=environment_of(home, environment),
    )


def run(*arguments: str, home: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the tool's entry point in this process, which saves the second that a process takes to import everything.

    What would be a traceback on a terminal is raised here.
    """
    out, err = io.StringIO(), io.StringIO()
    code: object = 0
    wanted = environment_of(home, environment)
    with pytest.MonkeyPatch.context() as patch:
        for name in os.environ.keys() - wanted.keys():
            patch.delenv(name)
        for name, value in wanted.items():
            patch.setenv(name, value)
        patch.chdir(home)
        patch.setattr(sys, "argv", ["trading-assets", *arguments])
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                main()
            except SystemExit as ended:
                code = ended.code or 0
    assert isinstance(code, int)
    return subprocess.CompletedProcess([*arguments], code, out.getvalue(), err.getvalue())


@pytest.fixture(autouse=True)
def no_exchange_is_left(tmp_path: Path) -> Iterator[None]:
    """A command may have started one; it would run on until it has been idle for long."""
    yield
    if (tmp_path / "state" / "exchange").exists():
        run("exchange", "stop", home=tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("environment", "says"),
    [
        ({"TRADING_ASSETS_VENUE": "kraken"}, "'simulator', 'paper', 'demo', 'testnet' or 'mainnet'"),
        ({"TRADING_ASSETS_MAX_POSITIONS": "lots"}, "TRADING_ASSETS_MAX_POSITIONS"),
        ({"TRADING_ASSETS_VENUE": "mainnet"}, "TRADING_ASSETS_ALLOW_MAINNET"),
        ({"TRADING_ASSETS_VENUE": "testnet"}, "BYBIT_API_KEY and BYBIT_API_SECRET are not set"),
        ({"TRADING_ASSETS_SIMULATOR_URL": "http://127.0.0.1:9"}, "TRADING_ASSETS_SIMULATOR_URL"),
        ({"TRADING_ASSETS_DATABASE_URL": "nonsense"}, "expected sqlite:///PATH"),
    ],
)
def test_bad_input_is_one_clear_message_and_exit_code_2(tmp_path: Path, environment: dict[str, str], says: str) -> None:
    answer = run("doctor", "--quiet", home=tmp_path, **environment)
    assert answer.returncode == 2
    assert says in answer.stdout + answer.stderr
    assert "Traceback" not in answer.stdout + answer.stderr


@pytest.mark.slow
def test_as_a_process_it_ends_with_the_same_line_and_code(tmp_path: Path) -> None:
    answer = run_process("doctor", "--quiet", home=tmp_path, TRADING_ASSETS_VENUE="kraken")
    assert answer.returncode == 2
    assert answer.stderr.startswith("error: ") and "'mainnet'" in answer.stderr
    assert "Traceback" not in answer.stdout + answer.stderr


def test_an_unwritable_home_is_a_clear_message(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    answer = run("doctor", "--quiet", home=tmp_path, TRADING_ASSETS_HOME=str(tmp_path / "file" / "home"))
    assert answer.returncode == 2
    assert "TRADING_ASSETS_HOME" in answer.stdout and "Traceback" not in answer.stdout + answer.stderr


@pytest.mark.parametrize(
    ("target", "says"),
    [("file", "is a file"), ("file/home", "cannot be written"), (".", "not a demo's directory")],
)
def test_the_demo_refuses_a_home_that_is_no_place_for_it(tmp_path: Path, target: str, says: str) -> None:
    (tmp_path / "file").write_text("mine")
    answer = run("demo", "--home", target, home=tmp_path)
    assert answer.returncode == 2
    assert says in answer.stderr and "--home" in answer.stderr and "Traceback" not in answer.stderr
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.slow
def test_a_locked_database_is_a_clear_message(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    holder = sqlite3.connect(tmp_path / "state" / "trading_assets.db", isolation_level=None)
    holder.execute("PRAGMA journal_mode=WAL")
    holder.execute("BEGIN IMMEDIATE")
    answer = run("doctor", "--quiet", home=tmp_path, TRADING_ASSETS_DATABASE_BUSY_TIMEOUT_S="0.2")
    holder.execute("ROLLBACK")
    assert answer.returncode == 2
    assert "locked" in answer.stdout and "Traceback" not in answer.stdout + answer.stderr


@pytest.mark.slow
def test_doctor_starts_the_exchange_and_finds_everything_well(tmp_path: Path) -> None:
    answer = run_process("doctor", home=tmp_path)
    try:
        assert answer.returncode == 0, answer.stdout + answer.stderr
        assert "equity 10000.00 USD" in answer.stdout
        status = run("exchange", "status", home=tmp_path)
        assert "clock real" in status.stdout
    finally:
        assert run("exchange", "stop", home=tmp_path).returncode == 0
    deadline = time.monotonic() + 60
    while run("exchange", "status", home=tmp_path).returncode != 1:
        assert time.monotonic() < deadline, "it was told to stop"
        time.sleep(0.05)


def test_strategies_are_listed_stopped_and_started(tmp_path: Path) -> None:
    listed = run("strategies", "list", home=tmp_path)
    assert "bollinger_rsi" in listed.stdout and "fibonacci_bollinger" in listed.stdout
    assert run("strategies", "stop", "bollinger_rsi", home=tmp_path).returncode == 0
    unknown = run("strategies", "start", "moonshot", home=tmp_path)
    assert unknown.returncode == 2 and "bollinger_rsi" in unknown.stderr


def test_a_file_that_cannot_be_written_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "held").write_text("no folder")
    done = run("strategies", "new", "my_idea", "--folder", str(tmp_path / "held" / "below"), home=tmp_path)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "held/below cannot be read or written: Not a directory" in done.stderr.replace("\n", "")


def test_a_strategy_is_shown_and_set_without_sql(tmp_path: Path) -> None:
    asked = ("--parameter", "band=0.9", "--grid", "rsi_low=25,30", "--pairs", "BTCUSDT", "--timeframes", "15m,60m")
    dry = run("strategies", "set", "bollinger_rsi", *asked, "--dry-run", home=tmp_path)
    assert dry.returncode == 0 and "dry run: nothing was changed" in dry.stdout
    assert "as the setting says" in run("strategies", "show", "bollinger_rsi", home=tmp_path).stdout
    done = run("strategies", "set", "bollinger_rsi", *asked, home=tmp_path)
    assert done.returncode == 0 and "parameter sets tried: 1 (described) -> 2 (own)" in done.stdout
    shown = run("strategies", "show", "bollinger_rsi", home=tmp_path).stdout
    assert '["BTCUSDT"]' in shown and '["15m", "60m"]' in shown and "25, 30" in shown
    assert "is like that already" in run("strategies", "set", "bollinger_rsi", *asked, home=tmp_path).stdout
    searched = ("--grid", "search:16", "--grid", "stop_atr=1..4", "--grid", "rsi_low=25,30")
    done = run("strategies", "set", "bollinger_rsi", *searched, home=tmp_path)
    assert "parameter sets tried: 2 (own) -> up to 16 (search)" in done.stdout, done.stderr
    shown = run("strategies", "show", "bollinger_rsi", home=tmp_path).stdout
    assert "1 to 4" in shown and "25, 30" in shown and "0.9" in shown
    refused = run("strategies", "set", "bollinger_rsi", "--parameter", "bandd=1", home=tmp_path)
    assert refused.returncode == 2 and "nothing was changed" in refused.stderr and "bandd" in refused.stderr


@pytest.mark.slow
def test_an_honest_strategy_is_checked_and_started(tmp_path: Path) -> None:
    run("strategies", "stop", "bollinger_rsi", home=tmp_path)
    run("strategies", "set", "bollinger_rsi", "--timeframes", "60m", home=tmp_path)
    answer = run("strategies", "start", "bollinger_rsi", home=tmp_path)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert "bollinger_rsi has no look-ahead" in answer.stdout
    assert "is backtested from the next hour on" in answer.stdout


def test_a_strategy_whose_module_was_deleted_is_removed(tmp_path: Path) -> None:
    run("strategies", "list", home=tmp_path)
    with contextlib.closing(sqlite3.connect(tmp_path / "state" / "trading_assets.db")) as ledger:
        ledger.execute("INSERT INTO strategies VALUES ('gone', 1, 'bybit', '[]', '[]', '{}', NULL)")
        ledger.commit()
    assert "its class is missing" in run("strategies", "list", home=tmp_path).stdout
    still_there = run("strategies", "remove", "hyperrsi", home=tmp_path)
    assert still_there.returncode == 2 and "delete the module first" in still_there.stderr
    assert "gone was removed" in run("strategies", "remove", "gone", home=tmp_path).stdout
    assert "gone" not in run("strategies", "list", home=tmp_path).stdout


def test_an_honest_strategy_passes_its_check(tmp_path: Path) -> None:
    answer = run("check", "strategy", "bollinger_rsi", "--symbol", "ETHUSDT", "--timeframe", "60m", home=tmp_path)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert "bollinger_rsi has no look-ahead" in answer.stdout and "ETHUSDT" in answer.stdout


BIASED = """
from trading_assets_tests.strategies.biased_strategies import NextClose

class Biased(NextClose):
    name = "biased"
    description = "knows the next close"
"""


@pytest.mark.slow
def test_a_biased_strategy_is_named_with_exit_code_1(tmp_path: Path) -> None:
    package = tmp_path / "of_a_user"
    (package / "of_a_user-1.0.dist-info").mkdir(parents=True)
    (package / "biased.py").write_text(BIASED)
    info = package / "of_a_user-1.0.dist-info"
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: of-a-user\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[trading_assets.strategies]\nbiased = biased:Biased\n")
    root = Path(__file__).resolve().parents[2]
    options = ("--symbol", "BTCUSDT", "--timeframe", "15m", "--timeframe", "60m", "--bars", "300")
    answer = run_process(
        "check", "strategy", "biased", *options, home=tmp_path, PYTHONPATH=f"{package}{os.pathsep}{root}"
    )
    assert answer.returncode == 1, answer.stdout + answer.stderr
    assert "biased looks ahead on 2 of 2" in answer.stdout
    assert "BTCUSDT 15m look-ahead: bar closed 2026-02-2" in answer.stdout
    path = f"{package}{os.pathsep}{root}"
    run_process("strategies", "set", "biased", "--timeframes", "60m", home=tmp_path, PYTHONPATH=path)
    refused = run_process("strategies", "start", "biased", home=tmp_path, PYTHONPATH=path)
    assert refused.returncode == 1 and "biased was not started: biased looks ahead on 3 of 3" in refused.stderr
    assert is_active(tmp_path, "biased") is False
    forced = run_process("strategies", "start", "biased", "--force", home=tmp_path, PYTHONPATH=path)
    assert forced.returncode == 0 and "started by force: biased looks ahead" in forced.stderr
    assert is_active(tmp_path, "biased") is True


def is_active(home: Path, name: str) -> bool:
    with contextlib.closing(sqlite3.connect(home / "state" / "trading_assets.db")) as ledger:
        return bool(ledger.execute("SELECT is_active FROM strategies WHERE name = ?", [name]).fetchone()[0])


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["bollinger_rsi", "--symbol", "NONEUSDT"], "no candles of NONEUSDT"),
        (["bollinger_rsi", "--timeframe", "7m"], "expected one of 1m, 3m"),
        (["bollinger_rsi", "--parameters", '{"band": -1}'], "band"),
    ],
)
def test_a_check_that_cannot_be_made_is_one_clear_message(tmp_path: Path, arguments: list[str], says: str) -> None:
    answer = run("check", "strategy", *arguments, home=tmp_path)
    assert answer.returncode == 2
    assert says in answer.stderr and "Traceback" not in answer.stderr


def test_settings_show_no_secret(tmp_path: Path) -> None:
    answer = run("settings", home=tmp_path, BYBIT_API_KEY="visible-key", BYBIT_API_SECRET="visible-secret")
    assert "(set)" in answer.stdout and "visible" not in answer.stdout


def test_the_demo_refuses_a_directory_that_is_not_its_own(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    answer = run("demo", "--home", str(tmp_path), home=tmp_path)
    assert answer.returncode == 2 and "nothing was touched" in answer.stderr
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


@pytest.mark.slow
@pytest.mark.timeout(DEMO_WITHIN_S + 20)
def test_the_demo_ends_with_its_counts(tmp_path: Path) -> None:
    answer = run_process("demo", "--json", "--home", str(tmp_path / "demo"), home=tmp_path, timeout_s=DEMO_WITHIN_S)
    assert answer.returncode == 0, answer.stdout[-2000:] + answer.stderr[-2000:]
    assert "The market is random noise" in answer.stdout and "These backtests are in sample" in answer.stdout
    counts = json.loads(answer.stdout.splitlines()[-1])
    assert list(counts) == ["scanned", "candles", "backtests", "selections", "signals", "orders", "closed", "seconds"]
    assert counts["backtests"] == counts["scanned"] * 8 * 6
    assert counts["orders"] >= 1 and counts["closed"] >= 1 and counts["selections"] >= 6
