"""Pages that must not drift from the code: settings, events, fault points, file sizes."""

import re
from pathlib import Path

import pytest

from journal.types import EVENTS
from medhub.stack import ROOT
from tests.journeys.test_faults import points

READERS = r"(?:env_\w+|environ\.get|environ\.setdefault|_database|_required|_positive)"
READ = re.compile(READERS + r"""\(\s*(?:env, )?"((?:MEDHUB|QUANTIFY|DATABASE|CELERY|EGRESS)_[A-Z_]+)\"""")
APPS = ("medhub", "portal", "fhirapi", "ai", "imaging", "billing", "tenants", "journal", "quantify")


def sources() -> list[Path]:
    return [path for app in APPS for path in (ROOT / app).rglob("*.py")]


def test_every_setting_is_documented() -> None:
    """A variable that is read and not in docs/settings.md is a trap."""
    page = (ROOT / "docs/settings.md").read_text(encoding="utf-8")
    found = {name for path in sources() for name in READ.findall(path.read_text(encoding="utf-8"))}
    assert len(found) > 20
    assert {name for name in found if f"`{name}`" not in page} == set()


def test_events_and_fault_points_are_in_the_walk() -> None:
    """docs/architecture.md tells the walk with every event and every point at which it is killed."""
    page = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    assert [name for name in (*EVENTS, *points()) if name not in page] == []


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "SECURITY.md", "docs/architecture.md"])
def test_links_lead_somewhere(page) -> None:
    """A relative link of a page, and each test or file it names, exists."""
    text = (ROOT / page).read_text(encoding="utf-8")
    base = (ROOT / page).parent
    for link in re.findall(r"\]\(([^)#]+)\)", text):
        if "://" not in link:
            assert (base / link).exists(), link
    for name in re.findall(r"`((?:tests|docs|medhub|journal|tenants|imaging|ai|fhirapi)/[\w/]+\.(?:py|md))`", text):
        assert (ROOT / name).exists(), name


def test_files_stay_small() -> None:
    """"Files under 400 lines (600 fails)"."""
    files = [*sources(), *(ROOT / "tests").rglob("*.py"), *(ROOT / "sandbox").rglob("*.py")]
    long = {str(p.relative_to(ROOT)): n for p in files if (n := len(p.read_text(encoding="utf-8").splitlines())) > 600}
    assert long == {}


def test_nothing_of_this_machine_is_in_the_tree() -> None:
    """No absolute path of the machine that wrote it, in anything we ship."""
    here, home = str(ROOT.parent) + "/", str(Path.home()) + "/"
    suffixes = {".py", ".md", ".toml", ".txt", ".html", ".css", ".js", ".json"}
    for path in ROOT.rglob("*"):
        if path.is_file() and path.suffix in suffixes and not {".venv", ".medhub", ".git", "node_modules"} & set(path.parts):
            text = path.read_text(encoding="utf-8", errors="replace")
            assert here not in text, path
            assert home not in text, path
