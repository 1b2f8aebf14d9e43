"""Trades of a report on their candles: of very many the newest, so that a browser can open the page."""

from __future__ import annotations

import pytest

from trading_assets.reporting import page, trade_book
from trading_assets.reporting.figures import trades_frame
from trading_assets_tests.reporting.fixtures import forward_tested, market, selections


def test_of_very_many_trades_the_newest_are_drawn_and_links_lead_to_them(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = selections(24, "ETHUSDT", "SOLUSDT", timeframe="15m")
    trades = trades_frame(forward_tested(chosen).of(chosen))
    whole = trade_book.trade_book("All", trades, market()).html
    assert "the newest" not in whole and "All" in page._trades_table(trades, "charts.html")
    for module in (trade_book, page):
        monkeypatch.setattr(module, "MOST_TRADES", 5)
    some = trade_book.trade_book("Some", trades, market()).html
    assert f"{len(trades)}, the newest 5 are here" in some and len(some) < len(whole)
    table = page._trades_table(trades, "charts.html")
    assert "The newest 5 trades" in table
    assert all(f'#t{number}"' in table for number in range(1, 6)) and '#t6"' not in table and '#t0"' not in table
