# %% [markdown]
# # Read a walk-forward
# Each hour of a home selects a strategy for each coin, and the next hour trades it on candles that the selection has
# not seen. Make the hours first: `trading-assets backfill --from 2026-03-02 --to 2026-03-31`, or `make demo` for six.

# %%
from trading_assets import research

home = research.open_home()
chosen = research.selections(source=home)
chosen[["symbol", "timeframe", "strategy", "score"]].head()

# %%
wf = research.walk_forward(source=home)
f = wf.figures
print(f"{f.trades} closed trades, {f.mean_r:+.3f} R each, return {f.return_pct:+.2f} %")
print(f"deflated Sharpe {f.deflated_sharpe}")

# %% [markdown]
# Where does it come from? Few trades in a cell say nothing: look at the number first.

# %%
wf.by("strategy", "timeframe")

# %%
wf.by("hour")["mean_r"].describe()

# %% [markdown]
# Costs: how much of the gross result do fees, slippage and funding take?

# %%
paid = wf.trades[["fees", "slippage", "funding"]].sum()
gross = wf.trades["pnl"].sum() + paid.sum()
print(f"before costs {gross:+.2f} USD, costs {paid.sum():.2f} USD")

# %% [markdown]
# What the limits kept it from, and the curves: the selections, the random choice in the middle, holding BTC.

# %%
wf.refused.head()

# %%
figure = wf.plot()
wf.save("walk_forward.html")
wf.chart().save("walk_forward_trades.html")

# %% [markdown]
# How deep could it have gone with the same days in another order? Below 20 days the answer is "too few".

# %%
wf.drawdowns()

# %% [markdown]
# The backtest that chose the best coin of the newest hour, and what came after it. In sample it looks better.

# %%
best = chosen.iloc[0]
before = research.forward_test(chosen.head(5), source=home)
len(before.trades), before.failures
