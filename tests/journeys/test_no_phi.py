"""A patient called ZZCANARY walks through the house; afterwards no log, title or address knows the name."""

import re

import pytest
from pydicom import dcmread

from tests.conftest import PASSWORD

pytestmark = [pytest.mark.stack, pytest.mark.xdist_group("stack")]
CANARIES = (b"ZZCANARY", b"ZZMRN77", b"ZZACC88", b"ZZDESC99")


def test_no_patient_in_logs_titles_and_addresses(house, joined, tmp_path, client) -> None:
    """"No PHI in portal URLs, titles, ... logs" (DESIGN section 7; promise 20)."""
    for file in sorted(house.phantom.glob("*.dcm")):
        ds = dcmread(file)
        ds.PatientName, ds.PatientID, ds.AccessionNumber, ds.StudyDescription = "ZZCANARY^Q", "ZZMRN77", "ZZACC88", "ZZDESC99"
        ds.save_as(tmp_path / file.name)
    (tmp_path / "broken.dcm").write_bytes((tmp_path / file.name).read_bytes()[:900])
    house.wait(lambda: house.send(joined, tmp_path) == 0, "an acknowledged study")
    house.wait_report(joined)
    joined.member("owner")
    client.post("/accounts/login/", {"login": f"owner@{joined.slug}.example", "password": PASSWORD})
    study = house.studies(joined)[0]
    for path in ("worklist", f"studies/{study.uuid}", "attention", ""):
        answer = client.get(f"/t/{joined.slug}/{path}")
        title = re.search(rb"<title>(.*?)</title>", answer.content).group(1)
        addresses = b" ".join(re.findall(rb"""(?:href|src|action|hx-get)="([^"]*)\"""", answer.content))
        assert not any(canary in title + addresses for canary in CANARIES), path
    logs = list((house.stack.home.root / "log").glob("*"))
    assert len(logs) > 5
    for log in logs:
        content = log.read_bytes()
        assert not any(canary in content for canary in CANARIES), log.name
