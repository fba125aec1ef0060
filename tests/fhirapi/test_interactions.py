"""Create, update, delete, conditional interactions and their preconditions, over HTTP."""

import json
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from fhirapi.store import resource_read, resources_put
from journal.models import AuditEvent
from tenants import services
from tests.conftest import Hospital
from tests.fhirapi.conftest import patient_resource
from tests.fhirapi.test_http import assert_outcome
from tests.fhirapi.test_store import at_once, rows
from tests.fhirapi.writing import FHIR_JSON, Writer, observation, patient

pytestmark = pytest.mark.database


@pytest.fixture
def fhir(mercy: Hospital) -> Writer:
    return Writer(mercy)


def test_create(fhir: Writer) -> None:
    """ "create (server id ...)": 201, Location with the version, ETag, Last-Modified, and the resource."""
    response = fhir.post("Patient", patient("1") | {"id": "ignored"})
    made = response.json()
    assert response.status_code == 201
    assert response["Location"] == f"{fhir.base}/Patient/{made['id']}/_history/1"
    assert (response["ETag"], made["meta"]["versionId"]) == ('W/"1"', "1")
    assert response["Last-Modified"]
    assert made["id"] != "ignored"
    assert fhir.get(f"Patient/{made['id']}").content == response.content
    assert fhir.ids("Patient", "identifier=urn:oid:1.2.3|1") == [made["id"]]


@pytest.mark.parametrize(
    ("wanted", "status", "kind"),
    [("return=minimal", 201, ""), ("return=representation", 201, "Patient"), ("return=OperationOutcome", 201, "OperationOutcome"),
     ("respond-async, return=minimal", 201, ""), ("respond-async", 201, "Patient"), ("handling=lenient", 201, "Patient")],
)  # fmt: skip
def test_prefer(fhir: Writer, wanted: str, status: int, kind: str) -> None:
    """ "Prefer: return=minimal|representation|OperationOutcome, respond-async is answered synchronously"."""
    response = fhir.post("Patient", patient(), prefer=wanted)
    assert response.status_code == status
    assert response["Location"]
    assert "Preference-Applied" not in response
    assert (response.json()["resourceType"] if response.content else "") == kind


def test_update_and_its_versions(fhir: Writer) -> None:
    """ "update with create (client id) ... version check, vread"; what says the same makes no new version."""
    first = fhir.put("Patient/c1", patient("1") | {"id": "c1"})
    assert (first.status_code, first["Location"]) == (201, f"{fhir.base}/Patient/c1/_history/1")
    second = fhir.put("Patient/c1", patient("2") | {"id": "c1"})
    assert (second.status_code, second["ETag"], "Location" in second) == (200, 'W/"2"', False)
    assert second["Content-Location"] == f"{fhir.base}/Patient/c1/_history/2"
    again = fhir.put("Patient/c1", patient("2") | {"id": "c1", "meta": {"versionId": "9", "lastUpdated": "2001-01-01T00:00:00Z"}})
    assert (again.status_code, again["ETag"], again.content) == (200, 'W/"2"', second.content)
    assert fhir.get("Patient/c1/_history/1").json() == first.json()
    assert fhir.get("Patient/c1/_history/2").content == fhir.get("Patient/c1").content
    assert fhir.get("Patient/c1/_history/1")["ETag"] == 'W/"1"'
    assert_outcome(fhir.get("Patient/c1/_history/3"), 404)
    assert fhir.ids("Patient", "identifier=1") == []
    assert fhir.ids("Patient", "identifier=2") == ["c1"]


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("Patient/a", patient(), 400), ("Patient/a", patient() | {"id": "b"}, 400), ("Patient/a", observation() | {"id": "a"}, 400),
        ("Patient/a", [], 400), ("Patient/a", "{", 400), ("Patient/a", "", 400),
        ("Patient/a", {"resourceType": "Patient", "id": "a", "gender": "x"}, 422),
        ("Patient/a%20b", patient() | {"id": "a b"}, 400), (f"Patient/{'x' * 65}", patient() | {"id": "x" * 65}, 400),
        ("Basic/a", {"resourceType": "Basic", "id": "a"}, 404), ("ImagingStudy/a", {"resourceType": "ImagingStudy", "id": "a"}, 405),
        ("Patient", patient(), 412), ("Patient?_count=1", patient(), 400), ("Patient?unheard=1", patient(), 400),
    ],
)  # fmt: skip
def test_updates_that_are_refused(fhir: Writer, path: str, body: Any, status: int) -> None:
    """The body is the resource of the address, or nothing is written."""
    assert_outcome(fhir.put(path, body), status)
    with fhir.hospital.scope():
        assert rows("SELECT count(*) FROM fhir_resource") == [(0,)]


