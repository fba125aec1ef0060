"""Every platform's whole loop against its double: check, send, ask, read; on pixels, with and without a result."""

import zipfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from ai.contract import Handle, Payload, PlatformError, platforms
from ai.findings import Answer, ReportContent
from tenants.egress import EgressFailed
from tests.ai.handles import asked, fresh, handle_of, until
from tests.ai.platforms.connections import connected
from tests.dicom_files import shared_file

pytestmark = pytest.mark.xdist_group("doubles-platforms")  # the last test looks at what all before it made

CODES = {"118565006", "laa-950", "perc15"}
MAKER = "MedHub Quantify (test double)"
STORES = ("aws-healthlake", "azure-health-data", "google-health-ai", "ibm-cloud-healthcare")
MODELS = ("ibm-watson", "cloud-temple", "google-health-ai")
PERFORMERS = ("arterys", "viz-ai", "sharedmind", "aidoc", "idx-dr", "path-ai", "turbine-ai")
THEIRS = {
    "arterys": ("cardiac-mr", "real/mr-brain-lgg.dcm"), "viz-ai": ("ich-triage", "real/lung-ct-lctsc.dcm"),
    "sharedmind": ("by-contract", "real/mr-brain-lgg.dcm"), "aidoc": ("pe-triage", "real/lung-ct-lctsc.dcm"),
    "idx-dr": ("dr-autonomous", "real/fundus-op-retina.dcm"), "path-ai": ("slide-analysis", "objects/sm-small.dcm"),
    "turbine-ai": ("by-contract", "objects/sm-small.dcm"), "nvidia-clara": ("monai-app", "real/mr-brain-lgg.dcm"),
}  # fmt: skip
SEEN: dict[str, list[Any]] = {}  # slug -> everything that its double made of a study


def loop(slug: str, handle: Handle, vendors: Any, folder: Path, **more: str) -> Answer:
    """As dispatch goes: send, ask until there is an answer, read it. Every word of it is kept for the search of names."""
    with connected(slug, vendors, folder, **more) as (platform, settings, ways):
        remote_id = platform.send(handle, settings, ways)
        assert len(remote_id) <= 128
        payload = until(lambda: platform.poll(remote_id, asked(handle), settings, ways))
        answer = platform.parse(payload, handle.algorithm)
    SEEN.setdefault(slug, []).append([asdict(answer), payload.data, [path.read_bytes() for path in payload.files]])
    assert answer.study_uid == handle.study_uid
    return answer


def test_all_14_are_there() -> None:
    """"**All 14** ... One file each in `ai/platforms/`", and our own."""
    assert set(platforms()) == {*STORES, *MODELS, *PERFORMERS, "nvidia-clara", "medhub-quantify"}


@pytest.mark.parametrize("slug", sorted({*STORES, *MODELS, *PERFORMERS, "nvidia-clara"}))
def test_the_check_really_asks_the_other_side(vendors, tmp_path, slug) -> None:
    """"connection check": a sentence when it answers, words without its body when it does not."""
    with connected(slug, vendors, tmp_path) as (platform, settings, ways):
        assert "answered" in (said := platform.check(settings, ways)) or "is up" in said
        vendors.fault("status", path="/(?!control).*", status=500, times=9)
        with pytest.raises(PlatformError) as raised:
            platform.check(settings, ways)
    assert "fault" not in str(raised.value)


@pytest.mark.parametrize("slug", STORES)
def test_a_store_gives_a_receipt(vendors, study, tmp_path, slug) -> None:
    """"Stores yield a delivery": what the store lists when it is asked afterwards, images and record; sent twice, the same."""
    handle = replace(study, algorithm="store")
    answers = [loop(slug, handle, vendors, tmp_path) for _ in range(2)]
    for answer in answers:
        assert answer.receipt is not None
        assert (answer.receipt.instances, answer.receipt.resources) == (0 if slug == "ibm-cloud-healthcare" else 40, 2)
        assert not answer.is_seen
        assert answer.not_analysable is None
    assert answers[0].receipt == answers[1].receipt


