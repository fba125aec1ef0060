"""Declaring query attributes in tests, and their jobs run to the end in this process."""

from typing import Any

from django.utils import timezone

from imaging.models import QueryTag
from imaging.querytags import known
from imaging.querytags import run as job
from imaging.querytags.declare import query_tag_create
from tests.imaging.test_qido import found, get
from tests.imaging.tls_peers import ACTOR


def declare(hospital, tag: str, level: str = "study", **more: Any) -> QueryTag:
    with hospital.scope():
        return query_tag_create(actor=ACTOR, tag=tag, level=level, **more)


def due_now(hospital) -> None:
    """As if the next step's time had come."""
    with hospital.scope():
        QueryTag.objects.filter(due_at__isnull=False).update(due_at=timezone.now())


def build(hospital) -> int:
    """Steps of the hospital's jobs until none is due. Returns how many there were."""
    steps = 0
    while True:
        with hospital.scope():
            ids = list(QueryTag.objects.filter(due_at__isnull=False).values_list("id", flat=True))
        if not ids:
            known.tags_forget(hospital.tenant.id)
            return steps
        due_now(hospital)
        for tag_id in ids:
            job.query_tag_step(tenant_id=hospital.tenant.id, tag_id=tag_id)
            steps += 1


def count(client, hospital, path: str) -> int:
    return len(found(client, hospital, path))


def warning(client, hospital, path: str) -> str:
    return get(client, hospital, path).headers.get("Warning", "")
