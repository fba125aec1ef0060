"""The hook's JSON: what it may say, and everything that it may not."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ai.contract import PlatformError
from ai.findings import Algorithm, ImageRef, Note
from ai.reading.hook import ABSENT, HOOK_SCHEMA, PRESENT, hook_read

ALGORITHM = Algorithm(name="ich-triage", version="", manufacturer="MedHub Quantify (test double)")
LUNG = {"system": "http://snomed.info/sct", "code": "39607008", "display": "Lung structure"}
VOLUME = {"system": "http://snomed.info/sct", "code": "118565006", "display": "Volume"}
PNEUMOTHORAX = {"system": "http://snomed.info/sct", "code": "36118008", "display": "Pneumothorax"}


def body(*findings: dict[str, Any], **values: Any) -> dict[str, Any]:
    plain: dict[str, Any] = {
        "job_id": "j1", "status": "done", "model": {"name": "ich-triage", "version": "3.1", "udi": "(01)1"}, "findings": list(findings),
    }  # fmt: skip
    return plain | values


def refused(data: Any) -> str:
    with pytest.raises(PlatformError) as caught:
        hook_read(data, algorithm=ALGORITHM)
    assert caught.value.is_permanent
    return caught.value.user_message


class TestWhatItSays:
    """ "JSON hook": `{job_id, status, findings:[{code, system, value, unit, probability, bodySite, sop_refs}], model}`."""

    def test_a_number(self) -> None:
        answer = hook_read(body({**VOLUME, "value": 12.5, "unit": "mL", "bodySite": LUNG, "sop_refs": ["1.2.3"]}), algorithm=ALGORITHM)
        (found,) = answer.measurements
        assert (found.value, found.unit, found.unit_display, found.code.display) == (12.5, "mL", "mL", "Volume")
        assert found.body_site is not None
        assert found.body_site.code == "39607008"
        assert found.images == (ImageRef(sop_uid="1.2.3"),)
        assert answer.sop_uids == ("1.2.3",)
        assert (answer.algorithm.version, answer.algorithm.udi, answer.algorithm.manufacturer) == (
            "3.1", "(01)1", "MedHub Quantify (test double)",
        )  # fmt: skip

    @pytest.mark.parametrize(("value", "coded"), [(True, PRESENT), (False, ABSENT)])
    def test_present_or_absent(self, value: bool, coded: object) -> None:
        answer = hook_read(body({**PNEUMOTHORAX, "value": value, "probability": 0.75, "words": "Suspected"}), algorithm=ALGORITHM)
        (found,) = answer.findings
        assert (found.value, found.probability, found.words) == (coded, 0.75, "Suspected")

    def test_a_place(self) -> None:
        ring = {"sop_uid": "1.2.3", "frame": 4, "graphic": "CIRCLE", "points": [[3, 3], [3, 5.5]]}
        answer = hook_read(body({**PNEUMOTHORAX, "value": LUNG, "outlines": [ring], "sop_refs": [{"sop_uid": "1.2.3", "frames": [4]}]}),
                           algorithm=ALGORITHM)  # fmt: skip
        (outline,) = answer.findings[0].outlines
        assert (outline.image, outline.points) == (ImageRef(sop_uid="1.2.3", frames=(4,)), ((3.0, 3.0), (3.0, 5.5)))
        assert answer.sop_uids == ("1.2.3",)

    @pytest.mark.parametrize("reason", ["too few slices", {"code": "unstated", "text": "too few slices"}])
    def test_not_analysable(self, reason: object) -> None:
        answer = hook_read(body(status="not_analysable", reason=reason), algorithm=ALGORITHM)
        assert answer.not_analysable == Note(code="unstated", text="too few slices")
        assert not answer.is_seen

    def test_a_flag(self) -> None:
        answer = hook_read(body(flag=True, study_uid="1.2", series_uid="1.3", sop_uids=["1.4"]), algorithm=ALGORITHM)
        assert answer.is_flagged
        assert (answer.study_uid, answer.series_uid, answer.sop_uids) == ("1.2", "1.3", ("1.4",))

    def test_the_words_stay_the_vendors(self) -> None:
        answer = hook_read(body({**PNEUMOTHORAX, "words": "<b>Pneumothorax</b>\x00 likely"}), algorithm=ALGORITHM)
        assert answer.findings[0].words == "<b>Pneumothorax</b>  likely"


class TestWhatItMayNotSay:
    @pytest.mark.parametrize("data", [None, [], "<html>", {}, {"job_id": "1"}, json.loads("[" * 500 + "]" * 500)])
    def test_another_shape(self, data: Any) -> None:
        assert refused(data).startswith("the answer's shape is wrong at data")

    def test_done_without_a_word(self) -> None:
        """Silence is no finding: "nothing seen" must be said as a finding that is absent."""
        assert refused(body()) == "the answer says nothing"

    @pytest.mark.parametrize("value", [float("nan"), float("inf"), 10**400])
    def test_numbers_that_are_none(self, value: float) -> None:
        assert refused(body({**VOLUME, "value": value, "unit": "mL"})) == "a value of the answer is no number"
        assert "shape is wrong" in refused(body({**PNEUMOTHORAX, "value": True, "probability": 1.5}))
        assert "no number" in refused(body({**PNEUMOTHORAX, "value": True, "probability": float("nan")}))

    @pytest.mark.parametrize("unit", ["furlong", "HU", "", None])
    def test_units(self, unit: str | None) -> None:
        item = {**VOLUME, "value": 1.0} | ({} if unit is None else {"unit": unit})
        refused(body(item))

    @pytest.mark.parametrize("extra", [{"negated": True}, {"value": "12 mm"}, {"sop_refs": ["../../etc"]}, {"bodySite": "lung"},
                                       {"outlines": [{"sop_uid": "1", "graphic": "CIRCLE", "points": [[1, 1]]}]}])  # fmt: skip
    def test_members_that_nobody_knows(self, extra: dict[str, Any]) -> None:
        refused(body({**PNEUMOTHORAX, "value": True} | extra))

    def test_both_something_and_nothing(self) -> None:
        data = body({**PNEUMOTHORAX, "value": True}, status="not_analysable", reason="x")
        assert refused(data) == "the answer says both something and nothing"

    def test_failed_tells_no_free_words(self) -> None:
        assert refused(body(status="failed", reason="patient DOE^JANE not found")) == "the platform could not compute it"
        assert refused(body(status="failed", reason={"code": "out_of_memory", "text": "x"})).endswith("(out_of_memory)")

    def test_too_much(self) -> None:
        refused(body(*[{**VOLUME, "value": 1.0, "unit": "mL"}] * 1_001))
        refused(body({**PNEUMOTHORAX, "words": "x" * 1_001}))

    @settings(max_examples=200, deadline=None)
    @given(st.recursive(st.none() | st.booleans() | st.floats() | st.text(max_size=20),
                        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(
                            ["job_id", "status", "model", "findings", "name", "version", "code", "system", "value"]), inner, max_size=6),
                        max_leaves=20))  # fmt: skip
    def test_anything(self, data: Any) -> None:
        try:
            hook_read(data, algorithm=ALGORITHM)
        except PlatformError as error:
            assert error.is_permanent  # noqa: PT017


def test_the_published_schema_is_the_one_that_is_checked() -> None:
    text = (Path(__file__).parents[3] / "docs" / "ai-results.md").read_text()
    published = json.loads(text.split("```json")[1].split("```")[0])
    assert published == HOOK_SCHEMA
