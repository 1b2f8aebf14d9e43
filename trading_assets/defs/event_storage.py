"""Old place of `BatchedSqliteStorage`, for a `dagster.yaml` that names it."""

from trading_assets.defs.instance.storage import BatchedSqliteStorage
from trading_assets.defs.old_names import warn

__all__ = ["BatchedSqliteStorage"]

warn(f"{__name__}.BatchedSqliteStorage", "trading_assets.defs.instance.storage.BatchedSqliteStorage")
