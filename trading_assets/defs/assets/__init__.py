"""The assets, one module a stage."""

from trading_assets.defs.assets.backtests import backtest_assets
from trading_assets.defs.assets.entry_signals import entry_signals
from trading_assets.defs.assets.market_data import candle_assets, funding_rates
from trading_assets.defs.assets.parity import live_parity
from trading_assets.defs.assets.reports import performance_report, walk_forward_report
from trading_assets.defs.assets.scan import market_scan
from trading_assets.defs.assets.selections import strategy_selections

RESEARCH_ASSETS = [market_scan, *candle_assets, funding_rates, *backtest_assets, strategy_selections]

REPORTS = [walk_forward_report, performance_report]

__all__ = ["REPORTS", "RESEARCH_ASSETS", "entry_signals", "live_parity"]
