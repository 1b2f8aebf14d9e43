"""What the seeded market of 600 symbols may cost, in CPU time of this process."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from trading_assets.bench import market
from trading_assets.cli.main import cli


def test_the_figures_are_printed_and_within_what_the_exchange_promises(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(market, "REPLAY_DAYS", 120)
    monkeypatch.setattr(market, "REPLAY_SYMBOLS", 2)
    result = CliRunner().invoke(cli, ["bench", "market", "--json"])
    assert result.exit_code == 0, result.output
    figures = json.loads(result.output)
    assert figures["contracts"] == 611
    assert figures["replay_candles"] == 2 * 120 * 288
    assert figures["tickers_ms"] < 150
    assert figures["candles_5760_ms"] <= figures["candles_5760_cold_ms"] < 20
    assert all(value > 0 for value in figures.values())


def test_figures_are_a_table_for_people(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(market, "run", lambda: {"tickers_ms": 76.5})
    result = CliRunner().invoke(cli, ["bench", "market"])
    assert result.exit_code == 0
    assert "tickers_ms" in result.output and "76.5" in result.output
