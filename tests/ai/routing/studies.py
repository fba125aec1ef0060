"""Facts and rules for the tests of routing: drawn by hypothesis, or stored as studies."""

from typing import Any

from hypothesis import strategies as st

from ai.contract import platforms
from ai.eligibility import SeriesFacts, StudyFacts
from ai.routing.vocabulary import OPERATORS, SERIES, STUDY, WEEKDAYS

WORDS = ["CT", "MR", "MG", "CHEST", "HEAD", "AXIAL", "F", "STAT", "B30F", "MON"]
TEXTS = ["CT Chest w/o", "Head", ""]


def rule(name: str = "chest", platform: str = "medhub-quantify", algorithm: str = "lung-density-mask", **changes: Any) -> dict[str, Any]:
    found = {"name": name, "platform": platform, "algorithm": algorithm, "conditions": [{"fact": "modality", "is": ["CT"]}]}
    return {**found, **changes}


def series_facts(**changes: Any) -> SeriesFacts:
    known = {"id": 1, "series_uid": "1.2", "modality": "CT", "body_part": "CHEST", "instances": 150, "slice_spacing_mm": 1.0}
    return SeriesFacts(**{**known, **changes})


def study_facts(*series: SeriesFacts, **changes: Any) -> StudyFacts:
    found = series or (series_facts(),)
    known = {
        "study_uid": "1.2.3", "modalities": frozenset(one.modality for one in found), "body_parts": frozenset({"CHEST"}),
        "description": "CT Chest w/o", "patient_age_years": 61.0, "sex": "F", "calling_aes": frozenset({"CT1"}), "series": found,
    }  # fmt: skip
    return StudyFacts(**{**known, **changes})


def _conditions(facts: Any) -> st.SearchStrategy[list[dict[str, Any]]]:
    """Any condition of the vocabulary."""
    words = st.lists(st.sampled_from(WORDS), min_size=1, max_size=3, unique=True)
    texts = st.lists(st.sampled_from(["chest", "head", "zz"]), min_size=1, max_size=2, unique=True)
    clock = st.sampled_from([["07:00", "19:00"], ["22:30", "06:15"], ["00:00", "23:59"]])
    values = {"words": words, "text": texts, "number": st.integers(0, 400), "clock": clock}
    pairs = [(fact.name, operator, values[fact.kind]) for fact in facts.values() for operator in OPERATORS[fact.kind]]
    one = st.sampled_from(pairs).flatmap(lambda pair: st.builds(lambda value: {"fact": pair[0], pair[1]: value}, pair[2]))
    return st.lists(one, max_size=4)


TARGETS = [(found.card.slug, card.name) for found in platforms().values() for card in found.card.algorithms]
RULES = st.lists(
    st.builds(
        lambda target, conditions, series, is_stat: {
            "platform": target[0], "algorithm": target[1], "conditions": conditions, "series": series, "is_stat": is_stat,
        },
        st.sampled_from(TARGETS), _conditions(STUDY), st.one_of(st.just([]), _conditions(SERIES)), st.booleans(),
    ),
    max_size=12,
).map(lambda rules: [{**one, "name": f"rule {number}"} for number, one in enumerate(rules)])  # fmt: skip
SERIES_FACTS = st.builds(
    SeriesFacts, id=st.integers(1, 10**6), series_uid=st.just("1.2"), modality=st.sampled_from(["CT", "MR", "MG", "OP", ""]),
    body_part=st.sampled_from(["CHEST", "HEAD", "BREAST", ""]), instances=st.integers(1, 400), description=st.sampled_from(TEXTS),
    kernel=st.sampled_from(["B30F", "LUNG", ""]), orientation=st.sampled_from(["AXIAL", "CORONAL", ""]),
    slice_thickness_mm=st.sampled_from([None, 1.0, 5.0]), slice_spacing_mm=st.sampled_from([None, 1.0, 5.0]),
    is_contrast=st.sampled_from([None, True, False]), image_types=st.sampled_from([frozenset(), frozenset({"LOCALIZER"})]),
)  # fmt: skip
STUDY_FACTS = st.builds(
    StudyFacts, study_uid=st.just("1.2.3"), modalities=st.frozensets(st.sampled_from(["CT", "MR", "MG"])),
    body_parts=st.frozensets(st.sampled_from(["CHEST", "HEAD"])), description=st.sampled_from(TEXTS),
    patient_age_years=st.one_of(st.none(), st.floats(0, 100)), sex=st.sampled_from(["F", "M", "O", ""]),
    calling_aes=st.frozensets(st.sampled_from(["CT1", "HEAD"])), series=st.lists(SERIES_FACTS, max_size=4).map(tuple),
    priority=st.sampled_from(["", "STAT", "ROUTINE"]), minute_of_day=st.one_of(st.none(), st.integers(0, 1439)),
    weekday=st.sampled_from(["", *WEEKDAYS]), priors=st.integers(0, 3), days_since_prior=st.one_of(st.none(), st.floats(0, 999)),
    results=st.frozensets(st.sampled_from(["viz-ai/ich-triage flagged", "medhub-quantify/lung-density-mask done"])),
)  # fmt: skip
