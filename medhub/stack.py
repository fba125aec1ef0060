"""The whole house on one machine, as child processes of a supervisor from a kept library (supervisord). Used by the demo and the tests."""

import contextlib
import ctypes
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import xmlrpc.client
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
from supervisor.xmlrpc import SupervisorTransport

from ai.lanes import THREADS
from medhub.embedded import Home, postgres_command, postgres_init, postgres_user_name, redis_command
from medhub.env import env_list

ROOT = Path(__file__).resolve().parent.parent
START_SECONDS = 60.0
PR_SET_PDEATHSIG = 1


class StackError(Exception):
    """The house did not come up; the text is for the person at the terminal."""


@dataclass(frozen=True)
class Ports:
    """Where the house listens, each with the variable that changes it."""

    http: int = 8000
    dimse: int = 11112
    quantify: int = 8301
    dimse_tls: int = 2762
    events: int = 8302
    hl7: int = 2575
    hl7_tls: int = 2576

    @classmethod
    def from_environment(cls) -> "Ports":
        return cls(**{name: int(os.environ.get(variable, getattr(cls, name))) for name, variable in PORT_VARIABLES.items()})

    def check(self) -> None:
        """Raises StackError naming the first port that is taken, and the variable."""
        for name, variable in PORT_VARIABLES.items():
            port = getattr(self, name)
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind(("127.0.0.1", port))
                except OSError as error:
                    raise StackError(f"port {port} is taken: choose another with {variable}=...") from error


PORT_VARIABLES = {
    "http": "MEDHUB_HTTP_PORT", "dimse": "MEDHUB_DIMSE_PORT", "quantify": "MEDHUB_QUANTIFY_PORT", "dimse_tls": "MEDHUB_DIMSE_TLS_PORT",
    "events": "MEDHUB_EVENTS_PORT", "hl7": "MEDHUB_HL7_PORT", "hl7_tls": "MEDHUB_HL7_TLS_PORT",
}  # fmt: skip


@dataclass
class Program:
    """One child. `is_base`: it holds the data and starts before the rest."""

    name: str
    command: list[str]
    user: str = ""
    stop_signal: str = "TERM"
    is_base: bool = False
    is_group_signalled: bool = True


