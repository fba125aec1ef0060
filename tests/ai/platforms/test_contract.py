"""What every platform owes, whichever it is: a card with sources, a form, refusals with reasons, errors without anybody's words."""

import contextlib
import json
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ai.contract import Handle, Payload, Platform, PlatformError, Sent, platforms
from ai.eligibility import SeriesFacts, StudyFacts
from medhub.stack import ROOT
from tenants.egress import EgressFailed
from tests.ai.handles import asked
from tests.ai.platforms.connections import connected

pytestmark = pytest.mark.xdist_group("doubles-platforms")

SLUGS = sorted(platforms())
VENDORS = [slug for slug in SLUGS if slug != "medhub-quantify"]
FIXTURES = Path(__file__).parent / "fixtures"
NUMBER = re.compile(r"(K|DEN)\d{6}")
ROLES = {
    "archive": {"storage", "wording"}, "llm": {"wording"}, "model-endpoint": {"quantification"}, "unavailable": {"quantification"},
    "samd-vendor": {"triage", "quantification", "autonomous"}, "built-in": {"quantification"},
}  # fmt: skip


@pytest.mark.parametrize("slug", VENDORS)
def test_the_card_is_complete_and_each_claim_has_a_source(slug) -> None:
    """"card (what it is today, renamed or retired, modality, body part, findings, role, clearance number with source, region)"."""
    card = platforms()[slug].card
    assert all((card.name, card.vendor, card.summary, card.interface, card.sources, card.algorithms, card.source))
    for source in card.sources:
        assert source.title
        assert source.url.startswith("https://") or (ROOT / source.url).is_file(), source.url
    for algorithm in card.algorithms:
        assert algorithm.title
        assert algorithm.intended_use
        assert algorithm.role in ROLES[card.kind]
        assert {number.group() for number in NUMBER.finditer(algorithm.clearance)} <= {one.number for one in algorithm.clearances} | {
            number.group() for one in algorithm.clearances for number in NUMBER.finditer(one.scope)
        }
        for one in algorithm.clearances:
            assert NUMBER.fullmatch(one.number)
            assert one.source.url.startswith("https://")
            assert one.authority in {"FDA", "CE", "UKCA"}
        for figure in algorithm.performance:
            assert figure.what
            assert figure.source.url.startswith("https://") or (ROOT / figure.source.url).is_file()
    assert (card.residence == "contract") is not bool(card.regions)
    assert len({one.name for one in card.algorithms}) == len(card.algorithms)


@pytest.mark.parametrize("slug", VENDORS)
def test_a_vendor_without_an_interface_says_so(slug) -> None:
    """"A vendor without a public interface says so on its card"; one that is not there says "not connected"."""
    card = platforms()[slug].card
    assert card.is_public is not card.interface.startswith("No public interface")
    assert (card.kind == "unavailable") is card.summary.startswith("Not connected")
    assert card.is_public or "performer profile" in card.interface


@pytest.mark.parametrize("slug", SLUGS)
def test_the_form_holds_together(slug) -> None:
    """"settings form": names once, choices that exist, secrets sealed, conditions on fields that are there."""
    fields = {field.name: field for field in platforms()[slug].settings}
    assert len(fields) == len(platforms()[slug].settings)
    for field in fields.values():
        assert field.label
        if field.kind == "choice":
            assert field.default in field.choices
        if field.only_with:
            other = fields[field.only_with[0]]
            assert field.only_with[1] in other.choices
        if re.search(r"secret|password|token$|_key$|^key$|account", field.name) and field.name not in {"access_key"}:
            assert field.kind == "secret", field.name


@pytest.mark.parametrize("slug", VENDORS)
def test_it_can_be_asked_for_what_it_needs(vendors, slug, tmp_path) -> None:
    """The connections of these tests use fields of the form and nothing else."""
    with connected(slug, vendors, tmp_path) as (platform, settings, _):
        assert settings.keys() <= {field.name for field in platform.settings}


def facts(modality: str, **more: Any) -> StudyFacts:
    one = SeriesFacts(id=1, series_uid="1.2", modality=modality, body_part="", instances=500)
    common = {
        "study_uid": "1", "modalities": frozenset({modality}), "body_parts": frozenset(), "description": "",
        "patient_age_years": 50.0, "sex": "F", "calling_aes": frozenset(),
    }  # fmt: skip
    return StudyFacts(**{**common, "series": (one,), **more})


@pytest.mark.parametrize("slug", SLUGS)
def test_it_refuses_a_foreign_modality_and_an_unknown_algorithm(slug) -> None:
    """"refuses foreign modality", with a reason; what a label does not limit takes anything."""
    platform = platforms()[slug]
    for algorithm in platform.card.algorithms:
        verdict = platform.accepts(facts("ECG"), algorithm.name)
        assert verdict.is_eligible is not bool(algorithm.modalities)
        assert verdict.reason
    assert not platform.accepts(facts("CT"), "no-such").is_eligible