@pytest.mark.parametrize("slug", STORES)
def test_a_store_that_refuses_gives_none(vendors, study, tmp_path, slug) -> None:
    """Negative: nothing is confirmed, so nothing is delivered; and what a store is not asked for is refused."""
    handle = replace(study, algorithm="store")
    with connected(slug, vendors, tmp_path) as (platform, settings, ways):
        vendors.fault("status", path=r"/(aws|azure/|google/v1|fhir-basic).*", status=503, method="POST")
        with pytest.raises(PlatformError) as raised:
            platform.send(handle, settings, ways)
        assert not raised.value.is_permanent
        assert platform.poll(f"{2**31}/none/none", asked(handle), settings, ways) is None
        if slug != "ibm-cloud-healthcare":
            with pytest.raises(PlatformError, match="what was sent is not known"):
                platform.poll("1/none/none", replace(asked(handle), sop_uids=()), settings, ways)
        with pytest.raises(PlatformError):
            platform.parse(Payload(kind="json", data={"findings": [{"code": "x"}]}, sent=handle.sent), "store")


@pytest.fixture(scope="module")
def measured(vendors_process, thorax, tmp_path_factory) -> ReportContent:
    """A report of numbers that Quantify computed from pixels, for the language models."""
    from django.test import override_settings

    folder = tmp_path_factory.mktemp("measured")
    handle = handle_of(fresh(thorax, folder), algorithm="by-contract")
    with override_settings(EGRESS_ALLOW=vendors_process.allowed, EGRESS_CA_FILE=vendors_process.ca_file):
        answer = loop("sharedmind", handle, vendors_process, folder)
    return ReportContent(
        algorithm=answer.algorithm, platform="x", is_test_double=True, study_uid=answer.study_uid, series_uid=answer.series_uid,
        sop_uids=answer.sop_uids, input_sha256="", measurements=answer.measurements, not_analysable=None, notes=answer.notes,
    )  # fmt: skip


@pytest.mark.parametrize("slug", MODELS)
def test_a_language_model_gives_wording_and_nothing_else(vendors, measured, tmp_path, slug) -> None:
    """"language models yield wording": of numbers that were measured; one that it invents drops the draft."""
    handle = Handle(
        idempotency_key="k", algorithm="impression-draft", study_uid=measured.study_uid, series_uid=measured.series_uid, files=[],
        sop_uids=measured.sop_uids, report=measured,
    )  # fmt: skip
    answer = loop(slug, handle, vendors, tmp_path)
    assert answer.wording is not None
    assert f"{measured.measurements[0].value}" in answer.wording.text
    assert not answer.is_seen
    vendors.fault("invent")
    with pytest.raises(PlatformError, match="the draft was dropped"):
        loop(slug, handle, vendors, tmp_path)


def real_chest(folder: Path) -> list[Path]:
    with zipfile.ZipFile(shared_file("series/chest-ct-lidc-0314-2mm.zip")) as archive:
        archive.extractall(folder)
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_a_real_chest_ct_through_monai(vendors, tmp_path) -> None:
    """"on real pixels": a chest CT of a person, whole, out by STOW-RS, back as an SR."""
    (tmp_path / "real").mkdir()
    (tmp_path / "fresh").mkdir()
    files = fresh(real_chest(tmp_path / "real"), tmp_path / "fresh")
    answer = loop("nvidia-clara", handle_of(files, algorithm="monai-app"), vendors, tmp_path)
    assert {m.code.code: m.unit for m in answer.measurements} == {"118565006": "mL", "laa-950": "%", "perc15": "[hnsf'U]"}
    assert answer.algorithm.manufacturer == MAKER