def test_delete(fhir: Writer) -> None:
    """ "delete (410 after, history keeps a D entry)"; who comes back goes on counting."""
    made = fhir.made(observation())
    path = f"Observation/{made['id']}"
    gone = fhir.delete(path)
    assert (gone.status_code, gone.content, gone["ETag"]) == (204, b"", 'W/"2"')
    assert_outcome(fhir.get(path), 410)
    assert fhir.search("Observation").get("entry") is None
    assert fhir.delete(path).status_code == 204
    assert fhir.delete(path, prefer="return=OperationOutcome").json()["resourceType"] == "OperationOutcome"
    assert_outcome(fhir.get(f"{path}/_history/2"), 410)
    assert fhir.get(f"{path}/_history/1").json() == made
    assert_outcome(fhir.patch(path, []), 410)
    with fhir.hospital.scope():
        assert rows("SELECT version, method, writer, content <> '' FROM fhir_history ORDER BY version") == [
            (1, "C", 1, True), (2, "D", 1, False)
        ]  # fmt: skip
        assert rows("SELECT count(*) FROM fhir_posting") == rows("SELECT count(*) FROM fhir_ref") == [(0,)]
    back = fhir.put(path, made)
    assert (back.status_code, back["ETag"]) == (201, 'W/"3"')
    assert [e["response"]["etag"] for e in fhir.get(f"{path}/_history").json()["entry"]] == ['W/"3"', 'W/"2"', 'W/"1"']
    assert_outcome(fhir.delete("Observation/never"), 404)
    assert_outcome(fhir.patch("Observation/never", []), 404)


@pytest.mark.parametrize(
    ("tag", "status"),
    [('W/"2"', 200), ('"2"', 200), ("2", 200), ('W/"1"', 412), ("1", 412), ('W/"3"', 412), ("x", 400), ("*", 400), ('W/"2", W/"1"', 400)],
)
@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
def test_if_match(fhir: Writer, method: str, tag: str, status: int) -> None:
    """ "If-Match on PUT, PATCH, DELETE ...: accepts W/"3", "3" and 3; stale 412, malformed 400": no update is lost."""
    fhir.put("Patient/a", patient("1") | {"id": "a"})
    fhir.put("Patient/a", patient("2") | {"id": "a"})
    body = {"PUT": patient("3") | {"id": "a"}, "PATCH": [{"op": "add", "path": "/active", "value": True}]}.get(method)
    media = "application/json-patch+json" if method == "PATCH" else FHIR_JSON
    response = fhir.send(method, "Patient/a", body, media=media, if_match=tag)
    assert response.status_code == (204 if (method, status) == ("DELETE", 200) else status)
    other = patient() | {"id": "never"} if method == "PUT" else body
    assert_outcome(fhir.send(method, "Patient/never", other, media=media, if_match="1"), 412)
    if status != 200:
        assert fhir.get("Patient/a")["ETag"] == 'W/"2"'


def test_if_none_match_guards_a_creation(fhir: Writer) -> None:
    """If-None-Match: * creates and never replaces."""
    assert fhir.put("Patient/a", patient() | {"id": "a"}, if_none_match="*").status_code == 201
    assert_outcome(fhir.put("Patient/a", patient("2") | {"id": "a"}, if_none_match="*"), 412)


