"""Rules are data over a closed vocabulary, and every no has its reason."""

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings

from ai.cards import AlgorithmCard, Card
from ai.contract import platforms
from ai.eligibility import SeriesFacts, StudyFacts, verdict_of
from ai.facts import FACTS
from ai.kernels import kernel_is_sharp
from ai.routing.rules import RuleBook, RuleError, conditions_check, rule_evaluate
from tests.ai.routing.studies import RULES, STUDY_FACTS, series_facts, study_facts


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
        ({"fact": "description", "contains": ["head"]}, False, "study description is not matching, the rule wants words like head"),
        ({"fact": "calling_ae", "is": ["CT2"]}, False, "calling AE is CT1, the rule wants CT2"),
        ({"fact": "patient_age_years", "at_least": 18}, True, "all conditions hold"),
        ({"fact": "patient_age_years", "at_most": 18}, False, "patient age is 61, the rule wants at most 18"),
        ({"fact": "instances", "at_least": 200}, False, "images is 150, the rule wants at least 200"),
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
        ([("CT", "HEAD", 60)], False, "body part is HEAD, Lung density mask needs CHEST or LUNG or THORAX"),
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


@pytest.mark.parametrize(
    ("between", "minute", "is_match"),
    [
        (["07:00", "19:00"], 7 * 60, True), (["07:00", "19:00"], 19 * 60, False), (["22:00", "06:00"], 23 * 60, True),
        (["22:00", "06:00"], 5 * 60 + 59, True), (["22:00", "06:00"], 12 * 60, False), (["07:00", "19:00"], None, False),
    ],
)  # fmt: skip
def test_a_time_may_pass_midnight(between, minute, is_match) -> None:
    """"closed vocabulary over tags, AE, time": from the first time on, before the second."""
    outcome = rule_evaluate(conditions=[{"fact": "time", "between": between}], facts=facts(minute_of_day=minute))
    assert outcome.is_match is is_match
    if minute is not None and not is_match:
        assert outcome.reason == f"time of arrival is {minute // 60:02}:00, the rule wants {between[0]} to {between[1]}"


@pytest.mark.parametrize(
    "condition",
    [
        {"fact": "time", "between": ["7:00"]}, {"fact": "time", "between": ["24:00", "07:00"]}, {"fact": "time", "between": "07:00"},
        {"fact": "time", "between": ["07:00", "07:00"]}, {"fact": "time", "is": ["07:00"]}, {"fact": "description", "is": ["x"]},
        {"fact": "priors", "at_least": float("nan")}, {"fact": "priors", "at_least": 10**12}, {"fact": "sex", "is": ["x" * 65]},
        {"fact": "sex", "is": [" "]}, {"fact": "sex", "is": [f"{n}" for n in range(51)]}, {"fact": ["sex"], "is": ["F"]}, "sex", None,
    ],
)  # fmt: skip
def test_values_of_the_wrong_kind_are_refused(condition) -> None:
    """"no code": what is stored was understood."""
    with pytest.raises(RuleError):
        conditions_check([condition])
    with pytest.raises(RuleError):
        conditions_check([{"fact": "sex", "is": ["F"]}] * 21)


@settings(max_examples=120, deadline=None)
@given(rules=RULES, facts=STUDY_FACTS)
def test_a_book_says_what_each_rule_says_alone(rules, facts) -> None:
    """Conditions that rules share are asked once: the answers are those of each rule by itself, each condition by itself."""
    book = RuleBook([one["conditions"] for one in rules])
    for one, outcome in zip(rules, book.outcomes(facts), strict=True):
        alone = [rule_evaluate(conditions=[condition], facts=facts) for condition in one["conditions"]]
        assert outcome.is_match == all(found.is_match for found in alone)
        if not outcome.is_match:
            assert outcome.reason in {found.reason for found in alone if not found.is_match}


