# %% [markdown]
# # Is it luck?
# On the seeded market nothing can be foreseen. So whatever a search finds there shows how luck looks, and whether the
# corrections see through it. docs/statistics.md has the theory, and how often each figure is wrong.

# %%
from trading_assets import research

market = research.seeded()
coins = market.symbols()[:12]
span = ("2026-02-01", "2026-02-15")
sw = research.sweep("bollinger_rsi", coins, "15m", *span, source=market)
sw.tries, len(sw.table)

# %% [markdown]
# The best of everything, by what it earned: it looks like an edge.

# %%
top = sw.table.sort_values("total_pnl", ascending=False).head(5)
top[["total_trades", "win_rate", "mean_r", "total_pnl", "p_value"]]

# %% [markdown]
# What the pipeline chooses: by the older part of the range. The newer part did not choose, and tells.

# %%
sw.best[["in_sample_pnl", "out_of_sample_pnl"]].agg(["mean", "sum"])

# %% [markdown]
# A p-value of the best of many is not one of one. The sets of a strategy resemble each other, so they are worth fewer
# tries than there are. `least_trades`: so many wins in a row it would take.

# %%
sw.best[["total_trades", "configurations_effective", "p_value", "p_value_corrected", "least_trades"]].round(3)

# %%
tries = sw.best["configurations_effective"].sum()
lowest = sw.table["p_value"].min()
print(f"{tries:.0f} independent tries: the smallest p of {lowest:.4f} becomes {1 - (1 - lowest) ** tries:.2f}")

# %% [markdown]
# Do ranks persist? The best set of one half of the time is looked up in the other half, for 252 ways to halve it:
# about one half is luck. One record says little, so look at the interval, and at how often the chosen set lost money.

# %%
few = research.sweep(
    "bollinger_rsi", "ETHUSDT", "15m", *span, grid={"band": [0.5, 0.7, 0.9], "stop_atr": [1.5, 3.0]}, source=market
)
few.overfitting("4h")

# %% [markdown]
# The winner on another month: the same set, candles that it has not seen.

# %%
winner = dict(zip(top.index.names, top.index[0], strict=True))
symbol = winner.pop("symbol")
later = research.backtest("bollinger_rsi", symbol, "15m", "2026-02-15", "2026-02-28", parameters=winner, source=market)
print(f"{symbol}: {top.iloc[0]['mean_r']:+.2f} R in the search, {later.metrics['mean_r']:+.2f} R afterwards")
