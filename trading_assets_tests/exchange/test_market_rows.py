"""Bybit's own examples of contracts, prices, candles and funding."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from trading_assets.core.errors import UnreadableAnswerError
from trading_assets.core.models import ContractKind, ContractStatus
from trading_assets.core.timeframes import Timeframe
from trading_assets.exchange import market_rows
from trading_assets_tests.exchange import venue_rows
from trading_assets_tests.exchange.venue_rows import example, with_blanks


def test_an_instrument() -> None:
    found = market_rows.instrument(example("market_instrument")["list"][0])
    assert found.symbol == "BTCUSDT"
    assert (found.kind, found.status, found.settle_coin) == (ContractKind.PERPETUAL, ContractStatus.TRADING, "USDT")
    assert found.is_coin
    assert found.tick_size == Decimal("0.10")
    assert found.qty_step == Decimal("0.001")
    assert found.min_notional == 5
    assert found.listed_ms == 1_585_526_400_000
    assert found.funding_interval_min == 480


def test_tickers() -> None:
    for name in ("market_tickers", "market_tickers_2", "market_tickers_3"):
        for row in example(name)["list"]:
            if "markPrice" not in row:
                continue  # of the spot market
            assert market_rows.ticker(row).symbol == row["symbol"]
            with pytest.raises(UnreadableAnswerError, match="lastPrice"):
                market_rows.ticker(with_blanks(row))
    blank = market_rows.ticker(venue_rows.ticker(fundingRate="", bid1Price="", ask1Price="2"))
    assert blank.funding_rate is None
    assert blank.spread_pct == 100


def test_an_order_book() -> None:
    found = market_rows.order_book(example("market_orderbook"))
    assert found.bids[0][0] < found.asks[0][0]
    assert found.time_ms > 1_600_000_000_000


def test_candles() -> None:
    result = example("market_kline")
    found = market_rows.candles(Timeframe.M60, result["list"])
    assert found.start_ms.tolist() == sorted(int(row[0]) for row in result["list"])
    newest = result["list"][0]
    assert [found.open[-1], found.high[-1], found.low[-1], found.close[-1]] == [float(x) for x in newest[1:5]]
    assert len(market_rows.candles(Timeframe.M60, [])) == 0


def test_funding() -> None:
    result = example("market_history-fund-rate")
    found = market_rows.funding(result["list"])
    assert found.time_ms.tolist() == sorted(int(row["fundingRateTimestamp"]) for row in result["list"])
    assert len(market_rows.funding([])) == 0


@pytest.mark.parametrize(
    ("key", "word", "changed"),
    [
        ("contractType", "LinearFutures", {"kind": ContractKind.DATED}),
        ("contractType", "InversePerpetual", {"kind": ContractKind.INVERSE}),
        ("contractType", "SomethingNew", {"kind": ContractKind.OTHER}),
        ("status", "PreLaunch", {"status": ContractStatus.PRE_LAUNCH}),
        ("status", "Delivering", {"status": ContractStatus.SETTLING}),
        ("status", "Closed", {"status": ContractStatus.CLOSED}),
        ("status", "SomethingNew", {"status": ContractStatus.OTHER}),
        ("symbolType", "innovation", {}),
        ("symbolType", "stock", {"is_coin": False}),
        ("symbolType", "forex", {"is_coin": False}),
        ("symbolType", "commodity", {"is_coin": False}),
    ],
)
def test_the_words_of_a_contract(key: str, word: str, changed: dict[str, object]) -> None:
    row = example("market_instrument")["list"][0]
    assert market_rows.instrument({**row, key: word}) == replace(market_rows.instrument(row), **changed)  # type: ignore[arg-type]
