"""Compares a day of live trading with its replay in the backtest, and gives the reason of each difference.

`replay` has what was expected, `compare` judges, `day` makes the rows of a day, `load` reads. Nothing here trades.
"""
