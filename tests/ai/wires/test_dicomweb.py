"""DICOMweb out and back, against stores that check what they are sent; and the answers of stores that are not as they should be."""

import contextlib

import pytest
from django.utils import timezone

from ai.auth.bearer import BearerHttp
from ai.contract import PlatformError
from ai.wires import dicomweb, stow
from ai.wires.answers import answer_read
from tenants.egress import Egress
from tests.ai.auth.test_schemes import aws, entra
from tests.ai.handles import asked, until

pytestmark = pytest.mark.xdist_group("doubles-wires")

PERFORMER = "/performer/dicomweb"
AZURE = "/azure/dicom/v2"


def performer(vendors) -> BearerHttp:
    return BearerHttp(Egress(), vendors.credentials["performer_key"])


def test_stow_goes_in_requests_that_the_store_takes(vendors, study) -> None:
    """"STOW out": several requests under the vendor's limit, signed, each instance confirmed by name; and again, harmlessly."""
    url, http = f"{vendors.url}/aws/imaging/datastore/d1", aws(vendors)
    size = sum(path.stat().st_size for path in study.files)
    assert len(list(stow.requests_plan(study.files, size // 3))) in {3, 4}
    for _ in range(2):
        assert dicomweb.instances_store(study, base_url=url, http=http, max_request_bytes=size // 3) == 40
    assert dicomweb.instances_count(asked(study), base_url=url, http=http) == 40


def test_an_object_that_never_fits_is_refused_here(vendors, study) -> None:
    """More than the store takes in a request: permanent, and nothing is sent."""
    with pytest.raises(PlatformError, match="larger than") as raised:
        dicomweb.instances_store(study, base_url=vendors.url, http=Egress(), max_request_bytes=2000)
    assert raised.value.is_permanent


def test_already_stored_is_success_at_azure(vendors, study) -> None:
    """"45070 already stored = success", "409": all are there already, the store answers 409, and the retry is done."""
    http, url = entra(vendors), f"{vendors.url}{AZURE}"
    began = timezone.now()
    for _ in range(2):
        assert dicomweb.instances_store(study, base_url=url, http=http, max_request_bytes=2**30) == 40
    assert dicomweb.change_feed_count(asked(study), since=began, base_url=url, http=http) == 40


@pytest.mark.parametrize(
    ("fault", "is_permanent"),
    [({"kind": "status", "status": 500}, False), ({"kind": "status", "status": 503}, False), ({"kind": "status", "status": 429}, False),
     ({"kind": "status", "status": 400}, True), ({"kind": "status", "status": 403}, True), ({"kind": "status", "status": 415}, True),
     ({"kind": "malformed"}, False), ({"kind": "html"}, False), ({"kind": "empty"}, False)],
    ids=lambda value: str(value),
)  # fmt: skip
def test_what_a_store_can_answer_wrongly(vendors, study, fault, is_permanent) -> None:
    """"500 for N, 429, malformed JSON, HTML": tried again or given up, never taken for stored; none of its words is repeated."""
    vendors.fault(path=f"{PERFORMER}/studies", method="POST", **fault)
    with pytest.raises(PlatformError) as raised:
        dicomweb.instances_store(study, base_url=f"{vendors.url}{PERFORMER}", http=performer(vendors), max_request_bytes=2**30)
    assert raised.value.is_permanent is is_permanent
    assert not any(word in str(raised.value) for word in ("fault", "broken", "Sign in", study.patient_id, study.study_uid))


def test_results_are_fetched_from_beside_our_images(vendors, study, tmp_path) -> None:
    """"results by QIDO/WADO poll": nothing until an SR is there, then the SR with numbers that were computed from these pixels."""
    url, http = f"{vendors.url}{PERFORMER}", performer(vendors)
    dicomweb.instances_store(study, base_url=url, http=http, max_request_bytes=2**30)
    assert dicomweb.results_fetch(asked(study), base_url=url, http=http, folder=tmp_path) is None
    payload = until(lambda: dicomweb.results_fetch(asked(study), base_url=url, http=http, folder=tmp_path))
    assert payload.kind == "dicom"
    answer = answer_read(payload, algorithm="lung-density-mask")
    assert {m.code.code for m in answer.measurements} == {"118565006", "laa-950", "perc15"}
    assert answer.algorithm.manufacturer == "MedHub Quantify (test double)"
    assert answer.study_uid == study.study_uid
    assert set(answer.sop_uids) == set(study.sop_uids)


def test_a_truncated_sr_is_no_answer(vendors, study, tmp_path) -> None:
    """"sends a truncated SR": refused for good, no finding is made of its first half."""
    url, http = f"{vendors.url}{PERFORMER}", performer(vendors)
    vendors.fault("truncated", study=study.study_uid)
    dicomweb.instances_store(study, base_url=url, http=http, max_request_bytes=2**30)

    def ask():
        return dicomweb.results_fetch(asked(study), base_url=url, http=http, folder=tmp_path)

    with pytest.raises(PlatformError):
        answer_read(until(ask, seconds=8), algorithm="x")


def test_an_answer_cut_on_its_way_is_asked_for_again(vendors, study, tmp_path) -> None:
    """A WADO answer that is HTML or no multipart: worth another try, never objects."""
    url, http = f"{vendors.url}{PERFORMER}", performer(vendors)
    dicomweb.instances_store(study, base_url=url, http=http, max_request_bytes=2**30)
    until(lambda: dicomweb.results_fetch(asked(study), base_url=url, http=http, folder=tmp_path))
    for kind in ("html", "malformed"):
        vendors.fault(kind, path=f"{PERFORMER}/studies/[0-9.]+/series/[0-9.]+", method="GET")
        with pytest.raises(PlatformError, match="holds no DICOM objects") as raised:
            dicomweb.results_fetch(asked(study), base_url=url, http=http, folder=tmp_path)
        assert not raised.value.is_permanent


def test_the_check_asks_the_store(vendors) -> None:
    """"check really asks the other side": the right key hears back, the wrong one is told so."""
    url = f"{vendors.url}{PERFORMER}"
    assert dicomweb.store_check(base_url=url, http=performer(vendors)) == "the DICOMweb store answered"
    with pytest.raises(PlatformError, match="refused our key"):
        dicomweb.store_check(base_url=url, http=BearerHttp(Egress(), "wrong"))


NATIVE = """<?xml version="1.0"?><NativeDicomModel xmlns="http://dicom.nema.org/PS3.19/models/NativeDICOM">
<DicomAttribute tag="00081199" vr="SQ" keyword="ReferencedSOPSequence"><Item number="1">
<DicomAttribute tag="00081155" vr="UI"><Value number="1">1.2.3</Value></DicomAttribute>
<DicomAttribute tag="00081196" vr="US"><Value number="1">45056</Value></DicomAttribute></Item></DicomAttribute>
<DicomAttribute tag="00081198" vr="SQ" keyword="FailedSOPSequence">
<Item number="1"><DicomAttribute tag="00081155" vr="UI"><Value number="1">1.2.4</Value></DicomAttribute>
<DicomAttribute tag="00081197" vr="US"><Value number="1">43264</Value></DicomAttribute></Item>
<Item number="2"><DicomAttribute tag="00081155" vr="UI"><Value number="1">1.2.5</Value></DicomAttribute>
<DicomAttribute tag="00081197" vr="US"><Value number="1">45070</Value></DicomAttribute></Item></DicomAttribute></NativeDicomModel>"""


def test_xml_and_warnings_are_read() -> None:
    """"reading STOW answers JSON/XML incl. Azure 202 warnings": a warning is stored, 45070 is stored, 43264 is not."""
    found = stow.answer_read(NATIVE.encode(), "application/dicom+xml")
    assert (found.taken, found.refused) == ({"1.2.3", "1.2.5"}, {"1.2.4": 43264})
    item = {"00081155": {"vr": "UI", "Value": ["1.2.3"]}, "00081196": {"vr": "US", "Value": [1]}}
    json = {"00081199": {"vr": "SQ", "Value": [item]}, "00081198": {"vr": "SQ", "Value": [{"00081155": {"Value": ["1.2.4"]}}]}}
    import orjson

    found = stow.answer_read(orjson.dumps(json), "application/dicom+json")
    assert (found.taken, found.refused) == ({"1.2.3"}, {"1.2.4": 0x0110})


@pytest.mark.parametrize(
    "body",
    [b'<!DOCTYPE x [<!ENTITY a "b">]><x>&a;</x>', b"<a>" * 40, b"<html", b'{"00081199": 7}', b"[]", b"[[1]]", b"null",
     b'{"00081199": {"Value": "abc"}}', b'{"00081199": {"Value": [{"00081155": []}]}}'],
)  # fmt: skip
def test_hostile_answers_confirm_nothing(body) -> None:
    """Entities, depth, wrong shapes: an error of ours or nothing confirmed, never another exception."""
    with contextlib.suppress(PlatformError):
        assert stow.answer_read(body, "").taken == set()


def test_a_refusal_for_good_and_one_for_now(vendors, study) -> None:
    """A store that refuses an object by its content is not asked again; one that is busy with it is."""
    import orjson

    def answering(reason: int):
        class Fake:  # an Http that answers like a store; the wire's own reading is under test
            def request(self, *_: object, **__: object):
                failed = [{"00081155": {"Value": [uid]}, "00081197": {"Value": [reason]}} for uid in study.sop_uids]
                return 409, {}, orjson.dumps({"00081198": {"Value": failed}})

            request_to_file = request

        return Fake()

    for reason, is_permanent in ((43264, True), (45071, False), (0xA700, False), (43265, True)):
        with pytest.raises(PlatformError, match=f"reasons {reason:04X}") as raised:
            dicomweb.instances_store(study, base_url="https://x", http=answering(reason), max_request_bytes=2**30)
        assert raised.value.is_permanent is is_permanent


def test_a_uid_that_is_none_is_not_put_into_an_address() -> None:
    """A store's answer cannot choose where we go next."""
    for text in ("../../x", "1.2/../3", "", "1" * 65, "1.2?x=1"):
        with pytest.raises(PlatformError):
            dicomweb._uid(text)