def test_monai_by_inference_with_and_without_a_result(vendors, study, tmp_path) -> None:
    """"async inference job (MONAI `/inference` with status)": it fetches from us, stores to us; one that ends in silence says so."""
    from tests.ai.wires.test_performer import pulled

    store, key = f"{vendors.url}/performer/store", vendors.credentials["performer_key"]
    more = {"way": "pull", "results_url": store, "results_token": key}
    vendors.fault("silent", study=study.study_uid)
    silent = loop("nvidia-clara", replace(pulled(vendors, study), algorithm="monai-app"), vendors, tmp_path, **more)
    assert silent.not_analysable is not None
    assert silent.not_analysable.code == "no_result"
    again = replace(pulled(vendors, study), algorithm="monai-app", idempotency_key="another-job")
    assert {m.code.code for m in loop("nvidia-clara", again, vendors, tmp_path, **more).measurements} == CODES


@pytest.mark.parametrize("slug", [slug for slug in (*PERFORMERS, "nvidia-clara") if slug != "idx-dr"])
def test_what_none_of_the_algorithms_fits_is_delivered_and_not_analysable(vendors, tmp_path, slug) -> None:
    """"a platform that none of the algorithms fits shows delivery plus a first-class *not analysable*": on real images."""
    algorithm, name = THEIRS[slug]
    answer = loop(slug, handle_of(fresh([shared_file(name)], tmp_path), algorithm=algorithm), vendors, tmp_path)
    assert answer.not_analysable is not None
    assert answer.not_analysable.code in {"modality", "too_few_slices"}
    assert not answer.is_seen
    assert answer.algorithm.manufacturer == MAKER


def test_a_real_fundus_photograph_is_measured(vendors, tmp_path) -> None:
    """"let doubles of other platforms compute with the algorithm that fits the modality": an index, made by the double, no verdict."""
    algorithm, name = THEIRS["idx-dr"]
    answer = loop("idx-dr", handle_of(fresh([shared_file(name)], tmp_path), algorithm=algorithm), vendors, tmp_path)
    assert [(one.code.code, one.unit) for one in answer.measurements] == [("relative-vessel-index", "{index}")]
    assert (answer.findings, answer.is_flagged) == ((), False)
    assert answer.algorithm.manufacturer == MAKER


@pytest.mark.parametrize(
    ("slug", "ways"),
    [("sharedmind", {}), ("sharedmind", {"answer": "fhir"}), ("sharedmind", {"way": "task", "answer": "task"}), ("turbine-ai", {}),
     ("arterys", {"answer": "fhir"})],
)  # fmt: skip
def test_by_contract_a_result_comes_back(vendors, study, tmp_path, slug, ways) -> None:
    """Positive, by each way of the profile: numbers computed from these pixels, made by the double and by nobody else."""
    handle = replace(study, algorithm=THEIRS[slug][0])
    if ways.get("way") == "task":
        from tests.ai.wires.test_performer import pulled

        handle = pulled(vendors, handle)
    answer = loop(slug, handle, vendors, tmp_path, **ways)
    assert {m.code.code for m in answer.measurements} == CODES
    assert answer.algorithm.manufacturer == MAKER


@pytest.mark.parametrize(("slug", "algorithm"), [("aidoc", "pe-triage"), ("viz-ai", "ich-triage")])
def test_numbers_of_a_triage_algorithm_are_left_out(vendors, study, tmp_path, slug, algorithm) -> None:
    """"triage may flag and nothing more": the double measures, the platform's file lets none of it through."""
    answer = loop(slug, replace(study, algorithm=algorithm), vendors, tmp_path)
    assert not answer.is_seen
    assert answer.receipt is not None
    assert {"role", "not_flagged"} <= {note.code for note in answer.notes}


