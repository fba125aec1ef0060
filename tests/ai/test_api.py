"""Platforms, connections and jobs over /t/<slug>/api/v1: the twins of the pages."""

import json
import uuid

import pytest
from django.utils import timezone

from ai.connections import secrets_open
from ai.contract import platforms
from ai.models import Connection, Exchange, Job, Result
from ai.services import connection_create
from imaging.models import Series, Study
from tenants.services import token_create
from tests import house
from tests.dicom_files import series_of

pytestmark = pytest.mark.database

FORM = {"contract": "C-1", "way": "ups", "answer": "pushed", "auth": "none"}


class Api:
    """The API of one hospital with a token of one role."""

    def __init__(self, client, hospital, role: str) -> None:
        self.client, self.base = client, f"/t/{hospital.slug}/api/v1/"
        self.auth = {"authorization": f"Bearer {token_create(tenant=hospital.tenant, name=role, role=role)}"}

    def ask(self, method: str, path: str, body: object = None):
        data = b"" if body is None else json.dumps(body).encode()
        return self.client.generic(method, self.base + path, data, content_type="application/json", headers=self.auth)


@pytest.fixture
def admin(client, mercy) -> Api:
    return Api(client, mercy, "admin")


@pytest.fixture
def job(mercy) -> Job:
    house.store(mercy, series_of(25))
    house.index(mercy)
    with mercy.scope():
        study = Study.objects.get()
        made = Job.objects.create(
            study=study, study_version=study.version, connection=connection_create(platform="medhub-quantify"),
            algorithm="lung-density-mask", series=Series.objects.get().id, state="quarantined", reason="the answer names another study",
            created_at=timezone.now(),
        )  # fmt: skip
        Exchange.objects.create(job=made, kind="send", is_good=True, words="25 objects", milliseconds=41, at=timezone.now())
        Result.objects.create(
            job=made, payload={"study_uid": "9.9"}, is_analysable=False, received_at=timezone.now(),
            files=[{"name": "0000.dcm", "size": 1234, "sha256": "cd" * 32}],
        )  # fmt: skip
        return made


def test_cards_come_with_the_form(admin) -> None:
    """"each with its twin under `/t/<slug>/api/v1`": every card as data, with the schema of its connection."""
    items = {one["slug"]: one for one in admin.ask("GET", "platforms").json()["items"]}
    assert set(items) == set(platforms())
    one = admin.ask("GET", "platforms/sharedmind").json()
    assert one == items["sharedmind"]
    assert (one["is_public"], one["interface"].startswith("No public interface")) == (False, True)
    url = next(field for field in one["settings"] if field["name"] == "dicomweb_url")
    assert (url["kind"], url["only_with"]) == ("url", ["way", "stow"])
    clearances = [c for platform in items.values() for algorithm in platform["algorithms"] for c in algorithm["clearances"]]
    assert clearances
    assert all(c["number"] and c["source"]["url"] for c in clearances)
    assert admin.ask("GET", "platforms/none").status_code == 404


def test_a_connection_and_its_secrets(admin, mercy) -> None:
    """"Secrets encrypted per tenant, shown once": ours in the answer to PUT alone, an entered one in none."""
    answer = admin.ask("PUT", "connections/sharedmind", {"settings": {**FORM, "auth": "bearer", "token": "s3cret-typed"}, "is_test": True})
    assert answer.status_code == 200
    made = answer.json()["secrets_made"]["hook_secret"]
    with mercy.scope():
        row = Connection.objects.get()
        assert secrets_open(row) == {"hook_secret": made, "token": "s3cret-typed"}
    assert answer.json()["hook"].endswith(f"/hooks/ai/{row.uuid}")
    again = admin.ask("PUT", "connections/sharedmind", {"settings": {**FORM, "auth": "bearer"}, "is_test": True})
    assert "secrets_made" not in again.json()
    for found in (again, admin.ask("GET", "connections/sharedmind"), admin.ask("GET", "connections")):
        assert made not in found.content.decode()
        assert "s3cret-typed" not in found.content.decode()
    read = admin.ask("GET", "connections/sharedmind").json()
    assert (read["secrets"], read["state"], read["is_test"]) == (["hook_secret", "token"], "unchecked", True)
    assert read["settings"]["contract"] == "C-1"
    assert "s3cret-typed" not in answer.content.decode()


def test_what_cannot_be_kept_is_told_by_field(admin, mercy) -> None:
    """Errors as problem details, each beside its setting; nothing is kept."""
    answer = admin.ask("PUT", "connections/sharedmind", {"settings": {"way": "fax", "nonsense": "1"}})
    assert (answer.status_code, answer.headers["Content-Type"]) == (400, "application/problem+json")
    assert {"contract", "way", "nonsense"} <= set(answer.json()["errors"])
    assert admin.ask("PUT", "connections/sharedmind", {"settings": FORM, "enabled": True}).json()["errors"] == {"enabled": ["unknown"]}
    assert admin.ask("PUT", "connections/sharedmind", {"settings": [1]}).status_code == 400
    assert admin.ask("PUT", "connections/none", {"settings": {}}).status_code == 404
    with mercy.scope():
        assert not Connection.objects.exists()


