"""Every environment variable of MedHub Quantify, read once at start by `quantify.server`."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

GIB = 1024**3


class ConfigError(RuntimeError):
    """The process must not start: a variable is missing or senseless."""


@dataclass(frozen=True)
class Settings:
    """What one Quantify process needs to know."""

    key: str
    folder: Path
    max_bytes: int = 4 * GIB
    keep_hours: int = 72
    job_seconds: int = 300
    job_memory: int = 4 * GIB


def settings_from(env: Mapping[str, str]) -> Settings:
    """Read QUANTIFY_*; a missing key or folder stops the process, because a default key would be an open door."""
    key = _required(env, "QUANTIFY_KEY")
    if not key.isascii():
        raise ConfigError("QUANTIFY_KEY must be ASCII: it travels in an HTTP header")
    return Settings(
        key=key,
        folder=Path(_required(env, "QUANTIFY_DIR")),
        max_bytes=_positive(env, "QUANTIFY_MAX_BYTES", 4 * GIB),
        keep_hours=_positive(env, "QUANTIFY_KEEP_HOURS", 72),
        job_seconds=_positive(env, "QUANTIFY_JOB_SECONDS", 300),
        job_memory=_positive(env, "QUANTIFY_JOB_MEMORY", 4 * GIB),
    )


def _required(env: Mapping[str, str], name: str) -> str:
    value = env.get(name, "").strip()
    if not value:
        raise ConfigError(f"{name} is not set")
    return value


def _positive(env: Mapping[str, str], name: str, default: int) -> int:
    text = env.get(name, "").strip()
    if not text:
        return default
    if not text.isascii() or not text.isdigit() or int(text) == 0:
        raise ConfigError(f"{name} must be a positive whole number")
    return int(text)
