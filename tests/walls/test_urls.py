"""Every address x hospital x role. An address that is not in the matrix fails the suite."""

from dataclasses import asdict
from uuid import uuid4

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from django.urls import URLPattern, URLResolver, get_resolver, reverse
from django.utils import timezone

from ai.models import Connection, Job, Recall, Report, ReportDelivery, Result, RuleSet
from fhirapi.models import EhrPush, EhrServer, Subscriber
from imaging.certificates.services import certificate_sign
from imaging.hl7.sources import source_add
from imaging.models import (
    CommitmentRequest,
    Hl7Destination,
    Hl7Message,
    Instance,
    Node,
    Patient,
    PatientMerge,
    Series,
    Study,
    Transfer,
    WorkItem,
)
from imaging.querytags.declare import query_tag_create
from journal.wall.scope import tenant_scope
from portal import urls
from tenants.models import Hl7Source, Membership, OAuthClient, OAuthGrant, SavedFilter
from tenants.permissions import CAPABILITIES, is_allowed
from tests import house
from tests.ai.encoding.cases import content_of
from tests.ai.routing.studies import rule
from tests.conftest import PASSWORD
from tests.dicom_files import ct_slice, series_of
from tests.imaging.tls_peers import ACTOR, request_make
from tests.walls.matrix import CALLED, CLIENT, MACHINES, OPEN, PAGES, REFUSED, RULE, WRITES

pytestmark = pytest.mark.database


def names(resolver: URLResolver, found: set[str]) -> set[str]:
    for pattern in resolver.url_patterns:
        if isinstance(pattern, URLResolver):
            names(pattern, found)
        elif isinstance(pattern, URLPattern):
            found.add(pattern.name or f"unnamed {pattern.pattern}")
    return found


@pytest.fixture
def study(mercy):
    slices = series_of(4)
    house.store(mercy, [*slices, ct_slice(StudyInstanceUID=slices[0].StudyInstanceUID, PatientID="P2", PatientName="ROE^RICHARD")])
    house.index(mercy)
    with mercy.scope():
        node = Node.objects.get()
        now = timezone.now()
        transfer = Transfer.objects.create(
            kind="pull", node=node, node_ae=node.ae_title, unique_on="x", created_at=now, changed_at=now
        )
        asked = CommitmentRequest.objects.create(
            node=node, node_ae=node.ae_title, called_ae="US", transaction_uid="1.2", digest="x", created_at=now, state="dead"
        )
        certificate = certificate_sign(actor=ACTOR, csr=request_make(ec.generate_private_key(ec.SECP256R1())))
        tag = query_tag_create(actor=ACTOR, tag="SliceThickness", level="series")
        link = Connection.objects.create(platform="medhub-quantify", name="x", created_at=now)
        job = Job.objects.create(
            study=Study.objects.get(), study_version=1, connection=link, algorithm="lung-density-mask", created_at=now, state="failed"
        )
        result = Result.objects.create(job=job, payload={}, is_analysable=True, received_at=now)
        report = Report.objects.create(
            study=job.study, result=result, connection=link, algorithm="a", conclusion="-", issued_at=now,
            content=asdict(content_of(slices)),
        )  # fmt: skip
        RuleSet.objects.create(
            number=1, state="active", created_by="x", created_at=now, changed_by="x", changed_at=now,
            rules=[{**rule(), "id": RULE, "series": [], "is_stat": False}],
        )  # fmt: skip
        sent = ReportDelivery.objects.create(report=report, kind="archive", state="sent", created_at=now)
        stop = Recall.objects.create(
            platform="medhub-quantify", algorithm="lung-density-mask", reason="x", by="user:x", at=now, lifted_at=now, is_cleared=True
        )
        one, other = Patient.objects.order_by("id")
        merge = PatientMerge.objects.create(gone=other, surviving=one, origin="api", merged_by="user:x", merged_at=now)
        source = source_add(actor=ACTOR, name="RIS", needs_tls=True)
        facts = {
            "tenant": mercy.tenant, "name": "x", "kind": "app", "scopes": "x", "revoked_at": None, "launch_url": "http://localhost/x",
        }  # fmt: skip
        OAuthClient.objects.update_or_create(client_id=CLIENT, defaults=facts)
        there = Hl7Destination.objects.create(name="x", host="x", port=1, created_at=now)
        message = Hl7Message.objects.create(source_id=there.id, sha256="x", body=b"x", state="failed", received_at=now)
        ehr = EhrServer.objects.create(name="x", base_url="https://10.0.0.1/fhir", created_at=now)
        EhrPush.objects.create(server=ehr, report="r", version=1, state="dead", created_at=now)
        Subscriber.objects.create(
            fhir_id="s1", rtype="Patient", endpoint="https://10.0.0.1/x", content="empty", state="error", creator="-", role="-",
            created_at=now,
        )  # fmt: skip
        made = (node, transfer, asked, certificate, tag, report, sent, job, stop, merge, source, message)
        return Study.objects.get(), Series.objects.get(), *made


