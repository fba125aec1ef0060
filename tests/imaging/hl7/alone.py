"""A message from loopback in a process of its own: for one that is killed in it."""

import os
from pathlib import Path

from imaging.hl7.messages import message_take


def message_alone(*, tenant_id: int) -> None:
    body = (Path(os.environ["MEDHUB_FAULT_DIR"]) / "message").read_bytes()
    message_take(body=body, address="127.0.0.1")
