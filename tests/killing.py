"""One call of the house in a process of its own, on this test's database, so that a fault point may kill it."""

import os
import subprocess
import sys
from pathlib import Path

from django.conf import settings
from django.db import connections

from medhub.stack import ROOT

KILLED = -9


def killed_or_done(module: str, function: str, *, faults: Path, **ids: int) -> int:
    """`module.function(**ids)` with fault points armed by files in `faults`. How the process ended: 0 or KILLED, anything else fails."""
    database = connections["default"].settings_dict

    def url(role: str) -> str:
        return f"postgresql://{role}@/{database['NAME']}?host={database['HOST']}"

    given = ", ".join(f"{name}={value}" for name, value in ids.items())
    environment = {
        **os.environ, "DJANGO_SETTINGS_MODULE": "medhub.settings", "MEDHUB_FAULT_DIR": str(faults), "DATABASE_URL": url("medhub_app"),
        "DATABASE_OWNER_URL": url("medhub_owner"), "DATABASE_SWEEP_URL": url("medhub_sweep"),
        "MEDHUB_OBJECTS": str(settings.MEDHUB_OBJECTS), "MEDHUB_HOME": str(settings.MEDHUB_HOME),
        "EGRESS_ALLOW": ",".join(settings.EGRESS_ALLOW), "EGRESS_CA_FILE": settings.EGRESS_CA_FILE,
        "MEDHUB_VAULT_KEYS": ",".join(settings.MEDHUB_VAULT_KEYS), "MEDHUB_PUBLIC_URL": settings.MEDHUB_PUBLIC_URL,
    }  # fmt: skip
    call = f"import django; django.setup(); from {module} import {function}; {function}({given})"
    done = subprocess.run(  # noqa: S603 ourselves
        [sys.executable, "-W", "ignore", "-c", call], cwd=ROOT, env=environment, check=False, capture_output=True, timeout=60
    )
    assert done.returncode in {0, KILLED}, done.stderr.decode()[-800:]
    return done.returncode
