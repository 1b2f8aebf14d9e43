"""Hourly scan, backtest, selection and order placement on Bybit perpetuals, as Dagster assets.

`trading_assets.defs` and `trading_assets.definitions` are the Dagster wing; every other module is the domain
wing, usable without Dagster.
"""