@dataclass
class Stack:
    """A house in `home`. `start_base`, prepare the database, `start_house`, ... `stop`; a context manager does the last."""

    home: Home
    ports: Ports
    environment: Mapping[str, str] = field(default_factory=dict)
    egress: tuple[str, ...] = ()  # host:port beside those of EGRESS_ALLOW
    database: str = "medhub"
    is_durable: bool = True
    has_postgres: bool = True  # False: the environment names another server
    broker: "Program | None" = None  # instead of the embedded Redis; the environment names it
    _process: subprocess.Popen[bytes] | None = None

    @property
    def superuser(self) -> str:
        return f"host={self.home.sockets} user=postgres dbname=postgres"

    def child_environment(self) -> dict[str, str]:
        """What every child sees: this home, this database, these ports, and nothing of another install."""
        dropped = {"DATABASE_URL", "DATABASE_OWNER_URL", "DATABASE_SWEEP_URL", "CELERY_BROKER_URL", "PYTEST_CURRENT_TEST"}
        quantify = {
            "QUANTIFY_URL": f"http://127.0.0.1:{self.ports.quantify}",
            "QUANTIFY_DIR": str(self.home.root / "quantify"),
            "QUANTIFY_MODELS": os.environ.get("QUANTIFY_MODELS") or str(self.home.root / "models"),
            "QUANTIFY_KEY": self.home.secret("quantify_key", lambda: secrets.token_urlsafe(32)),
            "EGRESS_ALLOW": ",".join(dict.fromkeys((*env_list("EGRESS_ALLOW", ""), f"127.0.0.1:{self.ports.quantify}", *self.egress))),
        }
        return {
            **{key: value for key, value in os.environ.items() if key not in dropped},
            "MEDHUB_HOME": str(self.home.root),
            "MEDHUB_OBJECTS": str(self.home.root / "objects"),
            "MEDHUB_DB_NAME": self.database,
            "MEDHUB_SWEEP_SECONDS": "1",
            "DJANGO_SETTINGS_MODULE": "medhub.settings",
            "PYTHONUNBUFFERED": "1",
            "CELERY_SKIP_CHECKS": "1",  # half of a worker's start; `make test` runs the checks
            **quantify,
            **self.environment,
        }

    def programs(self) -> list[Program]:
        python = sys.executable
        postgres = Program(
            "postgres", postgres_command(self.home, is_durable=self.is_durable), user=postgres_user_name(),
            stop_signal="INT", is_base=True, is_group_signalled=False,
        )  # fmt: skip
        worker = [python, "-m", "celery", "-A", "medhub.celery", "worker", "-l", "WARNING", "--without-gossip", "--without-mingle"]
        gunicorn = [python, "-m", "gunicorn", "--log-level", "warning", "--worker-class"]
        return [
            *([postgres] if self.has_postgres else []),
            self.broker or Program("redis", redis_command(self.home, is_durable=self.is_durable), is_base=True),
            Program(
                "quantify",
                [*gunicorn, "gthread", "--workers", "1", "--threads", "4", "--bind", f"127.0.0.1:{self.ports.quantify}",
                 "quantify.server:app"],
            ),
            Program("index", [python, "manage.py", "ingest_index"]),
            Program(
                "dimse",
                [*worker, "-n", "dimse@localhost", "-Q", "ingest", "-c", "1", "--dimse", f"127.0.0.1:{self.ports.dimse}",
                 "--dimse-tls", f"127.0.0.1:{self.ports.dimse_tls}"],
            ),
            Program("events", [python, "manage.py", "workitem_events", "--port", str(self.ports.events)]),
            Program(
                "hl7", [python, "manage.py", "hl7_listen", "--port", str(self.ports.hl7), "--tls-port", str(self.ports.hl7_tls)]
            ),
            # niced below the index worker: reports may wait a moment, arriving images and their rows may not
            Program("jobs", ["nice", "-n", "19", *worker, "-n", "jobs@localhost", "-Q", "default", "-c", "2"]),
            # these wait for other machines: threads are enough. No platform holds more than its share of them (ai/lanes.py)
            Program(
                "dispatch",
                ["nice", "-n", "19", *worker, "-n", "dispatch@localhost", "-Q", "stat,dispatch", "-P", "threads", "-c", str(THREADS)],
            ),
            Program(
                "transfers",
                ["nice", "-n", "19", *worker, "-n", "transfers@localhost", "-Q", "delivery,transfer,bulk", "-P", "threads", "-c", "8"],
            ),
            # subscribers and EHRs: who hangs holds his own lane (fhirapi/subscriptions/run.py)
            Program(
                "notify",
                ["nice", "-n", "19", *worker, "-n", "notify@localhost", "-Q", "notify", "-P", "threads", "-c", str(THREADS)],
            ),
            Program(
                "beat",
                [python, "-m", "celery", "-A", "medhub.celery", "beat", "-l", "WARNING", "--pidfile=", "-s",
                 str(self.home.root / "run" / "beat")],
            ),
            Program(
                "web", [*gunicorn, "medhub.worker.StayingWorker", "--preload", "--workers", "3", "--threads", "6", "--timeout", "120",
                        "--limit-request-line", "8190",
                        "--bind", f"127.0.0.1:{self.ports.http}", "medhub.wsgi:application"],
            ),
        ]  # fmt: skip

    # --- life -------------------------------------------------------------------------------------------------------

    def start_base(self) -> None:
        """Database and broker up, everything else known to the supervisor but not started."""
        self.home.folders_make()
        if self.has_postgres:
            postgres_init(self.home)
        conf = self.home.root / "run" / "supervisord.conf"
        conf.write_text(self._configuration(), encoding="utf-8")
        log = (self.home.root / "log" / "supervisord.out").open("ab")
        self._process = subprocess.Popen(  # noqa: S603 our own command
            [sys.executable, "-W", "ignore", "-m", "supervisor.supervisord", "-n", "-c", str(conf)],
            cwd=ROOT, env=self.child_environment(), stdout=log, stderr=log, start_new_session=True,
            preexec_fn=_die_with_parent,
        )  # fmt: skip
        self._wait(lambda: self.rpc().getState()["statename"] == "RUNNING", "the supervisor")
        self.rpc().startProcessGroup("base", False)
        if self.has_postgres:
            self._wait(lambda: psycopg.connect(self.superuser).close() is None, "PostgreSQL")

    def start_house(self) -> None:
        self.rpc().startProcessGroup("house", False)

    def wait_ready(self) -> None:
        """Until the listener, the portal and MedHub Quantify take connections."""
        for name in PORT_VARIABLES:
            port: int = getattr(self.ports, name)
            self._wait(partial(_is_listening, port), f"{name} on port {port}")

    def stop(self) -> None:
        """End all children and wait for it."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(40)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def __enter__(self) -> "Stack":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def rpc(self) -> Any:
        transport = SupervisorTransport(None, None, f"unix://{self._socket()}")
        return xmlrpc.client.ServerProxy("http://127.0.0.1", transport=transport).supervisor

    def pids(self) -> dict[str, int]:
        return {info["name"]: info["pid"] for info in self.rpc().getAllProcessInfo()}

    def restart(self, name: str) -> None:
        with contextlib.suppress(xmlrpc.client.Fault):
            self.rpc().stopProcess(name)
        self.rpc().startProcess(name)

    # --- inside -----------------------------------------------------------------------------------------------------

    def _socket(self) -> Path:
        return self.home.sockets / "supervisor.sock"

    def _configuration(self) -> str:
        run, log = self.home.root / "run", self.home.root / "log"
        lines = [
            "[supervisord]", f"logfile={log}/supervisord.log", f"pidfile={run}/supervisord.pid", f"directory={ROOT}",
            "loglevel=warn", *(["user=root"] if os.geteuid() == 0 else []),
            "[unix_http_server]", f"file={self._socket()}", "chmod=0700",
            "[rpcinterface:supervisor]", "supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface",
        ]  # fmt: skip
        programs = self.programs()
        for program in programs:
            lines += [
                f"[program:{program.name}]", "command=" + " ".join(_quoted(part) for part in program.command),
                "autostart=false", "autorestart=true", "startsecs=1", "startretries=100", "stopwaitsecs=15",
                f"stopsignal={program.stop_signal}", f"stopasgroup={str(program.is_group_signalled).lower()}", "killasgroup=true",
                "redirect_stderr=true", f"stdout_logfile={log}/{program.name}.log", "stdout_logfile_maxbytes=5MB",
                "stdout_logfile_backups=1",
                *([f"user={program.user}", "directory=/"] if program.user else [f"directory={ROOT}"]),
            ]  # fmt: skip
        for group, is_base, priority in (("base", True, 1), ("house", False, 10)):
            names = ",".join(program.name for program in programs if program.is_base == is_base)
            lines += [f"[group:{group}]", f"programs={names}", f"priority={priority}"]
        return "\n".join(lines) + "\n"

    def _wait(self, attempt: Any, what: str) -> None:
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end:
            with contextlib.suppress(OSError, psycopg.Error, xmlrpc.client.Error):
                if attempt():
                    return
            if self._process is not None and self._process.poll() is not None:
                break
            time.sleep(0.05)
        raise StackError(f"{what} did not come up; look into {self.home.root / 'log'}")


def _quoted(part: str) -> str:
    # supervisord splits like a shell and expands %.
    return "'" + part.replace("%", "%%") + "'"


def _is_listening(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _die_with_parent() -> None:
    # A demo that is killed must not leave a house behind.
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


@contextlib.contextmanager
def signals_raised() -> Iterator[None]:
    """Make SIGTERM end the block like Ctrl-C does, so that `finally` stops the children."""

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
