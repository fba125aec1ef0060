"""`/t/<slug>/api/v1/rules` and the ladder of a connection: what the pages do, for those who automate."""

from dataclasses import asdict, fields
from typing import Any

import pytest
from django.utils import timezone

from ai.findings import Answer
from ai.models import Connection, Job, Report, Result, RuleSet
from ai.readers import Reader
from ai.reports import report_issue
from ai.selectors import reports_of
from ai.services import connection_create
from fhirapi.projections import jobs_put, reports_put
from fhirapi.store import resource_read
from imaging.models import Study
from journal.models import OutboxEvent
from journal.types import Event
from tests import house
from tests.ai.encoding.cases import content_of
from tests.ai.routing.studies import rule
from tests.ai.test_api import Api
from tests.conftest import PASSWORD
from tests.dicom_files import ct_slice, part10, series_of

pytestmark = pytest.mark.database


@pytest.fixture
def admin(client, mercy) -> Api:
    with mercy.scope():
        connection_create(platform="medhub-quantify")
    return Api(client, mercy, "admin")


def saved(api: Api, rules: list[dict[str, Any]], revision: int = 0) -> dict[str, Any]:
    answer = api.ask("PUT", "rules/draft", {"rules": rules, "revision": revision})
    assert answer.status_code == 200, answer.content
    return dict(answer.json())


def answer_data(slices: list[Any]) -> dict[str, Any]:
    """An answer as a result keeps it."""
    content = content_of(slices)
    return asdict(Answer(**{one.name: getattr(content, one.name) for one in fields(Answer) if hasattr(content, one.name)}))


def test_draft_activate_versions_revert(admin, mercy) -> None:
    """"versioned, draft -> active, with who and when", under /t/<slug>/api/v1."""
    assert admin.ask("GET", "rules").status_code == admin.ask("GET", "rules/draft").status_code == 404
    draft = saved(admin, [rule()])
    assert admin.ask("POST", "rules/draft/activate", {"revision": draft["revision"] + 1}).status_code == 409
    active = admin.ask("POST", "rules/draft/activate", {"revision": draft["revision"]}).json()
    assert (active["number"], active["state"], [one["name"] for one in active["rules"]]) == (1, "active", ["chest"])
    assert active["activated_by"].startswith("token:")
    assert admin.ask("GET", "rules").json() == active
    second = admin.ask("POST", "rules/draft").json()
    assert (second["number"], second["based_on"], second["rules"]) == (2, 1, active["rules"])
    assert admin.ask("PUT", "rules/draft", {"rules": [], "revision": 0}).status_code == 409
    saved(admin, [], second["revision"])
    assert admin.ask("DELETE", "rules/draft").status_code == 204
    assert admin.ask("DELETE", "rules/draft").status_code == 404
    listed = admin.ask("GET", "rules/versions?limit=1").json()
    assert ([one["number"] for one in listed["items"]], listed["next"]) == ([1], None)
    assert admin.ask("GET", "rules/versions/1").json() == active
    assert admin.ask("POST", "rules/versions/1/revert").json()["based_on"] == 1
    _two_versions_are_compared(admin)
    for path in (
        "rules/versions/99", "rules/versions/99999999999999", "rules/versions/1/compare/99", "rules/versions/99999999999999/compare/1",
    ):  # fmt: skip
        assert admin.ask("GET", path).status_code == 404


