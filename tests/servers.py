"""pytest plugin: the real servers of a test run. Starts the embedded PostgreSQL and broker once, in the controlling process.

Loaded by `-p tests.servers`, before Django reads its settings. MEDHUB_POSTGRES_BIN chooses another PostgreSQL (CI: Debian's 15).
"""

import fcntl
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import IO

import psycopg
import pytest

ROOT = Path(__file__).resolve().parent.parent
WORKER = os.environ.get("PYTEST_XDIST_WORKER", "main")


def _home_take() -> Path:
    """A folder that no other run of the suite is using; the lock lives as long as this process. Workers inherit the choice."""
    if "MEDHUB_TEST_HOME" in os.environ:
        return Path(os.environ["MEDHUB_TEST_HOME"])
    for number in range(16):
        home = ROOT / ".medhub" / ("test" if number == 0 else f"test-{number}")
        home.mkdir(parents=True, exist_ok=True)
        lock = (home / "lock").open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.close()
            continue
        _locks.append(lock)
        os.environ["MEDHUB_TEST_HOME"] = str(home)
        return home
    raise SystemExit("sixteen runs of the suite at once: remove .medhub/test*/lock if that is not so")


_locks: list[IO[str]] = []
TEST_HOME = _home_take()

for name in ("DATABASE_URL", "DATABASE_OWNER_URL", "DATABASE_SWEEP_URL", "CELERY_BROKER_URL", "MEDHUB_PRODUCTION"):
    os.environ.pop(name, None)
os.environ["MEDHUB_HOME"] = str(TEST_HOME)
os.environ["MEDHUB_VIEWER"] = str(ROOT / ".medhub" / "viewer")  # installed once for all runs
os.environ["MEDHUB_OBJECTS"] = str(TEST_HOME / f"objects-{WORKER}")
os.environ["MEDHUB_LEASE_SECONDS"] = "2"
os.environ["MEDHUB_ARRIVING_SECONDS"] = "0"
os.environ["MEDHUB_BACKOFF_UNIT_SECONDS"] = "0.05"
os.environ["MEDHUB_EMAIL_BACKEND"] = "django.core.mail.backends.locmem.EmailBackend"
os.environ["MEDHUB_LOG_LEVEL"] = "WARNING"

from medhub.embedded import (  # noqa: E402 the environment must be set first
    Home,
    postgres_command,
    postgres_identity,
    postgres_init,
    redis_command,
)

HOME = Home(TEST_HOME)
_servers: list[subprocess.Popen[bytes]] = []


def superuser() -> str:
    return f"host={HOME.sockets} user=postgres dbname=postgres"


def _wait(attempt: object, seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while True:
        try:
            attempt()  # type: ignore[operator]
        except Exception:  # noqa: BLE001 whatever a server that is not up yet answers
            if time.monotonic() > end:
                raise
            time.sleep(0.05)
        else:
            return


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    if hasattr(session.config, "workerinput") or session.config.option.collectonly:
        return
    for folder in TEST_HOME.glob("objects-*"):
        shutil.rmtree(folder, ignore_errors=True)
    postgres_init(HOME)
    HOME.folders_make()
    log = (TEST_HOME / "log" / "servers.log").open("ab")
    for command, identity in (
        (postgres_command(HOME, is_durable=False), postgres_identity(HOME)),
        (redis_command(HOME, is_durable=False), {}),
    ):
        _servers.append(subprocess.Popen(command, cwd="/", stdout=log, stderr=log, **identity))  # type: ignore[call-overload]
    _wait(lambda: psycopg.connect(superuser()).close())

    from medhub.database import roles_create  # after the environment; Django is set up by now

    roles_create(superuser())
    with psycopg.connect(superuser(), autocommit=True) as connection:
        connection.execute("ALTER ROLE medhub_owner CREATEDB")  # pytest-django makes its databases as the owner


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    if not hasattr(session.config, "workerinput"):
        for server in _servers:
            # SIGINT is PostgreSQL's fast shutdown; redis takes it too.
            server.send_signal(2)
        for server in _servers:
            server.wait(30)
