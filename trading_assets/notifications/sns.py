"""A topic of Amazon SNS as a channel, by boto3: credentials, region and endpoints come from AWS's own chain."""

from __future__ import annotations

import re
import threading
from typing import Any
from urllib.parse import parse_qsl
from uuid import uuid4

from trading_assets.core.errors import ConfigurationError
from trading_assets.core.foreign_text import plain
from trading_assets.core.messages import Message
from trading_assets.notifications.channel import LONGEST_ERROR, Channel, DeliveryError, mark_of

_ARN = re.compile(r"arn:aws[a-z-]*:sns:([a-z0-9-]+):(\d{12}):([A-Za-z0-9_-]{1,256}(\.fifo)?)")
_LONGEST_SUBJECT = 99
_LONGEST_MESSAGE_BYTES = 250_000
_CONNECT_S, _READ_S = 5, 10
_FINAL = ("InvalidParameter", "InvalidParameterValue")


class SnsTopic(Channel):
    """`arn:aws:sns:REGION:ACCOUNT:TOPIC?role=ARN&endpoint=URL`; both options may be left out.

    Subscribers may filter by the attributes kind, severity, account and, where a message is of one, symbol and side.
    """

    def __init__(self, text: str, account: str) -> None:
        arn, _, options = text.removeprefix("sns:").partition("?")
        matched = _ARN.fullmatch(arn)
        given = dict(parse_qsl(options))
        self.name = f"sns-{mark_of(arn)}"
        self._is_topic = matched is not None and not given.keys() - {"role", "endpoint"}
        self._arn, self._is_fifo = arn, arn.endswith(".fifo")
        self._region = matched[1] if matched is not None else None
        self._role, self._endpoint, self._account = given.get("role"), given.get("endpoint"), account
        self._lock = threading.Lock()
        self._client: Any = None

    def check(self) -> None:
        """See `Channel.check`."""
        if not self._is_topic:
            raise ConfigurationError(self._no_topic)
        try:
            self._sns().get_topic_attributes(TopicArn=self._arn)
        except Exception as error:  # noqa: BLE001 (botocore's errors are made when a client is)
            raise ConfigurationError(f"{self.name}: {_words(error)}") from None

    def send(self, message: Message) -> None:
        """See `Channel.send`."""
        if not self._is_topic:
            raise DeliveryError(self._no_topic)
        told = {"kind": message.kind.value, "severity": message.severity.value, "account": self._account}
        told |= {name: message.facts[name] for name in ("symbol", "side") if message.facts.get(name)}
        body = (message.body or message.title).encode()[:_LONGEST_MESSAGE_BYTES].decode(errors="ignore")
        ascii_title = message.title.encode("ascii", "replace").decode().strip()
        # Every message is one of its own: SNS would swallow a second fill that is told in the same words.
        ids = {"MessageGroupId": self._account, "MessageDeduplicationId": uuid4().hex} if self._is_fifo else {}
        try:
            self._sns().publish(
                TopicArn=self._arn,
                Subject=ascii_title[:_LONGEST_SUBJECT] or "trading-assets",
                Message=f"{message.title}\n{body}",
                MessageAttributes={name: {"DataType": "String", "StringValue": value} for name, value in told.items()},
                **ids,
            )
        except Exception as error:  # noqa: BLE001 (as above)
            code = getattr(error, "response", {}).get("Error", {}).get("Code", "")
            raise DeliveryError(_words(error), is_final=code in _FINAL) from None

    @property
    def _no_topic(self) -> str:
        return (
            f"{self.name} is no topic; expected arn:aws:sns:REGION:ACCOUNT:TOPIC in TRADING_ASSETS_NOTIFY_URLS, "
            "with ?role=ARN or ?endpoint=URL at most"
        )

    def _sns(self) -> Any:
        import boto3  # noqa: PLC0415 (half a second, and most processes send nothing)
        from botocore.config import Config  # noqa: PLC0415 (as above)

        with self._lock:
            if self._client is None:
                # One try each: the outbox tries again, and knows that it did.
                once = Config(connect_timeout=_CONNECT_S, read_timeout=_READ_S, retries={"total_max_attempts": 1})
                session = boto3.Session(region_name=self._region)
                keys: dict[str, str] = {}
                if self._role is not None:
                    held = session.client("sts", config=once).assume_role(
                        RoleArn=self._role, RoleSessionName="trading-assets"
                    )["Credentials"]
                    keys = {
                        "aws_access_key_id": held["AccessKeyId"],
                        "aws_secret_access_key": held["SecretAccessKey"],
                        "aws_session_token": held["SessionToken"],
                    }
                client = session.client("sns", endpoint_url=self._endpoint, config=once, **keys)
                if self._role is not None:
                    return client  # an hour's keys: the next message asks for others
                self._client = client
            return self._client


def _words(error: Exception) -> str:
    return plain(f"{type(error).__name__}: {error}")[:LONGEST_ERROR]
