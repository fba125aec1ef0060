"""The web server alone, as the house runs it: the same gunicorn command, on this test's database and objects."""

import contextlib
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings
from django.db import connections

from medhub.embedded import Home
from medhub.stack import ROOT, Ports, Stack
from tests.orthanc import port_free, port_wait
from tests.servers import TEST_HOME


@dataclass
class Web:
    port: int
    pid: int
    log: Path

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def memory(self) -> int:
        """Anonymous memory of the largest worker process: what it holds itself, without files that it looks at."""
        return max(_anonymous(worker) for worker in self.workers())

    def workers(self) -> list[str]:
        return Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()

    def faults(self) -> list[str]:
        """What the process logged that no request may cause."""
        return [line for line in self.log.read_text().splitlines() if '"ERROR"' in line or "Traceback" in line or "[CRITICAL]" in line]


def _anonymous(pid: str) -> int:
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in status if line.startswith("RssAnon")).split()[1]) << 10


@contextmanager
def web_run(folder: Path, **environment: str) -> Iterator[Web]:
    database = connections["default"].settings_dict

    def url(role: str) -> str:
        return f"postgresql://{role}@/{database['NAME']}?host={database['HOST']}"

    stack = Stack(
        home=Home(TEST_HOME), ports=Ports(http=port_free()),
        environment={
            "DATABASE_URL": url("medhub_app"), "DATABASE_OWNER_URL": url("medhub_owner"), "DATABASE_SWEEP_URL": url("medhub_sweep"),
            "MEDHUB_OBJECTS": str(settings.MEDHUB_OBJECTS), **environment,
        },
    )  # fmt: skip
    (program,) = (one for one in stack.programs() if one.name == "web")
    path = folder / "web.log"
    with path.open("wb") as log:
        process = subprocess.Popen(program.command, cwd=ROOT, env=stack.child_environment(), stdout=log, stderr=log)
    try:
        port_wait(stack.ports.http, process)
        found = Web(stack.ports.http, process.pid, path)
        count = int(program.command[program.command.index("--workers") + 1])
        end = time.monotonic() + 30
        while len(found.workers()) < count:
            assert time.monotonic() < end, "the workers did not start"
            time.sleep(0.05)
        with contextlib.suppress(urllib.error.HTTPError):  # 401: the worker has loaded the application
            urllib.request.urlopen(f"{found.address}/t/nobody/dicomweb/studies", timeout=60)  # noqa: S310 loopback
        yield found
    finally:
        process.terminate()
        process.wait(20)
