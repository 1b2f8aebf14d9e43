"""Made-up rows of `strategy_selections`, for measurements and tests that trade without having researched."""

from __future__ import annotations

from trading_assets.core.timeframes import as_of_ms
from trading_assets.market.universe import scan_id

EAGER = '{"band": 0.0001, "rsi_low": 0, "rsi_high": 100}'
"""Parameters of `bollinger_rsi` that enter on nearly every candle."""


def selection_row(
    hour_ms: int,
    symbol: str,
    timeframe: str = "1m",
    *,
    strategy: str = "bollinger_rsi",
    parameters: str = "{}",
) -> dict[str, object]:
    """A coin's selection as an hour's research might have written it, each column with a plausible value.

    Args:
        hour_ms: start of the researched hour, UTC ms.
    """
    return {
        "hour_ms": hour_ms,
        "symbol": symbol,
        "timeframe": timeframe,
        "strategy": strategy,
        "parameters": parameters,
        "scan_id": scan_id(as_of_ms(hour_ms)),
        "score": 1.0,
        "total_trades": 9,
        "win_rate": 60.0,
        "profit_factor": 2.0,
        "max_drawdown": -1.0,
        "total_pnl": 10.0,
        "confidence_avg": 60.0,
        "configurations_tried": 16,
        "deflated_sharpe": 0.95,
        "p_value": 0.01,
        "out_of_sample_trades": 2,
        "out_of_sample_pnl": 3.0,
    }
