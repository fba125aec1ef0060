"""One more result of the same algorithm over the same study, as the gate keeps it."""

from typing import Any

from django.utils import timezone

from ai.models import Job, Report, Result


def result_make(first: Report, *, study_version: int) -> Result:
    """In a scope."""
    now = timezone.now()
    job = Job.objects.create(
        study=first.study, study_version=study_version, connection=first.connection, algorithm=first.algorithm, state="done", created_at=now
    )
    names: dict[str, Any] = {name: first.content[name] for name in (
        "algorithm", "study_uid", "series_uid", "sop_uids", "input_sha256", "measurements", "findings",
    )}  # fmt: skip
    return Result.objects.create(job=job, payload=names, is_analysable=True, received_at=now)
