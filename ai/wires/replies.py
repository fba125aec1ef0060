"""What a platform's status means to us, and its JSON read with limits. Used by every wire; a body's words are never repeated."""

from typing import Any

import orjson

from ai.contract import PlatformError

MAX_JSON_BYTES = 32 * 1024 * 1024


def status_check(status: int, *, what: str) -> None:
    """Raises PlatformError unless 2xx; worth another try when the other side is busy or broken. `what`: "the job", "the images"."""
    if 200 <= status < 300:
        return
    if status in {401, 403}:
        raise PlatformError("the platform refused our key", is_permanent=True)
    if status in {408, 425, 429} or status >= 500:
        raise PlatformError(f"the platform answered {status}", is_permanent=False)
    raise PlatformError(f"the platform refused {what} ({status})", is_permanent=True)


def page_refuse(body: bytes) -> None:
    """Raises PlatformError for markup where a 2xx alone would do: the sign-in page of a proxy is a 200 as well, and nobody has our work."""
    if body.lstrip()[:1] == b"<":
        raise PlatformError("a page answered, and not the platform", is_permanent=False)


def json_read(body: bytes) -> Any:
    """Raises PlatformError; a page of a proxy may be gone the next time, so it is worth another try."""
    if len(body) > MAX_JSON_BYTES:
        raise PlatformError("the platform's answer is too large", is_permanent=True)
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise PlatformError("the platform's answer is not JSON", is_permanent=False) from error


def object_read(body: bytes) -> dict[str, Any]:
    """A JSON object. Raises PlatformError."""
    answer = json_read(body)
    if not isinstance(answer, dict):
        raise PlatformError("the platform's answer is not an object", is_permanent=False)
    return answer


def list_read(body: bytes) -> list[Any]:
    """A JSON list. Raises PlatformError."""
    answer = json_read(body)
    if not isinstance(answer, list):
        raise PlatformError("the platform's answer is not a list", is_permanent=False)
    return answer
