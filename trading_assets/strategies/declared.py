"""The settings as a strategy trades under them: those of the account, but for what it declares of its own."""

from __future__ import annotations

from trading_assets.core.settings import Settings
from trading_assets.strategies.base import Strategy
from trading_assets.strategies.registry import strategy_classes


def as_declared(settings: Settings, strategy: type[Strategy] | str) -> Settings:
    """Return the settings with the strategy's own entry and size; themselves where it declares none.

    Args:
        strategy: a class, or the name of one. One that is not there any more declares nothing.
    """
    kind = strategy_classes().get(strategy) if isinstance(strategy, str) else strategy
    rules = () if kind is None else (kind.entry, kind.size)
    own = {name: value for rule in rules if rule is not None for name, value in rule.settings.items()}
    return settings.model_copy(update=own) if own else settings
