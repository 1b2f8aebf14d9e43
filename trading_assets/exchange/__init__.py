"""Bybit, category linear: the only package that knows its words, codes and limits. `trading_assets.venues` opens it."""

SETTLE_COIN = "USDT"
SETTLE_COINS = (SETTLE_COIN, "USDC")
"""Of linear contracts: what is traded is settled in the first, what an account may hold in any of them."""

BTC = "BTCUSDT"
