"""What a person sees of HL7 and does about it: messages that were not taken, and whether a destination is there."""

import socket
import threading
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from django.test import Client
from django.utils import timezone

from imaging.hl7.destinations import destination_add
from imaging.hl7.messages import LEFT_AFTER, messages_list
from imaging.models import Hl7Message
from journal.models import AuditEvent
from tests.conftest import PASSWORD, Hospital
from tests.imaging.hl7.conftest import ACTOR, System, code
from tests.imaging.hl7.test_orders import PID, orders, orm

pytestmark = pytest.mark.database


@pytest.fixture
def browser(mercy: Hospital) -> Client:
    mercy.member("admin")
    found = Client()
    found.post("/accounts/login/", {"login": f"admin@{mercy.slug}.example", "password": PASSWORD})
    return found


@pytest.fixture
def ask(mercy: Hospital) -> Callable[..., Any]:
    def ask(method: str, path: str, body: Any = None) -> Any:
        more = {"data": orjson.dumps(body), "content_type": "application/json"} if body is not None else {}
        return Client().generic(method, f"/t/{mercy.slug}/api/v1/{path}", headers=mercy.auth, **more)

    return ask


def test_a_version_that_is_not_two(mercy: Hospital, ris: System) -> None:
    """MSH-12: version 3 in pipes is nothing that we can read rightly; AR, and the bytes are kept."""
    head = f"MSH|^~\\&|{ris.name}|HOSP|MEDHUB|HUB|20260705101500||ORM^O01|V1|P|3.0"
    answer = ris.raw("\r".join((head, *orm())).encode())
    assert (code(answer), str(answer.segment("ERR")[2])) == ("AR", "MSH^1^12")
    assert code(ris.raw("\r".join((head.replace("|3.0", "|2.8"), *orm())).encode())) == "AA"
    assert len(orders(mercy)) == 1


def test_what_was_not_taken_is_seen_and_seen_to(mercy: Hospital, ris: System, browser: Client, ask: Callable[..., Any]) -> None:
    """Nothing is stuck in silence: on *Needs attention* and on top of the page HL7 until it is taken or somebody has seen to it."""
    assert "HL7 messages that were not taken" not in browser.get(f"/t/{mercy.slug}/attention").content.decode()
    ris.send(*orm(control="ZZ"))
    ris.send(PID, "ORC|NW", "OBR|1")
    ris.send(*orm(accession="A7"))
    with mercy.scope():
        Hl7Message.objects.filter(state="done").update(state="received", received_at=timezone.now() - LEFT_AFTER * 2)
        assert [row.place for row in messages_list(only_failed=True)] == ["", "OBR-18", "ORC-1"]
    page = browser.get(f"/t/{mercy.slug}/attention").content.decode()
    assert "HL7 messages that were not taken" in page
    assert "OBR-18" in page
    assert "did not come to an end" in page
    assert "Messages that were not taken" in browser.get(f"/t/{mercy.slug}/hl7").content.decode()
    left, second, first = ask("GET", "hl7/messages?state=failed").json()["items"]
    assert browser.post(f"/t/{mercy.slug}/hl7/messages/{second['id']}/aside").status_code == 302
    assert ask("POST", f"hl7/messages/{first['id']}/aside").json()["state"] == "aside"
    assert ask("POST", f"hl7/messages/{first['id']}/aside").status_code == 409
    assert ask("POST", f"hl7/messages/{first['id']}/again").status_code == 409
    assert [one["id"] for one in ask("GET", "hl7/messages?state=failed").json()["items"]] == [left["id"]]
    assert ask("POST", f"hl7/messages/{left['id']}/again").json()["state"] == "done"
    assert "HL7 messages that were not taken" not in browser.get(f"/t/{mercy.slug}/attention").content.decode()
    with mercy.scope():
        assert AuditEvent.objects.filter(action="hl7.message.aside").count() == 2


def test_seen_to_it_is_still_taken_when_its_sender_comes_again(mercy: Hospital, ris: System, ask: Callable[..., Any]) -> None:
    ris.send(*orm(control="ZZ"), control_id="K1")
    (row,) = ask("GET", "hl7/messages?state=failed").json()["items"]
    ask("POST", f"hl7/messages/{row['id']}/aside")
    with mercy.scope():
        found = Hl7Message.objects.get()
        Hl7Message.objects.update(body=bytes(found.body).replace(b"ORC|ZZ", b"ORC|NW"))
    assert code(ris.send(*orm(control="ZZ"), control_id="K1")) == "AA"  # the same bytes, which are handled as they are kept
    assert len(orders(mercy)) == 1


def test_is_a_destination_there(mercy: Hospital, browser: Client, ask: Callable[..., Any], settings: Any) -> None:
    """A button and an address of the API: reached, not reached, not who TLS says, not allowed. Nothing is sent."""
    came: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as door:
        port = door.getsockname()[1]

        def serve() -> None:
            for _ in range(3):
                sock, _address = door.accept()
                with sock:
                    sock.settimeout(5)
                    came.append(sock.recv(100))

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        with mercy.scope():
            row = destination_add(actor=ACTOR, name="EHR", host="127.0.0.1", port=port)
        place = f"hl7/destinations/{row.id}/test"
        assert ask("POST", place).json()["is_good"] is False  # loopback is not let out to by itself
        settings.EGRESS_ALLOW = [f"127.0.0.1:{port}"]
        assert ask("POST", place).json() == {"is_good": True, "words": "it takes connections; nothing was sent"}
        page = browser.post(f"/t/{mercy.slug}/hl7/destinations/{row.id}/test", follow=True).content.decode()
        assert "EHR takes connections. Nothing was sent." in page
        with mercy.scope():
            type(row).objects.update(uses_tls=True)
        told = ask("POST", place).json()
        assert (told["is_good"], told["words"].startswith(("TLS failed", "the destination was not reached"))) == (False, True)
        thread.join(10)
        assert came[:2] == [b"", b""]
    told = ask("POST", place).json()
    assert (told["is_good"], told["words"]) == (False, "the destination was not reached")
    assert "was not reached" in browser.post(f"/t/{mercy.slug}/hl7/destinations/{row.id}/test", follow=True).content.decode()
    assert ask("POST", "hl7/destinations/1/test").status_code == 404
