"""The mirror as a part of `trading-assets serve`, and its commands."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from trading_assets.cli.main import cli
from trading_assets.core.settings import load_settings
from trading_assets.core.timeframes import local_ms
from trading_assets.ledger import mirror
from trading_assets.ledger.database import Database
from trading_assets_tests.mirror.aws import DynamoFront, front_of, moto_server, set_credentials
from trading_assets_tests.mirror.rows import signal
from trading_assets_tests.polling import until
from trading_assets_tests.service.test_serve import serving


@pytest.fixture
def front(monkeypatch: pytest.MonkeyPatch) -> Iterator[DynamoFront]:
    set_credentials(monkeypatch)
    with moto_server() as url, front_of(url) as found:
        monkeypatch.setenv("TRADING_ASSETS_DYNAMODB_MIRROR", "true")
        monkeypatch.setenv("TRADING_ASSETS_DYNAMODB_ENDPOINT", found.url)
        monkeypatch.setenv("TRADING_ASSETS_DYNAMODB_PREFIX", "mine-")
        yield found


def run(command: str) -> Result:
    return CliRunner().invoke(cli, ["mirror", *command.split()])


def a_signal(database: Database, symbol: str) -> str:
    now = local_ms()
    times = {"signal_timestamp_ms": now - 60_000, "ttl_ms": now + 240_000, "created_at_ms": now}
    return signal(database, symbol, **times)


@pytest.mark.slow
def test_serve_sends_and_a_second_process_goes_on_when_the_first_is_killed(front: DynamoFront, tmp_path: Path) -> None:
    assert "mine-trading-positions: created" in run("create").output
    assert "off" in run("status").output and run("resync").exit_code == 2
    database = Database(load_settings().resolved_database_url)
    a_signal(database, "AAAUSDT")
    one, two = tmp_path / "one.txt", tmp_path / "two.txt"
    with serving(one) as first:
        until(lambda: "PutItem" in front.calls)
        with serving(two):
            until(lambda: "another process does it" in two.read_text())
            first.kill()
            first.wait()
            a_signal(database, "BBBUSDT")
            until(lambda: front.calls["PutItem"] == 2 and not mirror.oldest(database, 1))
            state = mirror.state(database)
    assert state is not None and state.sent == 2 and state.error is None
    verified = run("verify")
    assert verified.exit_code == 0 and "no difference" in verified.output, verified.output
    a_signal(database, "CCCUSDT")
    status = run("status").output
    assert "changes that wait: 1" in status and "active, 2 items" in status
    verified = run("verify")
    assert verified.exit_code == 1 and "CCCUSDT" in verified.output and "1 changes were not sent yet" in verified.output
    assert "3 changes wait" in run("resync").output
    assert "off" in run("off").output and mirror.state(database) is None
    database.close()


def test_a_service_that_does_not_answer_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    set_credentials(monkeypatch)
    monkeypatch.setenv("TRADING_ASSETS_DYNAMODB_ENDPOINT", "http://127.0.0.1:9")
    result = run("create")
    assert result.exit_code == 1 and "DynamoDB does not answer" in str(result.exception)
