"""What the candle store costs beside files alone: the command measures, and promises nothing here."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from trading_assets.bench import candle_store
from trading_assets.cli.main import cli
from trading_assets.core.candles import Candles
from trading_assets.market.store import CandleStore

WORDS = ["bench", "store", "--symbols", "1", "--chunks", "2", "--repeat", "1"]


def test_every_figure_is_measured_and_the_ratio_is_that_of_the_two() -> None:
    result = CliRunner().invoke(cli, [*WORDS, "--json"])
    assert result.exit_code == 0, result.output
    figures = json.loads(result.output)
    assert list(figures) == ["write", "append_hour", "read", "read_again"]
    for row in figures.values():
        for kind in ("cpu", "wall"):
            store, files = row[f"store_{kind}_ms"], row[f"files_{kind}_ms"]
            assert store > 0 and files > 0
            assert row[f"{kind}_ratio"] == pytest.approx(store / files, rel=0.2, abs=0.01)  # of rounded figures


def test_a_store_that_loses_candles_has_no_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    read = CandleStore.read

    def all_but_the_last(store: CandleStore, symbol: str, *span: int) -> Candles:
        *rest, end_ms = span
        return read(store, symbol, *rest, end_ms - 60_000)  # type: ignore[arg-type]

    monkeypatch.setattr(CandleStore, "read", all_but_the_last)
    with pytest.raises(AssertionError, match="candles of S0USDT are missing in the store"):
        candle_store.measure(1, 1, 1)


def test_figures_are_a_table_for_people() -> None:
    result = CliRunner().invoke(cli, WORDS)
    assert result.exit_code == 0 and "append hour" in result.output and "cpu ratio" in result.output
