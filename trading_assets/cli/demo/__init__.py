"""`trading-assets demo`: the real jobs on the embedded exchange, whose clock is advanced by hand."""

from trading_assets.cli.demo.run import run_demo

__all__ = ["run_demo"]
