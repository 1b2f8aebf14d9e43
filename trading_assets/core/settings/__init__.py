"""Every setting of the project, typed, in one place. `.env.example` lists them all.

Values come from the environment (prefix `TRADING_ASSETS_`, keys as `BYBIT_API_KEY`/`BYBIT_API_SECRET`) or the
configuration file that `core.configuration` finds. Nothing here reads or writes anything else.
"""

from trading_assets.core.configuration import PREFIX, default_home
from trading_assets.core.settings.loading import RENAMED, load_settings
from trading_assets.core.settings.model import DASHBOARD_PORT, Settings
from trading_assets.core.settings.secrets import SECRET_NAMES, SECRET_SETTINGS, secret_values
from trading_assets.core.settings.venue import Venue

__all__ = [
    "DASHBOARD_PORT",
    "PREFIX",
    "RENAMED",
    "SECRET_NAMES",
    "SECRET_SETTINGS",
    "Settings",
    "Venue",
    "default_home",
    "load_settings",
    "secret_values",
]