OP = "1.2.840.10008.5.1.4.1.1.77.1.5.1"


@pytest.mark.parametrize(
    ("changes", "age", "words"),
    [
        ({}, 50.0, "its one fitting series"),
        ({}, 21.9, "younger than 22"),
        ({}, None, "age is not stated"),
        ({"model": "NONMYD WX"}, 50.0, "cleared for"),
        ({"model": ""}, 50.0, "not stated"),
        ({"modality": "OPT"}, 50.0, "modality is"),
        ({"sop_classes": frozenset({"1.2"})}, 50.0, "no image is of a kind"),
        ({"body_part": "HAND"}, 50.0, "body part is HAND"),
    ],
)
def test_the_autonomous_label_is_kept(changes, age, words) -> None:
    """"on-label limits (IDx-DR: age >= 22, OP colour fundus, Topcon NW400, autonomous)": off-label is refused with the reason."""
    one = SeriesFacts(
        id=1, series_uid="1.2", modality="OP", body_part="EYE", instances=4, model="NW400", sop_classes=frozenset({OP})
    )
    one = replace(one, **changes)
    study = facts(one.modality, series=(one,), patient_age_years=age)
    verdict = platforms()["idx-dr"].accepts(study, "dr-autonomous")
    assert verdict.is_eligible is (words == "its one fitting series")
    assert words in verdict.reason


@pytest.mark.parametrize(("contrast", "is_eligible"), [(True, False), (False, True), (None, False)])
def test_contrast_decides_where_the_label_says_so(contrast, is_eligible) -> None:
    """Non-contrast CT for haemorrhage; what the images do not state is not guessed."""
    one = SeriesFacts(id=1, series_uid="1.2", modality="CT", body_part="HEAD", instances=40, is_contrast=contrast)
    assert platforms()["viz-ai"].accepts(facts("CT", series=(one,)), "ich-triage").is_eligible is is_eligible


def cases() -> list[Any]:
    return [pytest.param(path, id=f"{path.parent.name}-{path.stem}") for path in sorted(FIXTURES.glob("*/*.json"))]


@pytest.mark.parametrize("path", cases())
def test_fixtures_are_read(path) -> None:
    """"fixture parsed": synthetic answers as they come, and what may become of them."""
    case = json.loads(path.read_text())
    sent = Sent(**{**case["sent"], "sop_uids": tuple(case["sent"]["sop_uids"])})
    payload, expect = Payload(**case["payload"], sent=sent), case["expect"]
    platform = platforms()[path.parent.name]
    if "refused" in expect:
        with pytest.raises(PlatformError, match=expect["refused"]) as raised:
            platform.parse(payload, case["algorithm"])
        assert raised.value.is_permanent
        return
    answer = platform.parse(payload, case["algorithm"])
    assert answer.algorithm.name == case["algorithm"]
    assert answer.study_uid == sent.study_uid
    assert set(answer.sop_uids) <= set(sent.sop_uids)
    assert [m.value for m in answer.measurements] == expect.get("measurements", [])
    assert [f.value.code for f in answer.findings] == expect.get("findings", [])
    assert answer.is_flagged is expect.get("is_flagged", False)
    assert (answer.receipt.instances if answer.receipt else None) == expect.get("receipt")
    assert (answer.wording.text if answer.wording else None) == expect.get("wording")
    assert (answer.not_analysable.code if answer.not_analysable else None) == expect.get("not_analysable")
    assert {"role", "not_flagged"} & {note.code for note in answer.notes} == set(expect.get("notes", []))


def test_every_platform_has_fixtures() -> None:
    """A platform without them fails here."""
    assert {path.name for path in FIXTURES.iterdir()} == set(SLUGS)


@pytest.mark.parametrize("slug", SLUGS)
@pytest.mark.parametrize(
    "payload",
    [Payload(kind="json", data={}), Payload(kind="json", data={"text": 5, "model": [], "refusal": None, "instances": "x"}),
     Payload(kind="fhir", data={"resourceType": "Bundle", "entry": 5}), Payload(kind="fhir"), Payload(kind="dicom"),
     Payload(kind="dicom", files=(Path("/nowhere/DOE^JANE"),)), Payload(kind="none")],
    ids=["empty", "odd", "bundle", "fhir", "no-file", "gone", "none"],
)  # fmt: skip
def test_whatever_is_no_answer_is_refused(slug, payload) -> None:
    """Odd, empty, gone: a PlatformError of ours, or "ended without a result"; never a finding, never another exception."""
    platform = platforms()[slug]
    for sent in (None, Sent(study_uid="1", series_uid="2", sop_uids=())):
        answer = None
        with contextlib.suppress(PlatformError):
            answer = platform.parse(replace(payload, sent=sent), platform.card.algorithms[0].name)
        assert answer is None or (answer.not_analysable is not None and not answer.is_seen)


