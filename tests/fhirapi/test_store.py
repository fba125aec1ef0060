"""The resource store: versions, history, postings, replays and races, on a real database."""

import json
import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection, connections
from django.test.utils import CaptureQueriesContext

from fhirapi import store
from fhirapi.index.hashes import token_hash
from fhirapi.store import ResourceGoneError, StoreConflictError, resource_read, resources_put
from fhirapi.validation import InvalidResourceError
from tests.fhirapi.conftest import Fhir, patient_resource

pytestmark = pytest.mark.database


def rows(sql: str, *values: Any) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql, values)
        return list(cursor.fetchall())


def postings() -> set[tuple[Any, ...]]:
    return set(rows("SELECT hv, sort_date, rid FROM fhir_posting"))


def at_once(*works: Callable[[], None]) -> list[BaseException]:
    """Run in threads that start together, each with a connection of its own."""
    barrier, failed = threading.Barrier(len(works)), []

    def run(work: Callable[[], None]) -> None:
        try:
            barrier.wait()
            work()
        except BaseException as error:  # noqa: BLE001 handed to the test
            failed.append(error)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return failed


def test_what_is_served_is_what_was_stored(mercy, fhir: Fhir) -> None:
    """ "Served text = stored text byte for byte"."""
    with mercy.scope():
        resources_put(resources=[patient_resource("p1", name=[{"text": "Zoë & 山田 </script>"}])])
        (text,) = rows("SELECT content FROM fhir_resource WHERE fhir_id = 'p1'")[0]
    answer = fhir.get("Patient/p1").content
    assert answer == text.encode()
    assert text in fhir.get("Patient?_id=p1").content.decode()
    meta = json.loads(answer)["meta"]
    assert meta["versionId"] == "1"
    assert meta["lastUpdated"].endswith("Z")


def test_a_replay_writes_nothing(mercy) -> None:
    """ "unchanged content (bar meta) makes no new version, so projections are idempotent by replay"."""
    with mercy.scope():
        resources_put(resources=[patient_resource("p1")])
        before = rows("SELECT *, xmin::text FROM fhir_resource"), postings()
        with CaptureQueriesContext(connection) as queries:
            (again,) = resources_put(
                resources=[patient_resource("p1", meta={"versionId": "9", "lastUpdated": "2001-01-01T00:00:00Z"})]
            )
        assert not any(query["sql"].startswith(("INSERT", "UPDATE", "DELETE")) for query in queries)
        assert (rows("SELECT *, xmin::text FROM fhir_resource"), postings()) == before
    assert (again.version, again.is_changed) == (1, False)


def test_a_label_in_meta_is_content(mercy) -> None:
    """Only version and time are ours: a security label that changes is a new version."""
    label = {"security": [{"system": "http://terminology.hl7.org/CodeSystem/v3-ObservationValue", "code": "AIAST"}]}
    with mercy.scope():
        resources_put(resources=[patient_resource("p1")])
        assert resources_put(resources=[patient_resource("p1", meta=label)])[0].version == 2
        found = json.loads(resource_read(rtype="Patient", fhir_id="p1").content)
    assert found["meta"]["security"] == label["security"]


def test_a_change_moves_the_old_version_to_history(mercy) -> None:
    """ "old version moved to history; postings replaced by difference"."""
    with mercy.scope():
        resources_put(resources=[patient_resource("p1")])
        first = resource_read(rtype="Patient", fhir_id="p1").content
        kept = postings()
        more = [*patient_resource("p1")["identifier"], {"value": "second"}]
        assert resources_put(resources=[patient_resource("p1", identifier=more)])[0].version == 2
        assert kept < postings()
        assert resources_put(resources=[patient_resource("p1", identifier=more[1:])])[0].version == 3
        first_number = token_hash(tenant_id=mercy.tenant.id, key="Patient.identifier", system=None, code="MRN-p1")
        assert first_number in {hv for hv, _, _ in kept}
        assert first_number not in {hv for hv, _, _ in postings()}
        assert rows("SELECT fhir_id, version, method, content FROM fhir_history ORDER BY version")[0] == ("p1", 1, "C", first)
        assert rows("SELECT version, method FROM fhir_history ORDER BY version") == [(1, "C"), (2, "U")]
        assert resource_read(rtype="Patient", fhir_id="p1").version == 3


def test_references_follow_the_content(mercy) -> None:
    """A reference that goes is not found any more, one that comes is."""

    def observation(patient: str) -> dict[str, Any]:
        return {
            "resourceType": "Observation", "id": "o1", "status": "preliminary", "code": {"text": "x"},
            "subject": {"reference": f"Patient/{patient}"},
        }  # fmt: skip

    with mercy.scope():
        resources_put(resources=[observation("a")])
        assert rows("SELECT param, target_id FROM fhir_ref") == [("Observation.subject", "a")]
        resources_put(resources=[observation("b")])
        assert rows("SELECT param, target_id FROM fhir_ref") == [("Observation.subject", "b")]
        assert rows("SELECT patient FROM fhir_resource") == [("b",)]


def test_the_number_of_statements_does_not_grow(mercy) -> None:
    """ "constant number of statements whatever the count": creating and changing alike."""

    def counted(count: int, gender: str) -> int:
        with mercy.scope(), CaptureQueriesContext(connection) as queries:
            resources_put(resources=[patient_resource(f"p{count}-{n}", gender=gender, active=True) for n in range(count)])
        return len(queries)

    assert counted(1, "male") == counted(60, "male") <= 8
    assert counted(1, "female") == counted(60, "female") <= 10


