"""`python -m trading_assets.venues.paper`: the paper exchange as a process, as `launching` starts it."""

from __future__ import annotations

import argparse
import sys
from decimal import Decimal
from pathlib import Path

from trading_assets.core.errors import TradingAssetsError
from trading_assets.simulator.venue import ServeConfig
from trading_assets.venues.bybit import REGIONS
from trading_assets.venues.paper.process import PaperConfig, serve_paper
from trading_assets.venues.paper.source import find_source


def parser() -> argparse.ArgumentParser:
    result = argparse.ArgumentParser(prog="python -m trading_assets.venues.paper", description=__doc__)
    result.add_argument("--home", type=Path, required=True, help="directory of the account and of server.json")
    result.add_argument("--port", type=int, default=0, help="0 takes a free one")
    result.add_argument("--market-url", help="an embedded exchange in the role of Bybit; default Bybit")
    result.add_argument("--region", choices=sorted(REGIONS), default="com", help="Bybit's site")
    result.add_argument("--deposit", type=Decimal, default=Decimal(10_000))
    result.add_argument("--idle-stop", type=float, help="seconds without a request; default never")
    result.add_argument(
        "--max-price-age", type=float, default=10.0, help="seconds; nothing is traded at an older price"
    )
    result.add_argument("--limits-dir", type=Path, help="directory of the rate limiter")
    return result


def main(arguments: list[str] | None = None) -> int:
    """Serve until stopped; 2 after an error that was raised on purpose."""
    options = parser().parse_args(arguments)
    print(f"paper exchange: asks {options.market_url or 'Bybit'} for its contracts and prices", flush=True)
    try:
        serve_paper(
            PaperConfig(
                source=find_source(options.market_url, options.region, options.limits_dir),
                serve=ServeConfig(
                    home=options.home, port=options.port, deposit=options.deposit, idle_stop_s=options.idle_stop
                ),
                max_price_age_s=options.max_price_age,
            )
        )
    except TradingAssetsError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
