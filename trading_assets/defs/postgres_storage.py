"""Old place of `BatchedPostgresStorage`, for a `dagster.yaml` that names it."""

from trading_assets.defs.instance.storage import BatchedPostgresStorage
from trading_assets.defs.old_names import warn

__all__ = ["BatchedPostgresStorage"]

warn(f"{__name__}.BatchedPostgresStorage", "trading_assets.defs.instance.storage.BatchedPostgresStorage")
