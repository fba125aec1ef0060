"""The OHIF viewer as a server gives it out: checked when fetched, cached for good, under a strict policy, nobody else's address."""

import io
import json
import os
import re
import stat
import tarfile
from pathlib import Path

import pytest
from django.conf import settings
from django.test import Client, override_settings

from portal import ohif
from portal.ohif import ROOT, STAMP, ViewerError, ohif_install, ohif_installed
from tests.conftest import PASSWORD
from tests.dicom_files import series_of
from tests.house import index, store

pytestmark = pytest.mark.database


@pytest.fixture
def reader(client: Client, mercy) -> Client:
    mercy.member("radiologist")
    client.post("/accounts/login/", {"login": f"radiologist@{mercy.slug}.example", "password": PASSWORD})
    return client


@pytest.fixture
def study(mercy):
    from imaging.models import Study

    store(mercy, series_of(1))
    index(mercy)
    with mercy.scope():
        return Study.objects.get()


@pytest.fixture
def installed() -> Path:
    if not ohif_installed(folder=settings.MEDHUB_VIEWER):
        if os.environ.get("REQUIRE_PEERS") == "1":
            pytest.fail("the OHIF viewer is missing and REQUIRE_PEERS=1")
        pytest.skip("the OHIF viewer is not here: make viewer")
    return settings.MEDHUB_VIEWER / "viewer"


def test_the_link_leads_to_the_dicom_study(reader, mercy, study, installed) -> None:
    """"opened from worklist and study page": our id in our pages, the DICOM one only where the viewer needs it."""
    assert f"href=studies/{study.uuid}/viewer>" in reader.get(f"/t/{mercy.slug}/worklist").content.decode()
    page = reader.get(f"/t/{mercy.slug}/studies/{study.uuid}").content.decode()
    assert f'href="/t/{mercy.slug}/studies/{study.uuid}/viewer"' in page
    answer = reader.get(f"/t/{mercy.slug}/studies/{study.uuid}/viewer")
    assert answer.headers["Location"] == f"/t/{mercy.slug}/viewer/viewer?StudyInstanceUIDs={study.study_uid}"


def test_the_page_runs_nothing_inline_and_names_nobody_else(reader, mercy, study, installed) -> None:
    """"strict CSP ... (no unsafe-eval), no external request"; nothing of a patient in the page."""
    answer = reader.get(f"/t/{mercy.slug}/viewer/viewer?StudyInstanceUIDs={study.study_uid}")
    policy, page = answer.headers["Content-Security-Policy"], answer.content.decode()
    assert "'unsafe-eval'" not in policy
    assert "script-src 'self' 'wasm-unsafe-eval';" in policy
    assert not re.search(r"<script(?![^>]*src=)", page)
    assert "http" not in page
    assert "DOE" not in page
    assert study.study_uid not in page


def test_the_configuration_knows_this_hospitals_doors_only(reader, mercy) -> None:
    """"page and app-config rendered per hospital"."""
    script = reader.get(f"/t/{mercy.slug}/viewer/app-config.js")
    assert script.headers["Content-Type"].startswith("text/javascript")
    found = json.loads(re.search(r"window\.config = (\{.*\});", script.content.decode())[1])
    configuration = found["dataSources"][0]["configuration"]
    assert {configuration[name] for name in ("qidoRoot", "wadoRoot")} == {f"/t/{mercy.slug}/dicomweb"}
    assert found["routerBasename"] == f"/t/{mercy.slug}/viewer"
    assert "http" not in script.content.decode()


def test_assets_are_cached_for_good_under_the_policy(client, installed) -> None:
    """"assets under `/viewer/`": MIME types, gzip, immutable, and the policy that workers obey."""
    app = ohif_installed(folder=settings.MEDHUB_VIEWER)
    wasm = next(path.name for path in installed.iterdir() if path.suffix == ".wasm")
    for name, kind in ((app, "text/javascript"), (wasm, "application/wasm"), ("app.bundle.css", "text/css")):
        answer = client.get(f"{ROOT}{name}", headers={"accept-encoding": "gzip"})
        assert answer.status_code == 200, name
        assert answer.headers["Content-Type"].split(";")[0] == kind
        assert answer.headers["Content-Encoding"] == "gzip"
        assert "'wasm-unsafe-eval'" in answer.headers["Content-Security-Policy"]
        assert ("immutable" in answer.headers["Cache-Control"]) == (name != "app.bundle.css")
        answer.close()
    left = [str(path) for path in installed.rglob("*") if path.suffix == ".map" or "/ort/" in str(path)]
    assert left == []


