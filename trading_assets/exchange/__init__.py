"""Bybit, category linear: the only package that knows its words, codes and limits. `trading_assets.venues` opens it."""

SETTLE_COIN = "USDT"
BTC = "BTCUSDT"
