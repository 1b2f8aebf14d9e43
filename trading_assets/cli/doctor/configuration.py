"""Checks of settings: file, names, venue, channels of messages, the bot."""

from __future__ import annotations

import os
from contextlib import closing

from trading_assets.cli.doctor.findings import Advice, opened, unless_simulated
from trading_assets.cli.notify import tested
from trading_assets.core.configuration import CONFIG_VARIABLE, config_file
from trading_assets.core.errors import (
    ConfigurationError,
    DataError,
)
from trading_assets.core.settings import Settings, load_settings
from trading_assets.core.timeframes import local_ms
from trading_assets.ledger import leases
from trading_assets.notifications.channels import channels_of
from trading_assets.notifications.telegram import TelegramApi, TelegramError
from trading_assets.notifications.templates import check as check_templates
from trading_assets.service.bot import bot_name
from trading_assets.service.conditions import channel_lines


def check_file(_settings: Settings) -> str:
    file = config_file()
    if file is None:
        return "none: settings are those of the environment, and defaults"
    return f"{file}{', named by ' + CONFIG_VARIABLE if os.environ.get(CONFIG_VARIABLE) else ''}"


def check_names(_settings: Settings) -> str:
    load_settings()
    return "every name is known, every value can be used"


def check_venue(settings: Settings) -> str:
    money = "REAL MONEY" if settings.venue.adapter.is_real_money else "no real money"
    return f"{settings.venue.value}, account {settings.account}, {money}"


def check_notifications(settings: Settings) -> str:
    """Every channel can be used, and nothing waits or was given up. Nothing is sent."""
    channels = channels_of(settings)
    if not channels:
        return unless_simulated(
            settings,
            "no channel is set, messages go to the log and the ledger alone: name one in TRADING_ASSETS_NOTIFY_URLS",
        )
    for channel in channels:
        channel.check()
    check_templates(settings)
    with closing(opened(settings)) as database:
        stuck = channel_lines(database, settings)
    if stuck:
        raise DataError("; ".join(stuck))
    return f"{', '.join(one.name for one in channels)}: nothing waits; trading-assets notify test sends to each"


def send_test(settings: Settings) -> str:
    found = tested(settings, channels_of(settings))
    failed = [f"{name}: {why}" for name, why in found.items() if why]
    if failed:
        raise DataError(f"a test message was not taken by {'; '.join(failed)}")
    return f"a test message was taken by {', '.join(found)}" if found else "no channel is set"


def check_bot(settings: Settings) -> str:
    """The bot's token is good, nobody else takes its updates, and somebody is obeyed. Nothing is sent."""
    if settings.telegram_token is None:
        return "no bot is set, commands come by the command line and the UI alone (docs/chat.md)"
    if not settings.telegram_users:
        raise ConfigurationError("the bot obeys nobody: name users with roles in TRADING_ASSETS_TELEGRAM_USERS")
    with closing(TelegramApi(settings.telegram_token, settings.telegram_api_url)) as api:
        try:
            name = str(api.call("getMe").get("username", ""))
            hook = str(api.call("getWebhookInfo").get("url", ""))
        except TelegramError as error:
            raise ConfigurationError(f"the bot cannot be reached: {error}") from None
    if hook:
        raise ConfigurationError(f"the bot @{name} has a webhook, so nothing can be read here: delete it first")
    obeyed = ", ".join(f"{user} ({role})" for user, role in settings.telegram_users.items())
    with closing(opened(settings)) as database:
        holder = leases.holder_of(database, bot_name(settings), wall_ms=local_ms())
    if holder is None:
        return Advice(f"@{name} obeys {obeyed}, but nobody reads its chats: start trading-assets serve")
    return f"@{name} obeys {obeyed}; {holder.holder} reads its chats"
