"""What the seeded market of 600 symbols costs: the command measures, and promises nothing here."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from trading_assets.bench import market
from trading_assets.cli.main import cli


@pytest.mark.slow
def test_every_figure_is_measured_and_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(market, "REPLAY_DAYS", 120)
    monkeypatch.setattr(market, "REPLAY_SYMBOLS", 2)
    result = CliRunner().invoke(cli, ["bench", "market", "--json"])
    assert result.exit_code == 0, result.output
    figures = json.loads(result.output)
    assert figures["contracts"] == 611
    assert figures["replay_candles"] == 2 * 120 * 288
    assert all(value > 0 for value in figures.values())


def test_figures_are_a_table_for_people(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(market, "run", lambda: {"tickers_ms": 76.5})
    result = CliRunner().invoke(cli, ["bench", "market"])
    assert result.exit_code == 0
    assert "tickers_ms" in result.output and "76.5" in result.output
