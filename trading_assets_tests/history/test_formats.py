"""Files of each archive's documented layout become the candles that they were made of."""

import json
import os
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from trading_assets.core.candles import Candles
from trading_assets.core.errors import ConfigurationError
from trading_assets.core.timeframes import HOUR_MS, Timeframe
from trading_assets.history.importing import IMPORTED, REFUSED, Options
from trading_assets.history.library import Library
from trading_assets.history.reading import ImportOptions
from trading_assets_tests.history import made
from trading_assets_tests.history.made import DAY, LAYOUTS, Layout


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda one: one.name)
def test_a_file_of_each_layout_becomes_the_candles_it_was_made_of(layout: Layout, tmp_path: Path) -> None:
    held = made.candles()
    summary = made.imported(tmp_path, layout.make(tmp_path, held))
    (outcome,) = summary.outcomes
    assert outcome.status == IMPORTED, outcome.reason
    found = Library(tmp_path / "library").read("BTCUSDT", Timeframe.M1, 0, made.WALL)
    assert found.start_ms.tolist() == held.start_ms.tolist()
    for name in made.NAMES:
        np.testing.assert_allclose(getattr(found, name), getattr(held, name), rtol=1e-12)
    assert ("turnover estimated" in outcome.checked[0].notes) is not layout.turnover


def test_trades_of_bybit_become_minutes_whatever_their_order_and_columns(tmp_path: Path) -> None:
    second = DAY / 1000
    trades = [
        (second + 59.9999, "BTCUSDT", 103.0, 1.0),
        (second + 0.0001, "BTCUSDT", 100.0, 2.0),
        (second + 30, "BTCUSDT", 99.0, 0.5),
        (second + 30, "BTCUSDT", 101.0, 0.5),
        (second + 180, "BTCUSDT", 104.0, 1.0),
    ]
    path = made.bybit_trades(tmp_path / "BTCUSDT2024-03-01.csv.gz", trades, rpi=True)
    (outcome,) = made.imported(tmp_path, path).outcomes
    found = Library(tmp_path / "library").read("BTCUSDT", Timeframe.M1, 0, made.WALL)
    assert found.start_ms.tolist() == [DAY, DAY + 60_000, DAY + 120_000, DAY + 180_000]
    first = [float(getattr(found, name)[0]) for name in made.NAMES]
    assert first == [100.0, 103.0, 99.0, 103.0, 4.0, 100 * 2 + 99 * 0.5 + 101 * 0.5 + 103]
    # Two minutes without a trade are flat at the last price, and said.
    assert found.close[1:3].tolist() == [103.0, 103.0] and found.volume[1:3].tolist() == [0.0, 0.0]
    assert outcome.checked[0].counts["minutes without a trade, flat"] == 2


