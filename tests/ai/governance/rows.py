"""Rows of jobs as they end, without running them: what figures, ledger and registry count."""

from datetime import datetime, timedelta
from typing import Any

from django.utils import timezone

from ai.contract import platforms
from ai.models import Connection, Job
from imaging.models import Study
from tests import house
from tests.dicom_files import series_of


def study_take(hospital: Any) -> Study:
    datasets = series_of(1)
    house.store(hospital, datasets)
    house.index(hospital)
    with hospital.scope():
        return Study.objects.get(study_uid=datasets[0].StudyInstanceUID)


def link(slug: str, **facts: Any) -> Connection:
    """In a scope."""
    row, _ = Connection.objects.get_or_create(
        platform=slug, defaults={"name": platforms()[slug].card.name, "created_at": timezone.now(), **facts}
    )
    return row


def jobs_end(
    study: Study, connection: Connection, states: list[str], *, algorithm: str = "ich-triage", ended: datetime | None = None,
    seconds: int = 60, version: str = "", digest: str = "", first: int = 1,
) -> list[Job]:
    """One job of each state, on versions of the study from `first` on; each took `seconds`. In a scope."""
    at = ended or timezone.now()
    return Job.objects.bulk_create([
        Job(
            study=study, study_version=first + place, connection=connection, algorithm=algorithm, state=state, created_at=at,
            sent_at=None if state in {"refused", "queued"} else at - timedelta(seconds=seconds),
            ended_at=at + timedelta(microseconds=place),
            version_said=version, input_sha256=digest or f"{first + place:064d}",
        )
        for place, state in enumerate(states)
    ])  # fmt: skip
