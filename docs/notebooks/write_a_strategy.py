# %% [markdown]
# # Write a strategy
# A strategy is a class. Here it lives in the notebook; in a module of its own it is found by the pipeline, too:
# docs/howto/add_strategy.md.

# %%
from pydantic import Field

from trading_assets import research
from trading_assets.research import Entries, Parameters, Strategy
from trading_assets.strategies import indicators


class BreakoutParameters(Parameters):
    bars: int = Field(40, ge=5, description="bars of the channel")


class Channel(Strategy):
    name, description = "channel_of_the_notebook", "Follow a close beyond the extremes of the last bars"
    Parameters = BreakoutParameters

    def indicators(self, data):
        c, bars = data.candles, self.parameters.bars
        upper, lower = indicators.rolling_max(c.high, bars), indicators.rolling_min(c.low, bars)
        return {"upper": indicators.previous(upper), "lower": indicators.previous(lower)}

    @staticmethod
    def entries(v, p):
        return Entries(long=v.close > v.upper, short=v.close < v.lower, confidence=65.0)


market = research.seeded()
span = ("2026-01-15", "2026-02-15")

# %% [markdown]
# What it decides, whether or not a position is open.

# %%
decided = research.signals(Channel, "ETHUSDT", "60m", *span, source=market)
decided[decided["long"] | decided["short"]][["close", "upper", "lower", "stop", "target"]].head()

# %%
bt = research.backtest(Channel, "ETHUSDT", "60m", *span, source=market)
bt

# %% [markdown]
# Many sets at once. The surface is the mean over coins: a lonely peak is luck, a plateau may be more.

# %%
coins = ["BTCUSDT", "ETHUSDT", "SOLUSDT"]
grid = {"bars": [20, 40, 80], "stop_atr": [1.5, 2.0, 3.0]}
sw = research.sweep(Channel, coins, "60m", *span, grid=grid, source=market)
sw.surface("bars", "stop_atr", "mean_r").round(3)

# %%
figure = sw.heatmap("bars", "stop_atr")
sw.plateau()

# %% [markdown]
# Does it look ahead? The check cuts the data and decides again: what differs was not known yet. The pipeline runs it
# before a start and in every hour.

# %%
from trading_assets.core.timeframes import Timeframe, to_ms  # noqa: E402
from trading_assets.market.loading import load_strategy_data  # noqa: E402
from trading_assets.strategies.bias_checks import look_ahead  # noqa: E402

strategy = Channel()
end = to_ms(bt.equity.index[-1])
data = load_strategy_data(market.reader, "ETHUSDT", Timeframe.M60, strategy.needs(), end - 300 * Timeframe.M60.ms, end)
verdict = look_ahead(strategy, data)
assert verdict.passed, verdict.violations
verdict.bars, verdict.signals