def source_of(tenant_id: int, source: Hl7Source) -> int:
    """One that is there still: a role before may have removed it. Asked for by another hospital, it is this one's."""
    Hl7Source.objects.get_or_create(id=source.id, defaults={"tenant_id": tenant_id, "name": "RIS", "needs_tls": True})
    return int(source.id)


def grant_of(tenant_id: int) -> int:
    """One that is good still: a role before may have ended it."""
    now = timezone.now()
    with tenant_scope(tenant_id):
        return int(OAuthGrant.objects.create(
            client_id=1, user_id=uuid4(), scopes="x", redirect_uri="x", code_challenge="x", code_digest=uuid4().hex, code_expires_at=now,
            expires_at=now,
        ).id)  # fmt: skip


def filter_of(tenant_id: int) -> int:
    """One of the person who was made last: each person's are their own."""
    with tenant_scope(tenant_id):
        owners = Membership.objects.filter(tenant_id=tenant_id).values_list("user_id", flat=True)
        now = {"created_at": timezone.now()}
        made = [SavedFilter.objects.get_or_create(owner=f"user:{owner}", name="x", defaults=now)[0] for owner in owners]
        return int(made[-1].id) if made else 1


def address(name: str, hospital, study, needs: tuple[str, ...]) -> str:
    found, series, node, transfer, asked, certificate, tag, report, sent, job, stop, merge, source, message = study

    def first(rows) -> int:
        with tenant_scope(found.tenant_id):
            return rows.objects.values_list("id", flat=True).first() or 1

    def instance_uid() -> str:
        with tenant_scope(found.tenant_id):
            return Instance.objects.filter(series=series).values_list("sop_instance_uid", flat=True)[0]

    def ehr_uuid():
        with tenant_scope(found.tenant_id):
            return EhrServer.objects.values_list("uuid", flat=True).first() or found.uuid

    # What asks the database is asked for where it is needed: this is called thousands of times.
    values = {
        "server": ehr_uuid, "push_id": lambda: first(EhrPush), "subscriber_id": lambda: first(Subscriber),
        "item_id": lambda: first(WorkItem), "instance_uid": instance_uid,
        "filter_id": lambda: filter_of(found.tenant_id), "grant_id": lambda: grant_of(found.tenant_id),
        "source_id": lambda: source_of(found.tenant_id, source),
        "uuid": found.uuid, "series_id": series.id, "number": 1, "delivery_id": 1, "job_id": 1, "study_uid": found.study_uid,
        "rtype": "ImagingStudy", "patient": str(found.uuid), "fhir_id": str(found.uuid), "rest": "no/such/thing",
        "node_id": node.id, "transfer_id": transfer.id, "request_id": asked.id,
        "certificate_id": certificate.id, "series_uid": series.series_uid, "numbers": "1",
        "path": "7FE00010", "tag_id": tag.id, "version": 1, "workitem_uid": "1.2.3", "aet": "WATCHER", "job": str(found.uuid),
        "report": report.uuid, "report_delivery": sent.id,
        "job_uuid": job.uuid, "platform": "medhub-quantify", "algorithm": "lung-density-mask", "recall": stop.uuid,
        "rule": RULE, "rules_version": 1, "rules_other": 1, "group": "g1",
        "export": found.uuid, "name": "Patient-1", "subscription": "s1", "merge_id": merge.id, "client_id": CLIENT,
        "message_id": message.id, "destination_id": message.source_id,
    }  # fmt: skip
    asked_for = {need: values[need] for need in needs}
    found_values = {CALLED.get(need, need): value() if callable(value) else value for need, value in asked_for.items()}
    return reverse(name, kwargs={"slug": hospital.slug, **found_values})


def test_every_address_is_in_the_matrix() -> None:
    """"fail ... for every URL that is not in the tenant x role matrix"."""
    allauth = {name for name in names(get_resolver(), set()) if name.startswith("account_")}
    assert names(get_resolver(), set()) - allauth == set(PAGES) | set(MACHINES) | set(OPEN)


def test_every_page_names_its_capability() -> None:
    """"Every function needs a named capability" (promise 3): the page's own mark is the matrix's."""
    found = {pattern.name: pattern.callback.capability for pattern in urls.urlpatterns if pattern.name in PAGES}
    assert found == {name: capability for name, (_, _, capability) in PAGES.items()}


