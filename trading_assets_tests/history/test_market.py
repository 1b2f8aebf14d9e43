"""The library as a market: lives of contracts, candles of every timeframe, and research on it that nobody trades."""

from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from trading_assets.core.candles import Candles
from trading_assets.core.errors import ConfigurationError, DataError, WrongBooksError
from trading_assets.core.models import Announcement, ContractKind, ContractStatus
from trading_assets.core.ports import PastMarket
from trading_assets.core.schemas import RULES_ASSUMED, RULES_KNOWN
from trading_assets.core.settings import Settings, Venue, load_settings
from trading_assets.core.timeframes import DAY_MS, HOUR_MS, MINUTE_MS, Timeframe
from trading_assets.history.importing import Options, import_files
from trading_assets.history.library import FOLDER, Library
from trading_assets.history.market import HistoryMarket
from trading_assets.ledger.database import Database
from trading_assets.market import contract_lists
from trading_assets.market.loading import resample
from trading_assets.market.quality import QualityLimits
from trading_assets.market.stages import fill_candles, scan_hours
from trading_assets.market.store import CandleStore
from trading_assets.reporting.load import FillingReader, endings
from trading_assets.reporting.trades import SelectedStrategy
from trading_assets.reporting.walk_forward import walk_forward
from trading_assets.trading.binding import require_market
from trading_assets.venues import open_candle_stream, open_exchange, open_market_data
from trading_assets_tests.fakes import an_instrument
from trading_assets_tests.history import made
from trading_assets_tests.history.made import DAY, WALL
from trading_assets_tests.reporting.fixtures import UNLIMITED

DAYS = 6
ENDED = DAY + 3 * DAY_MS + 5 * HOUR_MS + 20 * MINUTE_MS


def research_settings(**changes: object) -> Settings:
    return load_settings(min_volume_24h=1.0, min_volatility=0.0, max_size_error_pct=100.0, **changes)


