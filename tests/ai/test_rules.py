"""Rules are data over a closed vocabulary, and every no has its reason."""

import pytest

from ai.contract import SeriesFacts, StudyFacts, platforms
from ai.rules import RuleError, conditions_check, rule_evaluate


def facts(**changes) -> StudyFacts:
    series = SeriesFacts(id=1, series_uid="1.2", modality="CT", body_part="CHEST", instances=150)
    known = {
        "study_uid": "1.2.3", "modalities": frozenset({"CT"}), "body_parts": frozenset({"CHEST"}), "description": "CT Chest w/o",
        "patient_age_years": 61.0, "sex": "F", "calling_aes": frozenset({"CT1"}), "series": (series,),
    }  # fmt: skip
    return StudyFacts(**{**known, **changes})


@pytest.mark.parametrize(
    ("condition", "is_match", "reason"),
    [
        ({"fact": "modality", "is": ["CT", "MR"]}, True, "all conditions hold"),
        ({"fact": "modality", "is": ["MR"]}, False, "modality is CT, the rule wants MR"),
        ({"fact": "modality", "is_not": ["CT"]}, False, "modality is CT, the rule wants anything but CT"),
        ({"fact": "body_part", "is": ["chest"]}, True, "all conditions hold"),
        ({"fact": "description", "contains": ["chest"]}, True, "all conditions hold"),
        ({"fact": "description", "contains": ["head"]}, False, "description is not matching, the rule wants words like head"),
        ({"fact": "calling_ae", "is": ["CT2"]}, False, "calling ae is CT1, the rule wants CT2"),
        ({"fact": "patient_age_years", "at_least": 18}, True, "all conditions hold"),
        ({"fact": "patient_age_years", "at_most": 18}, False, "patient age years is 61, the rule wants at most 18"),
        ({"fact": "instances", "at_least": 200}, False, "instances is 150, the rule wants at least 200"),
        ({"fact": "sex", "is": ["M"]}, False, "sex is F, the rule wants M"),
    ],
)
def test_each_fact_and_operator(condition, is_match, reason) -> None:
    """"routing rules as data with a reason for each "no""."""
    conditions_check([condition])
    outcome = rule_evaluate(conditions=[condition], facts=facts())
    assert (outcome.is_match, outcome.reason) == (is_match, reason)


def test_what_is_not_stated_never_matches_a_bound() -> None:
    """Without an age no age condition holds: a guess could send a child."""
    outcome = rule_evaluate(conditions=[{"fact": "patient_age_years", "at_least": 0}], facts=facts(patient_age_years=None))
    assert not outcome.is_match
    assert "not stated" in outcome.reason


@pytest.mark.parametrize(
    "condition",
    [
        {"fact": "patient_name", "is": ["X"]}, {"fact": "modality"}, {"fact": "modality", "matches": ["C.*"]},
        {"fact": "modality", "is": []}, {"fact": "modality", "is": "CT"}, {"fact": "instances", "at_least": "5"},
        {"fact": "modality", "is": ["CT"], "is_not": ["MR"]}, {"fact": "instances", "at_least": True},
    ],
)  # fmt: skip
def test_the_vocabulary_is_closed(condition) -> None:
    """No code, no unknown fact, no value of the wrong kind."""
    with pytest.raises(RuleError):
        conditions_check([condition])


@pytest.mark.parametrize(
    ("series", "is_eligible", "reason"),
    [
        ([("CT", "CHEST", 150), ("CT", "CHEST", 30)], True, "the largest of 2 series, 150 slices"),
        ([("CT", "", 60)], True, "its one fitting series, 60 slices"),
        ([("CT", "HEAD", 60)], False, "body part is HEAD, Lung density mask needs CHEST"),
        ([("DX", "CHEST", 1)], False, "modality is DX, Lung density mask needs CT"),
        ([("CT", "CHEST", 1)], False, "1 slice, Lung density mask needs 20 or more"),
    ],
)
def test_quantify_refuses_what_is_off_label_and_says_why(series, is_eligible, reason) -> None:
    """"the head CT and the chest X-ray are refused for what they are"; the largest fitting series is chosen."""
    rows = tuple(
        SeriesFacts(id=n, series_uid=f"1.{n}", modality=modality, body_part=part, instances=count)
        for n, (modality, part, count) in enumerate(series)
    )
    study = facts(
        series=rows, modalities=frozenset(row.modality for row in rows),
        body_parts=frozenset(row.body_part for row in rows if row.body_part),
    )  # fmt: skip
    verdict = platforms()["medhub-quantify"].accepts(study, "lung-density-mask")
    assert (verdict.is_eligible, verdict.reason) == (is_eligible, reason)