def test_conditional_read(fhir: Writer) -> None:
    """ "conditional read (If-None-Match, If-Modified-Since -> 304)"."""
    path = f"Patient/{fhir.made(patient())['id']}"
    read = fhir.get(path)
    assert fhir.get(path, **{"if-none-match": read["ETag"]}).status_code == 304
    assert fhir.get(path, **{"if-modified-since": read["Last-Modified"]}).status_code == 304
    assert fhir.get(path, **{"if-modified-since": "Mon, 01 Jan 2001 00:00:00 GMT"}).status_code == 200
    assert fhir.get(path, **{"if-modified-since": "nonsense"}).status_code == 200
    # RFC 9110 13.1.3: with If-None-Match the date is not looked at
    assert fhir.get(path, **{"if-modified-since": read["Last-Modified"], "if-none-match": 'W/"7"'}).status_code == 200


@pytest.mark.parametrize("way", ["header", "question", "typed", "address"])
def test_conditional_create(fhir: Writer, way: str) -> None:
    """ "`If-None-Exist` (also `POST [type]?identifier=` as fhirpy sends it)": none creates, one answers it, many 412."""
    criteria = "identifier=urn:oid:1.2.3%7C1"
    header = {"header": criteria, "question": f"?{criteria}", "typed": f"Patient?{criteria}"}.get(way)

    def create() -> Any:
        if header:
            return fhir.post("Patient", patient("1"), if_none_exist=header)
        return fhir.post(f"Patient?{criteria}", patient("1"))

    first, second = create(), create()
    assert (first.status_code, second.status_code) == (201, 200)
    assert second.content == first.content
    assert "Location" not in second
    fhir.made(patient("1"))
    assert_outcome(create(), 412)
    with fhir.hospital.scope():
        assert rows("SELECT count(*) FROM fhir_resource") == [(2,)]


def test_criteria_must_be_understood(fhir: Writer) -> None:
    """An unknown or empty criterion is refused: to ignore it would be to match everybody."""
    fhir.made(patient("1"))
    for criteria in ("unheard=1", "identifier=", "_count=1", "_sort=_lastUpdated", "identifier=1&unheard=2", "identifier:nonsense=1"):
        assert_outcome(fhir.post("Patient", patient("2"), if_none_exist=criteria), 400)
        assert_outcome(fhir.delete(f"Patient?{criteria}"), 400)
    assert_outcome(fhir.delete("Patient"), 412)
    assert_outcome(fhir.delete("Patient?_format=json"), 412)
    assert len(fhir.ids("Patient")) == 1


def test_conditional_update_patch_and_delete(fhir: Writer) -> None:
    """ "PUT/PATCH/DELETE [type]?query (none / one / many -> 404|create / do / 412)"."""
    query = "Patient?identifier=1"
    add = [{"op": "add", "path": "/active", "value": True}]
    assert_outcome(fhir.patch(query, add), 404)
    assert_outcome(fhir.delete(query), 404)
    made = fhir.put(query, patient("1"))
    assert made.status_code == 201
    found = made.json()["id"]
    assert fhir.put(query, patient("1", gender="male")).json()["id"] == found
    assert fhir.patch(query, add).json()["active"] is True
    assert_outcome(fhir.put(query, patient("1") | {"id": "other"}), 400)
    assert_outcome(fhir.put(query, patient("1"), if_match="1"), 412)
    assert fhir.put("Patient?identifier=9", patient("9") | {"id": "own"}).json()["id"] == "own"
    assert_outcome(fhir.put("Patient?identifier=8", patient("8") | {"id": "own"}), 412)
    other = fhir.made(patient("1"))
    for response in (fhir.put(query, patient("1")), fhir.patch(query, add), fhir.delete(query)):
        assert assert_outcome(response, 412)["code"] == "multiple-matches"
    fhir.delete(f"Patient/{other['id']}")
    assert fhir.delete(query).status_code == 204
    assert_outcome(fhir.get(f"Patient/{found}"), 410)