def test_check_and_switch(admin, olaf, client) -> None:
    """POST check says what it found; on and off; another hospital has no such connection."""
    admin.ask("PUT", "connections/sharedmind", {"settings": FORM})
    found = admin.ask("POST", "connections/sharedmind/check").json()
    assert (found["is_good"], found["words"].startswith("nothing to call")) == (True, True)
    assert admin.ask("POST", "connections/sharedmind/off").json()["state"] == "off"
    assert admin.ask("PUT", "connections/sharedmind", {"settings": FORM}).json()["is_enabled"] is False
    assert admin.ask("POST", "connections/sharedmind/on").json()["state"] == "on"
    theirs = Api(client, olaf, "admin")
    for method, path in (("GET", ""), ("POST", "/check"), ("POST", "/on"), ("POST", "/off")):
        assert theirs.ask(method, f"connections/sharedmind{path}").status_code == 404


def test_reading_roles_change_nothing(client, mercy, job) -> None:
    """The permissions table: `ai.read` and `ai.write`; and who reads no studies does not see what was kept back."""
    reader = Api(client, mercy, "integrator")
    assert reader.ask("PUT", "connections/sharedmind", {"settings": FORM}).status_code == 403
    assert reader.ask("POST", f"jobs/{job.uuid}/resend").status_code == 403
    found = reader.ask("GET", f"jobs/{job.uuid}").json()
    assert (found["reason"], found["quarantine"]) == ("the answer names another study", None)
    assert Api(client, mercy, "auditor").ask("GET", "jobs").status_code == 403


def test_jobs_page_by_page(admin, mercy, job) -> None:
    """Filters and keyset paging; what a filter cannot mean is an error."""
    with mercy.scope():
        for name in ("b", "c"):
            Job.objects.create(
                study=job.study, study_version=1, connection=job.connection, algorithm=name, state="failed", created_at=timezone.now()
            )
    first = admin.ask("GET", "jobs?limit=1&state=failed").json()
    assert [one["algorithm"] for one in first["items"]] == ["c"]
    assert "state=failed" in first["next"]
    second = admin.ask("GET", "jobs?" + first["next"].split("?")[1]).json()
    assert ([one["algorithm"] for one in second["items"]], second["next"]) == (["b"], None)
    assert [one["id"] for one in admin.ask("GET", "jobs?state=quarantined").json()["items"]] == [str(job.uuid)]
    assert admin.ask("GET", "jobs?platform=aidoc").json()["items"] == []
    for wrong in ("state=x", "platform=x", "cursor=x"):
        assert admin.ask("GET", f"jobs?{wrong}").status_code == 400


def test_a_job_and_what_was_kept_back(admin, job) -> None:
    """"jobs ... quarantine and dead letters with resend"."""
    found = admin.ask("GET", f"jobs/{job.uuid}").json()
    assert found["quarantine"]["payload"] == {"study_uid": "9.9"}
    assert found["quarantine"]["objects"] == [{"name": "0000.dcm", "size": 1234, "sha256": "cd" * 32}]
    assert [one["words"] for one in found["exchanges"]] == ["25 objects"]
    assert admin.ask("POST", f"jobs/{job.uuid}/resend").json()["state"] == "queued"
    assert admin.ask("POST", f"jobs/{job.uuid}/resend").status_code == 409
    assert admin.ask("POST", f"jobs/{job.uuid}/cancel").json()["state"] == "cancelled"
    assert admin.ask("POST", f"jobs/{job.uuid}/cancel").status_code == 409
    for path in ("", "/resend", "/cancel", "/requeue"):
        assert admin.ask("POST" if path else "GET", f"jobs/{uuid.uuid4()}{path}").status_code == 404


def test_edit_and_requeue(admin, job, mercy) -> None:
    """"dead letter with edit-and-requeue": the queued job has an id of its own; what is off-label or no series is told by field."""
    path = f"jobs/{job.uuid}/requeue"
    assert set(admin.ask("POST", path, {"series": "7", "algorithm": "lung-density-mask"}).json()["errors"]) == {"series"}
    assert set(admin.ask("POST", path, {"series": str(job.series), "algorithm": "x"}).json()["errors"]) == {"algorithm"}
    assert set(admin.ask("POST", path, {}).json()["errors"]) == {"series", "algorithm"}
    assert admin.ask("POST", path, {"series": "9" * 19, "algorithm": "x"}).status_code == 400
    found = admin.ask("POST", path, {"series": str(job.series), "algorithm": "lung-density-mask"}).json()
    assert (found["state"], found["series"]) == ("queued", str(job.series))
    assert found["id"] != str(job.uuid)
    assert admin.ask("GET", f"jobs/{job.uuid}").status_code == 404
    assert admin.ask("POST", f"jobs/{found['id']}/requeue", {"series": str(job.series), "algorithm": "x"}).status_code == 409


def test_the_schema_names_them(client, mercy) -> None:
    """OpenAPI describes every address of these views."""
    schema = client.get(f"/t/{mercy.slug}/api/v1/schema?format=json").json()
    found = [one for path in schema["paths"].values() for one in path.values() if isinstance(one, dict)]
    operations = {one["operationId"] for one in found if "operationId" in one}
    assert {
        "platforms_list", "platforms_read", "connections_list", "connections_read", "connections_set", "connections_check",
        "connections_on", "connections_off", "jobs_list", "jobs_read", "jobs_cancel", "jobs_resend", "jobs_requeue",
    } <= operations  # fmt: skip
