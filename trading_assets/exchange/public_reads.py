"""Public reads of many rows: candles and funding. A backfill asks thousands of them, so that what pybit and `requests`
prepare anew for each costs more than the answer. No key, no signature and no account here.

They go through the same adapter as every other request, so over the same connections, proxies and deadlines.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import orjson
import requests
from pybit.market import Market
from pybit.unified_trading import HTTP
from requests.utils import resolve_proxies

PATHS = {
    "get_kline": str(Market.GET_KLINE),
    "get_funding_rate_history": str(Market.GET_FUNDING_RATE_HISTORY),
}
"""By pybit's method."""

_AS_IT_IS = re.compile(r"[\w.&=-]*", re.ASCII)
"""Of a query: nothing that must be quoted."""


class PublicReads:
    """Of one HTTP session, for one call at a time."""

    def __init__(self, http: HTTP) -> None:
        self._http = http
        self._like = http.client.prepare_request(requests.Request("GET", http.endpoint))
        self._proxies = resolve_proxies(self._like, http.client.proxies, http.client.trust_env)

    def ask(self, method: str, params: Mapping[str, object]) -> Any:
        """What the answer says, read as JSON; of another status than 200 nothing is read.

        Raises:
            requests.RequestException: there is no answer.
            ValueError: it is no JSON.
        """
        query = "&".join(f"{name}={value}" for name, value in params.items())
        if _AS_IT_IS.fullmatch(query) is None:
            return getattr(self._http, method)(**params)
        client, request = self._http.client, self._like.copy()
        request.url = f"{self._http.endpoint}{PATHS[method]}?{query}"
        response = client.get_adapter(request.url).send(
            request,
            stream=True,
            timeout=self._http.timeout,
            verify=client.verify,
            cert=client.cert,
            proxies=self._proxies,
        )
        for read in client.hooks["response"]:
            read(response)
        return orjson.loads(response.content) if response.status_code == requests.codes.ok else None
