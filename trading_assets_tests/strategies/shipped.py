"""The strategies that the package brings. A test that needs all of them goes on when one is added."""

from trading_assets.strategies import registry

_CLASSES = {
    name: strategy
    for name, strategy in sorted(registry.discover().classes.items())
    if strategy.__module__.startswith("trading_assets.strategies.")
}
SHIPPED = list(_CLASSES)

ACTIVE = [name for name, strategy in _CLASSES.items() if strategy.active_by_default]
"""Those that a new ledger trades at once."""
