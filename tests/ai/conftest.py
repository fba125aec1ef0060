"""Fixtures of the wires' and platforms' tests."""

from tests.ai.handles import study
from tests.vendors import quantify_server, thorax, vendors, vendors_process

__all__ = ["quantify_server", "study", "thorax", "vendors", "vendors_process"]
