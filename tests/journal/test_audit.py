"""The audit trail: one row per actor, object, action and five minutes; a chain that shows what was touched."""

import pytest
import time_machine
from django.db import connections
from django.utils import timezone

from journal.audit import SEAL_BATCH, Actor, audit_facts_append, audit_record, audit_seal, audit_verify
from journal.models import AuditEvent
from journal.tasks import audit_seal_task

pytestmark = pytest.mark.database


def look(study: str, actor: str = "user:1") -> None:
    audit_record(actor=Actor(name=actor, address="10.0.0.1"), action="study.view", object_type="Study", object_id=study)


def test_a_burst_is_sealed_to_its_end(mercy) -> None:
    """"one task per tenant seals the hash chain within 10 s": more rows than one batch, and nobody who asks again after them."""
    facts = [("fhir.create", "Observation", str(n)) for n in range(2 * SEAL_BATCH + 5)]
    with mercy.scope():
        audit_facts_append(tenant_id=mercy.tenant.id, actor=Actor(name="user:1"), facts=facts)
    audit_seal_task(tenant_id=mercy.tenant.id)
    with mercy.scope():
        assert not AuditEvent.objects.filter(auditseal__isnull=True).exists()
        assert audit_verify() is None


def test_one_row_in_five_minutes(mercy) -> None:
    """"one AuditEvent per actor, study, action and 5 minutes" (DESIGN section 7)."""
    start = timezone.now().replace(minute=0, second=0)
    with mercy.scope():
        for seconds in (0, 10, 299):
            with time_machine.travel(start + timezone.timedelta(seconds=seconds), tick=False):
                look("a")
        look("b")
        look("a", actor="user:2")
        with time_machine.travel(start + timezone.timedelta(seconds=301), tick=False):
            look("a")
        assert AuditEvent.objects.filter(object_id="a", actor="user:1").count() == 2
        assert AuditEvent.objects.count() == 4


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE journal_auditevent SET actor = 'user:9' WHERE tenant_id = %s AND object_id = '3'",
        "DELETE FROM journal_auditseal WHERE tenant_id = %s AND position = 3",
        "UPDATE journal_auditseal SET position = position + 100 WHERE tenant_id = %s AND position = 3",
        "UPDATE journal_auditevent SET recorded_at = recorded_at - interval '1 day' WHERE tenant_id = %s AND object_id = '3'",
    ],
)
def test_the_chain_shows_an_edited_removed_or_moved_row(mercy, change) -> None:
    """"hash chain verify detects edited, deleted, reordered row" (promise 14), even when the owner of the tables did it."""
    with mercy.scope():
        for n in range(1, 6):
            look(str(n))
        assert audit_seal() == 5
        look("6")
        assert audit_seal() == 1
        assert audit_seal() == 0
        assert audit_verify() is None
    with connections["owner"].cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute("SELECT set_config('app.tenant', %s, true)", [str(mercy.tenant.id)])
        cursor.execute(change, [mercy.tenant.id])
        assert cursor.rowcount == 1
        cursor.execute("COMMIT")
    with mercy.scope():
        assert audit_verify() == 3
