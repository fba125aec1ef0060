"""Tokens that a web process remembers, and its threads that stay: "authentication and audit that cost less than the read"."""

import http.client
import threading
import time

import pytest
from django.db import connection
from django.utils import timezone

from tenants.known import CHANNEL, KnownTokens, TokenHolder
from tenants.models import ApiToken, Membership, Tenant, User
from tenants.services import token_create, token_digest
from tests.web import web_run

pytestmark = pytest.mark.database
HOLDER = TokenHolder(token_id=1, tenant_id=2, slug="mercy", role="integrator")


class Reads:
    """The database's part, counted."""

    def __init__(self, found: TokenHolder | None = HOLDER) -> None:
        self.count, self.found = 0, found

    def __call__(self) -> TokenHolder | None:
        self.count += 1
        return self.found


@pytest.fixture
def known():
    made = KnownTokens()
    made.listen()
    yield made
    made._close()


def test_the_database_is_asked_once(known) -> None:
    """A machine's next request asks nothing; a token that nobody holds is looked for each time."""
    reads, nobody = Reads(), Reads(None)
    assert [known.holder(digest="a", read=reads) for _ in range(3)] == [HOLDER] * 3
    assert [known.holder(digest="b", read=nobody) for _ in range(3)] == [None] * 3
    assert (reads.count, nobody.count) == (1, 3)


@pytest.mark.parametrize("change", ["revoke", "delete", "switch off", "by hand", "role", "leaves", "person off"])
def test_what_changes_is_forgotten_at_once(known, mercy, change) -> None:
    """"Money and access fail closed": a revoked token, a hospital that is switched off, whoever changed the rows and however.

    An app's token has its person's role: that it changes, that they leave or are switched off is heard too.
    """
    person = mercy.member("admin")
    token_create(tenant=mercy.tenant, name="second")
    reads = Reads()
    known.holder(digest="a", read=reads)
    token = ApiToken.objects.filter(tenant=mercy.tenant, name="second")
    if change == "revoke":
        token.update(revoked_at=timezone.now())
    elif change == "delete":
        token.delete()
    elif change == "role":
        Membership.objects.filter(user=person).update(role="billing")
    elif change == "leaves":
        Membership.objects.filter(user=person).delete()
    elif change == "person off":
        User.objects.filter(id=person.id).update(is_active=False)
    elif change == "switch off":
        Tenant.objects.filter(id=mercy.tenant.id).update(is_active=True)
    else:
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT pg_notify('{CHANNEL}', '')")
    for _ in range(100):  # told after the commit, by another process
        known.holder(digest="a", read=reads)
        if reads.count > 1:
            break
        time.sleep(0.01)
    assert reads.count == 2


def test_what_was_read_before_a_change_is_not_remembered(known, mercy) -> None:
    """The change came between the question and its answer."""
    known.holder(digest="other", read=Reads())

    def read() -> TokenHolder:
        Tenant.objects.filter(id=mercy.tenant.id).update(is_active=True)
        time.sleep(0.05)
        known.holder(digest="other", read=Reads())
        return HOLDER

    known.holder(digest="a", read=read)
    reads = Reads()
    known.holder(digest="a", read=reads)
    assert reads.count == 1


def test_without_a_word_from_the_database_nothing_is_known(known) -> None:
    reads = Reads()
    known.holder(digest="a", read=reads)
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s, 2000)", [known._listener.info.backend_pid])
    for count in (2, 3):
        known.holder(digest="a", read=reads)
        assert reads.count == count


def test_a_revoked_token_ends_on_an_open_connection(mercy, tmp_path) -> None:
    """Through the real server: the same kept-alive connection, before and after, and more connections than threads."""
    text = token_create(tenant=mercy.tenant, name="second")
    path, headers = f"/t/{mercy.tenant.slug}/dicomweb/studies?limit=1", {"Authorization": f"Bearer {text}"}
    with web_run(tmp_path) as web:

        def ask(line: http.client.HTTPConnection) -> int:
            line.request("GET", path, headers=headers)
            answer = line.getresponse()
            answer.read()
            return answer.status

        lines = [http.client.HTTPConnection("127.0.0.1", web.port, timeout=20) for _ in range(40)]
        found: list[int] = []
        threads = [threading.Thread(target=lambda line=line: found.extend(ask(line) for _ in range(5))) for line in lines]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert found in ([200] * 200, [204] * 200)
        ApiToken.objects.filter(digest=token_digest(text)).update(revoked_at=timezone.now())
        time.sleep(0.2)
        assert {ask(line) for line in lines} == {401}
        assert not web.faults()