def test_sixteen_conditional_creates_make_one_row(fhir: Writer) -> None:
    """ "16 threads doing the same conditional create make one row", for each of several keys."""
    statuses: list[int] = []

    def work() -> None:
        for key in range(4):
            statuses.append(fhir.post("Patient", patient(f"k{key}"), if_none_exist=f"identifier=urn:oid:1.2.3|k{key}").status_code)

    assert at_once(*[work] * 16) == []
    assert sorted(statuses) == [200] * 60 + [201] * 4
    with fhir.hospital.scope():
        assert rows("SELECT count(*) FROM fhir_resource") == [(4,)]


def test_lost_updates_are_refused(fhir: Writer) -> None:
    """ "lost updates refused": of eight writers with one version in hand, one wins."""
    fhir.put("Patient/a", patient("0") | {"id": "a"})
    statuses: list[int] = []

    def work(number: int) -> None:
        statuses.append(fhir.put("Patient/a", patient(f"n{number}") | {"id": "a"}, if_match='W/"1"').status_code)

    assert at_once(*[lambda number=number: work(number) for number in range(8)]) == []
    assert sorted(statuses) == [200] + [412] * 7
    assert fhir.get("Patient/a")["ETag"] == 'W/"2"'


def test_what_the_hub_wrote_is_read_only(fhir: Writer) -> None:
    """ "A resource whose current version is the hub's is read-only over REST (403 with an OperationOutcome that says why)"."""
    with fhir.hospital.scope():
        resources_put(resources=[observation() | {"id": "o"}, {"resourceType": "Device", "id": "d"}])
    for response in (
        fhir.put("Observation/o", observation(status="amended") | {"id": "o"}),
        fhir.patch("Observation/o", [{"op": "replace", "path": "/status", "value": "amended"}]),
        fhir.delete("Observation/o"),
        fhir.delete("Device/d"),
        fhir.bundle("transaction", {"request": {"method": "DELETE", "url": "Device/d"}}),
    ):
        assert "hub" in assert_outcome(response, 403)["diagnostics"]
    assert fhir.get("Observation/o")["ETag"] == 'W/"1"'


def test_a_patient_is_the_ehrs_once_it_wrote_it(fhir: Writer) -> None:
    """ "an EHR may update a hub-made Patient, it is REST's from then on, and the hub's projections leave it alone afterwards"."""
    hubs = patient_resource("p")

    def hub_puts(**values: Any) -> Any:
        with fhir.hospital.scope():
            return resources_put(resources=[hubs | values, {"resourceType": "Device", "id": "d"}])[0]

    hub_puts()
    assert_outcome(fhir.delete("Patient/p"), 403)
    assert hub_puts(active=True).version == 2
    assert fhir.put("Patient/p", hubs | {"birthDate": "1970-01-01"}).status_code == 200
    kept = hub_puts(birthDate="1980-01-01")
    assert (kept.is_yielded, kept.is_changed, kept.version) == (True, False, 3)
    assert fhir.get("Patient/p").json()["birthDate"] == "1970-01-01"
    assert fhir.delete("Patient/p").status_code == 204
    assert hub_puts(birthDate="1980-01-01").is_yielded
    assert_outcome(fhir.get("Patient/p"), 410)
    with fhir.hospital.scope():
        assert rows("SELECT version, writer FROM fhir_history ORDER BY version") == [(1, 0), (2, 0), (3, 1), (4, 1)]


def test_the_hub_goes_on_counting_where_rest_deleted(fhir: Writer) -> None:
    """An id that REST used and left is the hub's with a later version, never with one that was there."""
    fhir.put("Observation/o", observation() | {"id": "o"})
    fhir.delete("Observation/o")
    with fhir.hospital.scope():
        resources_put(resources=[observation() | {"id": "o"}])
        assert resource_read(rtype="Observation", fhir_id="o").version == 3
        resources_put(resources=[observation(status="amended") | {"id": "o"}])
    assert fhir.get("Observation/o")["ETag"] == 'W/"4"'


