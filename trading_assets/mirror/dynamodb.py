"""DynamoDB as the mirror's store: three tables, made, written, read and compared. Errors of boto3 end here.

Region and credentials come from AWS's own chain. The names of tables, and where the service is, are settings.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from trading_assets.core.errors import MirrorUnavailableError
from trading_assets.core.foreign_text import plain
from trading_assets.core.settings import Settings
from trading_assets.mirror.items import VERSION, Item

AT_ONCE = 25
"""Most writes that DynamoDB takes in a batch."""

TRIES = 12
FIRST_REST_S, LONGEST_REST_S = 0.05, 5.0
"""Between tries of a batch that was throttled: doubled each time, and shortened by chance by up to a half."""

_CONNECT_S, _READ_S = 5, 10
_THROTTLED = ("ProvisionedThroughputExceededException", "ThrottlingException", "RequestLimitExceeded")
_REFUSED = "ConditionalCheckFailedException"
_IN_USE = "ResourceInUseException"
_ABSENT = "ResourceNotFoundException"
_TTL_IS_ON = "already enabled"

Wait = Callable[[float], bool]
"""Waits so many seconds; True where the process is to end."""


class MirrorTable(StrEnum):
    """The tables, by what they hold."""

    SCANS = "scan-results"
    BACKTESTS = "backtest-results"
    POSITIONS = "trading-positions"


KEYS = {
    MirrorTable.SCANS: ("scan_id", "symbol"),
    MirrorTable.BACKTESTS: ("symbol", "backtest_id"),
    MirrorTable.POSITIONS: ("symbol", "signal_timestamp"),
}
"""Partition key and sort key."""

_NUMBERS = frozenset({"signal_timestamp", "confidence"})
_INDEXES: dict[MirrorTable, dict[str, tuple[str, ...]]] = {
    MirrorTable.SCANS: {},
    MirrorTable.BACKTESTS: {"TimeframeIndex": ("timeframe",)},
    MirrorTable.POSITIONS: {
        "StatusIndex": ("status", "signal_timestamp"),
        "ConfidenceIndex": ("status", "confidence"),
    },
}


@dataclass(frozen=True)
class TableNames:
    """What the tables are called."""

    of: dict[MirrorTable, str]

    @classmethod
    def from_settings(cls, settings: Settings) -> TableNames:
        """The names of the settings; those that are not given are the prefix and what the table holds."""
        given = {
            MirrorTable.SCANS: settings.dynamodb_scan_table,
            MirrorTable.BACKTESTS: settings.dynamodb_backtest_table,
            MirrorTable.POSITIONS: settings.dynamodb_positions_table,
        }
        return cls({table: name or f"{settings.dynamodb_prefix}{table}" for table, name in given.items()})


class DynamoDb:
    """The three tables.

    Every method raises MirrorUnavailableError where DynamoDB does not answer, refuses, or has no such table.
    """

    def __init__(self, names: TableNames, endpoint: str | None = None) -> None:
        self.names = names
        self._endpoint = endpoint
        self._held: Any = None

    @classmethod
    def from_settings(cls, settings: Settings) -> DynamoDb:
        """As the settings say."""
        return cls(TableNames.from_settings(settings), settings.dynamodb_endpoint)

    def create(self) -> dict[MirrorTable, str]:
        """Make the tables that are absent, billed on demand, with their indexes and time to live.

        Returns:
            Of each table what was done.
        """
        done: dict[MirrorTable, str] = {}
        for table in MirrorTable:
            try:
                self._call("create_table", **self._definition(table))
            except _AnswerError as error:
                if error.code != _IN_USE:
                    raise self._unavailable(error) from None
                done[table] = "was there"
            else:
                done[table] = "created"
            self._wait_for(table)
            done[table] += self._let_items_expire(table)
        return done

    def counts(self) -> dict[MirrorTable, str]:
        """Of each table its state and how many items it had at AWS's last count."""
        found: dict[MirrorTable, str] = {}
        for table in MirrorTable:
            try:
                told = self._call("describe_table", TableName=self.names.of[table])["Table"]
            except _AnswerError as error:
                if error.code != _ABSENT:
                    raise self._unavailable(error) from None
                found[table] = "absent"
            else:
                found[table] = f"{told['TableStatus'].lower()}, {told.get('ItemCount', 0)} items"
        return found

    def put_newer(self, item: Item, version: int, *, only_where_held: bool = False) -> bool:
        """Put a position. Return False where the table holds one of this or a newer version, or none where one must be.

        Args:
            only_where_held: change an item that is there, never make one: for what is past.
        """
        condition = "attribute_not_exists(#version) OR #version < :version"
        if only_where_held:
            condition = "attribute_exists(symbol) AND (attribute_not_exists(#version) OR #version < :version)"
        try:
            self._call(
                "put_item",
                TableName=self.names.of[MirrorTable.POSITIONS],
                Item={**item, VERSION: version},
                ConditionExpression=condition,
                ExpressionAttributeNames={"#version": VERSION},
                ExpressionAttributeValues={":version": version},
            )
        except _AnswerError as error:
            if error.code == _REFUSED:
                return False
            raise self._unavailable(error) from None
        return True

    def put(self, item: Item, version: int) -> None:
        """Put a position, whatever the table holds."""
        self._call_or_raise("put_item", TableName=self.names.of[MirrorTable.POSITIONS], Item={**item, VERSION: version})

    def position(self, symbol: str, second: int) -> Item | None:
        """The item of a position as it is now."""
        key = {"symbol": symbol, "signal_timestamp": second}
        name = self.names.of[MirrorTable.POSITIONS]
        found = self._call_or_raise("get_item", TableName=name, Key=key, ConsistentRead=True)
        item: Item | None = found.get("Item")
        return item

    def write(self, table: MirrorTable, puts: Sequence[Item], deletes: Iterable[Sequence[str]], wait: Wait) -> int:
        """Put and delete items in batches, again and again where DynamoDB takes only some. Return how many.

        Args:
            deletes: keys, in the order of `KEYS`.

        Raises:
            MirrorUnavailableError: as above; or it is still throttled after `TRIES`, or the process is to end.
        """
        names = KEYS[table]
        put_at = {tuple(item[name] for name in names): item for item in puts}
        requests: list[dict[str, Any]] = [{"PutRequest": {"Item": item}} for item in put_at.values()]
        gone = {tuple(key) for key in deletes} - put_at.keys()
        requests += [{"DeleteRequest": {"Key": dict(zip(names, key, strict=True))}} for key in sorted(gone)]
        for start in range(0, len(requests), AT_ONCE):
            self._write_batch(table, requests[start : start + AT_ONCE], wait)
        return len(requests)

    def items(self, table: MirrorTable) -> Iterator[Item]:
        """Every item of a table, page by page."""
        more: dict[str, Any] = {}
        while True:
            page = self._call_or_raise("scan", TableName=self.names.of[table], ConsistentRead=True, **more)
            yield from page["Items"]
            if "LastEvaluatedKey" not in page:
                return
            more = {"ExclusiveStartKey": page["LastEvaluatedKey"]}

    def _write_batch(self, table: MirrorTable, requests: list[dict[str, Any]], wait: Wait) -> None:
        name, rest_s = self.names.of[table], FIRST_REST_S
        for _ in range(TRIES):
            try:
                told = self._call("batch_write_item", RequestItems={name: requests})
                requests = told.get("UnprocessedItems", {}).get(name, [])
            except _AnswerError as error:
                if error.code not in _THROTTLED:
                    raise self._unavailable(error) from None
            if not requests:
                return
            if wait(rest_s * random.uniform(0.5, 1.0)):
                raise MirrorUnavailableError(f"the process ends; {len(requests)} items of {name} wait")
            rest_s = min(2 * rest_s, LONGEST_REST_S)
        raise MirrorUnavailableError(
            f"DynamoDB throttled {name} in {TRIES} tries; {len(requests)} items wait and are sent later. Tables that "
            "trading-assets mirror create makes are billed on demand and grow by themselves"
        )

    def _definition(self, table: MirrorTable) -> dict[str, Any]:
        keys, indexes = KEYS[table], _INDEXES[table]
        names = sorted({*keys, *(name for index in indexes.values() for name in index)})
        found: dict[str, Any] = {
            "TableName": self.names.of[table],
            "BillingMode": "PAY_PER_REQUEST",
            "KeySchema": _key_schema(keys),
            "AttributeDefinitions": [
                {"AttributeName": name, "AttributeType": "N" if name in _NUMBERS else "S"} for name in names
            ],
        }
        if indexes:
            found["GlobalSecondaryIndexes"] = [
                {"IndexName": name, "KeySchema": _key_schema(index), "Projection": {"ProjectionType": "ALL"}}
                for name, index in indexes.items()
            ]
        return found

    def _wait_for(self, table: MirrorTable) -> None:
        from botocore.exceptions import WaiterError  # noqa: PLC0415 (boto3 costs half a second)

        try:
            waiter = self._client().get_waiter("table_exists")
            waiter.wait(TableName=self.names.of[table], WaiterConfig={"Delay": 1, "MaxAttempts": 120})
        except WaiterError as error:
            raise MirrorUnavailableError(f"{self.names.of[table]} is not there after two minutes: {error}") from None

    def _let_items_expire(self, table: MirrorTable) -> str:
        how = {"Enabled": True, "AttributeName": "ttl"}
        try:
            self._call("update_time_to_live", TableName=self.names.of[table], TimeToLiveSpecification=how)
        except _AnswerError as error:
            if _TTL_IS_ON not in str(error):
                return f"; items do not expire by themselves ({error.code})"
        return ""

    def _call_or_raise(self, method: str, **given: Any) -> dict[str, Any]:
        try:
            return self._call(method, **given)
        except _AnswerError as error:
            raise self._unavailable(error) from None

    def _call(self, method: str, **given: Any) -> dict[str, Any]:
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415 (as above)

        try:
            found: dict[str, Any] = getattr(self._client(), method)(**given)
        except ClientError as error:
            code = str(error.response.get("Error", {}).get("Code", ""))
            raise _AnswerError(code, plain(f"{method}: {error}")) from None
        except (BotoCoreError, ValueError) as error:
            raise MirrorUnavailableError(
                f"DynamoDB does not answer: {plain(str(error))}. Check region, credentials and network; what waits is "
                "sent later"
            ) from None
        return found

    def _unavailable(self, error: _AnswerError) -> MirrorUnavailableError:
        todo = "check that the role may use the tables"
        if error.code == _ABSENT:
            todo = f"make the tables with: trading-assets mirror create ({', '.join(self.names.of.values())})"
        return MirrorUnavailableError(f"DynamoDB refused {error}; {todo}")

    def _client(self) -> Any:
        import boto3  # noqa: PLC0415 (as above)
        from botocore.config import Config  # noqa: PLC0415 (as above)

        if self._held is None:
            logging.getLogger("botocore").setLevel(logging.INFO)  # at DEBUG it prints what is signed
            retries: Any = {"mode": "standard", "total_max_attempts": 3}
            patience = Config(connect_timeout=_CONNECT_S, read_timeout=_READ_S, retries=retries)
            # The resource's client takes and gives Python's values.
            self._held = boto3.resource("dynamodb", endpoint_url=self._endpoint, config=patience).meta.client
        return self._held


class _AnswerError(Exception):
    """DynamoDB answered, with an error."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


def _key_schema(names: Sequence[str]) -> list[dict[str, str]]:
    kinds = ("HASH", "RANGE")
    return [{"AttributeName": name, "KeyType": kind} for name, kind in zip(names, kinds[: len(names)], strict=True)]