def test_the_quiet_minutes_between_two_days_of_trades_are_filled_and_those_of_a_lost_day_are_not(
    tmp_path: Path,
) -> None:
    second = DAY / 1000
    files = [
        made.bybit_trades(
            tmp_path / f"BTCUSDT2024-03-0{day + 1}.csv.gz", [(second + 86_400 * day + at, "BTCUSDT", 100.0, 1.0)]
        )
        for day, at in ((0, 86_340), (1, 120), (4, 0))
    ]
    made.imported(tmp_path, *files)
    found = Library(tmp_path / "library").read("BTCUSDT", Timeframe.M1, 0, made.WALL)
    minutes = ((found.start_ms - DAY) // 60_000).tolist()
    assert minutes == [1439, 1440, 1441, 1442, 4 * 1440]


@pytest.mark.parametrize("heading", [True, False])
def test_aggregated_and_single_trades_of_binance_give_the_same_minute(heading: bool, tmp_path: Path) -> None:
    single = [[1, 100.0, 2.0, 200.0, DAY + 5, "true"], [2, 101.0, 1.0, 101.0, DAY + 9, "false"]]
    aggregate = [[7, 100.0, 2.0, 1, 1, DAY + 5, "true"], [8, 101.0, 1.0, 2, 2, DAY + 9, "false"]]
    names = (
        "id,price,qty,quote_qty,time,is_buyer_maker",
        "agg_trade_id,price,quantity,first_trade_id,last_trade_id,transact_time,is_buyer_maker",
    )
    made.zipped(tmp_path / "BTCUSDT-trades-2024-03.zip", made.lines(single, names[0] if heading else None))
    made.zipped(tmp_path / "ETHUSDT-aggTrades-2024-03.zip", made.lines(aggregate, names[1] if heading else None))
    made.imported(tmp_path, *tmp_path.glob("*.zip"))
    library = Library(tmp_path / "library")
    for symbol in ("BTCUSDT", "ETHUSDT"):
        found = library.read(symbol, Timeframe.M1, 0, made.WALL)
        assert [float(getattr(found, name)[0]) for name in made.NAMES] == [100.0, 101.0, 100.0, 101.0, 3.0, 301.0]


def test_funding_of_each_archive_is_read_and_late_stamps_are_whole_minutes(tmp_path: Path) -> None:
    times = [DAY, DAY + 8 * HOUR_MS]
    rows = [[time + 7, 8, rate] for time, rate in zip(times, (0.0001, -0.0002), strict=True)]
    made.zipped(
        tmp_path / "BTCUSDT-fundingRate-2024-03.zip",
        made.lines(rows, "calc_time,funding_interval_hours,last_funding_rate"),
    )
    made.zipped(tmp_path / "ETHUSDT-fundingRate-2024-03.zip", made.lines(rows))
    rest = [
        {"symbol": "SOLUSDT", "fundingRate": str(row[2]), "fundingRateTimestamp": str(row[0])} for row in reversed(rows)
    ]
    made.plain(tmp_path / "funding.json", json.dumps({"retCode": 0, "result": {"list": rest}}).encode())
    dates = pd.to_datetime(times, unit="ms", utc=True)
    for name, column in (("ADA", "funding_rate"), ("XRP", "open")):
        frame = pd.DataFrame({"date": dates, column: [0.0001, -0.0002]})
        frame.to_feather(tmp_path / f"{name}_USDT_USDT-8h-funding_rate.feather")
    summary = made.imported(tmp_path, *[path for path in tmp_path.iterdir() if path.is_file()])
    assert not summary.of(REFUSED), [one.reason for one in summary.of(REFUSED)]
    for symbol in ("BTCUSDT", "ETHUSDT", "SOLUSDT", "ADAUSDT", "XRPUSDT"):
        found = Library(tmp_path / "library").read_funding(symbol, 0, made.WALL)
        assert (found.time_ms.tolist(), found.rate.tolist()) == (times, [0.0001, -0.0002]), symbol


def test_lists_of_contracts_tell_ticks_lives_and_settlement(tmp_path: Path) -> None:
    told = {
        "symbol": "LUNAUSDT",
        "contractType": "LinearPerpetual",
        "status": "Closed",
        "launchTime": "1617000000000",
        "deliveryTime": "1652400000000",
        "priceFilter": {"tickSize": "0.005"},
        "lotSizeFilter": {"qtyStep": "0.1", "minOrderQty": "0.1", "maxMktOrderQty": "5000"},
        "leverageFilter": {"maxLeverage": "25.00"},
        "fundingInterval": 480,
    }
    made.plain(tmp_path / "instruments.json", json.dumps({"result": {"list": [told]}}).encode())
    text = "symbol,tick_size,qty_step,listed,delisted,delivery_price\nFTTUSDT,0.001,0.1,2022-01-05,2022-11-14,1.5\n"
    made.plain(tmp_path / "lists.csv", text.encode())
    made.imported(tmp_path, tmp_path / "instruments.json", tmp_path / "lists.csv", options=Options(listed_at_ms=DAY))
    found = Library(tmp_path / "library").contracts()
    luna, ftt = found["LUNAUSDT"][0].row, found["FTTUSDT"][0].row
    assert (str(luna.tick_size), luna.delivery_ms, luna.trading) == ("0.005", 1_652_400_000_000, False)
    assert (ftt.delivery_price, ftt.trading) == (1.5, None)
    assert ftt.delivery_ms is not None and pd.Timestamp(ftt.delivery_ms, unit="ms") == pd.Timestamp("2022-11-14")
    assert found["FTTUSDT"][0].as_of_ms == DAY


def test_own_files_of_many_symbols_and_timeframes_are_read(tmp_path: Path) -> None:
    parts = []
    for symbol, frame, timeframe in (("BTCUSDT", "1m", Timeframe.M1), ("ETHUSDT", "1h", Timeframe.M60)):
        held = made.candles(30, timeframe=timeframe, seed=len(parts))
        columns = {"start_ms": held.start_ms, **{name: getattr(held, name) for name in made.NAMES}}
        parts.append(pd.DataFrame({"symbol": symbol, "timeframe": frame, **columns}))
    pd.concat(parts).sample(frac=1, random_state=3).to_parquet(tmp_path / "candles.parquet")
    made.imported(tmp_path, tmp_path / "candles.parquet")
    library = Library(tmp_path / "library")
    assert [(span.symbol, span.timeframe) for span in library.spans()] == [("BTCUSDT", "1m"), ("ETHUSDT", "60m")]
    assert len(library.read("ETHUSDT", Timeframe.M60, 0, made.WALL)) == 30


def test_what_a_file_does_not_say_a_person_may(tmp_path: Path) -> None:
    held = made.candles()
    path = made.plain(tmp_path / "minutes.csv", made.lines(made.rows_of(held)))
    (refused,) = made.imported(tmp_path, path).outcomes
    assert refused.status == REFUSED and "--symbol" in refused.reason
    wanted = ImportOptions(symbol="BTCUSDT", offset_h=2.0)
    (taken,) = made.imported(tmp_path, path, options=Options(wanted)).outcomes
    assert taken.status == IMPORTED
    found = Library(tmp_path / "library").read("BTCUSDT", Timeframe.M1, 0, made.WALL)
    assert found.start_ms.tolist() == (held.start_ms - 2 * HOUR_MS).tolist()


def _shaped(held: Candles, delimiter: str, decimal: str, *, heading: bool = True, between: str = "\n") -> bytes:
    rows = [[str(int(row[0])), *(str(value).replace(".", decimal) for value in row[1:])] for row in made.rows_of(held)]
    named = [["time", "open", "high", "low", "close", "volume", "turnover"]] if heading else []
    return between.join(delimiter.join(row) for row in named + rows).encode()


@pytest.mark.parametrize(
    ("delimiter", "decimal", "heading", "between"),
    [
        (";", ",", True, "\n"),
        (";", ",", False, "\r\n"),
        ("\t", ",", True, "\n"),
        (";", ".", True, "\n"),
        (",", ".", True, "\n\n"),
        (",", ".", False, "\r\n\r\n"),
    ],
)
def test_decimal_commas_and_blank_lines_do_no_harm(
    delimiter: str, decimal: str, heading: bool, between: str, tmp_path: Path
) -> None:
    held = made.candles()
    path = made.plain(tmp_path / "BTCUSDT-1m.csv", _shaped(held, delimiter, decimal, heading=heading, between=between))
    (outcome,) = made.imported(tmp_path, path).outcomes
    assert outcome.status == IMPORTED, outcome.reason
    found = Library(tmp_path / "library").read("BTCUSDT", Timeframe.M1, 0, made.WALL)
    assert found.start_ms.tolist() == held.start_ms.tolist()
    for name in made.NAMES:
        np.testing.assert_allclose(getattr(found, name), getattr(held, name), rtol=1e-12)


def test_a_table_in_a_zip_file_may_have_its_name_from_there(tmp_path: Path) -> None:
    for seed, name in enumerate(("SOLUSDT-1m-2024.zip", "ETHUSDT-1m.csv.zip", "BTCUSDT-1m.zip")):
        content = _shaped(made.candles(seed=seed), ",", ".")
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            archive.writestr("XRPUSDT-1m.csv" if name.startswith("BTC") else "data.csv", content)
    summary = made.imported(tmp_path, *sorted(tmp_path.glob("*.zip")))
    assert {one.status for one in summary.outcomes} == {IMPORTED}, summary
    assert {span.symbol for span in Library(tmp_path / "library").spans()} == {"ETHUSDT", "SOLUSDT", "XRPUSDT"}


def test_headings_without_rows_and_what_is_no_file_are_told(tmp_path: Path) -> None:
    path = made.plain(tmp_path / "BTCUSDT-1m.csv", b"time,open,high,low,close,volume\n")
    (outcome,) = made.imported(tmp_path, path).outcomes
    assert (outcome.status, outcome.reason) == (REFUSED, "it has headings and no rows")
    os.mkfifo(tmp_path / "ETHUSDT-1m.csv")
    with pytest.raises(ConfigurationError, match="expected a file or a folder of files"):
        made.imported(tmp_path, tmp_path / "ETHUSDT-1m.csv")