@pytest.mark.parametrize(
    "broken",
    [
        {"gender": "banana"},
        {"birthDate": "yesterday"},
        {"name": []},
        {"name": [{}]},
        {"active": "true"},
        {"multipleBirthInteger": True},
        {"unheard": 1},
        {"id": "not an id"},
        {"id": "x" * 65},
        {"resourceType": "Basic"},
    ],
    ids=str,
)
def test_an_invalid_resource_is_never_stored(mercy, broken: dict[str, Any]) -> None:
    """ "an invalid resource of ours raises, is never stored", and neither is its neighbour."""
    with mercy.scope():
        with pytest.raises(InvalidResourceError) as error:
            resources_put(resources=[patient_resource("good"), patient_resource("bad") | broken])
        assert rows("SELECT count(*) FROM fhir_resource") == [(0,)]
    assert "MRN" not in error.value.user_message


def test_twice_in_one_put_is_refused(mercy) -> None:
    """Which of two would stand is nobody's guess."""
    with mercy.scope(), pytest.raises(ValueError, match="twice"):
        resources_put(resources=[patient_resource("p1"), patient_resource("p1", active=True)])


def test_writers_of_one_resource_lose_no_version(mercy) -> None:
    """ "two writers of one resource never lose a version", from its creation on."""
    writers, each = 8, 5

    def work(writer: int) -> Callable[[], None]:
        def run() -> None:
            for step in range(each):
                with mercy.scope():
                    family = f"w{writer}-{step}"
                    resources_put(
                        resources=[patient_resource("p1", name=[{"family": family}]), patient_resource(f"own{writer}")]
                    )

        return run

    assert at_once(*map(work, range(writers))) == []
    with mercy.scope():
        current = resource_read(rtype="Patient", fhir_id="p1")
        history = rows("SELECT version, content FROM fhir_history WHERE fhir_id = 'p1' ORDER BY version")
        assert rows("SELECT count(*) FROM fhir_resource") == [(writers + 1,)]
    texts = [json.loads(text) for _, text in history] + [json.loads(current.content)]
    assert [version for version, _ in history] == list(range(1, writers * each))
    assert [int(text["meta"]["versionId"]) for text in texts] == list(range(1, writers * each + 1))
    assert len({text["name"][0]["family"] for text in texts}) == writers * each


def test_puts_in_opposite_orders_do_not_deadlock(mercy) -> None:
    """Locks are taken in one order, whatever order the caller's resources have."""

    def work(ids: list[str], mark: str) -> Callable[[], None]:
        def run() -> None:
            for step in range(10):
                with mercy.scope():
                    resources_put(resources=[patient_resource(i, name=[{"family": f"{mark}{step}"}]) for i in ids])

        return run

    ids = [f"p{number}" for number in range(12)]
    assert at_once(work(ids, "a"), work(ids[::-1], "b"), work(ids[6:] + ids[:6], "c")) == []
    with mercy.scope():
        assert rows("SELECT DISTINCT version FROM fhir_resource") == [(30,)]


def test_a_row_that_moved_under_the_lock_is_a_conflict(mercy, monkeypatch: pytest.MonkeyPatch) -> None:
    """The version check catches whoever writes past the lock."""
    with mercy.scope():
        resources_put(resources=[patient_resource("p1")])
    honest = store._history_keep

    def meddled(rids: list[int]) -> None:
        rows("UPDATE fhir_resource SET version = version + 1 RETURNING 1")
        honest(rids)

    monkeypatch.setattr(store, "_history_keep", meddled)
    with pytest.raises(StoreConflictError), mercy.scope():
        resources_put(resources=[patient_resource("p1", active=True)])
    with mercy.scope():
        assert rows("SELECT version FROM fhir_resource") == [(1,)]


def test_a_new_parameter_is_more_rows(mercy) -> None:
    """ "later parameters are rows, not columns": a put of the same content re-indexes it without a new version."""
    with mercy.scope():
        resources_put(resources=[patient_resource("p1")])
        text, before = resource_read(rtype="Patient", fhir_id="p1").content, postings()
        # As if gender had not been indexed yet: an older build wrote the row.
        posted = token_hash(tenant_id=mercy.tenant.id, key="Patient.gender", system=None, code="female")
        rows("UPDATE fhir_resource SET tok = array_remove(tok, %s), indexed = '' RETURNING 1", posted)
        rows("DELETE FROM fhir_posting WHERE hv = %s RETURNING 1", posted)
        (again,) = resources_put(resources=[patient_resource("p1")])
        assert (again.version, again.is_changed) == (1, False)
        assert before == postings()
        assert posted in {hv for hv, _, _ in postings()}
        assert resource_read(rtype="Patient", fhir_id="p1").content == text


def test_a_deleted_resource_is_gone(mercy) -> None:
    """A deletion's mark in the history answers 410, not 404."""
    with mercy.scope():
        rows(
            "INSERT INTO fhir_history VALUES (%s, 1, 'p9', 2, now(), 'D', '') RETURNING 1",
            mercy.tenant.id,
        )
        with pytest.raises(ResourceGoneError):
            resource_read(rtype="Patient", fhir_id="p9")
        assert resource_read(rtype="Patient", fhir_id="p8") is None
