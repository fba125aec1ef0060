"""Nodes of this machine and Orthanc, for what is delivered after a verdict."""

from tests.imaging.conftest import node_at, orthanc, orthanc_server

__all__ = ["node_at", "orthanc", "orthanc_server"]
