"""Settings and the walls of the two folders."""

import ast
import os
import subprocess
import sys

import pytest

from quantify.config import ConfigError, Settings, settings_from
from tests.quantify.conftest import ROOT

FULL = {"QUANTIFY_KEY": "k", "QUANTIFY_DIR": "jobs"}
OURS = {"quantify", "sandbox"}
ALLOWED = {"numpy", "scipy", "pydicom", "multipart"}
OPTIONAL = {"quantify/brain_net.py": {"onnxruntime"}, "quantify/brain_make.py": {"torch"}}  # imported where they are installed


@pytest.mark.parametrize("missing", ["QUANTIFY_KEY", "QUANTIFY_DIR"])
def test_missing_variable_is_loud(missing: str) -> None:
    """Env parsed in one place, dies loudly when missing: the server's import itself fails and names the variable."""
    env = {name: value for name, value in (os.environ | FULL).items() if name != missing}
    command = [sys.executable, "-c", "import quantify.server"]
    ended = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)  # noqa: S603, PLW1510 - ours
    assert ended.returncode != 0
    assert f"ConfigError: {missing} is not set" in ended.stderr


def test_key_must_fit_a_header() -> None:
    """A key that no client could send stops the start."""
    with pytest.raises(ConfigError, match="ASCII"):
        settings_from(FULL | {"QUANTIFY_KEY": "schlüssel"})


def test_defaults() -> None:
    """QUANTIFY_MAX_BYTES defaults to 4 GiB, QUANTIFY_KEEP_HOURS to 72."""
    settings = settings_from(FULL)
    assert isinstance(settings, Settings)
    assert (settings.max_bytes, settings.keep_hours) == (4 * 1024**3, 72)


@pytest.mark.parametrize("value", ["0", "-1", "4G", "1.5", "²"])
def test_senseless_number_is_loud(value: str) -> None:
    """A limit that is no positive whole number stops the start."""
    with pytest.raises(ConfigError, match="QUANTIFY_MAX_BYTES"):
        settings_from(FULL | {"QUANTIFY_MAX_BYTES": value})


@pytest.mark.parametrize("folder", ["quantify", "sandbox/phantoms"])
def test_imports_stay_inside(folder: str) -> None:
    """`quantify` and `sandbox` import nothing of the Django project, and quantify nothing of sandbox."""
    for path in sorted((ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                assert node.level == 0, path
                names = [node.module or ""]
            for name in names:
                top = name.partition(".")[0]
                allowed = ALLOWED | OPTIONAL.get(str(path.relative_to(ROOT)), set()) | {folder.partition("/")[0]}
                assert top in sys.stdlib_module_names or top in allowed, (path, name)
