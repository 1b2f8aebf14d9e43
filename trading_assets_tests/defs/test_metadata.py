"""Tables in metadata: headings a screen has room for, each with its meaning."""

import dagster as dg
import pandas as pd

from trading_assets.core.timeframes import TRADED_TIMEFRAMES
from trading_assets.defs import metadata as md
from trading_assets.defs.assets.selections import _by_coin, _selected
from trading_assets.strategies.registry import make_strategy


def table(value: dg.MetadataValue) -> dg.TableMetadataValue:
    assert isinstance(value, dg.TableMetadataValue)
    return value


def test_columns_have_short_headings_and_their_meaning_in_the_schema() -> None:
    rows = pd.DataFrame({"symbol": ["AUSDT"], "win_rate": [61.23456], "total_trades": [7], "note": [None]})
    shown = table(md.table(rows))
    assert shown.records[0].data == {"symbol": "AUSDT", "win %": 61.23, "trades": 7, "note": None}
    columns = {column.name: (column.type, column.description) for column in shown.schema.columns}
    assert columns["win %"] == ("float", "trades that earned, percent")
    assert columns["trades"][0] == "int"
    assert columns["symbol"] == ("string", None)


def test_no_two_columns_share_a_heading() -> None:
    headings = [heading for heading, _ in md.HEADERS.values()]
    assert len(set(headings)) == len(headings)
    assert not set(headings) & set(md.HEADERS)


def test_of_a_parameter_set_only_what_is_not_the_default_is_told() -> None:
    strategy = make_strategy("bollinger_rsi", "{}")
    default = strategy.parameters.model_dump_json()
    assert md.changed_parameters("bollinger_rsi", default) == "defaults"
    assert md.changed_parameters("bollinger_rsi", '{"stop_atr": 9.5}') == "stop_atr 9.5"
    assert md.changed_parameters("gone", '{"stop_atr": 9.5}') == '{"stop_atr": 9.5}'


def backtests(*strategies: str) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "symbol": "AUSDT",
            "timeframe": ["15m", "60m"],
            "strategy": strategies,
            "parameters": "{}",
            "total_trades": 9,
            "total_pnl": [120.4, -3.2],
            "win_rate": [61.2, 40.0],
        }
    )


def test_a_coin_is_told_by_its_best_with_full_names_in_ten_columns() -> None:
    shown = table(_by_coin(backtests("fibonacci_bollinger", "hyperrsi")))
    assert shown.records[0].data == {
        "symbol": "AUSDT",
        "best": "15m fibonacci_bollinger",
        "15m": 120.0,
        "60m": -3.0,
    }
    meanings = {column.name: column.description or "" for column in shown.schema.columns}
    assert meanings["60m"].startswith("PnL of the strategy")
    every = pd.concat([backtests("a", "b").assign(timeframe=one.value) for one in TRADED_TIMEFRAMES])
    assert len(table(_by_coin(every)).schema.columns) == md.MOST_COLUMNS


def test_of_an_hour_without_trades_there_are_no_rows_and_no_error() -> None:
    none = backtests("fibonacci_bollinger", "hyperrsi").assign(total_trades=0, total_pnl=0.0, win_rate=0.0)
    for rows in (none, none.iloc[:0]):
        assert _by_coin(rows).value == "no rows"


def width_px(value: dg.MetadataValue) -> float:
    """At least so wide is a table in the UI: a column has its heading, or the longest word of its cells, and a rim."""
    shown = table(value)
    words = {
        column.name: max(
            len(word) for row in shown.records for word in str(row.data[column.name]).removesuffix(".0").split()
        )
        for column in shown.schema.columns
    }
    return sum(max(7.2 * len(name), 8.4 * longest) + 16 for name, longest in words.items())


ROOM_PX = 654
"""Beside the navigation, the list of hours and the names of metadata, in a window of 1,440 px."""


def test_selections_are_told_with_what_was_not_seen_first_and_fit_a_screen() -> None:
    row = {
        "symbol": "NEARUSDT",
        "timeframe": "240m",
        "strategy": "fibonacci_bollinger",
        "out_of_sample_trades": 12,
        "out_of_sample_pnl": -104.256,
        "configurations_tried": 1480,
        "deflated_sharpe": 0.08695,
        "p_value_corrected": 0.9251,
        "mean_r": -0.1134,
        "score": 1027.6,
    }
    shown = _selected(pd.DataFrame([row]))
    assert list(table(shown).records[0].data.items()) == [
        ("selection", "NEARUSDT 240m fibonacci_bollinger"),
        ("unseen", "12 trades -$104.26"),
        ("tried", 1480),
        ("deflated Sharpe", 0.08695),
        ("p", 0.9251),
        ("mean R", -0.1134),
        ("score", 1028.0),
    ]
    assert width_px(shown) <= ROOM_PX
    every = [backtests("fibonacci_bollinger", "b").assign(timeframe=one.value) for one in TRADED_TIMEFRAMES]
    assert width_px(_by_coin(pd.concat(every).assign(symbol="NEARUSDT"))) <= ROOM_PX


def test_a_table_has_room_on_a_screen() -> None:
    wide = pd.DataFrame([range(14)], columns=[f"c{at}" for at in range(14)])
    assert [column.name for column in table(md.table(wide)).schema.columns] == [f"c{at}" for at in range(10)]
