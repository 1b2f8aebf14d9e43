"""The scan: who is eligible, who is dropped for which reason, and in which order the rest comes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from trading_assets.core.candles import Candles
from trading_assets.core.models import ContractKind, ContractStatus, Instrument
from trading_assets.core.schemas import MARKET_SCAN
from trading_assets.core.settings import Settings, load_settings
from trading_assets.core.timeframes import DAY_MS, HOUR_MS, Timeframe
from trading_assets.market import universe
from trading_assets.trading.decide.sizing import Unsizable, size_position
from trading_assets_tests.fakes import an_instrument
from trading_assets_tests.market.sources import T0

HOUR = T0
AS_OF = T0 + HOUR_MS


def day_of(
    price: float = 100.0, *, range_pct: float = 5.0, turnover: float = 2e6, change_pct: float = 0.0, hours: int = 24
) -> Candles:
    """The candles before the as-of whose figures are exactly these."""
    close = np.full(hours, price)
    open_ = close.copy()
    open_[:1] = price / (1 + change_pct / 100)
    low, high = np.full(hours, price), np.full(hours, price)
    high[hours // 2 : hours // 2 + 1] = price * (1 + range_pct / 100)
    high, low = np.maximum(high, open_), np.minimum(low, open_)
    start = AS_OF - np.arange(hours, 0, -1) * HOUR_MS
    share = np.full(hours, turnover / 24)
    return Candles(Timeframe.M60, start.astype(np.int64), open_, high, low, close, share / price, share)


@dataclass(frozen=True)
class Scanned:
    """The scan of one hour, its rows as a frame."""

    rows: pd.DataFrame
    dropped: universe.Dropped


def scanned(instruments: list[Instrument], hourly: dict[str, Candles], settings: Settings) -> Scanned:
    (result,) = universe.scan([HOUR], hourly, instruments, settings, now_ms=AS_OF)
    rows = pd.DataFrame(result.rows, columns=MARKET_SCAN.columns)
    return Scanned(MARKET_SCAN.conform(rows), result.dropped)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, None),
        ({"listed_ms": AS_OF - DAY_MS}, None),
        ({"kind": ContractKind.DATED}, "not a perpetual"),
        ({"settle_coin": "USDC", "quote_coin": "USDC"}, "not settled in USDT"),
        ({"quote_coin": "USDC"}, "not settled in USDT"),
        ({"settle_coin": "USDC"}, "not settled in USDT"),
        ({"status": ContractStatus.PRE_LAUNCH}, "not trading"),
        ({"status": ContractStatus.CLOSED}, "not trading"),
        ({"status": ContractStatus.SETTLING}, "not trading"),
        ({"base_coin": "USDC"}, "stablecoin"),
        ({"base_coin": "FDUSD"}, "stablecoin"),
        ({"base_coin": "USDE"}, "stablecoin"),
        ({"is_coin": False}, "not a coin"),
        ({"listed_ms": AS_OF - DAY_MS + 1}, "listed less than 24 h ago"),
        ({"listed_ms": AS_OF + DAY_MS}, "listed less than 24 h ago"),
    ],
)
def test_an_instrument_is_eligible_or_dropped_for_its_reason(changes: dict[str, object], reason: str | None) -> None:
    instrument = an_instrument("XUSDT", **changes)
    kept, dropped = universe.eligible([instrument], AS_OF, "USDT")
    assert kept == ([instrument] if reason is None else [])
    assert dropped == ({} if reason is None else {reason: ["XUSDT"]})


def test_every_instrument_is_kept_or_dropped_once_and_in_order_of_symbols() -> None:
    names = ["CUSDT", "AUSDT", "BUSDT"]
    listed = [an_instrument(name) for name in names] + [
        an_instrument(f"X{n}", status=ContractStatus.CLOSED) for n in names
    ]
    kept, dropped = universe.eligible(listed, AS_OF, "USDT")
    assert [i.symbol for i in kept] == sorted(names)
    assert dropped == {"not trading": ["XAUSDT", "XBUSDT", "XCUSDT"]}


def test_the_figures_of_a_coin() -> None:
    result = scanned([an_instrument("AUSDT")], {"AUSDT": day_of(change_pct=-5, range_pct=7)}, load_settings())
    row = result.rows.iloc[0]
    assert (row["symbol"], row["rank"], row["hour_ms"], row["timestamp_ms"]) == ("AUSDT", 1, HOUR, AS_OF)
    assert row["scan_id"] == "scan-20260101-010000"
    assert row["price"] == 100
    assert row["volume_24h"] == pytest.approx(2e6)
    assert row["volatility_24h"] == pytest.approx(7)
    assert row["price_change_24h"] == pytest.approx(-5)
    assert row["size_error_pct"] == pytest.approx(0)


@pytest.mark.parametrize(
    ("figures", "reason"),
    [
        ({"turnover": 1_000_000.0 * 0.999}, "24 h turnover up to 1,000,000 USD"),
        ({"turnover": 1_000_000.0 * 1.001}, None),
        ({"range_pct": 1.99}, "24 h range up to 2 %"),
        ({"range_pct": 2.01}, None),
        ({"hours": 23}, "incomplete history"),
        ({"hours": 0}, "incomplete history"),
        ({"turnover": 1.0, "range_pct": 0.1}, "24 h turnover up to 1,000,000 USD"),
    ],
)
def test_a_coin_is_kept_or_dropped_for_the_first_reason_that_holds(
    figures: dict[str, float], reason: str | None
) -> None:
    result = scanned([an_instrument("AUSDT")], {"AUSDT": day_of(**figures)}, load_settings())  # type: ignore[arg-type]
    assert result.dropped == ({} if reason is None else {reason: ["AUSDT"]})
    assert len(result.rows) == (reason is None)


def test_exactly_the_limit_is_too_little() -> None:
    settings = load_settings(min_volume_24h=24_000.0, min_volatility=25.0)
    at_volume = day_of(64.0, turnover=24_000.0, range_pct=50)
    at_range = day_of(64.0, turnover=240_000.0, range_pct=25)
    result = scanned(
        [an_instrument("AUSDT"), an_instrument("BUSDT")], {"AUSDT": at_volume, "BUSDT": at_range}, settings
    )
    assert result.rows.empty
    assert result.dropped == {"24 h turnover up to 24,000 USD": ["AUSDT"], "24 h range up to 25 %": ["BUSDT"]}


@pytest.mark.parametrize(
    ("changes", "price", "reason"),
    [
        ({"qty_step": Decimal("0.001")}, 100.0, None),
        ({"qty_step": Decimal(1), "min_qty": Decimal(1)}, 100.0, None),
        ({"qty_step": Decimal(1), "min_qty": Decimal(1)}, 51.0, "lots"),
        ({"qty_step": Decimal(1), "min_qty": Decimal(1)}, 101.0, "lots"),
        ({"min_qty": Decimal(2), "qty_step": Decimal(1)}, 100.0, "lots"),
        ({"min_notional": Decimal(101)}, 100.0, "lots"),
        ({"min_notional": Decimal(100)}, 100.0, None),
        ({"qty_step": Decimal(1000), "min_qty": Decimal(1000)}, 0.01, None),
    ],
)
def test_a_coin_whose_lots_distort_the_position_is_dropped(
    changes: dict[str, object], price: float, reason: str | None
) -> None:
    result = scanned([an_instrument("AUSDT", **changes)], {"AUSDT": day_of(price)}, load_settings())
    expected = {} if reason is None else {"position size cannot be expressed in lots": ["AUSDT"]}
    assert result.dropped == expected


@pytest.mark.slow
@given(lots=st.integers(1, 50), price=st.decimals("0.5", "5000", places=2), size=st.sampled_from([50, 100, 1000]))
def test_above_the_highest_price_a_position_has_no_quantity_and_up_to_it_it_has(
    lots: int, price: Decimal, size: int
) -> None:
    lot = Decimal("0.1")
    instrument = an_instrument("AUSDT", min_qty=lots * lot, qty_step=lot, max_market_qty=10**9, min_notional=0)
    settings = load_settings(position_size=size)
    (row,) = scanned([instrument], {"AUSDT": day_of(0.01)}, settings).rows.to_dict("records")
    with_max_prices = not isinstance(size_position(instrument, price, settings), Unsizable)
    assert with_max_prices == (float(price) <= row["max_price"])


def test_with_the_margin_behind_it_a_position_is_larger_by_the_leverage() -> None:
    coin = [an_instrument("AUSDT", qty_step=Decimal(1), min_qty=Decimal(1))]
    hourly = {"AUSDT": day_of(500.0)}
    assert scanned(coin, hourly, load_settings()).rows.empty
    assert len(scanned(coin, hourly, load_settings(sizing="margin", leverage=10)).rows) == 1


def test_the_most_volatile_come_first_ties_by_symbol_and_the_rest_is_told() -> None:
    ranges = {"DUSDT": 5.0, "AUSDT": 3.0, "ZUSDT": 9.0, "CUSDT": 5.0, "EUSDT": 4.0}
    hourly = {symbol: day_of(range_pct=value) for symbol, value in ranges.items()}
    result = scanned([an_instrument(s) for s in ranges], hourly, load_settings(max_symbols=3))
    assert dict(zip(result.rows["rank"], result.rows["symbol"], strict=True)) == {1: "ZUSDT", 2: "CUSDT", 3: "DUSDT"}
    assert result.dropped == {"beyond the 3 most volatile": ["EUSDT", "AUSDT"]}


@examples(max_examples=20)
@given(
    st.lists(st.tuples(st.floats(0.1, 30), st.floats(1e5, 1e8), st.integers(22, 24)), max_size=12),
    st.integers(1, 12),
)
def test_every_coin_is_a_row_or_dropped_once_and_ranks_follow_the_range(
    coins: list[tuple[float, float, int]], most: int
) -> None:
    hourly = {f"C{i:02d}USDT": day_of(range_pct=r, turnover=t, hours=h) for i, (r, t, h) in enumerate(coins)}
    result = scanned([an_instrument(s) for s in hourly], hourly, load_settings(max_symbols=most))
    told = [symbol for symbols in result.dropped.values() for symbol in symbols]
    assert sorted([*told, *result.rows["symbol"]]) == sorted(hourly)
    assert len(result.rows) <= most
    ranked = result.rows.sort_values("rank")
    assert ranked["rank"].tolist() == list(range(1, len(ranked) + 1))
    volatility = ranked["volatility_24h"].tolist()
    assert volatility == sorted(volatility, reverse=True)


def test_one_coin_does_not_change_the_figures_of_another() -> None:
    alone = scanned([an_instrument("AUSDT")], {"AUSDT": day_of()}, load_settings())
    hourly = {"AUSDT": day_of(), "BUSDT": day_of(3.0, range_pct=40)}
    both = scanned([replace(an_instrument(s)) for s in hourly], hourly, load_settings())
    columns = [c for c in both.rows.columns if c != "rank"]
    left = both.rows[both.rows["symbol"] == "AUSDT"][columns].reset_index(drop=True)
    assert left.equals(alone.rows[columns])


def test_the_rules_of_an_hour_are_known_from_a_list_of_its_own_time_and_assumed_from_a_later_one() -> None:
    coin, hours = an_instrument("XUSDT", listed_ms=0), [HOUR - HOUR_MS, HOUR]
    hourly = {"XUSDT": day_of(hours=30)}

    def rules(now_ms: int) -> list[object]:
        results = universe.scan(hours, hourly, [coin], load_settings(), now_ms=now_ms)
        return [row["contract_rules"] for result in results for row in result.rows]

    assert rules(AS_OF) == rules(AS_OF + HOUR_MS - 1) == ["assumed", "known"]
    assert rules(AS_OF + HOUR_MS) == ["assumed", "assumed"]


def test_an_hour_scanned_again_has_the_same_row_while_the_rules_are_the_same() -> None:
    coin, hourly = an_instrument("XUSDT", listed_ms=0), {"XUSDT": day_of(hours=30)}

    def row(one: Instrument, now_ms: int, known: dict[tuple[int, str], str]) -> dict[str, object]:
        (result,) = universe.scan([HOUR], hourly, [one], load_settings(), now_ms=now_ms, known_rules=known)
        return result.rows[0]

    first = row(coin, AS_OF, {})
    known = {(HOUR, "XUSDT"): str(first["rules_digest"])}
    later = AS_OF + 30 * DAY_MS
    assert row(coin, later, known) == first and first["contract_rules"] == "known"
    assert row(replace(coin, tick_size=Decimal(f"{coin.tick_size}0")), later, known) == first, "the same number"
    for changed in ({"tick_size": coin.tick_size * 2}, {"max_leverage": coin.max_leverage + 1}):
        assert row(replace(coin, **changed), later, known)["contract_rules"] == "assumed"  # type: ignore[arg-type]
    assert row(coin, later, {})["contract_rules"] == "assumed", "an older version kept no digest"
    assert row(coin, later, {(HOUR - HOUR_MS, "XUSDT"): known[HOUR, "XUSDT"]})["contract_rules"] == "assumed"
