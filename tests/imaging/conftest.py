"""Fixtures of the tests of imaging: nodes of this machine, Orthanc."""

from typing import Any

import pytest

from imaging.models import Node
from imaging.nodes import node_add
from tests.orthanc import orthanc, orthanc_server

__all__ = ["node_at", "orthanc", "orthanc_server"]


@pytest.fixture
def node_at(settings) -> Any:
    """Makes a port of this machine a node that may store, and an address that may be connected to."""

    def make(hospital: Any, port: int, title: str, *, host: str = "127.0.0.1", **facts: Any) -> Node:
        settings.EGRESS_ALLOW = [*settings.EGRESS_ALLOW, f"{host}:{port}"]
        with hospital.scope():
            return node_add(ae_title=title, host=host, port=port, services=facts.pop("services", ["store"]), **facts)

    return make
