"""Each issued report goes to the hospital's own FHIR server, once, in order, and every attempt is on record."""

from pathlib import Path
from typing import Any

import httpx
import pytest
from django.utils import timezone
from fhir.resources.R4B.bundle import Bundle

from ai.models import Report
from fhirapi.models import EhrAttempt, EhrPush
from fhirapi.push import pushes
from fhirapi.push.pushes import push_resend
from fhirapi.push.servers import EhrServerRefused, ehr_server_check, ehr_server_key_renew, ehr_server_save
from journal.models import AuditEvent
from tests.conftest import Hospital
from tests.fhirapi.push.conftest import ACTOR, Pushing
from tests.killing import KILLED, killed_or_done
from tests.web import web_run

pytestmark = [pytest.mark.database, pytest.mark.xdist_group("push")]


def attempts(pushing: Pushing) -> list[tuple[bool, int, str]]:
    with pushing.hospital.scope():
        return list(EhrAttempt.objects.order_by("id").values_list("is_good", "status", "words"))


def test_one_transaction_with_all_of_it(pushing: Pushing) -> None:
    """ "each issued report also goes out as a FHIR transaction (IHE IMR RAD-141 form)": conditional, linked, whole."""
    pushing.server()
    report = pushing.report()
    assert pushing.step() is None
    (push,) = pushing.pushes()
    assert (push.state, push.attempts) == ("delivered", 1)
    (bundle,) = pushing.ehr.seen()["bundles"]
    Bundle.model_validate(bundle)
    found: dict[str, list[Any]] = {}
    for entry in bundle["entry"]:
        found.setdefault(entry["resource"]["resourceType"], []).append(entry)
    assert {"Patient", "DiagnosticReport", "Observation", "ImagingStudy", "Device", "Organization", "Provenance"} <= set(found)
    (patient,), (main,) = found["Patient"], found["DiagnosticReport"]
    assert patient["request"]["method"] == "POST"
    assert report.study.patient.patient_id in patient["request"]["ifNoneExist"]
    assert main["resource"]["subject"]["reference"] == patient["fullUrl"]
    results = {one["fullUrl"] for one in found["Observation"]}
    assert {one["reference"] for one in main["resource"]["result"]} <= results
    assert main["resource"]["imagingStudy"][0]["reference"] == found["ImagingStudy"][0]["fullUrl"]
    assert main["request"] == {"method": "PUT", "url": f"DiagnosticReport?identifier=urn%3Aietf%3Arfc%3A3986%7Curn%3Auuid%3A{report.uuid}"}
    assert main["resource"]["conclusion"]
    assert {"AIAST"} <= {one["code"] for one in main["resource"]["meta"]["security"]}
    with pushing.hospital.scope():
        told = AuditEvent.objects.get(action="fhir.push")
    assert (told.object_type, told.object_id, told.detail["version"]) == ("DiagnosticReport", str(report.uuid), 1)


def test_sent_again_makes_nothing_twice(pushing: Pushing) -> None:
    """ "attempts, answers and resend visible"; conditional updates: a resend changes no count."""
    pushing.server()
    pushing.report()
    pushing.step()
    before = pushing.ehr.seen()["stored"]
    (push,) = pushing.pushes()
    with pushing.hospital.scope():
        assert push_resend(actor=ACTOR, row=push)
        assert not push_resend(actor=ACTOR, row=EhrPush.objects.get())  # it is on its way
    pushing.step()
    after = pushing.ehr.seen()
    assert [one["name"] for one in after["stored"]] == [one["name"] for one in before]
    assert len(after["bundles"]) == 2
    assert after["bundles"][0] == after["bundles"][1]
    (person,) = pushing.ehr.stored("Patient")
    assert person["versions"] == 1  # the EHR's own demographics stay
    assert [one[:2] for one in attempts(pushing)] == [(True, 200)] * 2


def test_retries_and_dead_ends(pushing: Pushing, settings: Any) -> None:
    """5xx, timeouts and 429 with its Retry-After come again; 4xx is dead, shows the codes and no words of theirs, and can be resent."""
    settings.MEDHUB_BACKOFF_UNIT_SECONDS = 1
    pushing.server()
    pushing.report()
    pushing.ehr.control(failing=[{"status": 503}, {"status": 429, "headers": {"Retry-After": "7"}}, {"status": 422}])
    first = pushing.step()
    assert first is not None
    assert 1 <= first <= 2
    assert pushing.pushes()[0].state == "failed"
    assert pushing.step() is None  # not before its time
    pushing.due(pushing.pushes()[0])
    assert pushing.step() == 7
    pushing.due(pushing.pushes()[0])
    assert pushing.step() is None
    (push,) = pushing.pushes()
    assert (push.state, push.words) == ("dead", "the server answered 422 (error exception)")
    assert [one[1] for one in attempts(pushing)] == [503, 429, 422]
    assert "DOE" not in str(attempts(pushing))
    with pushing.hospital.scope():
        assert push_resend(actor=ACTOR, row=push)
    pushing.step()
    assert pushing.pushes()[0].state == "delivered"


