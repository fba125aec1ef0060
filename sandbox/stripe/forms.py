"""Stripe's form encoding: `items[0][price]=p&metadata[a]=b&expand[]=c` -> nested dicts and lists."""

import re
from typing import Any
from urllib.parse import parse_qsl

_PART = re.compile(r"\[([^\]]*)\]")
DEPTH = 8


def form_read(text: str) -> dict[str, Any]:
    """Values stay text; what has only numbers for names is a list."""
    tree: dict[str, Any] = {}
    for name, value in parse_qsl(text, keep_blank_values=True):
        parts = [name.partition("[")[0], *_PART.findall(name)][:DEPTH]
        here = tree
        for part in parts[:-1]:
            inner = here.setdefault(_key(here, part), {})
            here = inner if isinstance(inner, dict) else here
        here[_key(here, parts[-1])] = value
    found: dict[str, Any] = _listed(tree)
    return found


def _key(here: dict[str, Any], part: str) -> str:
    return part or str(len(here))


def _listed(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    if value and all(key.isdigit() for key in value):
        return [_listed(value[key]) for key in sorted(value, key=int)]
    return {key: _listed(inner) for key, inner in value.items()}


def is_true(value: Any) -> bool:
    return value in (True, "true")
