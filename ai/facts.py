"""From a study's rows to StudyFacts: what rules and platforms may look at."""

from ai.contract import SeriesFacts, StudyFacts
from imaging import selectors
from imaging.models import Study

YEARS = {"Y": 1.0, "M": 1 / 12, "W": 7 / 365.25, "D": 1 / 365.25}


def study_facts(*, study: Study) -> StudyFacts:
    """Facts of a study in scope. No name and no number of a patient."""
    rows = selectors.series_of(study_id=study.id)
    series = tuple(
        SeriesFacts(
            id=row.id, series_uid=row.series_uid, modality=row.modality, body_part=row.body_part.upper(),
            instances=row.number_of_instances,
        )
        for row in rows
    )  # fmt: skip
    parts = {item.body_part for item in series if item.body_part}
    return StudyFacts(
        study_uid=study.study_uid,
        modalities=frozenset(item.modality for item in series if item.modality),
        body_parts=frozenset(parts or ({study.body_part.upper()} if study.body_part else set())),
        description=study.description,
        patient_age_years=age_years(study),
        sex=study.patient.sex,
        calling_aes=frozenset(selectors.calling_aes_of(study_id=study.id)),
        series=series,
    )


def age_years(study: Study) -> float | None:
    """PatientAge (AS, PS3.5 6.2), else from the dates when both are whole."""
    text = study.patient_age
    if len(text) == 4 and text[:3].isdigit() and text[3] in YEARS:
        return int(text[:3]) * YEARS[text[3]]
    born, done = study.patient.birth_date, study.study_date
    if len(born) == len(done) == 8 and born.isdigit() and done.isdigit():
        return int(done[:4]) - int(born[:4]) - (done[4:] < born[4:])
    return None