def test_without_it_the_page_says_so(reader, mercy, study, tmp_path) -> None:
    """"the page "viewer not installed" with rendered images stays usable"."""
    with override_settings(MEDHUB_VIEWER=tmp_path):
        for path in (f"studies/{study.uuid}/viewer", "viewer/"):
            assert "The viewer is not installed" in reader.get(f"/t/{mercy.slug}/{path}").content.decode()
    assert reader.get(f"/t/{mercy.slug}/dicomweb/studies/{study.study_uid}/rendered").status_code == 200


def npm_of(folder: Path, archive: bytes) -> None:
    """An npm that gives out this archive."""
    (folder / "held").write_bytes(archive)
    script = folder / "npm"
    script.write_text(f'#!/bin/sh\nwhile [ "$1" != --pack-destination ]; do shift; done\ncp {folder}/held "$2/ohif-app.tgz"\n')
    script.chmod(script.stat().st_mode | stat.S_IXUSR)


def archive_of(**files: bytes) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w:gz") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return target.getvalue()


def test_another_package_than_the_pinned_one_is_thrown_away(tmp_path, monkeypatch) -> None:
    """"checked against the pinned integrity sha512"."""
    (tmp_path / "bin").mkdir()
    npm_of(tmp_path / "bin", archive_of(**{"package/dist/app.bundle.0f.js": b"alert(1)"}))
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    with pytest.raises(ViewerError, match="not the @ohif/app"):
        ohif_install(folder=tmp_path / "viewer")
    assert list((tmp_path / "viewer").iterdir()) == []


def test_it_is_trimmed_and_moved_and_stays_in_its_folder(tmp_path, monkeypatch) -> None:
    """"trimmed (no ort/, no maps), patched for /viewer/"; a path out of the folder is passed over."""
    import base64
    import hashlib

    archive = archive_of(**{
        "package/dist/app.bundle.0f.js": b'__webpack_require__.p = "/";' + b" " * 2000, "package/dist/a.css": b"x{src:url(/f.woff2)}",
        "package/dist/ort/x.wasm": b"x", "package/dist/a.js.map": b"x", "package/dist/../../out.js": b"x", "package/LICENSE": b"MIT",
    })  # fmt: skip
    (tmp_path / "bin").mkdir()
    npm_of(tmp_path / "bin", archive)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setattr(ohif, "SHA512", base64.b64encode(hashlib.sha512(archive).digest()).decode())
    assert ohif_install(folder=tmp_path / "viewer")
    assert not ohif_install(folder=tmp_path / "viewer")
    made = tmp_path / "viewer" / "viewer"
    assert {path.name for path in made.iterdir()} == {"app.bundle.0f.js", "app.bundle.0f.js.gz", "a.css", "LICENSE", STAMP}
    assert (made / "app.bundle.0f.js").read_bytes().startswith(b'__webpack_require__.p = "/viewer/";')
    assert (made / "a.css").read_bytes() == b"x{src:url(/viewer/f.woff2)}"
    assert not list(tmp_path.rglob("out.js"))


def test_without_npm_it_says_one_line(tmp_path, monkeypatch) -> None:
    """"if npm cannot be had ...: one line said"; pip is asked for the wheel of Node.js first."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    with pytest.raises(ViewerError, match="npm is not here"):
        ohif_install(folder=tmp_path / "viewer")


def test_invoke_image_display(reader, mercy, study) -> None:
    """IHE RAD-106: what FHIR Endpoints of type ihe-iid lead to. A study is named by its UID; nobody's is 404."""
    door = f"/t/{mercy.slug}/iid"
    answer = reader.get(door, {"requestType": "STUDY", "studyUID": study.study_uid})
    assert (answer.status_code, answer.headers["Location"]) == (302, f"/t/{mercy.slug}/studies/{study.uuid}/viewer")
    assert reader.get(door, {"requestType": "STUDY", "studyUID": "1.2.3"}).status_code == 404
    assert reader.get(door).headers["Location"] == f"/t/{mercy.slug}/worklist"
