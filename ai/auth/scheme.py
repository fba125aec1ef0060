"""The base of all schemes: headers are added to each request, and a refused token may be fetched anew once."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from ai.contract import Content, Http

Got = TypeVar("Got", bound=tuple[Any, ...])


class Scheme:
    """Wraps another Http. A subclass says which headers a request needs."""

    def __init__(self, http: Http) -> None:
        self._http = http

    def headers_of(self, method: str, url: str, headers: Mapping[str, str], content: Content) -> dict[str, str]:
        """The credentials of this one request. Raises PlatformError when there are none to be had."""
        raise NotImplementedError

    def is_renewed(self, status: int) -> bool:
        """Whether this answer made us get fresh credentials, so that asking once more is worth it."""
        return False

    def request(
        self, method: str, url: str, *, headers: Mapping[str, str], content: Content = None
    ) -> tuple[int, Mapping[str, str], bytes]:
        def ask() -> tuple[int, Mapping[str, str], bytes]:
            return self._http.request(method, url, headers=self._all(method, url, headers, content), content=content)

        return self._twice(ask, content)

    def request_to_file(
        self, method: str, url: str, *, headers: Mapping[str, str], target: Path, max_bytes: int, content: Content = None
    ) -> tuple[int, Mapping[str, str]]:
        def ask() -> tuple[int, Mapping[str, str]]:
            return self._http.request_to_file(
                method, url, headers=self._all(method, url, headers, content), target=target, max_bytes=max_bytes, content=content
            )

        return self._twice(ask, content)

    def _all(self, method: str, url: str, headers: Mapping[str, str], content: Content) -> dict[str, str]:
        return {**headers, **self.headers_of(method, url, headers, content)}

    def _twice(self, ask: Callable[[], Got], content: Content) -> Got:
        answer = ask()
        is_again = content is None or isinstance(content, bytes) or callable(content)  # an iterator was read and is gone
        if is_again and self.is_renewed(answer[0]):  # the status comes first in both shapes
            return ask()
        return answer
