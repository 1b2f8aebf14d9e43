"""Frames and counts as asset metadata. What is worth showing is the assets' business."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import dagster as dg
import pandas as pd

from trading_assets.core.errors import StrategyError
from trading_assets.strategies.registry import make_strategy

MOST_COLUMNS = 10
"""Columns of a table. A window of 1,440 px has room for 650 px of them: the UI does not break headings."""

HEADERS = {
    "price_change_24h": ("change %", "change of the price in the 24 hours before the as-of, percent"),
    "volatility_24h": ("range %", "(high - low) / low of the 24 hours before the as-of, percent"),
    "volume_24h": ("turnover $", "turnover of the 24 hours before the as-of, USD"),
    "size_error_pct": ("size error %", "how far the quantity step moves the position's size, percent"),
    "total_trades": ("trades", "closed trades of the backtest"),
    "win_rate": ("win %", "trades that earned, percent"),
    "profit_factor": ("profit factor", "what winners earned / what losers lost"),
    "total_pnl": ("PnL $", "profit and loss of all trades after costs, USD"),
    "mean_r": ("mean R", "mean result of a trade in multiples of its risk, the loss at its stop before costs"),
    "mean_bps": ("mean bp", "mean result of a trade in basis points of a position's value"),
    "open_trades": ("open", "trades still open at the end; the other columns are of closed ones"),
    "open_pnl": ("PnL $ of open", "of these, marked at the end, USD"),
    "pnl_at_double_costs": ("PnL $ at double costs", "the same trades with fee and slippage doubled, USD"),
    "max_drawdown": ("drawdown %", "largest fall below a peak, percent, at most 0"),
    "out_of_sample_trades": ("unseen trades", "trades in the newest part of the window, by which no set was chosen"),
    "out_of_sample_pnl": ("unseen PnL $", "their profit and loss, USD"),
    "configurations_tried": ("tried", "timeframes, strategies and parameter sets tried on the coin"),
    "deflated_sharpe": ("deflated Sharpe", "chance that the Sharpe ratio beats the best of as many by luck"),
    "p_value": ("p-value", "chance of such trades if none earned anything on average"),
    "p_value_corrected": ("p", "p-value, corrected for all that was tried on the coin"),
}
"""Short headings of columns, and what they mean. The UI makes a column as wide as its heading; *Show schema* above a
table tells the meaning."""


def table(
    rows: pd.DataFrame,
    columns: Sequence[str] | None = None,
    limit: int = 10,
    meanings: Mapping[str, str] | None = None,
) -> dg.MetadataValue:
    """The first `limit` rows and `MOST_COLUMNS` columns as a table: name the columns that matter most first.

    Numbers have four significant digits, so that a trader reads at a glance.

    Args:
        meanings: of columns that `HEADERS` does not know.
    """
    if rows.empty:
        return dg.MetadataValue.text("no rows")
    first = rows.head(limit)
    shown = (first[list(columns)] if columns is not None else first).iloc[:, :MOST_COLUMNS]
    known = {**HEADERS, **{name: (name, meaning) for name, meaning in (meanings or {}).items()}}
    headings = {str(name): known.get(str(name), (str(name), None)) for name in shown.columns}
    records = [
        {headings[str(name)][0]: _cell(value) for name, value in record.items()} for record in shown.to_dict("records")
    ]
    return dg.MetadataValue.table(
        [dg.TableRecord(record) for record in records],
        schema=dg.TableSchema(
            [
                dg.TableColumn(heading, type=_type([record[heading] for record in records]), description=meaning)
                for heading, meaning in headings.values()
            ]
        ),
    )


def counts(values: Mapping[str, int], name: str) -> dg.MetadataValue:
    """Counts by reason, largest first, as a table."""
    if not values:
        return dg.MetadataValue.text("none")
    ordered = sorted(values.items(), key=lambda item: (-item[1], item[0]))
    return dg.MetadataValue.table([dg.TableRecord({name: reason, "count": count}) for reason, count in ordered])


def changed_parameters(strategy: str, parameters: str) -> str:
    """What a parameter set has other than the strategy's defaults: a whole set is wider than any screen."""
    try:
        changed = make_strategy(strategy, parameters).parameters.model_dump(exclude_defaults=True)
    except StrategyError:
        return parameters  # of a strategy that is not there any more
    return ", ".join(f"{name} {value}" for name, value in changed.items()) or "defaults"


def _type(values: Sequence[object]) -> str:
    kinds = {type(value) for value in values if value is not None}
    return {bool: "bool", int: "int", float: "float"}.get(kinds.pop(), "string") if len(kinds) == 1 else "string"


def _cell(value: object) -> str | int | float | bool | None:
    if isinstance(value, float):
        return None if pd.isna(value) else float(f"{value:.4g}") if abs(value) < 10_000 else round(value)
    if isinstance(value, bool | int | str) or value is None:
        return value
    return str(value)
