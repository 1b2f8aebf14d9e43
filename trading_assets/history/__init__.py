"""Real history: files of candles, trades, funding and contracts, read, checked and kept; and the market that they are.

`importing` brings files into the `library`, `market` plays it as `MarketData`. No strategy, no backtest and no account
here.
"""
