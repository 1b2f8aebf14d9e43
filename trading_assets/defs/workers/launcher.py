"""Old place of `WorkersRunLauncher`, for a `dagster.yaml` that names it."""

from trading_assets.defs.instance.workers.launcher import WorkersRunLauncher
from trading_assets.defs.old_names import warn

__all__ = ["WorkersRunLauncher"]

warn(f"{__name__}.WorkersRunLauncher", "trading_assets.defs.instance.workers.launcher.WorkersRunLauncher")
