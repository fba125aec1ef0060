"""A report of Mercy and people who decide about it, as the pages and the API do."""

from typing import Any

from ai.models import Report
from ai.readers import Reader
from ai.review.services import verdict_give
from journal.audit import Actor
from journal.trace import trace
from tests import house
from tests.ai.delivery.reports import finish
from tests.conftest import Hospital


def person_of(hospital: Hospital, role: str = "radiologist", name: str = "Jane Q Roe") -> Actor:
    user = hospital.member(role)
    user.name = name
    user.save()
    return Actor(name=f"user:{user.pk}")


def decide(hospital: Hospital, report: Report, action: str, actor: Actor, **values: Any) -> Report:
    """The version that comes of it; what hangs on its event has run."""
    with hospital.scope(), trace(""):
        found = verdict_give(
            report_uuid=report.uuid, action=action, actor=actor, reader=Reader(), **{"version": report.version, **values}
        )
    assert found is not None
    house.deliver(hospital)
    finish(hospital)
    return found


def stored(hospital: Hospital, sop_class_uid: str) -> list[Any]:
    """Objects of a class in the archive, in the order they came, read."""
    from pydicom import dcmread

    from imaging.models import Instance
    from imaging.storage import object_path

    with hospital.scope():
        keys = list(Instance.objects.filter(sop_class_uid=sop_class_uid).order_by("id").values_list("key", flat=True))
    return [dcmread(object_path(key)) for key in keys]
