"""`python -m trading_assets.simulator`: the embedded exchange as a process, as the launcher starts it."""

from __future__ import annotations

import argparse
import os
import sys
from decimal import Decimal
from pathlib import Path

from trading_assets.core import logs
from trading_assets.core.errors import TradingAssetsError
from trading_assets.simulator.clock import ClockMode, ClockSpec
from trading_assets.simulator.server import ServeConfig, serve


def parser() -> argparse.ArgumentParser:
    result = argparse.ArgumentParser(prog="python -m trading_assets.simulator", description=__doc__)
    place = result.add_mutually_exclusive_group(required=True)
    place.add_argument("--home", type=Path, help="directory of the account and of server.json")
    place.add_argument("--account", type=Path, help="file of the account, without server.json")
    result.add_argument("--host", default="127.0.0.1")
    result.add_argument("--port", type=int, default=0, help="0 takes a free one")
    result.add_argument("--seed", type=int, default=7)
    result.add_argument("--symbols", type=int, default=80)
    result.add_argument("--deposit", type=Decimal, default=Decimal(10_000))
    result.add_argument("--idle-stop", type=float, help="seconds without a request; default never")
    result.add_argument("--clock", choices=[mode.value for mode in ClockMode], help="default: as stored, or real")
    result.add_argument("--start-ms", type=int, help="virtual start of a new account, UTC ms")
    result.add_argument(
        "--replay", type=Path, nargs="+", default=[], help="recorded candles instead of a seed's market"
    )
    result.add_argument("--speed", type=float, default=1.0, help="of an accelerated clock")
    result.add_argument("--allow-host", nargs="+", default=[], help="names by which clients call this machine")
    result.add_argument("--limits", action="store_true", help="refuse who asks more often than Bybit allows")
    result.add_argument("--faults", type=Path, help="fault rules, JSON or YAML, in force from the start")
    return result


def main(arguments: list[str] | None = None) -> int:
    """Serve until stopped; 2 after an error that was raised on purpose."""
    options = parser().parse_args(arguments)
    logs.start("exchange", os.environ)
    try:
        clock = (
            ClockSpec(ClockMode(options.clock), options.start_ms, options.speed) if options.clock is not None else None
        )
        serve(
            ServeConfig(
                home=options.home,
                account=options.account,
                host=options.host,
                port=options.port,
                seed=options.seed,
                symbols=options.symbols,
                clock=clock,
                deposit=options.deposit,
                idle_stop_s=options.idle_stop,
                replay=tuple(options.replay),
                limits=options.limits,
                faults=options.faults,
                names=tuple(options.allow_host),
            )
        )
    except TradingAssetsError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
