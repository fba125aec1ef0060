"""Every real file of ../shared/dicom through the web door, twice, against the verdict in its MANIFEST.md, and back again."""

import io
import json
import re
import zipfile

import pytest

from imaging.models import Instance, Study, WorkItem
from imaging.part10 import part10_split
from tests import house
from tests.imaging.test_dimse_peers import SHARED, need
from tests.imaging.test_manifest import FILES, SERIES, Sent, manifest
from tests.imaging.test_stow import body, post
from tests.imaging.test_wado import content, get, parts_of

pytestmark = pytest.mark.peers
STORED = 'multipart/related; type="application/dicom"; transfer-syntax=*'
READS = [
    ("metadata", "application/dicom+json"), ("metadata", 'multipart/related; type="application/dicom+xml"'), ("rendered", "image/jpeg"),
    ("rendered", "*/*"), ("thumbnail", "image/png"), ("frames/1", 'multipart/related; type="application/octet-stream"'),
    ("frames/1", 'multipart/related; type="application/octet-stream"; transfer-syntax=*'), ("frames/1/rendered", "image/png"),
    ("frames/9999", "*/*"), ("", "application/dicom"), ("", "application/zip"),
    ("", "application/dicom; transfer-syntax=1.2.840.10008.1.2"), ("", "application/dicom; transfer-syntax=1.2.840.10008.1.2.4.90"),
    ("", "application/dicom; transfer-syntax=1.2.840.10008.1.2.5"),
]  # fmt: skip


def is_refused(name: str, expected: str) -> bool:
    """Over the web an object has no class and syntax but its own, so `no-meta` is none."""
    return expected.startswith(("REJECT", "STOW: REJECT")) or name == "broken/no-meta.dcm"


def errors(client, hospital, place: str) -> list[str]:
    """What answered neither with the thing nor with a reason, of everything that can be asked of the object."""
    found = []
    for path, accept in READS:
        answer = get(client, hospital, f"{place}/{path}".rstrip("/"), accept)
        said = content(answer)
        if answer.status_code not in {200, 404, 406} or not said:
            found.append(f"{path} {accept}: {answer.status_code}")
    return found


@pytest.mark.parametrize("name", FILES)
def test_a_real_file_gets_the_verdict_of_the_manifest_twice(name: str, client, mercy) -> None:
    """"Every file of `../shared/dicom` by STOW-RS and once more as a duplicate: the verdict of the manifest, zero 500s": refused
    with a reason, or stored and given back byte for byte, and whatever is asked of it is answered."""
    need((SHARED / name).exists() and bool(manifest()), f"../shared/dicom/{name}")
    raw, expected = (SHARED / name).read_bytes(), manifest()[name]
    sent = Sent(raw)
    for round_ in (1, 2):
        answer = post(client, mercy, body(raw))
        house.index(mercy)
        if is_refused(name, expected):
            (failed,) = answer.json()["00081198"]["Value"]
            assert (answer.status_code, "00081199" in answer.json()) == (409, False), f"{name}: round {round_}"
            assert failed["00081197"]["Value"][0], "a refusal without a reason is never forgiven"
            assert failed["00000902"]["Value"][0]
            with mercy.scope():
                assert not Instance.objects.exists()
            continue
        assert answer.status_code == 200, f"{name}: round {round_}: {answer.content!r}"
        assert [one["00081155"]["Value"] for one in answer.json()["00081199"]["Value"]] == [[sent.uid]]
    if is_refused(name, expected):
        return
    with mercy.scope():
        assert not WorkItem.objects.filter(kind="duplicate").exists(), "the same again is idempotent success"
    (found,) = get(client, mercy, f"studies/{sent.study_uid}/instances").json()
    assert found["00080018"]["Value"] == [sent.uid]
    place = f"studies/{sent.study_uid}/series/{found['0020000E']['Value'][0]}/instances/{sent.uid}"
    (back,) = [part for _, part in parts_of(get(client, mercy, place, STORED))]
    assert back[part10_split(back)[1] :] == sent.data, "bytes retrieved identical to bytes sent (group 2 aside)"
    (document,) = get(client, mercy, f"{place}/metadata").json()
    assert document["00080018"]["Value"] == [sent.uid]
    for uri in re.findall(r'"BulkDataURI": "([^"]+)"', json.dumps(document))[:20]:
        answer = client.get(uri, headers=mercy.auth)
        assert (answer.status_code, bool(content(answer))) in {(200, True), (406, True)}, uri
    assert errors(client, mercy, place) == []


@pytest.mark.parametrize("name", SERIES)
def test_a_real_series_comes_back_as_it_was_sent(name: str, client, mercy) -> None:
    """The three series of the manifest, each in one request, and again: bytes retrieved identical to bytes sent."""
    need((SHARED / name).exists() and bool(manifest()), f"../shared/dicom/{name}")
    with zipfile.ZipFile(io.BytesIO((SHARED / name).read_bytes())) as archive:
        slices = [archive.read(info) for info in archive.infolist() if not info.is_dir() and info.file_size > 10_000]
    for _ in range(2):
        assert post(client, mercy, body(*slices)).status_code == 200
        house.index(mercy)
    with mercy.scope():
        assert Study.objects.get().number_of_instances == len(slices)
        assert not WorkItem.objects.exists()
    study = f"studies/{Sent(slices[0]).study_uid}"
    assert sorted(data for _, data in parts_of(get(client, mercy, study, STORED))) == sorted(slices)
    assert len(json.loads(content(get(client, mercy, f"{study}/metadata")))) == len(slices)
    pages = (get(client, mercy, f"{study}/instances?limit=100&offset={offset}").json() for offset in (0, 100)[: 1 + len(slices) // 101])
    assert sum(map(len, pages)) == len(slices)