@pytest.mark.parametrize(
    ("media", "status"),
    [
        (FHIR_JSON, 201), ("application/json", 201), ("application/json; charset=utf-8", 201), ("text/json", 201), ("", 201),
        ("application/fhir+json; fhirVersion=4.0", 201), ("application/fhir+json; fhirVersion=5.0", 415), ("text/plain", 415),
        ("application/x-www-form-urlencoded", 415), ("multipart/form-data", 415), ("text/turtle", 415),
    ],
)  # fmt: skip
def test_content_types(fhir: Writer, media: str, status: int) -> None:
    """ "Content types application/fhir+json, application/json, ...; 415 otherwise"."""
    response = fhir.post("Patient", patient(), media=media)
    assert response.status_code == status
    if status == 415:
        assert_outcome(response, 415)


def test_limits(fhir: Writer, settings: Any) -> None:
    """ "body limit by a setting ... -> 413"; nothing of it is kept."""
    settings.MEDHUB_FHIR_RESOURCE_BYTES = 2000
    body = json.dumps(patient(name=[{"text": "x" * 2000}]))
    assert_outcome(fhir.post("Patient", body), 413)
    assert_outcome(fhir.put("Patient/a", body), 413)
    assert_outcome(fhir.patch("Patient/a", body), 413)
    assert_outcome(fhir.post("Patient", patient(), content_encoding="gzip"), 415)
    settings.MEDHUB_FHIR_RESOURCE_BYTES = 16 * 1024**2
    assert fhir.post("Patient", patient(name=[{"text": "x" * 900_000}] * 4)).status_code == 201  # beyond Django's own limit


def test_gzip_and_pretty(fhir: Writer) -> None:
    """ "`_pretty`, gzip when asked for, HEAD"."""
    import gzip

    path = f"Patient/{fhir.made(patient(name=[{'text': 'x' * 3000}]))['id']}"
    plain = fhir.get(path)
    small = fhir.get(path, **{"accept-encoding": "deflate, gzip;q=0.8"})
    assert small["Content-Encoding"] == "gzip"
    assert gzip.decompress(small.content) == plain.content
    assert "Content-Encoding" not in fhir.get(path, **{"accept-encoding": "gzip;q=0"})
    assert "Accept-Encoding" in plain["Vary"]
    pretty = fhir.get(f"{path}?_pretty=true")
    assert b"\n  " in pretty.content
    assert pretty.json() == plain.json()
    head = fhir.client.head(f"{fhir.path}/{path}", headers=fhir.hospital.auth)
    assert (head.status_code, head.content, head["ETag"]) == (200, b"", 'W/"1"')


def test_a_reader_may_not_write(mercy: Hospital, fhir: Writer) -> None:
    """ "writing needs `fhir.write`"; a bundle of reads needs only reading."""
    token = services.token_create(tenant=mercy.tenant, name="owner", role="owner")
    fhir.put("Patient/a", patient() | {"id": "a"})
    auth = {"authorization": f"Bearer {token}"}
    tries = [("POST", "Patient"), ("PUT", "Patient/a"), ("PATCH", "Patient/a"), ("DELETE", "Patient/a"), ("DELETE", "Patient?_id=a")]
    for method, path in tries:
        assert_outcome(fhir.send(method, path, patient() | {"id": "a"}, **auth), 403)
    write = {"request": {"method": "DELETE", "url": "Patient/a"}}
    read = {"request": {"method": "GET", "url": "Patient/a"}}
    assert_outcome(fhir.bundle("transaction", read, write, **auth), 403)
    statuses = [e["response"]["status"] for e in fhir.bundle("batch", read, write, **auth).json()["entry"]]
    assert statuses == ["200", "403"]
    assert fhir.bundle("transaction", read, **auth).status_code == 200
    assert fhir.get("Patient/a").status_code == 200


