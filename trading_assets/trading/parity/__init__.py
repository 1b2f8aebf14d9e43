"""Whether live did what the backtest does: the day replayed, held against the ledger, each difference with its reason.

`replay` says what was expected, `compare` judges, `day` puts a day together. Nothing here trades.
"""