@pytest.mark.parametrize("role", sorted(CAPABILITIES))
def test_pages_by_role(client, mercy, study, role) -> None:
    """A role opens what its capabilities name and gets 403 for the rest."""
    mercy.member(role)
    client.post("/accounts/login/", {"login": f"{role}@{mercy.slug}.example", "password": PASSWORD})
    for name, (method, needs, capability) in PAGES.items():
        answer = client.generic(method, address(name, mercy, study, needs))
        if is_allowed(role=role, capability=capability):
            wanted = {409} if name in REFUSED else {400} if name == "oauth-authorize" else {200, 302}
            assert answer.status_code in wanted, (name, answer.status_code)
            assert "no-store" in answer.headers["Cache-Control"], name
        else:
            assert answer.status_code == 403, (name, answer.status_code)


def test_pages_of_another_hospital_are_not_there(client, mercy, olaf, study) -> None:
    """"every URL ... of hospital A see and touch nothing of B": 404 for strangers, foreign ids, unknown hospitals."""
    olaf.member("owner")
    client.post("/accounts/login/", {"login": f"owner@{olaf.slug}.example", "password": PASSWORD})
    for name, (method, needs, _) in PAGES.items():
        assert client.generic(method, address(name, mercy, study, needs)).status_code == 404, name
        if {
            "uuid", "item_id", "node_id", "transfer_id", "request_id", "certificate_id", "tag_id", "report", "report_delivery",
            "job_uuid", "recall", "rule", "rules_version", "filter_id", "merge_id", "source_id", "message_id",
            "destination_id", "client_id",
            "server", "push_id", "subscriber_id", "grant_id",
        } & set(needs):
            assert client.generic(method, address(name, olaf, study, needs)).status_code == 404, name
    assert client.get("/t/no-such-hospital/worklist").status_code == 404


def test_pages_want_a_login(client, mercy, study) -> None:
    for name, (method, needs, _) in PAGES.items():
        answer = client.generic(method, address(name, mercy, study, needs))
        assert answer.status_code == 302, name
        assert answer.headers["Location"].startswith("/accounts/login/"), name


def test_machine_doors(client, mercy, olaf, study) -> None:
    """Token of the hospital, of another, wrong, revoked or missing: open, 404, 401."""
    from tenants.models import ApiToken

    for name, (method, needs, capability) in MACHINES.items():
        url = address(name, mercy, study, needs)
        assert client.generic(method, url).status_code == 401, name
        assert client.generic(method, url, headers={"authorization": "Bearer mh_wrong"}).status_code == 401, name
        assert client.generic(method, url, headers=olaf.auth).status_code == 404, name
        own = client.generic(method, url, headers=mercy.auth)
        if not is_allowed(role="integrator", capability=capability):
            assert own.status_code == 403, (name, own.status_code)
            continue
        assert own.status_code not in {401, 403, 500}, (name, own.status_code)
        if {
            "fhir_id", "study_uid", "item_id", "node_id", "transfer_id", "certificate_id", "tag_id", "report", "report_delivery",
            "job_uuid", "recall", "rule", "rules_version", "filter_id", "merge_id", "source_id", "message_id",
            "destination_id", "client_id",
            "server", "push_id", "subscription",
        } & set(needs):
            foreign = client.generic(method, address(name, olaf, study, needs), headers=olaf.auth)
            assert foreign.status_code in {404, 405, 415}, (name, foreign.status_code)  # 405: nobody writes this type
    ApiToken.objects.filter(tenant=mercy.tenant).update(revoked_at="2026-01-01T00:00:00Z")
    assert client.get(address("fhir-search", mercy, study, ("rtype",)), headers=mercy.auth).status_code == 401


@pytest.mark.parametrize("role", sorted(CAPABILITIES))
def test_machine_doors_by_role(client, mercy, study, role) -> None:
    """A token's role decides like a person's."""
    from tenants.services import token_create

    auth = {"authorization": f"Bearer {token_create(tenant=mercy.tenant, name=role, role=role)}"}
    for name, (method, needs, capability) in MACHINES.items():
        answer = client.generic(method, address(name, mercy, study, needs), headers=auth)
        assert (answer.status_code == 403) != is_allowed(role=role, capability=capability), (name, answer.status_code)


@pytest.mark.parametrize("role", sorted(CAPABILITIES))
def test_writing_doors_by_role(client, mercy, olaf, study, role) -> None:
    """"capabilities per HTTP method on each view": reading a FHIR address does not open it for writing, nor does another's token."""
    from tenants.services import token_create

    auth = {"authorization": f"Bearer {token_create(tenant=mercy.tenant, name=role, role=role)}"}
    for name, methods in WRITES.items():
        url = address(name, mercy, study, MACHINES[name][1])
        for method in methods:
            answer = client.generic(method, url, headers=auth)
            assert (answer.status_code == 403) != is_allowed(role=role, capability="fhir.write"), (name, method)
            assert client.generic(method, url, headers=olaf.auth).status_code == 404, (name, method)
            assert client.generic(method, url).status_code == 401, (name, method)
