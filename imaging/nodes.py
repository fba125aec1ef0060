"""The DICOM peers of a hospital and what each may ask for. Called by commands, admission and, later, the API and the portal."""

from collections.abc import Iterable
from typing import Any

from imaging.models import Node

SERVICES = ("store", "find", "move", "get")
DEFAULT_SERVICES = ("store",)


def node_add(
    *,
    ae_title: str,
    address: str | None = None,
    host: str | None = None,
    port: int | None = None,
    services: Iterable[str] | None = None,
) -> Node:
    """Let a calling AE in (idempotent). What is not given keeps its value; a new node may store, from any address.

    `address` is the only one it may call from ("": any); `host` and `port` are where it listens, the destination of a C-MOVE.
    """
    given: dict[str, Any] = {} if address is None else {"address": address or None}
    given |= {name: value for name, value in (("host", host), ("port", port)) if value is not None}
    if services is not None:
        given |= _flags(services)
    node, _ = Node.objects.update_or_create(
        ae_title=ae_title, defaults=given, create_defaults=_flags(DEFAULT_SERVICES) | given,
    )
    return node


def _flags(services: Iterable[str]) -> dict[str, bool]:
    allowed = frozenset(services)
    if not allowed <= set(SERVICES):
        raise ValueError(f"services are of {', '.join(SERVICES)}")
    return {f"is_{service}_allowed": service in allowed for service in SERVICES}


def services_of(node: Node) -> frozenset[str]:
    """What the node may ask for; nothing at all means that it may not even associate."""
    return frozenset(service for service in SERVICES if getattr(node, f"is_{service}_allowed"))
