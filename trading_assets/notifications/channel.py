"""What a channel to people is: it sends one message, or says why it could not. What is sent when, `delivery` decides.

Each kind of messenger is a class of its own, and a line in `channels.channels_of`.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod

from trading_assets.core.channel_rules import ChannelRule
from trading_assets.core.errors import TradingAssetsError
from trading_assets.core.messages import Message
from trading_assets.notifications.templates import Templates

LONGEST_ERROR = 300
_MARK = 6


class DeliveryError(TradingAssetsError):
    """A channel did not take a message, as far as is known. The text has no secrets.

    Attributes:
        is_final: it would never take it.
        retry_after_s: it asks for so long a rest.
    """

    def __init__(self, text: str, *, is_final: bool = False, retry_after_s: float | None = None) -> None:
        super().__init__(text)
        self.is_final, self.retry_after_s = is_final, retry_after_s


class Channel(ABC):
    """A way to a person.

    Attributes:
        name: of at most 48 characters, the same in every process; it tells no secret.
        rule: what it is to have, and when.
        templates: the user's words for it; None: messages go out in their own.
    """

    name: str
    rule = ChannelRule(per_minute=10_000, group_from=0)
    templates: Templates | None = None

    @abstractmethod
    def check(self) -> None:
        """Look whether it can be used, without sending anything.

        Raises:
            ConfigurationError: it cannot; the message has no secrets.
        """

    @abstractmethod
    def send(self, message: Message) -> None:
        """Send a message. It may take long or never return: the caller has a deadline.

        Raises:
            DeliveryError: it was not taken.
        """


def mark_of(text: str) -> str:
    """Six letters by which channels of one kind are told apart, made of what must not be shown."""
    return hashlib.sha256(text.encode()).hexdigest()[:_MARK]
