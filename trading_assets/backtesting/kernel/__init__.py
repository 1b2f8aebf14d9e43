"""The sweep kernel: every parameter set of a strategy over one symbol's candles at once, compiled by numba.

`loops` and `indicators` hold compiled code and import numba, so they are imported where they are used. Rules of a
trade are those of `backtesting.engine`; nothing here knows Dagster or the store.
"""
