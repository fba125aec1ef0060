"""Terms of a platform: what is accepted, by whom, and that nothing is sent before."""

import pytest
from django.db import DatabaseError, transaction

from ai.connections import connection_set
from ai.contract import platforms
from ai.dispatch import job_run
from ai.governance import terms as of_terms
from ai.governance.terms import TermsRefused, terms_accept, terms_are_accepted, terms_of, terms_state
from ai.models import Connection, Decision, Job, TermsAcceptance
from ai.services import connection_create, rule_set
from billing.entitlements import entitlement_set
from imaging.models import Series
from journal.audit import Actor
from journal.models import AuditEvent
from tests import house
from tests.ai.test_api import FORM, Api
from tests.dicom_files import series_of

pytestmark = pytest.mark.database

ACTOR = Actor(name="user:test")
AIDOC = {**FORM, "contract": "C-1"}


def version(slug: str = "aidoc") -> str:
    found = terms_of(platforms()[slug])
    assert found
    return found.version


def test_they_say_what_where_how_and_who_answers() -> None:
    """"terms (what is sent, where, under which de-identification profile, whose responsibility)", of each platform outside the house."""
    for slug, platform in platforms().items():
        found = terms_of(platform)
        if platform.card.is_in_house:
            assert found is None
            continue
        assert found
        said = {one.title: one.text for one in found.clauses}
        assert platform.card.vendor in said["Where it goes"]
        assert all(region in said["Where it goes"] for region in platform.card.regions), slug
        assert {"What is sent", "What the hospital answers for", "What the vendor answers for", "What MedHub does"} < set(said)
        is_text = all(one.role == "wording" for one in platform.card.algorithms)
        assert ("113100" in said["How it is de-identified"]) is not is_text, slug
        assert ("images" in said["What is sent"]) is not is_text, slug


def test_who_accepted_what_and_when_is_kept(mercy, olaf, monkeypatch) -> None:
    """"a version of the text, who accepted and when, kept": other words ask anew, and what was accepted can be changed by nobody."""
    with mercy.scope():
        with pytest.raises(TermsRefused, match="read them again"):
            terms_accept(platform="aidoc", version="1-00000000", actor=ACTOR)
        first = terms_accept(platform="aidoc", version=version(), actor=ACTOR)
        assert terms_accept(platform="aidoc", version=version(), actor=Actor(name="user:other")).id == first.id
        assert (first.by, first.text) == ("user:test", terms_of(platforms()["aidoc"]).text)
        assert AuditEvent.objects.get(action="connection.terms").detail == {"version": version()}
        made = connection_set(platform="aidoc", values=AIDOC, actor=ACTOR)
        assert terms_are_accepted(made)
        with pytest.raises(DatabaseError), transaction.atomic():
            TermsAcceptance.objects.update(by="user:other")
        with pytest.raises(TermsRefused, match="nothing to accept"):
            terms_accept(platform="medhub-quantify", version="1", actor=ACTOR)
        monkeypatch.setattr(of_terms, "IMAGES", "all images of the patient")
        made.refresh_from_db()
        assert not terms_are_accepted(made)
        assert terms_state(platform=platforms()["aidoc"]).accepted.id == first.id
    with olaf.scope():
        assert not TermsAcceptance.objects.exists()


def test_without_them_nothing_is_sent(mercy) -> None:
    """"a connection whose terms are not accepted sends nothing": routing says so, and a job that waits ends as refused."""
    house.store(mercy, series_of(25))
    house.index(mercy)
    with mercy.scope():
        entitlement_set(state="active")
        made = connection_set(platform="sharedmind", values=FORM, is_test=True, actor=ACTOR)
        rule_set(name="all", connection=made, algorithm="by-contract", conditions=[])
        rule_set(name="here", connection=connection_create(platform="medhub-quantify"), algorithm="lung-density-mask", conditions=[])
    house.complete(mercy)
    house.deliver(mercy)
    with mercy.scope():
        row = Decision.objects.get()
        assert [(one["name"], one["is_match"]) for one in row.outcomes] == [("all", False), ("here", True)]
        assert row.outcomes[0]["reason"] == "the platform's terms are not accepted"
        job = Job.objects.get()  # in the house nothing is to accept
        assert job.connection.platform == "medhub-quantify"
        due = Job.objects.create(
            study=row.study, study_version=1, connection=made, algorithm="by-contract", series=Series.objects.get().id,
            created_at=job.created_at, due_at=job.created_at,
        )  # fmt: skip
    assert job_run(tenant_id=mercy.tenant.id, job_id=due.id) is None
    with mercy.scope():
        due.refresh_from_db()
        assert (due.state, due.reason) == ("refused", "the platform's terms are not accepted")
        terms_accept(platform="sharedmind", version=version("sharedmind"), actor=ACTOR)
        assert terms_are_accepted(Connection.objects.get(platform="sharedmind"))


def test_over_the_api(client, mercy, olaf) -> None:
    """"terms accepted by the API through a field `terms` with the version, or a call of its own"."""
    admin = Api(client, mercy, "admin")
    state = admin.ask("GET", "connections/aidoc/terms").json()
    assert (state["version"], state["is_accepted"], state["accepted_by"]) == (version(), False, None)
    assert state["clauses"][0]["title"] == "What is sent"
    wrong = admin.ask("PUT", "connections/aidoc", {"settings": AIDOC, "terms": "1-00000000"})
    assert (wrong.status_code, set(wrong.json()["errors"])) == (400, {"terms"})
    assert admin.ask("PUT", "connections/aidoc", {"settings": AIDOC}).json()["are_terms_accepted"] is False
    assert admin.ask("PUT", "connections/aidoc", {"settings": AIDOC, "terms": version()}).json()["are_terms_accepted"] is True
    assert admin.ask("POST", "connections/viz-ai/terms", {"version": version("viz-ai")}).json()["is_accepted"] is True
    assert admin.ask("POST", "connections/viz-ai/terms", {}).status_code == 400
    assert admin.ask("GET", "connections/none/terms").status_code == 404
    assert Api(client, mercy, "integrator").ask("POST", "connections/viz-ai/terms", {"version": "x"}).status_code == 403
    assert Api(client, olaf, "admin").ask("GET", "connections/viz-ai/terms").json()["is_accepted"] is False
