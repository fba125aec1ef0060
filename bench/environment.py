"""Where the bench lives: its own MEDHUB_HOME, ports and processes. Imported, and `prepare` called, before Django reads its settings."""

import os
import shutil
from pathlib import Path

import django

from bench.dicom_peers import port_free
from medhub.embedded import Home
from medhub.stack import ROOT, Ports, Stack
from sandbox.vendors.authority import authority_make

BENCH = ROOT / ".medhub" / "bench"
MOVE_PORT = 11199  # where the harness of ../shared/bench listens for what a C-MOVE sends
VENDOR_PORT = 11198  # where that stand-in listens
VENDORS = BENCH / "vendors"  # the stand-in of an AI platform, with its authority
OTHER_INSTALLS = ("DATABASE_URL", "DATABASE_OWNER_URL", "DATABASE_SWEEP_URL", "CELERY_BROKER_URL", "MEDHUB_PRODUCTION")


def prepare() -> Stack:
    """An empty house of our own, not started, with this process's Django set to it. PostgreSQL and the broker are durable."""
    home = Home(BENCH / "home")
    home_remove(home)
    stack = Stack(
        home=home, ports=Ports(*(port_free() for _ in range(7))), is_durable=True,
        environment={"MEDHUB_LOG_LEVEL": "WARNING", "MEDHUB_VIEWER": str(ROOT / ".medhub" / "viewer")},
    )  # fmt: skip
    allowed = stack.child_environment()["EGRESS_ALLOW"]
    VENDORS.mkdir(parents=True, exist_ok=True)
    authority_make(VENDORS)  # the stand-in makes it anew; the house wants a file when it starts
    stack.environment = {
        **stack.environment, "EGRESS_ALLOW": f"{allowed},127.0.0.1:{MOVE_PORT},127.0.0.1:{VENDOR_PORT}",
        "EGRESS_CA_FILE": str(VENDORS / "ca.pem"),
    }  # fmt: skip
    for name in OTHER_INSTALLS:
        os.environ.pop(name, None)
    os.environ.update(stack.child_environment())
    django.setup()
    return stack


def home_remove(home: Home) -> None:
    """The home and what it keeps elsewhere when `nobody` cannot enter it. Nothing may be running in it."""
    if not home.root.exists():
        return
    database = home.database
    for path in (database, database.with_name(database.name + "-bin"), home.sockets, home.root):
        shutil.rmtree(path, ignore_errors=True)


def scratch_make(name: str) -> Path:
    """An empty folder beside the home, on the same disk."""
    folder = BENCH / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder
