"""The same gate for what returns as JSON."""

import pytest

from ai.deident.gate import GateRefused
from ai.deident.payload import uids_check, uids_reverse
from tests.ai.deident.objects import SERIES, STUDY, job, slices

FOREIGN = "1.2.826.0.1.3680043.8.498.4711.4712"


@pytest.fixture
def sent(tmp_path):
    return job(slices(2), tmp_path)


def _payload(study: str, image: str, patient: str) -> dict:
    return {
        "resourceType": "ImagingStudy",
        "identifier": [{"system": "urn:dicom:uid", "value": f"urn:oid:{study}"}],
        "code": {"coding": [{"system": "urn:oid:2.16.840.1.113883.6.256.99.11", "code": "x"}], "version": "1.2.3.4"},
        "subject": {"identifier": {"value": patient}},
        "findings": [{"sop_refs": [image], "url": f"https://hub.example/studies/{study}/instances/{image}/frames/1"}],
        "0020000D": {"vr": "UI", "Value": [study]},
        image: "a key",
        "address": "10.0.0.1", "model": {"version": "2.1.0.4", "score": 0.5, "ok": True, "none": None},
        "class": "1.2.840.10008.5.1.4.1.1.2",
    }  # fmt: skip


def test_a_payload_of_this_job_goes_back(sent) -> None:
    (image, _), mapping = sent
    payload = _payload(image.StudyInstanceUID, image.SOPInstanceUID, image.PatientID)
    uids_check(payload, mapping=mapping)
    assert uids_reverse(payload, mapping=mapping) == _payload(STUDY, f"{SERIES}.1", "P1")


@pytest.mark.parametrize("spoil", [
    {"study": FOREIGN}, {"a": [{"b": f"urn:oid:{FOREIGN}"}]}, {"url": f"https://hub.example/studies/{FOREIGN}?x=1"}, {FOREIGN: 1},
    {"text": f"see image {FOREIGN}."}, {"x": "2.25.4711"}, {"x": STUDY}, {"x": f"/studies/{STUDY}/series"},
])  # fmt: skip
def test_a_foreign_uid_in_a_payload_is_refused(sent, spoil: dict) -> None:
    """In values, keys, URLs and sentences; the originals are foreign too, for nobody was told them."""
    (image, _), mapping = sent
    with pytest.raises(GateRefused) as caught:
        uids_check(_payload(image.StudyInstanceUID, image.SOPInstanceUID, "x") | spoil, mapping=mapping)
    assert caught.value.code == "foreign_uid"
    assert FOREIGN not in caught.value.words
    uids_check(spoil, mapping=mapping, own={FOREIGN, "2.25.4711", STUDY})


def test_depth_and_size_have_limits(sent) -> None:
    _, mapping = sent
    deep: object = "x"
    for _ in range(100):
        deep = [deep]
    for payload in (deep, [0] * 300_000):
        with pytest.raises(GateRefused):
            uids_check(payload, mapping=mapping)
    with pytest.raises(GateRefused):
        uids_reverse(deep, mapping=mapping)
