"""A keep-alive HTTP client of the standard library: as little of its own time as possible in what it measures."""

import http.client
import time
from collections.abc import Mapping
from typing import Any

import orjson


class RestError(Exception):
    """An answer that a row did not expect."""


class Rest:
    """One connection to the house, opened again when the server has closed it."""

    def __init__(self, port: int, headers: Mapping[str, str]) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        self._headers = dict(headers)

    def request(
        self, method: str, path: str, *, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, bytes]:
        sent = {"Host": "localhost", **self._headers, **(headers or {})}
        try:
            return self._once(method, path, body, sent)
        except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError):
            self._connection.close()  # an idle connection was closed under us
            return self._once(method, path, body, sent)

    def _once(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> tuple[int, bytes]:
        self._connection.request(method, path, body=body, headers=headers)
        response = self._connection.getresponse()
        return response.status, response.read()

    def get_json(self, path: str) -> dict[str, Any]:
        """Raises RestError unless the answer is 200."""
        status, body = self.request("GET", path)
        if status != 200:
            raise RestError(f"GET answered {status}")
        found: dict[str, Any] = orjson.loads(body)
        return found

    def milliseconds(self, path: str, *, times: int, warm: int = 20, status: int = 200) -> list[float]:
        """How long each of `times` requests took, after `warm` that don't count. Raises RestError on any other status."""
        taken = []
        for number in range(warm + times):
            began = time.perf_counter()
            found, _ = self.request("GET", path)
            took = 1000 * (time.perf_counter() - began)
            if found != status:
                raise RestError(f"GET answered {found}, not {status}")
            if number >= warm:
                taken.append(took)
        return taken

    def close(self) -> None:
        self._connection.close()
