"""Row `routing`: 100 rules asked about 10,000 studies, and a dry run over the last 1,000 studies of a hospital."""

import random
import time
from typing import Any

from django.utils import timezone

from ai.contract import platforms
from ai.eligibility import SeriesFacts, StudyFacts
from ai.facts import FACTS
from ai.models import Connection, Decision
from ai.routing.choose import RouteBook
from ai.routing.dryrun import studies_try
from bench.context import Bench
from bench.figures import Figure, Outcome
from bench.house import hospital_make
from imaging.models import Patient, Study
from journal.wall.ids import id_new

RULES, STUDIES, TRIED = 100, 10_000, 1_000
KINDS = (
    ("CT", "CHEST"), ("CT", "HEAD"), ("CT", "ABDOMEN"), ("MR", "HEAD"), ("MR", "KNEE"), ("DX", "CHEST"), ("MG", "BREAST"),
    ("US", "ABDOMEN"), ("OP", "EYE"), ("XA", "HEART"),
)  # fmt: skip


def routing_measure(bench: Bench) -> Outcome:
    """Every rule's yes or no with its reason for every study; a dry run with what people see of it."""
    chance = random.Random(1)  # noqa: S311 data, no secret
    rules, facts = rules_make(chance), [facts_make(number, chance) for number in range(STUDIES)]
    runs, sent = [], 0
    for _ in range(bench.reps(3)):
        book, began = RouteBook(rules), time.perf_counter()
        sent = sum(choice.is_match for one in facts for choice in book.choices(one))
        runs.append(time.perf_counter() - began)
    trials = _tried(bench, rules, facts)
    outcome = Outcome(
        f"Routing: {RULES} rules; {STUDIES:,} studies from facts in memory, then a dry run over the last {TRIED:,} studies of a hospital",
        [
            Figure(f"{STUDIES:,} studies routed", runs, "s", f"one thread; {sent:,} would be sent"),
            Figure(f"dry run over {TRIED:,}", trials, "s", "rows and facts read, every rule's reason, totals and conflicts"),
        ],
    )
    outcome.measured["routing_seconds"], outcome.measured["dry_run_seconds"] = outcome.figures[0].median, outcome.figures[1].median
    return outcome


def rules_make(chance: random.Random) -> list[dict[str, Any]]:
    """A hundred rules as hospitals write them: modality and body part, a scanner or two, the night, some with conditions on series."""
    targets = [(found.card.slug, card) for found in platforms().values() for card in found.card.algorithms]
    rules = []
    for number in range(RULES):
        slug, card = targets[number % len(targets)]
        conditions: list[dict[str, Any]] = [{"fact": "modality", "is": sorted(card.modalities) or ["CT"]}]
        conditions += [{"fact": "body_part", "is": sorted(card.body_parts)}] if card.body_parts else []
        conditions.append({"fact": "calling_ae", "is": [f"AE{chance.randrange(20)}" for _ in range(3)]})
        conditions += [{"fact": "time", "between": ["18:00", "07:00"]}] if number % 5 == 0 else []
        conditions += [{"fact": "patient_age_years", "at_least": 18}] if number % 3 == 0 else []
        series = [{"fact": "orientation", "is": ["AXIAL"]}, {"fact": "slice_thickness_mm", "at_most": 3}] if number % 4 == 0 else []
        rules.append({
            "id": str(number), "name": f"rule {number}", "platform": slug, "algorithm": card.name, "conditions": conditions,
            "series": series, "is_stat": number % 10 == 0,
        })  # fmt: skip
    return rules


def facts_make(number: int, chance: random.Random) -> StudyFacts:
    """A study of one to five series."""
    modality, part = chance.choice(KINDS)
    series = tuple(
        SeriesFacts(
            id=number * 10 + place, series_uid=f"2.25.{number}.{place}", modality=modality, body_part=part,
            instances=chance.randrange(1, 400), kernel=chance.choice(("B30F", "B60F", "")), orientation=chance.choice(("AXIAL", "CORONAL")),
            slice_thickness_mm=chance.choice((1.0, 2.5, 5.0)), slice_spacing_mm=chance.choice((1.0, 2.5, 5.0)),
            is_contrast=chance.choice((True, False, None)), station=f"ST{chance.randrange(8)}",
        )
        for place in range(chance.randrange(1, 6))
    )  # fmt: skip
    return StudyFacts(
        study_uid=f"2.25.{number}", modalities=frozenset({modality}), body_parts=frozenset({part}), description="a study",
        patient_age_years=chance.choice((None, 4.0, 40.0, 70.0)), sex=chance.choice("FM"),
        calling_aes=frozenset({f"AE{chance.randrange(20)}"}), series=series, minute_of_day=chance.randrange(1440), weekday="MON",
    )  # fmt: skip


def _tried(bench: Bench, rules: list[dict[str, Any]], facts: list[StudyFacts]) -> list[float]:
    hospital = hospital_make("bench-routing")
    now = timezone.now()
    with hospital.scope():
        for slug in {rule["platform"] for rule in rules}:
            Connection.objects.get_or_create(platform=slug, defaults={"name": slug, "created_at": now})
        patient = Patient.objects.create(patient_id="BENCH", name="BENCH")
        studies = [
            Study(
                id=id_new(), study_uid=one.study_uid, patient=patient, state=Study.State.COMPLETE, version=1, number_of_instances=1,
                first_received_at=now, last_received_at=now,
            )
            for one in facts[:TRIED]
        ]  # fmt: skip
        Study.objects.bulk_create(studies)
        Decision.objects.bulk_create(
            Decision(study=study, study_version=1, summary="", facts=FACTS.dump_python(one, mode="json"), created_at=now)
            for study, one in zip(studies, facts, strict=False)
        )
    runs = []
    for _ in range(bench.reps(3)):
        began = time.perf_counter()
        with hospital.scope():
            trial = studies_try(rules=rules, last=TRIED)
        runs.append(time.perf_counter() - began)
        if len(trial.studies) != TRIED:
            raise AssertionError(len(trial.studies))
    return runs
