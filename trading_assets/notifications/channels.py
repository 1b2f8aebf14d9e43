"""Which channels the settings name."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from urllib.parse import parse_qs, unquote, urlsplit

from pydantic import SecretStr

from trading_assets.accounts import effective
from trading_assets.core.channel_rules import rule_of
from trading_assets.core.settings import Settings
from trading_assets.ledger.database import Database
from trading_assets.notifications.apprise_channel import AppriseChannel
from trading_assets.notifications.channel import Channel
from trading_assets.notifications.sns import SnsTopic
from trading_assets.notifications.telegram import TelegramChat
from trading_assets.notifications.templates import Templates

_TOPICS = ("arn:aws", "sns:arn:")
_OWN_OPTIONS = {"topic", "silent"}


def channels_of(settings: Settings) -> tuple[Channel, ...]:
    """The channels that the settings name, each once: those of the URLs, and the chats of the bot's admins.

    One that is written wrongly is among them: its `check` says so, and nobody's start fails for it.
    """
    found: dict[str, Channel] = {}
    for url in settings.notify_urls:
        for channel in _of_url(url, settings):
            found[channel.name] = channel
    if settings.telegram_token is not None:
        for user, role in settings.telegram_users.items():
            if role == "admin":
                chat = TelegramChat(settings.telegram_token, str(user), url=settings.telegram_api_url)
                found.setdefault(chat.name, chat)
    for name, channel in found.items():
        channel.rule = rule_of(settings.notify_rules, name)
        channel.templates = Templates.of(settings, name.partition("-")[0])
    return tuple(found.values())


def with_rules_of_now(
    channels: Sequence[Channel], database: Database, settings: Settings, account: str = ""
) -> tuple[tuple[Channel, ...], float]:
    """The channels with the rules that hold now for an account, and the longest age of a message, s.

    Args:
        settings: of environment and file; what was changed since, the ledger says.
        account: its name; empty is that of the settings. Where it is does not matter here, and cannot be refused.

    Raises:
        StorageError: the ledger cannot be read.
    """
    base = settings.model_copy(update={"account": account or settings.account})
    now = effective.settings_of(database, base, with_keys=False)
    found = [copy.copy(one) for one in channels]  # one that still hangs goes on by its own rule
    for channel in found:
        channel.rule = rule_of(now.notify_rules, channel.name)
    return tuple(found), now.notify_max_age_s


def _of_url(url: SecretStr, settings: Settings) -> Iterator[Channel]:
    text = url.get_secret_value()
    if text.startswith(_TOPICS):
        yield SnsTopic(text, settings.account)
        return
    chats = _chats(text, settings) if text.lower().startswith("tgram://") else []
    if chats:
        yield from chats
    else:
        yield AppriseChannel(url)


def _chats(text: str, settings: Settings) -> list[Channel]:
    """The chats of `tgram://TOKEN/CHAT/CHAT`; none where it has options that only apprise knows."""
    try:
        parts = urlsplit(text)
    except ValueError:
        return []
    options = {name: values[-1] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
    token, chats = unquote(parts.netloc), [unquote(one) for one in parts.path.split("/") if one]
    if ":" not in token or options.keys() - _OWN_OPTIONS or not chats:
        return []
    found: list[Channel] = []
    for chat in chats:
        number, _, topic = chat.partition(":")
        topic = topic or options.get("topic", "")
        if not number.lstrip("-@").replace("_", "").isalnum() or (topic and not topic.isdigit()):
            return []
        is_silent = options.get("silent", "").lower() in ("yes", "true", "1")
        found.append(
            TelegramChat(SecretStr(token), number, topic=topic, is_silent=is_silent, url=settings.telegram_api_url)
        )
    return found
