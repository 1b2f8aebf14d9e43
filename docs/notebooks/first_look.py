# %% [markdown]
# # First look
# Candles, one backtest, its trades and its chart. The seeded market needs no home, no network and no key: its prices
# are noise from a number, so a strategy earns there by luck only. `research.open_home()` reads your own home instead.

# %%
from trading_assets import research

market = research.seeded()
market.symbols()[:5]

# %% [markdown]
# Candles are a frame. The index is the open of each candle, UTC.

# %%
candles = research.candles("ETHUSDT", "15m", "2026-02-01", "2026-02-15", source=market)
candles["close"].pct_change().describe()

# %%
research.funding("ETHUSDT", "2026-02-01", "2026-02-15", source=market)["rate"].sum() * 100  # percent of notional

# %% [markdown]
# A backtest has the fees, slippage, funding and fill rules of the pipeline: see docs/engine.md.

# %%
bt = research.backtest("bollinger_rsi", "ETHUSDT", "15m", "2026-02-01", "2026-02-15", source=market)
bt

# %%
bt.trades[["entry_time", "side", "entry_price", "exit_price", "r", "mae_r", "mfe_r", "reason"]].head()

# %% [markdown]
# Why trades ended, and what that was worth in multiples of the risk.

# %%
bt.trades.groupby("reason")["r"].agg(["size", "mean", "min", "max"])

# %% [markdown]
# How much of the way for us did losers have behind them? A large number says that the target is too far.

# %%
bt.trades[bt.trades["reason"] == "stop"]["mfe_r"].quantile([0.25, 0.5, 0.75])

# %% [markdown]
# The chart: in a notebook it is shown; `save` writes one file.

# %%
page = bt.plot()
page.save("first_look.html")