def test_given_up(pushing: Pushing, monkeypatch: pytest.MonkeyPatch) -> None:
    """An EHR that is away for good: dead after the last attempt, never silent."""
    monkeypatch.setattr(pushes, "MAX_ATTEMPTS", 2)
    pushing.server()
    pushing.report()
    pushing.ehr.control(failing=[{"status": 500}] * 2)
    assert (pushing.step() or 0) > 0
    pushing.due(pushing.pushes()[0])
    assert pushing.step() is None
    assert pushing.pushes()[0].state == "dead"


def test_newer_after_older(pushing: Pushing) -> None:
    """Order per report: a newer version waits while an older one is on its way; one that was not sent yet is skipped."""
    pushing.server()
    report = pushing.report()

    def reissue(words: str) -> None:
        with pushing.hospital.scope():
            Report.objects.filter(id=report.id).update(conclusion=words, issued_at=timezone.now())
            pushing.project(report)

    reissue("second")
    first, second = pushing.pushes()
    assert (first.state, second.state) == ("superseded", "queued")
    with pushing.hospital.scope():
        claimed = pushes.push_claim(push_id=second.id)
    assert claimed is not None
    reissue("third")
    third = pushing.pushes()[-1]
    assert pushing.step(third) is None
    assert pushing.ehr.seen()["bundles"] == []
    with pushing.hospital.scope():
        pushes.push_fail(claimed, words="x", began=0, is_permanent=False)
    pushing.step(third)
    pushing.due(second)
    pushing.step(second)
    assert [one.state for one in pushing.pushes()] == ["superseded", "superseded", "delivered"]
    (stored,) = pushing.ehr.stored("DiagnosticReport")
    assert stored["resource"]["conclusion"].startswith("third")


def test_signs_in(pushing: Pushing) -> None:
    """ "with its authentication (SMART Backend Services as client, basic, bearer)"."""
    for auth, values in {"basic": {"user": "medhub", "secret": "pass word"}, "bearer": {"secret": "fixed-token"}}.items():
        pushing.ehr.control(auth=auth)
        server = pushing.server(name=auth, auth=auth, **values)
        assert values["secret"] not in server.secret
        found = ehr_server_check(tenant_id=pushing.hospital.tenant.id, server_uuid=server.uuid)
        assert found is not None
        assert found.is_good, found.words
        with pushing.hospital.scope():
            wrong = {"name": auth, "base_url": server.base_url, "auth": auth, "user": "medhub", "secret": "wrong"}
            ehr_server_save(actor=ACTOR, row=server, values=wrong)
        found = ehr_server_check(tenant_id=pushing.hospital.tenant.id, server_uuid=server.uuid)
        assert found is not None
        assert (found.is_good, found.words) == (False, "its metadata answered 401")


@pytest.mark.parametrize("algorithm", ["RS384", "ES384"])
def test_smart_backend_services(pushing: Pushing, client: Any, algorithm: str) -> None:
    """A token endpoint that really verifies: key by our JWKS address, audience, lifetime, one use. A lost token is fetched anew."""
    pushing.ehr.control(auth="smart")
    server = pushing.server(auth="smart", client_id="medhub-client", algorithm=algorithm)
    jwks = client.get(f"/t/{pushing.hospital.slug}/fhir/r4/ehr/{server.uuid}/jwks.json").json()
    assert [set(key) & {"d", "p", "q"} for key in jwks["keys"]] == [set()]
    pushing.ehr.control(keys={key["kid"]: key for key in jwks["keys"]})
    found = ehr_server_check(tenant_id=pushing.hospital.tenant.id, server_uuid=server.uuid)
    assert found is not None
    assert found.is_good, found.words
    pushing.report()
    pushing.ehr.control(tokens={})  # the EHR was restarted
    assert pushing.step() is None
    assert pushing.pushes()[0].state == "delivered"
    assert pushing.ehr.seen()["signed"] == ["ok", "ok"]
    with pushing.hospital.scope():
        server.refresh_from_db()
        before = server.public_jwk["kid"]
        ehr_server_key_renew(actor=ACTOR, row=server)
    pushing.ehr.control(keys={**{key["kid"]: key for key in jwks["keys"]}, server.public_jwk["kid"]: jwks["keys"][0]})
    assert before != server.public_jwk["kid"]
    found = ehr_server_check(tenant_id=pushing.hospital.tenant.id, server_uuid=server.uuid)
    assert found is not None
    assert (found.is_good, found.words) == (False, "the sign-in service refused our key (401)")
    assert pushing.ehr.seen()["signed"][-1] == "InvalidSignatureError"


