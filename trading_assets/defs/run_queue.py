"""Old place of `ConcurrencyGroupRunCoordinator`, for a `dagster.yaml` that names it."""

from trading_assets.defs.instance.concurrency_groups import ConcurrencyGroupRunCoordinator as LaneRunCoordinator
from trading_assets.defs.old_names import warn

__all__ = ["LaneRunCoordinator"]

warn(f"{__name__}.LaneRunCoordinator", "trading_assets.defs.instance.concurrency_groups.ConcurrencyGroupRunCoordinator")
