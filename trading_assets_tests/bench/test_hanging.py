"""The channel of the measurement takes a message and never answers."""

from __future__ import annotations

import pytest
from pydantic import SecretStr

from trading_assets.bench.hanging import hanging_channel
from trading_assets.core.messages import Kind, Message
from trading_assets.notifications.apprise_channel import AppriseChannel
from trading_assets.notifications.channel import DeliveryError
from trading_assets.notifications.delivery import send_within


@pytest.mark.slow
def test_it_takes_a_message_and_never_answers() -> None:
    with hanging_channel() as found:
        channel = AppriseChannel(SecretStr(found.url))
        with pytest.raises(DeliveryError, match="no answer within 6 s"):  # apprise's own deadline would be 4 s
            send_within(channel, Message("a title", "a body", Kind.FILL), 6)
        assert found.tries == 1
