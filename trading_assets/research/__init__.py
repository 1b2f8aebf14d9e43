"""The researcher's bench: candles, backtests, sweeps and walk-forwards from a notebook, by the pipeline's own code.

`open_home`, `open_files`, `from_frames` and `seeded` say where candles come from; every other function takes one of
them as `source`, the home of the settings by default. Neither Dagster nor a daemon need run. Engine, costs, checks and
figures are those of the pipeline: nothing is computed here a second time. What is listed in `__all__` stays as it is;
the rest of the package may change.
"""

from __future__ import annotations

from trading_assets.research.backtests import Backtest, backtest, signals
from trading_assets.research.comparing import Comparison, compare
from trading_assets.research.decisions import backtest_of_selection, chart, selections
from trading_assets.research.forward import ForwardTest, WalkForward, forward_test, walk_forward
from trading_assets.research.loading import candles, funding
from trading_assets.research.searching import Search, search
from trading_assets.research.sources import (
    Home,
    Market,
    Source,
    from_frames,
    open_files,
    open_home,
    seeded,
    with_settings,
)
from trading_assets.research.sweeps import Sweep, sweep
from trading_assets.strategies.base import Entries, Parameters, Strategy
from trading_assets.strategies.failures import StrategyFailedError, StrategyFailure

__all__ = [
    "Backtest",
    "Comparison",
    "Entries",
    "ForwardTest",
    "Home",
    "Market",
    "Parameters",
    "Search",
    "Source",
    "Strategy",
    "StrategyFailedError",
    "StrategyFailure",
    "Sweep",
    "WalkForward",
    "backtest",
    "backtest_of_selection",
    "candles",
    "chart",
    "compare",
    "forward_test",
    "from_frames",
    "funding",
    "open_files",
    "open_home",
    "search",
    "seeded",
    "selections",
    "signals",
    "sweep",
    "walk_forward",
    "with_settings",
]
