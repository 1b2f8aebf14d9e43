"""Groups of commands that never see the settings, keys or ledger of the user."""

from __future__ import annotations

import tempfile
from pathlib import Path

import click

from trading_assets.core.configuration import trial


class TrialGroup(click.Group):
    """Each command of the group begins in an empty configuration of its own, which ends with it."""

    def invoke(self, ctx: click.Context) -> object:
        folder = ctx.with_resource(tempfile.TemporaryDirectory(prefix="trading-assets-trial-"))
        ctx.with_resource(trial(Path(folder)))
        return super().invoke(ctx)
