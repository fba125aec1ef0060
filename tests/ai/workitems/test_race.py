"""Performers that race, over HTTP against the real web server's processes."""

import http.client
import json
import threading
from collections import Counter

import pytest

from ai.models import Workitem
from journal.models import AuditEvent
from tests.ai.performing import JSON, connection_make, job_make, performer, state, uid, workitem_make
from tests.web import web_run

pytestmark = pytest.mark.database
RACERS = 16


def test_two_performers_racing_give_one_claim(mercy, tmp_path) -> None:
    """"two performers racing give one claim": 16 at once, five times; one 200, fifteen 409, and the winner's lock is the one that opens."""
    link = connection_make(mercy)
    mine = [workitem_make(mercy, job_make(mercy, link, f"cad{n}")) for n in range(5)]
    clients = [performer(mercy, link) for _ in range(2)]
    with web_run(tmp_path) as web:
        for one in mine:
            start, answers = threading.Barrier(RACERS), []

            def claim(number: int, one: str = one, start: threading.Barrier = start, answers: list = answers) -> None:
                client, lock = clients[number % 2], uid()
                wire = http.client.HTTPConnection("127.0.0.1", web.port, timeout=30)
                wire.connect()
                start.wait()
                wire.request(
                    "PUT", f"{client.base}/workitems/{one}/state", json.dumps(state("IN PROGRESS", lock)),
                    {**client.auth, "Content-Type": JSON},
                )  # fmt: skip
                answer = wire.getresponse()
                answer.read()
                answers.append((answer.status, lock))
                wire.close()

            threads = [threading.Thread(target=claim, args=(number,)) for number in range(RACERS)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(60)
            assert Counter(status for status, _ in answers) == {200: 1, 409: RACERS - 1}
            (winner,) = [lock for status, lock in answers if status == 200]
            losers = [lock for status, lock in answers if status == 409]
            assert clients[0].put(one, "CANCELED", losers[0]).status_code == 400
            assert clients[0].put(one, "CANCELED", winner).status_code == 200
        assert web.faults() == []
    with mercy.scope():
        assert AuditEvent.objects.filter(action="ups.claim").count() == len(mine)
        assert set(Workitem.objects.values_list("state", flat=True)) == {"CANCELED"}
