"""The log of a process: one line of JSON for a record, whatever it holds, and no secret in it."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading_assets.core import logs, secret_text
from trading_assets.core.foreign_text import get_logger
from trading_assets.core.trace import trace_id_of
from trading_assets_tests.core.test_every_secret import VALUES, variable

Read = Callable[[], list[dict[str, Any]]]


class Odd:
    """An object that cannot be shown."""

    def __str__(self) -> str:
        raise ValueError("no text")

    __repr__ = __str__


class OddText(Odd):
    """One of which only the text cannot be had, so that a test that fails can name it."""

    __repr__ = object.__repr__


@contextmanager
def standard_error(to: int) -> Iterator[None]:
    """Standard error of the process goes there for the block."""
    kept = os.dup(2)
    os.dup2(to, 2)
    yield
    os.dup2(kept, 2)
    os.close(kept)


@pytest.fixture
def read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Read]:
    """Starts the log of this process as JSON, and reads what was written; every line must be an object."""
    monkeypatch.setattr(secret_text, "_known", set())
    monkeypatch.setattr(logs, "_of_process", {})
    monkeypatch.setenv(logs.FORMAT_VARIABLE, "json")
    monkeypatch.setenv(logs.LEVEL_VARIABLE, "INFO")
    for name, value in VALUES.items():
        monkeypatch.setenv(variable(name), value)
    file = tmp_path / "stderr"
    with file.open("w") as out, standard_error(out.fileno()):
        assert logs.start("test")
    yield lambda: [json.loads(line) for line in file.read_text().splitlines()]
    logs.stop()


def test_a_record_is_one_line_with_the_fields_of_its_order(read: Read) -> None:
    log = get_logger("trading_assets.somewhere")
    with logs.bound(account="main", symbol="BTCUSDT", price=1):
        log.info("first\nsecond %s", Decimal("1.50"), extra={"signal_id": "s1", "price": Decimal("1E+3")})
    log.debug("below the level")
    log.warning("after the block")
    first, after = read()
    assert first.pop("timestamp").endswith("Z") and len(str(after["timestamp"])) == len("2026-11-28T12:00:00.000Z")
    assert first == {
        "level": "INFO",
        "service": "test",
        "logger": "trading_assets.somewhere",
        "message": "first\\nsecond 1.50",
        "account": "main",
        "symbol": "BTCUSDT",
        "signal_id": "s1",
        "trace_id": trace_id_of("s1"),
        "price": "1000",
    }
    assert "symbol" not in after


def test_no_object_breaks_the_call_or_the_line(read: Read) -> None:
    log = get_logger("trading_assets.ours")
    log.warning("%s", Odd())
    log.warning("%d of %d", *["one"])
    log.warning(Odd())
    log.warning("odd fields", extra={"reason": Odd(), "price": float("nan"), "pnl": Decimal("NaN"), "qty": {Odd(): 1}})
    lines = read()
    assert len(lines) == 4 and lines[1]["message"] == "%d of %d ['str']"
    assert lines[0]["message"] == "%s ['Odd']" and lines[3]["price"] == "nan"
    assert lines[3]["reason"] == lines[3]["qty"].replace("dict", "Odd") == "<Odd that cannot be shown>"


@given(st.text(), st.one_of(st.text(), st.floats(), st.decimals(), st.binary(), st.integers(), st.builds(OddText)))
def test_any_text_and_value_is_one_line_of_json(message: str, value: object) -> None:
    record = logging.makeLogRecord({"msg": message, "levelname": "INFO", "name": "x", "reason": value})
    line = logs.JsonLines("test").format(record)
    # Texts are also drawn from the constants of the code: one may be a secret that an earlier test made known.
    assert line.isascii() and line.isprintable() and json.loads(line)["message"] == secret_text.hidden(message)


def test_an_exception_is_one_field_with_its_traceback(read: Read) -> None:
    try:
        raise ValueError("bad\nthing")
    except ValueError:
        get_logger("trading_assets.somewhere").exception("it failed")
    (line,) = read()
    assert line["message"] == "it failed"
    assert line["exception"].startswith("Traceback") and line["exception"].endswith("ValueError: bad\nthing")


def test_no_secret_of_the_settings_is_in_any_field(read: Read) -> None:
    log = logging.getLogger("a.library")
    assert VALUES
    for value in VALUES.values():
        for text in (value, *json.loads(value)) if value.startswith("[") else (value,):
            log.warning("calls %s", text)
            log.warning("fields", extra={"reason": text, "price": {text: text}})
            try:
                raise ValueError(text)
            except ValueError:
                log.exception("failed")
    lines = read()
    assert len(lines) >= 3 * len(VALUES)
    assert "hidden" not in json.dumps(lines) and "(secret)" in json.dumps(lines)


def test_the_keys_of_an_account_are_taken_out_once_they_are_opened(read: Read) -> None:
    from pydantic import SecretStr

    from trading_assets.exchange.keys import ApiKeys

    ApiKeys(SecretStr("key-out-of-the-ledger"), SecretStr("its-secret-text"))
    logging.getLogger("a.library").warning("X-BAPI-API-KEY: key-out-of-the-ledger, its-secret-text")
    assert read()[0]["message"] == "X-BAPI-API-KEY: (secret), (secret)"


def test_records_that_somebody_else_writes_are_not_written_twice(read: Read) -> None:
    server, handler = logging.getLogger("dagster-like"), logging.StreamHandler(open(os.devnull, "w"))  # noqa: SIM115, PTH123
    server.addHandler(handler)
    try:
        logging.getLogger("dagster-like.daemon").warning("written by its own handler")
    finally:
        server.removeHandler(handler)
        handler.stream.close()
    assert read() == []


def test_a_pipe_that_nobody_reads_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(logs.FORMAT_VARIABLE, "json")
    monkeypatch.setenv(logs.LEVEL_VARIABLE, "INFO")
    reading, writing = os.pipe()
    with standard_error(writing):
        assert logs.start("test")
    os.close(writing)
    os.close(reading)
    logging.getLogger("a.library").warning("into a closed pipe")
    logs.stop()


def run(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *command],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "service", "says"),
    [
        (("trading_assets.cli.main", "explain", "nothing"), "explain", "the ledger has no order"),
        pytest.param(("trading_assets.cli.main", "serve", "--with", "nothing"), None, "Usage", marks=pytest.mark.slow),
    ],
)
def test_a_command_that_fails_tells_it_as_a_line(command: tuple[str, ...], service: str | None, says: str) -> None:
    ended = run(*command, TRADING_ASSETS_LOG_FORMAT="json")
    assert ended.returncode == 2
    if service is None:  # a wrong option is told to who typed it
        assert says in ended.stderr
        return
    (line,) = map(json.loads, ended.stderr.splitlines())
    assert (line["level"], line["service"]) == ("ERROR", service) and says in line["message"]


@pytest.mark.slow
def test_without_the_settings_nothing_changes_and_a_level_alone_gives_plain_lines(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "from trading_assets.core import logs\nfrom trading_assets.core.foreign_text import get_logger\n"
        "print(logs.start('x'))\nlog = get_logger('trading_assets.x')\nlog.info('information')\n"
        "log.warning('a warning\\n%s', 'x', extra={'symbol': 'BTCUSDT'})\n"
    )

    def told(**environment: str) -> tuple[str, list[str]]:
        ended = subprocess.run(
            [sys.executable, script], env={**os.environ, **environment}, capture_output=True, text=True, check=True
        )
        return ended.stdout.strip(), ended.stderr.splitlines()

    assert told() == ("False", ["a warning\\nx"])
    started, (first, second) = told(TRADING_ASSETS_LOG_LEVEL="info")
    assert started == "True" and first.endswith("INFO trading_assets.x: information")
    assert second.endswith("Z WARNING trading_assets.x: a warning\\nx [symbol=BTCUSDT]")
