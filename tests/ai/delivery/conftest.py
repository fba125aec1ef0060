"""Nodes of this machine and Orthanc, for deliveries."""

from tests.imaging.conftest import node_at, orthanc, orthanc_server

__all__ = ["node_at", "orthanc", "orthanc_server"]
