"""The DICOM peers of a hospital. Called by commands, the API and, later, the portal."""

from imaging.models import Node


def node_add(*, ae_title: str, address: str | None = None) -> Node:
    """Let a calling AE store (idempotent). Without an address any peer of that title may."""
    node, _ = Node.objects.update_or_create(ae_title=ae_title, defaults={"address": address})
    return node