def _two_versions_are_compared(admin: Api) -> None:
    """What the version's page shows, for those who automate: rules are known by their ids."""
    draft = admin.ask("GET", "rules/draft").json()
    (chest,) = draft["rules"]
    saved(admin, [rule("head"), {**chest, "is_stat": not chest["is_stat"]}], draft["revision"])
    path = f"rules/versions/1/compare/{draft['number']}"
    found = admin.ask("GET", path).json()
    assert (found["before"], found["after"]) == (1, draft["number"])
    added, changed = found["changes"]
    assert (added["kind"], added["before"], added["after"]["name"]) == ("added", None, "head")
    assert (changed["kind"], changed["rule"], changed["fields_changed"]) == ("changed", chest["id"], ["is_stat"])
    assert (changed["before"]["is_stat"], changed["after"]["is_stat"]) == (chest["is_stat"], not chest["is_stat"])
    back = admin.ask("GET", f"rules/versions/{draft['number']}/compare/1").json()["changes"]
    assert [one["kind"] for one in back] == ["changed", "removed"]
    assert {one["kind"] for one in admin.ask("GET", "rules/versions/1/compare/1").json()["changes"]} == {"same"}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"rules": [rule(), rule("x", "nobody")], "revision": 0}, "rules[1]"), ({"rules": {}, "revision": 0}, "rules"),
        ({"rules": []}, "revision"), ({"rules": [], "revision": 0, "active": True}, "active"), ({"rules": [], "revision": -1}, "revision"),
        ({"rules": [rule(conditions=[{"fact": "x"}])], "revision": 0}, "rules[0]"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_by_its_place(admin, mercy, body, field) -> None:
    """400 with the rule's place and the reason; nothing is kept."""
    answer = admin.ask("PUT", "rules/draft", body)
    assert answer.status_code == 400
    assert field in answer.json()["errors"]
    with mercy.scope():
        assert not RuleSet.objects.exists()


def test_the_vocabulary_is_what_conditions_take(admin) -> None:
    """"closed vocabulary": each listed fact with each of its operators is taken, and its help says what it is."""
    values = {"words": ["x"], "text": ["x"], "number": 1, "clock": ["07:00", "19:00"]}
    found = admin.ask("GET", "rules/vocabulary").json()
    conditions = {
        side: [{"fact": one["fact"], operator: values[one["kind"]]} for one in facts for operator in one["operators"]]
        for side, facts in found.items()
    }
    rules = [rule(f"{n}", conditions=[one]) for n, one in enumerate(conditions["study"])]
    rules += [rule(f"s{n}", series=[one]) for n, one in enumerate(conditions["series"])]
    assert len(saved(admin, rules)["rules"]) == len(rules) > 30


def test_dry_run_of_studies_and_of_a_file(admin, mercy, olaf, client) -> None:
    """"dry run over the last N real studies and over an uploaded file, with the reason for each yes and no"."""
    house.store(mercy, series_of(25))
    house.store(mercy, [ct_slice(Modality="MR")])
    house.index(mercy)
    house.complete(mercy)
    answer = admin.ask("POST", "rules/dry-run", {"rules": [rule(), rule("never", conditions=[{"fact": "sex", "is": ["O"]}])], "last": 10})
    assert answer.status_code == 200
    trial = answer.json()
    assert (trial["jobs"], trial["unmatched"], [one["warning"] for one in trial["rules"]]) == (1, 1, ["", "never"])
    reasons = {one["reason"] for study in trial["studies"] for one in study["outcomes"]}
    assert {"its one fitting series, 25 slices", "modality is MR, the rule wants CT", "sex is F, the rule wants O"} == reasons
    sent = next(study for study in trial["studies"] if study["sent"])
    assert sent["outcomes"][0]["series_reasons"][0]["is_chosen"]
    with mercy.scope():
        assert not Job.objects.exists()
    assert admin.ask("POST", "rules/dry-run", {"last": 1001}).status_code == 400
    assert admin.ask("POST", "rules/dry-run", {}).status_code == 404, "neither a draft nor active rules"
    saved(admin, [rule()])

    def upload(data: bytes, kind: str = "application/dicom", query: str = "") -> Any:
        return client.generic("POST", f"{admin.base}rules/dry-run/file{query}", data, content_type=kind, headers=admin.auth)

    assert upload(part10(ct_slice())).json()["studies"][0]["outcomes"][0]["reason"] == "1 slice, Lung density mask needs 20 or more"
    assert upload(b"nothing").status_code == 400
    assert upload(b"{}", "application/json").status_code == 415
    assert upload(b"x", query="?of=other").status_code == 400
    stranger = Api(client, olaf, "admin")
    assert stranger.ask("POST", "rules/dry-run", {"rules": [rule()]}).json()["studies"] == []


def test_the_ladder(admin, mercy) -> None:
    """"stages off -> test -> shadow -> pilot -> live per platform", each step with who and when, and a way back."""
    reader = "00000000-0000-4000-8000-000000000001"
    for step in ("shadow", "pilot", "live", "off", "test"):
        body = {"step": step, "note": f"to {step}"} | ({"readers": [reader]} if step == "pilot" else {})
        assert admin.ask("PUT", "connections/medhub-quantify/stage", body).json()["step"] == step
    state = admin.ask("GET", "connections/medhub-quantify/stage").json()
    assert [(one["before"], one["after"]) for one in state["changes"]] == [
        ("off", "test"), ("live", "off"), ("pilot", "live"), ("shadow", "pilot"), ("live", "shadow"),
    ]  # fmt: skip
    assert (state["readers"], state["changes"][0]["note"]) == ([reader], "to test")
    assert admin.ask("POST", "connections/medhub-quantify/on").status_code == 200
    assert admin.ask("GET", "connections/medhub-quantify/stage").json()["step"] == "test"
    for body in ({"step": "beta"}, {"step": "live", "readers": ["x"]}, {}):
        assert admin.ask("PUT", "connections/medhub-quantify/stage", body).status_code == 400
    assert admin.ask("GET", "connections/viz-ai/stage").status_code == 404


def test_what_is_in_shadow_is_seen_by_who_decides_about_it(client, mercy) -> None:
    """Shadow: nobody who reads, no EHR, no PACS. Pilot: named readers. Live: all."""
    anna, bert = mercy.member("radiologist"), mercy.member("integrator")
    house.store(mercy, slices := series_of(25))
    house.index(mercy)
    with mercy.scope():
        study = Study.objects.get()
        link = connection_create(platform="medhub-quantify")
        Connection.objects.filter(id=link.id).update(pilot_readers=[str(anna.pk)])
        uuids = {}
        for stage in ("test", "shadow", "pilot", "live"):
            job = Job.objects.create(
                study=study, study_version=1, connection=link, algorithm=stage, stage=stage, state="sent", created_at=timezone.now()
            )
            result = Result.objects.create(
                job=job, payload=answer_data(slices), is_analysable=True, received_at=timezone.now()
            )
            report_issue(event=Event(id=1, tenant_id=mercy.tenant.id, name="result.received", ids={"result_id": result.id}, trace_id=""))
            uuids[stage] = Report.objects.get(result=result).uuid
        told = [row.ids["report_id"] for row in OutboxEvent.objects.filter(name="report.issued")]
        assert told == [Report.objects.get(stage="live").id], "what is not live goes nowhere"
        job_ids = list(Job.objects.values_list("id", flat=True))
        assert len(jobs_put(job_ids=job_ids)) == 1
        assert len(reports_put(report_ids=list(Report.objects.values_list("id", flat=True)))) > 0
        assert resource_read(rtype="DiagnosticReport", fhir_id=str(uuids["live"]))
        for stage in ("test", "shadow", "pilot"):
            assert resource_read(rtype="DiagnosticReport", fhir_id=str(uuids[stage])) is None
        seen = {
            name: {row.stage for row in reports_of(study_id=study.id, reader=reader)}
            for name, reader in (
                ("named", Reader(user=str(anna.pk))), ("other", Reader(user=str(bert.pk))), ("machine", Reader()),
                ("decides", Reader(sees_all=True)),
            )
        }  # fmt: skip
    assert seen == {
        "named": {"pilot", "live"}, "other": {"live"}, "machine": {"live"}, "decides": {"test", "shadow", "pilot", "live"},
    }  # fmt: skip
    client.post("/accounts/login/", {"login": anna.email, "password": PASSWORD})
    for stage, status in (("shadow", 404), ("test", 404), ("pilot", 200), ("live", 200)):
        assert client.get(f"/t/{mercy.slug}/reports/{uuids[stage]}").status_code == status, stage
        assert Api(client, mercy, "admin").ask("GET", f"reports/{uuids[stage]}").status_code == 200
        machine = Api(client, mercy, "integrator").ask("GET", f"reports/{uuids[stage]}").status_code
        assert machine == (200 if stage == "live" else 404), stage
    assert len(Api(client, mercy, "integrator").ask("GET", "reports").json()["items"]) == 1


def test_roles_and_strangers(client, mercy, olaf) -> None:
    """Who reads may look, who administers may change; another hospital's rules are not there."""
    with mercy.scope():
        connection_create(platform="medhub-quantify")
    reader, stranger = Api(client, mercy, "radiologist"), Api(client, olaf, "admin")
    saved(Api(client, mercy, "owner"), [rule()])
    assert reader.ask("GET", "rules/draft").status_code == 200
    for method, path in (("PUT", "rules/draft"), ("POST", "rules/draft/activate"), ("POST", "rules/dry-run"), ("DELETE", "rules/draft")):
        assert reader.ask(method, path, {}).status_code == 403, path
    assert stranger.ask("GET", "rules/draft").status_code == 404
    assert stranger.ask("GET", "connections/medhub-quantify/stage").status_code == 404
    with olaf.scope():
        assert not RuleSet.objects.exists()
        assert not Study.objects.exists()
