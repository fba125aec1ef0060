"""From rows, and the header of one image of each series, to StudyFacts: what rules and platforms may look at."""

from collections.abc import Sequence
from zoneinfo import ZoneInfo

from pydantic import TypeAdapter

from ai.eligibility import SeriesFacts, StudyFacts
from ai.headers import header_facts
from ai.models import Result
from ai.routing.vocabulary import WEEKDAYS
from imaging import selectors
from imaging.models import Series, Study
from imaging.selectors import Priors
from journal.wall.scope import tenant_id_current
from tenants.selectors import tenant_get

YEARS = {"Y": 1.0, "M": 1 / 12, "W": 7 / 365.25, "D": 1 / 365.25}
FACTS = TypeAdapter(StudyFacts)  # as a Decision keeps them


def study_facts(*, study: Study) -> StudyFacts:
    """Facts of a study in scope, `study` with its patient. No name and no number of a patient."""
    return studies_facts(studies=[study])[study.id]


def studies_facts(*, studies: Sequence[Study]) -> dict[int, StudyFacts]:
    """By study id. A fixed number of statements, and one header a series."""
    ids = [study.id for study in studies]
    series: dict[int, list[Series]] = {}
    for row in selectors.series_among(study_ids=ids):
        series.setdefault(row.study_id, []).append(row)
    pictures = selectors.series_pictures(study_ids=ids)
    callers, priors = selectors.calling_aes(study_ids=ids), selectors.study_priors(studies=studies)
    priorities, results = selectors.study_priorities(studies=studies), studies_results(studies=studies)
    zone = ZoneInfo(tenant_get(tenant_id=tenant_id_current()).time_zone)
    found = {}
    for study in studies:
        ours = tuple(_series(row, pictures.get(row.id)) for row in series.get(study.id, ()))
        parts = {one.body_part for one in ours if one.body_part}
        came, before = study.first_received_at.astimezone(zone), priors.get(study.id, Priors(0, None))
        found[study.id] = StudyFacts(
            study_uid=study.study_uid,
            modalities=frozenset(one.modality for one in ours if one.modality),
            body_parts=frozenset(parts or ({study.body_part.upper()} if study.body_part else set())),
            description=study.description,
            patient_age_years=age_years(study),
            sex=study.patient.sex,
            calling_aes=callers.get(study.id, frozenset()),
            series=ours,
            priority=priorities.get(study.id, ""),
            minute_of_day=came.hour * 60 + came.minute,
            weekday=WEEKDAYS[came.weekday()],
            priors=before.count,
            days_since_prior=before.days,
            results=results.get(study.id, frozenset()),
        )
    return found


def _series(row: Series, pictures: selectors.SeriesPictures | None) -> SeriesFacts:
    seen = header_facts(key=pictures.key) if pictures else {}
    if pictures:
        seen |= {"sop_classes": pictures.sop_classes, "slice_spacing_mm": pictures.spacing_mm}
    return SeriesFacts(
        id=row.id, series_uid=row.series_uid, modality=row.modality, body_part=row.body_part.upper(),
        instances=row.number_of_instances, description=row.description, **seen,
    )  # fmt: skip


def studies_results(*, studies: Sequence[Study]) -> dict[int, frozenset[str]]:
    """What platforms have said of each study's version, in the vocabulary's words: "viz-ai/ich-triage flagged"."""
    versions = {study.id: study.version for study in studies}
    found: dict[int, set[str]] = {}
    rows = Result.objects.filter(job__study_id__in=versions, job__state__in=["done", "not_analysable"]).values_list(
        "job__study_id", "job__study_version", "job__connection__platform", "job__algorithm", "is_analysable", "payload__is_flagged"
    )
    for study_id, version, platform, algorithm, is_analysable, is_flagged in rows:
        if version == versions[study_id]:
            name = f"{platform}/{algorithm}"
            found.setdefault(study_id, set()).add(f"{name} {'done' if is_analysable else 'not analysable'}")
            if is_flagged:
                found[study_id].add(f"{name} flagged")
    return {study_id: frozenset(words) for study_id, words in found.items()}


def age_years(study: Study) -> float | None:
    return years_of(age=study.patient_age, born=study.patient.birth_date, done=study.study_date)


def years_of(*, age: str, born: str, done: str) -> float | None:
    """PatientAge (AS, PS3.5 6.2), else from the dates when both are whole."""
    if len(age) == 4 and age[:3].isdigit() and age[3] in YEARS:
        return int(age[:3]) * YEARS[age[3]]
    if len(born) == len(done) == 8 and born.isdigit() and done.isdigit():
        return int(done[:4]) - int(born[:4]) - (done[4:] < born[4:])
    return None
