"""Addresses from a connection's settings. What a person typed into a form never becomes more than it should be."""

import re
from collections.abc import Mapping
from urllib.parse import urlsplit

from ai.contract import PlatformError

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")


def url_of(settings: Mapping[str, str], name: str, default: str = "") -> str:
    """An https address without a slash at its end. Raises PlatformError."""
    url = (settings.get(name) or default).strip().rstrip("/")
    parts = urlsplit(url)
    if parts.scheme != "https" or not parts.hostname or parts.username is not None or parts.query or parts.fragment:
        raise PlatformError(f"the setting {name} must be an address that starts with https://", is_permanent=True)
    return url


def name_of(settings: Mapping[str, str], name: str) -> str:
    """A name that becomes a part of an address: letters, digits, . _ : - only. Raises PlatformError."""
    value = settings.get(name, "").strip()
    if not NAME.fullmatch(value):
        raise PlatformError(f"the setting {name} is missing or has characters that it cannot have", is_permanent=True)
    return value
