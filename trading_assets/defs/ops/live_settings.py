"""The ops of the jobs `set_setting` and `set_flag`: what changes while the system runs, from the UI."""

import dagster as dg
from pydantic import Field

from trading_assets.accounts import changing
from trading_assets.core.foreign_text import plain
from trading_assets.defs.instance.concurrency_groups import ACTOR_TAG
from trading_assets.defs.resources import DatabaseResource, SettingsResource
from trading_assets.trading.risk import confirmations

CONFIRMATION = "where money is real: one-time code of trading-assets confirm settings (--account)"


class ChangeConfig(dg.Config):
    """What is changed, for whom and why."""

    value: str = Field("", description="as it would stand in the file")
    unset: bool = Field(False, description="give the change up: environment and file hold again")
    account: str = Field("", description="this account alone; empty: every account")
    reason: str = Field("no reason given", description="kept in the history")
    confirmation: str = Field("", description=CONFIRMATION)


class SettingConfig(ChangeConfig):
    """A setting."""

    name: str = Field(
        description="name of the setting; trading-assets config get lists those that change while it runs"
    )


class FlagConfig(ChangeConfig):
    """A flag."""

    name: str = Field(
        description="entries, long_entries, short_entries or pauses; value: on, off or a part such as 25%"
    )


@dg.op(description="Changes a setting from now on: sessions obey within 5 s, research from its next hour on.")
def change_setting(
    context: dg.OpExecutionContext, config: SettingConfig, settings: SettingsResource, database: DatabaseResource
) -> None:
    done = changing.set_setting(
        database.get(),
        settings.installed(),
        config.name.strip().lower(),
        None if config.unset else config.value,
        account=config.account,
        actor=actor_of(context, settings, config.account, config.confirmation),
        reason=config.reason,
    )
    _say(context, config.name, config, done)


@dg.op(description="Turns a flag on, off, or on for a part of the symbols: sessions obey within 5 s.")
def change_flag(
    context: dg.OpExecutionContext, config: FlagConfig, settings: SettingsResource, database: DatabaseResource
) -> None:
    done = changing.set_flag(
        database.get(),
        settings.installed(),
        config.name.strip().lower(),
        None if config.unset else config.value,
        account=config.account,
        actor=actor_of(context, settings, config.account, config.confirmation),
        reason=config.reason,
    )
    _say(context, f"flag {config.name}", config, done)


def actor_of(context: dg.OpExecutionContext, settings: SettingsResource, account: str, confirmation: str) -> str:
    """Who changes something. Where an account that is concerned has real money, the code says who confirmed it.

    Args:
        account: the one that is concerned; empty: every one.

    Raises:
        ConfirmationError: money is real, and the code is none that is good for it.
    """
    names = settings.several_names(account)
    held = [settings.get(name, with_keys=False) for name in names]
    real = [one for one in held if one.venue.adapter.is_real_money]
    confirmed = confirmations.use(real[0], "settings", confirmation).actor if real else None
    parts = [confirmed, context.run.tags.get(ACTOR_TAG), f"Dagster run {context.run_id}"]
    return ", ".join(part for part in parts if part)


def _say(context: dg.OpExecutionContext, what: str, config: ChangeConfig, done: changing.Changed) -> None:
    of = config.account or "every account"
    context.log.info(plain(f"{what} of {of}: {done.before} -> {done.after}, version {done.version}"))
    context.add_output_metadata({"before": done.before, "after": done.after, "version": done.version})
