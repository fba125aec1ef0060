"""Where reports go as ORU^R01: rows, and what may stand in them."""

from typing import Any

from django.utils import timezone

from imaging.models import Hl7Destination
from journal.audit import Actor, audit_record

VERSIONS = ("2.5.1", "2.3.1")
CAP = 20


class DestinationError(Exception):
    """A destination cannot be like that. The text is ours and may be shown."""

    def __init__(self, field: str, words: str) -> None:
        super().__init__(words)
        self.field = field


def destinations_list() -> list[Hl7Destination]:
    return list(Hl7Destination.objects.order_by("name", "id"))


def destination_get(*, destination_id: int) -> Hl7Destination | None:
    found: Hl7Destination | None = Hl7Destination.objects.filter(id=destination_id).first()
    return found


def destination_add(*, actor: Actor, **facts: Any) -> Hl7Destination:
    """Reports that are issued from now on go there. Raises DestinationError."""
    for name in ("name", "host"):
        facts[name] = str(facts.get(name, "")).strip()
        if not facts[name]:
            raise DestinationError(name, "is missing")
    if not 0 < int(facts.get("port") or 0) < 65536:
        raise DestinationError("port", "is a number from 1 to 65535")
    if facts.get("version", VERSIONS[0]) not in VERSIONS:
        raise DestinationError("version", f"is one of {', '.join(VERSIONS)}")
    if Hl7Destination.objects.count() >= CAP:
        raise DestinationError("name", f"a hospital has at most {CAP} destinations")
    row: Hl7Destination = Hl7Destination.objects.create(created_at=timezone.now(), **facts)
    audit_record(actor=actor, action="hl7.destination.add", object_type="Hl7Destination", object_id=str(row.id))
    return row


def destination_remove(*, actor: Actor, row: Hl7Destination) -> None:
    """Nothing goes there any more; what was on its way is given up with the reason."""
    audit_record(actor=actor, action="hl7.destination.remove", object_type="Hl7Destination", object_id=str(row.id))
    row.delete()
