"""`trading-assets exchange serve` as a process: what it prints, its account file, its limits and faults."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests
from click.testing import CliRunner

from trading_assets.cli.exchange import exchange
from trading_assets.core.errors import ConfigurationError
from trading_assets_tests.simulator.clients import answer, get, pybit_session, signed

COMMAND = [sys.executable, "-m", "trading_assets.cli.main", "exchange", "serve"]


@contextmanager
def serving(tmp_path: Path, *options: str, command: list[str] | None = None) -> Iterator[dict[str, str]]:
    """The lines that the process prints when it is ready, by their names; stopped with SIGTERM afterwards."""
    process = subprocess.Popen(
        [*(command or COMMAND), "--port", "0", "--symbols", "3", *options],
        stdout=subprocess.PIPE,
        stderr=(tmp_path / "stderr").open("w"),
        text=True,
        env={**os.environ, "TRADING_ASSETS_HOME": str(tmp_path / "state")},
    )
    assert process.stdout is not None
    try:
        lines = [process.stdout.readline() for _ in range(7)]
        yield dict(re.split(r":\s+", line.strip(), maxsplit=1) for line in lines)
        process.send_signal(signal.SIGTERM)
        rest = process.communicate(timeout=120)[0]
        assert (process.returncode, rest) == (0, "embedded exchange: stopped\n"), (tmp_path / "stderr").read_text()
    finally:
        process.kill()
        process.wait()


def refused(*options: str) -> str:
    """What is said about options that cannot be."""
    result = CliRunner().invoke(exchange, ["serve", "--port", "0", *options])
    assert result.exit_code != 0
    return str(result.exception) if isinstance(result.exception, ConfigurationError) else result.output


@pytest.mark.slow
def test_it_prints_what_a_client_needs_and_keeps_the_account_in_the_file(tmp_path: Path) -> None:
    account = tmp_path / "here" / "mine.sqlite"
    rules = tmp_path / "faults.yaml"
    rules.write_text("- {where: GET /v5/account/info, ret_code: 10016}\n")
    options = ("--account", str(account), "--faults", str(rules), "--start", "2026-03-02", "--speed", "60")
    with serving(tmp_path, *options) as printed:
        url = printed["embedded exchange"].split()[0]
        assert printed["embedded exchange"] == f"{url} (clock accelerated)"
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+", url)
        stream = url.replace("http", "ws")
        assert printed["public stream"] == f"{stream}/v5/public/linear"
        assert printed["private stream"] == f"{stream}/v5/private"
        assert printed["trade stream"] == f"{stream}/v5/trade"
        assert printed["health"] == f"{url}/admin/health" and get(url, "/admin/health").status_code == 200
        assert printed["key and secret"] == "simulator-key simulator-secret"
        assert printed["request limits"] == "as Bybit has them"
        placed = pybit_session(url).place_order(
            category="linear", symbol="BTCUSDT", side="Buy", orderType="Market", qty="0.01"
        )
        assert answer(signed(url, "GET", "/v5/account/info"))["retCode"] == 10016
        assert signed(url, "GET", "/v5/account/wallet-balance").headers["X-Bapi-Limit"] == "50"
        assert "another embedded exchange serves" in refused("--account", str(account))
    assert "fault f1 on GET /v5/account/info" in (tmp_path / "stderr").read_text()
    assert account.is_file() and not (tmp_path / "state" / "exchange").exists()

    module = [sys.executable, "-m", "trading_assets.simulator"]
    with serving(tmp_path, "--account", str(account), command=module) as printed:
        url = printed["embedded exchange"].split()[0]
        assert printed["request limits"] == "off"
        (row,) = pybit_session(url).get_open_orders(
            category="linear", symbol="BTCUSDT", orderId=placed["result"]["orderId"]
        )["result"]["list"]
        assert row["orderStatus"] == "Filled"


@pytest.mark.slow
def test_a_chosen_secret_is_used_but_not_printed(tmp_path: Path) -> None:
    options = ("--home", str(tmp_path / "home"), "--api-key", "mine", "--api-secret", "hush-hush", "--no-limits")
    with serving(tmp_path, *options) as printed:
        url = printed["embedded exchange"].split()[0]
        assert printed["key and secret"] == "mine (as given)" and printed["request limits"] == "off"
        assert answer(signed(url, "GET", "/v5/account/info", key="mine", secret="hush-hush"))["retCode"] == 0
        assert answer(signed(url, "GET", "/v5/account/info"))["retCode"] == 10003
        assert json.loads((tmp_path / "home" / "server.json").read_text())["url"] == url
    assert not (tmp_path / "home" / "server.json").exists()
    with pytest.raises(requests.ConnectionError):
        get(url, "/admin/health")


def test_bad_options_are_one_clear_message(tmp_path: Path) -> None:
    (tmp_path / "faults.json").write_text('[{"where": "GET /v5/market/tim", "html": true}]')
    assert "no endpoint of this exchange" in refused("--faults", str(tmp_path / "faults.json"))
    assert "exclude each other" in refused("--home", str(tmp_path), "--account", str(tmp_path / "x"))
    assert "absent.yaml" in refused("--faults", str(tmp_path / "absent.yaml"))
