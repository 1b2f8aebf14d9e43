"""Exchange and ledger of the one account that a command means, and what its amounts may be."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any

import click

from trading_assets.cli.account_option import the_account, with_keys
from trading_assets.cli.opening import announce, open_ledger
from trading_assets.core.deadline import ends_within
from trading_assets.core.settings import load_settings
from trading_assets.notifications.notifier import notifying

if TYPE_CHECKING:
    from trading_assets.trading.context import ExecutionContext


class _AboveZero(click.ParamType):
    name = "price"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Decimal:
        try:
            found = Decimal(str(value))
        except InvalidOperation:
            found = Decimal(0)
        if not (found.is_finite() and found > 0):
            self.fail(f"{value!r} is not a number above 0", param, ctx)
        if not _LEAST <= found <= _MOST:
            self.fail(f"{value!r} is not between {_LEAST:e} and {_MOST:e}", param, ctx)
        return found


class FiniteRange(click.FloatRange):
    """A range of numbers; `nan`, which is beside every bound, is none."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        found = super().convert(value, param, ctx)
        if not math.isfinite(found):
            self.fail(f"{value!r} is not a number", param, ctx)
        return found


_LEAST, _MOST = Decimal("1e-12"), Decimal("1e15")
"""Prices and amounts lie between them."""

ABOVE_ZERO = _AboveZero()
"""A decimal number above 0."""


@contextmanager
def opened(command: str, account: str) -> Iterator[ExecutionContext]:
    """The exchange and the ledger of the one account that is meant."""
    from trading_assets.trading.context import ExecutionContext  # noqa: PLC0415
    from trading_assets.venues import open_exchange  # noqa: PLC0415 (imports the connector)

    base = load_settings()
    with ends_within(base.command_deadline_s, command), open_ledger(base) as database:
        named = the_account(database, base, account, command)
        announce(named)
        settings = with_keys(database, base, named.account)
        exchange = open_exchange(settings)
        try:
            with notifying(settings, lambda: database) as notifier:
                yield ExecutionContext(database, exchange, settings, send=notifier.notify)
        finally:
            exchange.close()