@pytest.mark.parametrize("point", ["push.before_send", "push.after_send"])
def test_killed_there_it_still_comes_once(pushing: Pushing, tmp_path: Path, point: str) -> None:
    """A worker that dies over it leaves a row that becomes due; what had arrived is not made twice."""
    pushing.server()
    pushing.report()
    (tmp_path / point).touch()
    (push,) = pushing.pushes()
    ids = {"tenant_id": pushing.hospital.tenant.id, "push_id": push.id}
    assert killed_or_done("fhirapi.push.run", "push_step", faults=tmp_path, **ids) == KILLED
    assert pushing.step() is None  # the lease of the dead
    pushing.due(push)
    pushing.step()
    assert pushing.pushes()[0].state == "delivered"
    assert len(pushing.ehr.stored("DiagnosticReport")) == 1


@pytest.mark.parametrize(("values", "field"), [
    ({"base_url": "http://ehr.example/fhir"}, "base_url"),
    ({"base_url": "https://10.0.0.1/fhir"}, "base_url"),
    ({"name": ""}, "name"),
    ({"auth": "kerberos"}, "auth"),
    ({"auth": "basic", "secret": "x"}, "user"),
    ({"auth": "bearer"}, "secret"),
    ({"auth": "bearer", "secret": "new\nline"}, "secret"),
    ({"auth": "smart"}, "client_id"),
    ({"auth": "smart", "client_id": "x", "algorithm": "HS256"}, "algorithm"),
])  # fmt: skip
def test_refused_with_words(pushing: Pushing, values: dict[str, str], field: str) -> None:
    with pytest.raises(EhrServerRefused) as caught:
        pushing.server(**values)
    assert set(caught.value.problems) == {field}


def test_secret_stays_with_its_address(pushing: Pushing) -> None:
    """A stored secret is never sent to where it was not entered for."""
    server = pushing.server(auth="bearer", secret="fixed-token")  # noqa: S106 test
    values = {"name": "EHR", "base_url": "https://other.example/fhir", "auth": "bearer"}
    with pushing.hospital.scope(), pytest.raises(EhrServerRefused):
        ehr_server_save(actor=ACTOR, row=server, values=values)


def test_without_a_server_nothing_is_made(pushing: Pushing) -> None:
    pushing.report()
    assert pushing.pushes() == []
    pushing.server(is_enabled=False)
    pushing.report()
    assert pushing.pushes() == []


def test_our_own_server_takes_it(pushing: Pushing, olaf: Hospital, tmp_path: Path, settings: Any) -> None:
    """A real FHIR server as the EHR: Mercy pushes into St. Olaf's base with its key. ImagingStudies are not taken from outside there."""
    with web_run(tmp_path) as web:
        settings.EGRESS_ALLOW = [f"127.0.0.1:{web.port}"]
        base = f"http://127.0.0.1:{web.port}/t/{olaf.slug}/fhir/r4"
        pushing.server(base_url=base, auth="bearer", secret=olaf.token, has_studies=False)
        report = pushing.report()
        pushing.step()
        (push,) = pushing.pushes()
        assert (push.state, push.words.endswith("taken")) == ("delivered", True)
        with pushing.hospital.scope():
            push_resend(actor=ACTOR, row=push)
        pushing.step()
        assert pushing.pushes()[0].state == "delivered"
        more = "_include=DiagnosticReport:subject&_include=DiagnosticReport:result&_revinclude=Provenance:target"
        query = f"identifier=urn:uuid:{report.uuid}&{more}"
        found = httpx.get(f"{base}/DiagnosticReport?{query}", headers=olaf.auth, timeout=10).json()
    types = [one["resource"]["resourceType"] for one in found["entry"]]
    assert {name: types.count(name) for name in set(types)} == {
        "DiagnosticReport": 1, "Patient": 1, "Observation": 2, "Provenance": 1,
    }  # fmt: skip
    main = found["entry"][0]["resource"]
    assert main["meta"]["versionId"] == "1"  # the second changed nothing
    assert "reference" not in main["imagingStudy"][0]
    assert main["imagingStudy"][0]["identifier"]["system"] == "urn:dicom:uid"