def library_of(folder: Path) -> Library:
    """BTC for six days, and LUNA that is not traded after three of them; 5m candles of SOL."""
    library = Library(folder / FOLDER)
    count = DAYS * 1440
    made.binance_klines(folder, made.candles(count))
    luna = made.candles((ENDED - DAY) // MINUTE_MS, seed=3)
    made.binance_klines(folder, luna, name="LUNAUSDT-1m-2024-03.zip")
    made.plain(
        folder / "SOLUSDT-5m.csv", made.lines(made.rows_of(made.candles(count // 5, timeframe=Timeframe.M5, seed=4)))
    )
    import_files(library, [folder], Options(), wall_ms=lambda: WALL)
    return library


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Library:
    return library_of(tmp_path_factory.mktemp("library"))


@pytest.mark.slow
def test_a_coin_that_is_not_traded_any_more_has_ended_and_was_listed_before(library: Library) -> None:
    market = HistoryMarket(library)
    assert isinstance(market, PastMarket)
    by_symbol = {one.symbol: one for one in market.instruments()}
    luna, btc = by_symbol["LUNAUSDT"], by_symbol["BTCUSDT"]
    assert (luna.status, luna.delivery_ms, luna.listed_ms) == (ContractStatus.CLOSED, ENDED, DAY)
    assert (btc.status, btc.delivery_ms) == (ContractStatus.TRADING, None)
    assert {one.symbol for one in market.instruments_at(ENDED - 1)} == {"BTCUSDT", "LUNAUSDT", "SOLUSDT"}
    assert {one.symbol for one in market.instruments_at(ENDED)} == {"BTCUSDT", "SOLUSDT"}
    assert market.instruments_at(DAY - 1) == []
    assert btc.tick_size == Decimal("0.5")
    assert market.now_ms() == DAY + DAYS * DAY_MS + 2 * MINUTE_MS


def test_a_list_of_contracts_knows_better_when_a_coin_ended_and_its_rules_are_known_for_a_day(
    tmp_path: Path, sqlite: Database
) -> None:
    library = library_of(tmp_path)
    delivered, listed_at = ENDED - HOUR_MS, DAY + 2 * DAY_MS
    text = f"symbol,status,tick_size,qty_step,delivery_ms,delivery_price\nLUNAUSDT,Closed,0.25,1,{delivered},0.5\n"
    path = made.plain(tmp_path / "contracts.csv", text.encode())
    import_files(library, [path], Options(listed_at_ms=listed_at), wall_ms=lambda: WALL)
    market = HistoryMarket(library)
    (luna,) = [one for one in market.instruments() if one.symbol == "LUNAUSDT"]
    assert (luna.tick_size, luna.qty_step, luna.delivery_ms) == (Decimal("0.25"), Decimal(1), delivered)
    assert endings(market, sqlite, "history")["LUNAUSDT"] == (delivered, 0.5)
    known = [market.rules_known("LUNAUSDT", listed_at + offset) for offset in (-1, 0, DAY_MS, DAY_MS + 1)]
    assert known == [False, True, True, False]


@pytest.mark.parametrize("timeframe", [Timeframe.M1, Timeframe.M15, Timeframe.M60, Timeframe.M240])
def test_candles_of_longer_timeframes_are_made_of_shorter_ones(library: Library, timeframe: Timeframe) -> None:
    market = HistoryMarket(library)
    minutes = library.read("BTCUSDT", Timeframe.M1, DAY, DAY + DAYS * DAY_MS)
    expected = minutes if timeframe is Timeframe.M1 else resample(minutes, timeframe, DAY + DAYS * DAY_MS)
    found = market.candles("BTCUSDT", timeframe, DAY, DAY + DAYS * DAY_MS)
    for name in ("start_ms", *made.NAMES):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    part = market.candles("BTCUSDT", timeframe, DAY + 5 * HOUR_MS + 1, DAY + 20 * HOUR_MS)
    assert part.start_ms.tolist() == [
        s for s in expected.start_ms.tolist() if DAY + 5 * HOUR_MS < s < DAY + 20 * HOUR_MS
    ]
    assert len(market.candles("SOLUSDT", Timeframe.M1, DAY, DAY + DAY_MS)) == 0


def test_imported_candles_of_a_timeframe_go_before_made_ones_and_these_fill_its_gaps(tmp_path: Path) -> None:
    library = library_of(tmp_path)
    hours = made.candles(48, timeframe=Timeframe.M60, seed=9).select(np.r_[0:10, 20:48])
    path = made.plain(tmp_path / "BTCUSDT-1h.csv", made.lines(made.rows_of(hours)))
    import_files(library, [path], Options(), wall_ms=lambda: WALL)
    found = HistoryMarket(library).candles("BTCUSDT", Timeframe.M60, DAY, DAY + 3 * DAY_MS)
    minutes = resample(library.read("BTCUSDT", Timeframe.M1, DAY, DAY + 3 * DAY_MS), Timeframe.M60, DAY + 3 * DAY_MS)
    assert found.close[:10].tolist() == hours.close[:10].tolist()
    assert found.close[10:20].tolist() == minutes.close[10:20].tolist()
    assert found.close[48:].tolist() == minutes.close[48:].tolist()
    assert len(found) == 72


def test_a_delisted_coin_is_in_the_hours_before_its_end_and_in_none_after(library: Library, tmp_path: Path) -> None:
    market, store = HistoryMarket(library), CandleStore(tmp_path)
    hours = [DAY + 2 * DAY_MS + hour * HOUR_MS for hour in range(48)]
    scans = scan_hours(market, store, hours, research_settings())
    of_luna = scans.rows[scans.rows["symbol"] == "LUNAUSDT"]["hour_ms"].tolist()
    assert of_luna == [hour for hour in hours if hour + HOUR_MS < ENDED]
    assert set(scans.rows["contract_rules"]) == {RULES_ASSUMED}
    last = hours[-1]
    assert "LUNAUSDT" in scans.dropped[last]["not trading"]
    coverage = fill_candles(
        market, store, Timeframe.M15, {max(of_luna): ["LUNAUSDT"]}, [], QualityLimits.from_settings(research_settings())
    )
    assert coverage.set_index("symbol")["fault"].isna().all()


@pytest.mark.parametrize("told", ["by a column", "by an earlier list"])
def test_a_coin_whose_end_was_announced_is_scanned_until_then(told: str, tmp_path: Path) -> None:
    library = library_of(tmp_path)
    announced = ENDED - 20 * HOUR_MS
    listed_at = DAY + DAYS * DAY_MS if told == "by a column" else announced
    column = f",announced_ms\nLUNAUSDT,Closed,{ENDED},{announced}\n" if told == "by a column" else ""
    text = f"symbol,status,delivery_ms{column or chr(10) + f'LUNAUSDT,Trading,{ENDED}' + chr(10)}"
    path = made.plain(tmp_path / "contracts.csv", text.encode())
    import_files(library, [path], Options(listed_at_ms=listed_at), wall_ms=lambda: WALL)
    market = HistoryMarket(library)
    assert market.announcements() == [Announcement("LUNAUSDT", ENDED, announced)]
    hours = [DAY + 2 * DAY_MS + hour * HOUR_MS for hour in range(40)]
    scans = scan_hours(market, CandleStore(tmp_path / "store"), hours, research_settings())
    of_luna = scans.rows[scans.rows["symbol"] == "LUNAUSDT"]["hour_ms"].tolist()
    assert of_luna == [hour for hour in hours if hour + HOUR_MS < announced] and len(of_luna) > 5


def test_a_list_that_was_made_after_the_end_announces_nothing(tmp_path: Path) -> None:
    library = library_of(tmp_path)
    path = made.plain(tmp_path / "contracts.csv", f"symbol,status,delivery_ms\nLUNAUSDT,Closed,{ENDED}\n".encode())
    import_files(library, [path], Options(listed_at_ms=ENDED + DAY_MS), wall_ms=lambda: WALL)
    assert HistoryMarket(library).announcements() == []


@pytest.mark.slow
def test_only_hours_near_a_list_have_known_rules(tmp_path: Path) -> None:
    library = library_of(tmp_path)
    path = made.plain(tmp_path / "contracts.csv", b"symbol,tick_size,qty_step\nBTCUSDT,0.5,0.125\n")
    import_files(library, [path], Options(listed_at_ms=DAY + 2 * DAY_MS), wall_ms=lambda: WALL)
    hours = [DAY + DAY_MS + hour * HOUR_MS for hour in (0, 30, 60, 100)]
    scans = scan_hours(HistoryMarket(library), CandleStore(tmp_path / "store"), hours, research_settings())
    of_btc = scans.rows[scans.rows["symbol"] == "BTCUSDT"].set_index("hour_ms")["contract_rules"]
    assert [of_btc[hour] for hour in hours] == [RULES_ASSUMED, RULES_KNOWN, RULES_ASSUMED, RULES_ASSUMED]


@pytest.mark.slow
def test_an_import_is_seen_by_a_market_that_is_open(tmp_path: Path) -> None:
    library = library_of(tmp_path)
    market = HistoryMarket(library)
    before = market.now_ms()
    more = made.candles(1440, DAY + DAYS * DAY_MS)
    path = made.binance_klines(tmp_path, more, name="BTCUSDT-1m-2024-04.zip")
    import_files(library, [path], Options(), wall_ms=lambda: WALL)
    assert market.now_ms() == before + DAY_MS


def test_history_is_a_market_of_its_own_and_has_no_account(library: Library, tmp_path: Path, sqlite: Database) -> None:
    settings = research_settings(home=library.root.parent, venue=Venue.HISTORY)
    market = open_market_data(settings)
    assert market.market() == f"history {library.prepare()}"
    assert require_market(sqlite, market, tmp_path / "candles") == market.market()
    (tmp_path / "other").mkdir()
    other = HistoryMarket(library_of(tmp_path / "other"))
    with pytest.raises(WrongBooksError, match="selections of one are never traded on the other"):
        require_market(sqlite, other)
    with pytest.raises(ConfigurationError, match="never traded"):
        open_exchange(settings)
    with pytest.raises(ConfigurationError, match="never traded"):
        open_candle_stream(settings, [], lambda _: None)
    with pytest.raises(DataError, match="nothing is traded"):
        market.ticker("BTCUSDT")
    assert not settings.automation_on


def test_an_empty_library_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="history import"):
        HistoryMarket(Library(tmp_path)).now_ms()


def test_candles_of_no_such_coin_are_no_empty_answer(library: Library) -> None:
    with pytest.raises(DataError, match="no candles of DOGEUSDT"):
        HistoryMarket(library).candles("DOGEUSDT", Timeframe.M1, DAY, DAY + HOUR_MS)
    assert isinstance(HistoryMarket(library).candles("BTCUSDT", Timeframe.M1, DAY, DAY + HOUR_MS), Candles)


@pytest.mark.slow
def test_the_walk_forward_of_a_library_has_the_coin_before_its_end_and_closes_it_on_its_day(
    library: Library, tmp_path: Path, sqlite: Database
) -> None:
    market = HistoryMarket(library)
    reader = FillingReader(CandleStore(tmp_path), market)
    chosen = [
        SelectedStrategy(DAY + DAY_MS + hour * HOUR_MS, symbol, "5m", "bollinger_rsi", '{"stop_atr": 6.0}')
        for hour in range(90)
        for symbol in ("LUNAUSDT", "BTCUSDT")
    ]
    report = walk_forward(
        reader,
        chosen,
        [],
        research_settings(report_random_choices=0, **UNLIMITED),
        endings=endings(market, sqlite, "history"),
        prices=market.described(),
    )
    trades = report.main.trades
    of_luna = trades[trades["symbol"] == "LUNAUSDT"]
    assert (of_luna["reason"] == "delisted").sum() == 1 and len(of_luna) > 1
    last = of_luna[of_luna["reason"] == "delisted"].iloc[0]
    assert last["exit_price"] == float(library.read("LUNAUSDT", Timeframe.M1, 0, WALL).close[-1])
    assert (trades[trades["symbol"] == "BTCUSDT"]["exit_ms"] > ENDED).any()
    assert "2 of them ended" not in report.facts["prices"] and "1 of them ended" in report.facts["prices"]
    assert any("LUNAUSDT was delisted at 2024-03-04T05:20:00Z" in note for note in report.notes)


@pytest.mark.slow
def test_a_list_that_the_scan_keeps_once_a_day_makes_the_rules_of_its_day_known(tmp_path: Path) -> None:
    library, seen = library_of(tmp_path), DAY + 2 * DAY_MS
    told = [
        an_instrument("BTCUSDT", tick_size=Decimal("0.5"), delivery_ms=None),
        an_instrument("BTC-29MAR24", kind=ContractKind.DATED),
    ]
    folder = tmp_path / contract_lists.FOLDER
    path = contract_lists.keep(folder, told, seen + HOUR_MS)
    assert path is not None and path.name == "contracts-2024-03-03.csv"
    assert contract_lists.keep(folder, [], seen + 5 * HOUR_MS) is None
    import_files(library, [folder], Options(listed_at_ms=0), wall_ms=lambda: WALL)
    market = HistoryMarket(library)
    assert set(library.contracts()) == {"BTCUSDT"}
    row = library.contracts()["BTCUSDT"][0].row
    assert (row.tick_size, row.qty_step, row.max_leverage, row.trading) == (Decimal("0.5"), Decimal("0.001"), 50, True)
    known = [market.rules_known("BTCUSDT", seen + offset) for offset in (0, HOUR_MS, DAY_MS, 26 * HOUR_MS)]
    assert known == [False, True, True, False]


def test_a_candle_that_had_not_ended_when_the_files_do_is_not_there(tmp_path: Path) -> None:
    made.imported(tmp_path, made.binance_klines(tmp_path, made.candles(5 * 60 + 30)))
    market = HistoryMarket(Library(tmp_path / "library"))
    for timeframe, count in ((Timeframe.M240, 1), (Timeframe.M60, 5), (Timeframe.M30, 11)):
        assert len(market.candles("BTCUSDT", timeframe, DAY, DAY + DAY_MS)) == count