@pytest.mark.parametrize("slug", PERFORMERS)
def test_work_by_our_worklist(vendors, tmp_path, slug) -> None:
    """"UPS-RS": a workitem of ours; the answer comes by itself, so nothing is asked for."""
    files = fresh([shared_file("real/lung-ct-lctsc.dcm")], tmp_path)
    handle = handle_of(files, algorithm=THEIRS[slug][0])
    with connected(slug, vendors, tmp_path, way="ups", answer="pushed") as (platform, settings, ways):
        assert platform.is_pushed(settings)
        uid = platform.send(handle, settings, ways)
        assert ways.worklist.items[uid][0] is handle
        assert platform.poll(uid, asked(handle), settings, ways) is None
        assert "claims its work" in platform.check(settings, ways)
        platform.cancel(uid, settings, ways)
        assert ways.worklist.items == {}


@pytest.mark.parametrize("slug", ["aidoc", "viz-ai"])
def test_work_by_c_store(vendors, tmp_path, slug) -> None:
    """"DIMSE (C-STORE out...)": a real association, as these vendors' own boxes take images."""
    handle = handle_of(fresh([shared_file("real/lung-ct-lctsc.dcm")], tmp_path), algorithm=THEIRS[slug][0])
    with connected(slug, vendors, tmp_path, way="dimse", answer="pushed") as (platform, settings, ways):
        assert platform.send(handle, settings, ways) == handle.study_uid
        assert platform.check(settings, ways) == "VENDOR answered C-ECHO"


def test_a_vendor_may_ask_for_our_certificate(vendors, tmp_path) -> None:
    """"mutual TLS" of a connection: with its certificate the vendor answers, without it nobody does, with a broken one we say so."""
    address = f"{vendors.addresses['mutual_url']}/performer/tasks"
    certificate, key = vendors.pem("client")
    more = {"way": "task", "answer": "pushed", "task_url": address}
    with connected("aidoc", vendors, tmp_path, **more, client_certificate=certificate, client_key=key) as (platform, settings, ways):
        assert platform.check(settings, ways) == "the vendor's task address answered"
    with connected("aidoc", vendors, tmp_path, **more) as (platform, settings, ways), pytest.raises(EgressFailed):
        platform.check(settings, ways)
    with (
        pytest.raises(PlatformError, match="certificate and its key cannot be used"),
        connected("aidoc", vendors, tmp_path, **more, client_certificate=certificate, client_key="no key") as (platform, settings, ways),
    ):
        platform.check(settings, ways)


@pytest.mark.parametrize("slug", ["sharedmind", "nvidia-clara"])
def test_an_answer_about_another_patient_does_not_become_ours(vendors, study, tmp_path, slug) -> None:
    """"wrong patient UIDs": an SR that names another study is read as that study's, so the gate keeps it (tests/ai/test_answer_faults)."""
    handle = replace(study, algorithm=THEIRS[slug][0])
    vendors.fault("foreign", study=handle.study_uid, uid="2.25.4711", times=9)  # a send with a pause in it is answered twice
    with connected(slug, vendors, tmp_path) as (platform, settings, ways):
        remote_id = platform.send(handle, settings, ways)
        payload = until(lambda: platform.poll(remote_id, asked(handle), settings, ways))
        answer = platform.parse(payload, handle.algorithm)
    assert answer.study_uid == "2.25.4711"


def test_no_vendor_is_named_on_what_a_double_made(vendors, study, tmp_path) -> None:
    """"manufacturer and performer read "MedHub Quantify (test double)", and a test searches every output for vendor names"."""
    if len(SEEN) < 8:  # run alone: make some
        loop("sharedmind", replace(study, algorithm="by-contract"), vendors, tmp_path)
    names = {word for slug, one in platforms().items() if slug != "medhub-quantify" for word in (slug, one.card.name, one.card.vendor)}
    names |= {"Tempus", "Briefcase", "Lumin", "Topcon", "watson", "Amazon", "Azure", "Google", "NVIDIA", "Clara", "LinuxForHealth"}
    for slug, made in SEEN.items():
        text = orjson.dumps(made, default=lambda value: value.decode("latin-1").casefold()).decode().casefold()
        assert MAKER.casefold() in text or slug in {*STORES, *MODELS}, slug
        assert [name for name in names if name.casefold() in text] == [], slug