def test_another_hospitals_resources_are_not_there(mercy: Hospital, olaf: Hospital, fhir: Writer) -> None:
    """ "Foreign hospital 404": by id, by criteria, in history and in bundles; nothing of it moves."""
    other = Writer(olaf)
    other.put("Patient/po", patient("1") | {"id": "po"})
    other.put("Patient/po", patient("1", active=True) | {"id": "po"})
    add = [{"op": "add", "path": "/active", "value": False}]
    for response in (
        fhir.get("Patient/po/_history"), fhir.get("Patient/po/_history/1"), fhir.delete("Patient/po"), fhir.patch("Patient/po", add),
        fhir.delete("Patient?identifier=1"), fhir.patch("Patient?identifier=1", add),
        fhir.bundle("transaction", {"request": {"method": "DELETE", "url": "Patient/po"}}),
    ):  # fmt: skip
        assert_outcome(response, 404)
    assert fhir.get("Patient/_history").json().get("entry") is None
    assert fhir.get("_history").json().get("entry") is None
    assert fhir.post("Patient", patient("1"), if_none_exist="identifier=1").status_code == 201
    assert fhir.put("Patient/po", patient("7") | {"id": "po"}).status_code == 201
    assert other.get("Patient/po")["ETag"] == 'W/"2"'
    for response in (fhir.send("PUT", f"http://testserver{other.path}/Patient/po", patient() | {"id": "po"}),
                     fhir.send("POST", f"http://testserver{other.path}/", {"resourceType": "Bundle", "type": "batch"})):  # fmt: skip
        assert_outcome(response, 404)
    assert other.get("Patient/po").json()["active"] is True


def test_every_write_is_audited(mercy: Hospital, fhir: Writer) -> None:
    """ "`audit_record` for each write and history read ...; one per object; a bundle writes its audit rows in one statement"."""
    fhir.put("Patient/a", patient() | {"id": "a"})
    fhir.put("Patient/a", patient("1") | {"id": "a"})
    fhir.patch("Patient/a", [{"op": "add", "path": "/active", "value": True}])
    fhir.get("Patient/a/_history")
    fhir.get("Patient/_history")
    fhir.get("_history")
    fhir.delete("Patient/a")
    entries = [{"request": {"method": "PUT", "url": f"Patient/b{n}"}, "resource": patient() | {"id": f"b{n}"}} for n in range(3)]
    with CaptureQueriesContext(connection) as queries:
        assert fhir.bundle("transaction", *entries).status_code == 200
    assert sum("INSERT INTO journal_auditevent" in query["sql"] for query in queries) == 1
    with mercy.scope():
        seen = set(AuditEvent.objects.values_list("action", "object_type", "object_id"))
    assert seen == {
        ("fhir.create", "Patient", "a"), ("fhir.update", "Patient", "a"), ("fhir.patch", "Patient", "a"), ("fhir.delete", "Patient", "a"),
        ("fhir.history", "Patient", "a"), ("fhir.history", "Patient", "-"), ("fhir.history", "-", "-"),
        *(("fhir.create", "Patient", f"b{n}") for n in range(3)),
    }  # fmt: skip


def test_no_value_of_a_body_is_repeated(fhir: Writer, caplog: pytest.LogCaptureFixture) -> None:
    """ "no value from a request or resource in a log line, exception text or `diagnostics`"."""
    hidden = "Doe-Hidden"
    answers = [
        fhir.post("Patient", patient(gender=hidden)),
        fhir.post("Patient", patient(birthDate=hidden)),
        fhir.put("Patient/a", patient() | {"id": hidden}),
        fhir.post("Patient", patient(), if_none_exist=f"{hidden}=1"),
        fhir.patch("Patient/a", [{"op": hidden, "path": f"/{hidden}"}]),
        fhir.bundle("transaction", {"request": {"method": "PUT", "url": f"Patient/{hidden}"}, "resource": patient(hidden)}),
        fhir.bundle("transaction", {"request": {"method": hidden, "url": hidden}}),
        fhir.post("Patient", f'{{"resourceType":"Patient","{hidden}":1}}'),
    ]
    for response in answers:
        assert response.status_code >= 400
        assert hidden not in response.content.decode()
    assert hidden not in caplog.text


def test_a_create_is_few_statements(fhir: Writer) -> None:
    """Speed: the scope, the row, its postings, its references, its audit row."""
    fhir.made(observation())
    with CaptureQueriesContext(connection) as queries:
        fhir.post("Observation", observation())
    assert len([query for query in queries if not query["sql"].startswith(("SAVEPOINT", "RELEASE", "BEGIN", "COMMIT"))]) <= 7
