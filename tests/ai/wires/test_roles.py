"""What an answer may say by its role."""

from dataclasses import replace

import pytest

from ai.contract import PlatformError
from ai.findings import Algorithm, Answer, Coding, Document, Finding, Measurement, Note, Receipt, Wording
from ai.wires.roles import role_apply

SCT = "http://snomed.info/sct"
BARE = Answer(
    algorithm=Algorithm(name="a", version="1", manufacturer="m"), study_uid="1", series_uid="2", sop_uids=("3",), input_sha256=""
)
CODE = Coding(system=SCT, code="50960005", display="Haemorrhage")
PRESENT, ABSENT = (Coding(system=SCT, code=code, display=word) for code, word in (("52101004", "Present"), ("272519000", "Absent")))
NUMBER = Measurement(code=CODE, value=1.0, unit="mL", unit_display="mL", body_site=None, method="m")
DOCUMENT = Document(kind="SC", sop_class_uid="1", sop_uid="2", series_uid="3", title="t")
SEEN = replace(BARE, findings=(Finding(code=CODE, value=PRESENT),), measurements=(NUMBER,), documents=(DOCUMENT,))


def test_triage_may_flag_and_nothing_more() -> None:
    """"triage -> only `is_flagged`": what else it says is left out, and that is noted."""
    answer = role_apply(SEEN, "triage")
    assert answer.is_flagged
    assert (answer.findings, answer.measurements, answer.documents, answer.regions) == ((), (), (), ())
    assert [note.code for note in answer.notes] == ["role"]


def test_triage_that_does_not_flag_says_nothing() -> None:
    """"AI may raise a study, never lower or hide one": silence of triage is a receipt, no negative finding."""
    answer = role_apply(replace(BARE, findings=(Finding(code=CODE, value=ABSENT),)), "triage")
    assert not answer.is_seen
    assert answer.receipt is not None
    assert {note.code for note in answer.notes} == {"role", "not_flagged"}


@pytest.mark.parametrize("role", ["detection", "quantification", "autonomous", "triage"])
def test_who_looks_at_images_gives_no_receipt_and_no_wording(role) -> None:
    """"Stores yield a delivery, language models yield wording, neither a finding": and nobody else yields those."""
    for answer in (replace(BARE, receipt=Receipt(instances=1)), replace(BARE, wording=Wording(text="x", model="m"))):
        with pytest.raises(PlatformError):
            role_apply(answer, role)


@pytest.mark.parametrize("role", ["storage", "wording"])
def test_stores_and_models_find_nothing(role) -> None:
    """A finding from a store or a language model is refused, not shown."""
    unable = replace(BARE, not_analysable=Note(code="x", text="y"))
    for answer in (SEEN, replace(BARE, is_flagged=True), unable, BARE):
        with pytest.raises(PlatformError) as raised:
            role_apply(answer, role)
        assert raised.value.is_permanent


@pytest.mark.parametrize("role", ["detection", "quantification", "autonomous", "triage"])
def test_not_analysable_is_first_class(role) -> None:
    """"a first-class *not analysable*": whoever looks may say that it could not."""
    unable = replace(BARE, not_analysable=Note(code="x", text="y"))
    assert role_apply(unable, role) == unable