def test_facts_survive_being_kept() -> None:
    """A decision keeps what the rules saw; a dry run asks the same again."""
    before = study_facts(series_facts(kernel="B30F", is_contrast=False), minute_of_day=5, results=frozenset({"a/b done"}))
    assert FACTS.validate_python(json.loads(json.dumps(FACTS.dump_python(before, mode="json")))) == before


CARD = AlgorithmCard(
    name="x", title="X", modalities=frozenset({"CT"}), body_parts=frozenset({"CHEST"}), role="quantification", clearance="none",
    min_instances=10, max_slice_spacing_mm=3, orientations=frozenset({"AXIAL"}), prefers=("thin", "soft"), min_priors=0,
)  # fmt: skip


def chosen(*series: SeriesFacts, card: AlgorithmCard = CARD, **changes):
    whole = Card(slug="t", name="T", vendor="T", kind="built-in", summary="", algorithms=(card,), source="")
    return verdict_of(card=whole, facts=study_facts(*series, **changes), algorithm="x")


def test_series_are_chosen_thin_then_soft_then_large_with_reasons() -> None:
    """"series selection (thin, kernel, orientation) with reasons"."""
    series = (
        series_facts(id=1, slice_thickness_mm=1.0, kernel="B60F", orientation="AXIAL"),
        series_facts(id=2, slice_thickness_mm=1.0, kernel="B30F", orientation="AXIAL"),
        series_facts(id=3, slice_thickness_mm=3.0, kernel="B30F", orientation="AXIAL", instances=900),
        series_facts(id=4, slice_thickness_mm=1.0, kernel="B30F", orientation="CORONAL"),
        series_facts(id=5, slice_thickness_mm=1.0, kernel="B30F", orientation="AXIAL", instances=3),
        series_facts(id=6, orientation="AXIAL", image_types=frozenset({"ORIGINAL", "LOCALIZER"})),
        series_facts(id=7, modality="SR"),
        series_facts(id=8, orientation="AXIAL", slice_spacing_mm=5.0),
        series_facts(id=9, orientation="AXIAL", body_part="HEAD"),
    )
    verdict = chosen(*series)
    assert (verdict.is_eligible, verdict.series.id, verdict.reason) == (True, 2, "the thinnest of 3 series, 150 slices")
    assert {one.series_id: one.reason for one in verdict.explain()} == {
        1: "it fits; another has a softer kernel", 2: "the thinnest of 3 series", 3: "it fits; another is thinner",
        4: "orientation is coronal, X needs axial", 5: "3 slices, X needs 10 or more", 6: "it is a localizer",
        7: "modality is SR, X needs CT", 8: "slice spacing is 5 mm, X needs 3 mm or less", 9: "body part is HEAD, X needs CHEST",
    }  # fmt: skip
    assert [one.series_id for one in verdict.explain() if one.is_chosen] == [2]


def test_off_label_is_refused_for_want_of_a_prior_or_thickness() -> None:
    """"off-label refused", "Priors ... for algorithms that need them": with the reason, and nothing that is not stated is guessed."""
    needs = replace(CARD, min_priors=2, orientations=frozenset())
    assert "none of this patient is here" in chosen(card=needs).reason
    assert "only 1 of this patient is here" in chosen(card=needs, priors=1).reason
    assert chosen(card=needs, priors=2).is_eligible
    thick = replace(CARD, max_slice_thickness_mm=1.5, orientations=frozenset())
    assert chosen(card=thick).reason == "slice thickness is not stated, X needs 1.5 mm or less"
    assert chosen(series_facts(slice_thickness_mm=1.25), card=thick).is_eligible


@pytest.mark.parametrize(
    ("name", "is_sharp"),
    [
        ("B30f", False), ("B60F", True), ("Br40d", False), ("Bl57", True), ("LUNG", True), ("STANDARD", False), ("FC52", True),
        ("FC13", False), ("C", False), ("YC", True), ("", None), ("something", None), ("I26s\\3", False),
    ],
)  # fmt: skip
def test_kernels_by_their_makers_names(name, is_sharp) -> None:
    """What is not known is not guessed."""
    assert kernel_is_sharp(name) is is_sharp