def test_a_file_that_is_gone_is_not_named() -> None:
    """A path holds a UID, or worse: the words do not repeat it."""
    with pytest.raises(PlatformError) as raised:
        platforms()["aidoc"].parse(Payload(kind="dicom", files=(Path("/nowhere/DOE^JANE"),)), "pe-triage")
    assert "DOE" not in str(raised.value)


def one_step(slug: str, vendors: Any, study: Handle, folder: Path) -> None:
    """The step of this platform that talks: send, or the question that is the whole of a draft."""
    from tests.ai.wires.test_chat import REPORT

    with connected(slug, vendors, folder) as (platform, settings, ways):
        algorithm = platform.card.algorithms[0]
        handle = replace(study, algorithm=algorithm.name, report=REPORT if algorithm.role == "wording" else None)
        remote_id = platform.send(handle, settings, ways)
        if algorithm.role == "wording":
            platform.poll(remote_id, asked(handle), settings, ways)


WORK = r"/(?!control|azure-login|google/token|ibm/identity).*"


@pytest.mark.parametrize("slug", VENDORS)
def test_timeout_and_trouble_are_tried_again_and_refusals_are_not(vendors, study, tmp_path, slug) -> None:
    """"timeout -> retry, 4xx -> permanent": and nothing of the vendor's body, our key or the study stands in the words."""
    for fault, is_permanent in (({"kind": "drop"}, False), ({"status": 500}, False), ({"status": 429}, False), ({"status": 400}, True),
                                ({"status": 403}, True), ({"status": 404}, True), ({"kind": "html"}, False)):  # fmt: skip
        vendors.fault(path=WORK, **{"kind": "status", **fault})
        with pytest.raises((PlatformError, EgressFailed)) as raised:
            one_step(slug, vendors, study, tmp_path)
        assert getattr(raised.value, "is_permanent", False) is is_permanent, fault
        words = str(raised.value)
        secrets = [value for value in vendors.credentials.values() if len(value) > 8]
        assert not [part for part in ("asked for", "Sign in", study.study_uid, study.patient_id, *secrets) if part in words]


FIFTEENTH = '''
"""A platform that nobody of the house knows: one file."""

from ai.cards import AlgorithmCard, Card, Source
from ai.wires.performer import PerformerPlatform


class AcmeChest(PerformerPlatform):
    card = Card(
        slug="acme-chest", name="Acme Chest", vendor="Acme", kind="samd-vendor", summary="Measures lungs.",
        algorithms=(
            AlgorithmCard(
                name="lungs", title="Acme Lungs", modalities=frozenset({"CT"}), body_parts=frozenset({"CHEST"}), role="quantification",
                clearance="none", intended_use="lungs",
            ),
        ),
        source="https://acme.example", interface="No public interface: over our performer profile.",
        sources=(Source(title="Acme", url="https://acme.example"),),
    )
'''


@pytest.fixture
def fifteenth(tmp_path, monkeypatch):
    """The file in a folder of its own, on the package's path; gone again afterwards."""
    import ai.platforms

    (tmp_path / "plugin").mkdir()
    (tmp_path / "plugin" / "acme_chest.py").write_text(FIFTEENTH)
    monkeypatch.setattr(ai.platforms, "__path__", [*ai.platforms.__path__, str(tmp_path / "plugin")])
    yield "acme-chest"
    Platform.registry.pop("acme-chest", None)
    sys.modules.pop("ai.platforms.acme_chest", None)


def test_the_fifteenth_platform_is_one_file(fifteenth, vendors, study, tmp_path) -> None:
    """"Adding a fifteenth is one file plus fixtures: prove it in a test that drops one in": card, form, verdict, a whole loop."""
    from tests.ai.platforms.test_loops import CODES, SEEN, loop

    found = platforms()[fifteenth]
    assert found.card.name == "Acme Chest"
    assert {field.name for field in found.settings} >= {"way", "answer", "token"}
    assert not found.accepts(facts("MR"), "lungs").is_eligible
    assert found.accepts(facts("CT"), "lungs").is_eligible
    answer = loop(fifteenth, replace(study, algorithm="lungs"), vendors, tmp_path)
    assert {m.code.code for m in answer.measurements} == CODES
    SEEN.pop(fifteenth)


def test_the_page_says_what_the_cards_say() -> None:
    """docs/platforms.md is made from the cards (tests/ai/platforms/page.py) and never drifts from them."""
    from tests.ai.platforms.page import page

    assert (ROOT / "docs/platforms.md").read_text(encoding="utf-8") == page()
