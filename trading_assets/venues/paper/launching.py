"""Starts the paper exchange on first use and finds the one that runs. It serves nothing itself."""

from __future__ import annotations

import sys

from trading_assets.core.settings import PREFIX, Settings
from trading_assets.simulator.launcher import ExchangeSpec, ensure_served

NETWORK_VARIABLES = (
    *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "no_proxy", "all_proxy"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
)
"""The paper exchange goes into the network: it needs what says how."""


def ensure_running(settings: Settings) -> str:
    """Base URL of the paper exchange of these settings, started if nobody has yet.

    Raises:
        ExchangeUnavailableError: it could not be started, or its source does not answer.
        ConfigurationError: what runs in this home is another exchange.
        StorageError: the home cannot be written.
    """
    home = settings.simulator_home
    command = [sys.executable, "-m", "trading_assets.venues.paper", "--home", str(home), "--port", "0"]
    command += ["--region", settings.bybit_region, "--deposit", str(settings.simulator_deposit)]
    command += ["--idle-stop", str(settings.simulator_idle_stop_s)]
    command += ["--max-price-age", str(settings.paper_max_price_age_s)]
    if settings.paper_market_url is not None:
        command += ["--market-url", settings.paper_market_url.rstrip("/")]
    if settings.limits_dir is not None:
        command += ["--limits-dir", str(settings.limits_dir)]
    # Which source it has, the ledger's market says (`trading.binding`).
    wanted = ExchangeSpec(home, {"keeps_paths": False}, tuple(command), NETWORK_VARIABLES)
    return ensure_served(wanted, advice=f"stop it with `trading-assets exchange stop`, or set another {PREFIX}HOME")
