"""SIGKILL where a node is asked for commitment: its answer is taken, or it is asked again; nothing is sent twice for it."""

from datetime import timedelta

import pytest
from django.utils import timezone

from ai.models import ReportDelivery
from tests.ai.delivery.committing import pacs_run, row_of
from tests.ai.delivery.reports import issued, step
from tests.killing import KILLED, killed_or_done

pytestmark = [pytest.mark.database, pytest.mark.faults, pytest.mark.peers, pytest.mark.xdist_group("faults-2")]


@pytest.mark.parametrize(("point", "times"), [("commitment.before_ask", 1), ("commitment.after_ask", 2)])
def test_killed_while_it_is_asked(mercy, settings, tmp_path, point, times) -> None:
    """"a transaction UID that is stored first": dead before the question it is asked once, dead behind it under a new transaction."""
    (faults := tmp_path / "faults").mkdir()
    (faults / point).touch()
    with pacs_run(settings, mercy) as pacs:
        issued(mercy)
        row = row_of(mercy)
        ended = killed_or_done("ai.delivery.run", "delivery_run", faults=faults, tenant_id=mercy.tenant.id, delivery_id=row.id)
        assert ended == KILLED
        dead = row_of(mercy)
        assert (dead.state, dead.asked_at) == ("stored", None)
        assert dead.transaction_uid
        with mercy.scope():
            ReportDelivery.objects.filter(id=dead.id).update(due_at=timezone.now() - timedelta(seconds=1))
        step(mercy)
        row = row_of(mercy)
        assert (row.state, row.words) == ("stored", "commitment asked")
        assert [asked.TransactionUID for asked in pacs.asked][-1] == row.transaction_uid != dead.transaction_uid
        assert (len(pacs.asked), len(pacs.stored)) == (times, 2)
