"""Tables in metadata: headings a screen has room for, each with its meaning."""

import dagster as dg
import pandas as pd

from trading_assets.defs import metadata as md
from trading_assets.defs.assets.selections import _by_coin
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


def test_strategies_of_a_coin_are_told_by_initials_that_the_schema_explains() -> None:
    shown = table(_by_coin(backtests("fibonacci_bollinger", "hyperrsi")))
    assert shown.records[0].data == {
        "symbol": "AUSDT",
        "best": "15m",
        "best PnL $": 120.4,
        "best win %": 61.2,
        "15m": "fb $120 61%",
        "60m": "h $-3 40%",
    }
    meanings = {column.name: column.description or "" for column in shown.schema.columns}
    assert meanings["60m"].endswith("fb fibonacci_bollinger, h hyperrsi")


def test_strategies_of_the_same_initials_keep_their_names() -> None:
    shown = table(_by_coin(backtests("fast_break", "fibonacci_bollinger")))
    assert shown.records[0].data["15m"] == "fast_break $120 61%"
