"""The dry run over stored studies: what it says is what the live run did, and it leaves nothing behind."""

import pytest
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from pydicom.dataset import Dataset

from ai.handles import sending_read
from ai.models import Connection, Decision, Job, Result, RuleSet
from ai.routing import live
from ai.routing.dryrun import FileRefused, file_try, studies_try
from ai.routing.live import outcome_data, result_route, study_route
from ai.routing.sets import ruleset_publish
from ai.services import connection_create
from imaging.models import Study
from imaging.orders import OrderFacts, PatientFacts, order_upsert
from journal.audit import Actor
from journal.models import AuditEvent
from journal.types import Event
from tests import house
from tests.ai.platforms.connections import terms_agree
from tests.ai.routing.studies import RULES, rule
from tests.dicom_files import ct_slice, part10, series_of

pytestmark = pytest.mark.database
ANNA = Actor(name="user:anna")


def connected(*slugs: str) -> None:
    for slug in slugs:
        Connection.objects.get_or_create(platform=slug, defaults={"name": slug, "created_at": timezone.now()})
        terms_agree(slug)


def stored(hospital, *series: list[Dataset]) -> None:
    """Complete, and not yet routed."""
    for datasets in series:
        house.store(hospital, datasets)
    house.index(hospital)
    house.complete(hospital)


def routed_all(hospital) -> None:
    for study in Study.objects.order_by("id"):
        study_route(event=event_of(hospital, study_id=study.id, version=study.version))


def event_of(hospital, name: str = "study.completed", **ids: int) -> Event:
    return Event(id=1, tenant_id=hospital.tenant.id, name=name, ids=ids, trace_id="0" * 32)


def chest(count: int = 25, **attributes) -> list[Dataset]:
    return series_of(count, **attributes)


@pytest.fixture(scope="module")
def many():
    """Studies that differ in what rules ask for."""
    head = {"BodyPartExamined": "HEAD", "StudyDescription": "Head", "PatientID": "P2", "PatientAge": "009Y"}
    return [
        chest(25, PatientID="P1"), chest(30, PatientID="P1", StudyDate="20260401", ConvolutionKernel="LUNG"), chest(3, **head),
        chest(22, ContrastBolusAgent="iodine", **head), [ct_slice(Modality="MG", PatientID="P3", PatientSex="O", StudyDescription="")],
        chest(21, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"], PatientID="P4", StationName="ST1"),
    ]  # fmt: skip


def test_the_dry_run_and_the_live_run_agree_on_every_study(mercy, many) -> None:
    """"property tests that the dry run and the live run agree on every study"."""
    stored(mercy, *many)

    @settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
    @given(rules=RULES)
    def agree(rules) -> None:
        with mercy.scope():
            connected(*{one["platform"] for one in rules})
            for model in (Job, Decision, RuleSet):
                model.objects.all().delete()
            active = ruleset_publish(rules=rules, actor=ANNA)
            before = {t.study.id: t for t in studies_try(rules=active.rules, last=100).studies}
            routed_all(mercy)
            after = {t.study.id: t for t in studies_try(rules=active.rules, last=100).studies}
            for row in Decision.objects.all():
                assert row.outcomes == [outcome_data(one) for one in before[row.study_id].choices]
                assert row.outcomes == [outcome_data(one) for one in after[row.study_id].choices]
                jobs = Job.objects.filter(study_id=row.study_id).order_by("id")
                made = [(job.connection.platform, job.algorithm, job.series, job.is_stat) for job in jobs.select_related("connection")]
                said = [(*one.target, one.series_id, one.rule["is_stat"]) for one in before[row.study_id].sent]
                assert sorted(made) == sorted(said)
            assert Decision.objects.count() == len(many)

    agree()


def test_it_leaves_nothing_behind(mercy, many) -> None:
    """"dry run over the last N real studies": no job, no decision, no disclosure."""
    stored(mercy, *many)
    with mercy.scope():
        connected("medhub-quantify")
        trial = studies_try(rules=[{**rule(), "id": "1"}], last=4)
        assert len(trial.studies) == 4
        assert not Job.objects.exists()
        assert not Decision.objects.exists()
        assert not AuditEvent.objects.filter(action="ai.send").exists()
        newest = Study.objects.order_by("-first_received_at", "-id").first()
        assert trial.studies[0].study.id == newest.id


def test_reasons_conflicts_and_no_rule_matched(mercy, many) -> None:
    """"with the reason for each yes and no, conflicts and "no rule matched" reported"."""
    stored(mercy, *many)
    rules = [
        rule("thin"), rule("again", is_stat=True), rule("soft", series=[{"fact": "kernel", "is": ["B30F"]}]),
        rule("never", conditions=[{"fact": "modality", "is": ["XA"]}]), rule("mammo", conditions=[{"fact": "modality", "is": ["MG"]}]),
    ]  # fmt: skip
    with mercy.scope():
        connected("medhub-quantify")
        trial = studies_try(rules=[{**one, "id": str(n)} for n, one in enumerate(rules)], last=100)
    tallies = {one.rule["name"]: one for one in trial.tallies}
    assert (tallies["thin"].matched, tallies["thin"].refused, tallies["thin"].warning) == (2, 3, "")
    assert (tallies["again"].matched, tallies["again"].doubled, tallies["again"].warning) == (2, 2, "shadowed")
    assert (tallies["never"].warning, tallies["mammo"].warning) == ("never", "label")
    assert [(one.first, one.second, one.about, one.count) for one in trial.conflicts] == [("thin", "again", "priority", 2)]
    assert trial.unmatched == 4
    assert trial.jobs == 2
    reasons = {choice.reason for one in trial.studies for choice in one.choices}
    assert any(words.startswith("body part is HEAD, Lung density mask needs ") for words in reasons)
    assert "kernel is not stated, the rule wants B30F" in reasons
    assert "modality is MG, the rule wants CT" in reasons


def test_stages_hold_what_rules_would_send(mercy, many) -> None:
    """"stages off -> test -> shadow -> pilot -> live per platform": said in a dry run, kept by the live run."""
    stored(mercy, many[0])
    with mercy.scope():
        made = connection_create(platform="medhub-quantify")
        for stage, is_enabled, words in (
            ("test", True, "the platform is in test: a person sends, study by study"), ("live", False, "the platform is switched off"),
            ("shadow", True, ""), ("pilot", True, ""),
        ):  # fmt: skip
            Connection.objects.filter(id=made.id).update(stage=stage, is_enabled=is_enabled)
            Job.objects.all().delete()
            Decision.objects.all().delete()
            active = ruleset_publish(rules=[rule()], actor=ANNA)
            (one,) = studies_try(rules=active.rules, last=1).studies
            assert list(one.held.values()) == ([words] if words else [])
            routed_all(mercy)
            row = Decision.objects.get()
            assert (row.matched, row.summary) == ((0, words) if words else (1, ""))
            assert list(Job.objects.values_list("stage", flat=True)) == ([] if words else [stage])


def test_what_a_rule_calls_urgent_is_urgent_to_the_end(mercy, many, monkeypatch) -> None:
    """"STAT lane": its own queue, and the platform is told."""
    sent: list[tuple[object, object]] = []
    monkeypatch.setattr(live, "task_send", lambda task, **how: sent.append((how["job_id"], how["queue"])))
    stored(mercy, many[0], many[1])
    with mercy.scope():
        connected("medhub-quantify")
        night = [{"fact": "priors", "at_least": 1}]
        ruleset_publish(rules=[rule("urgent", conditions=night, is_stat=True), rule()], actor=ANNA)
    with mercy.scope():
        routed_all(mercy)
        jobs = {job.id: job.is_stat for job in Job.objects.all()}
    assert sorted(jobs.values()) == [False, True]
    assert dict(sent) == {job_id: "stat" if is_stat else None for job_id, is_stat in jobs.items()}
    with mercy.scope():
        for job in Job.objects.select_related("connection", "study__patient"):
            assert sending_read(job).is_stat is job.is_stat


def test_a_rule_may_ask_for_another_platforms_result(mercy, many) -> None:
    """"result of another platform": the study is looked at again when the result is there, once."""
    stored(mercy, many[0])
    wants = [{"fact": "result", "is": ["medhub-quantify/lung-density-mask done"]}]
    with mercy.scope():
        connected("medhub-quantify", "viz-ai", "nvidia-clara")
        ruleset_publish(rules=[rule(), rule("then", "nvidia-clara", "monai-app", conditions=wants)], actor=ANNA)
        routed_all(mercy)
        job = Job.objects.get()
        assert [one["is_match"] for one in Decision.objects.get().outcomes] == [True, False]
        Job.objects.filter(id=job.id).update(state="done")
        result = Result.objects.create(job=job, payload={"is_flagged": False}, is_analysable=True, received_at=timezone.now())
        for _ in range(2):
            result_route(event=event_of(mercy, "result.received", result_id=result.id))
        assert sorted(Job.objects.values_list("algorithm", flat=True)) == ["lung-density-mask", "monai-app"]
        row = Decision.objects.get()
        assert ([one["is_match"] for one in row.outcomes], row.matched) == ([True, True], 2)
        (one,) = studies_try(rules=RuleSet.objects.get(state="active").rules, last=1).studies
        assert [outcome_data(choice) for choice in one.choices] == row.outcomes


def test_priority_of_the_order_and_priors(mercy, many) -> None:
    """"patient age, priors": of the one order with the study's number and patient; earlier studies by date."""
    with mercy.scope():
        order_upsert(
            actor=ANNA,
            facts=OrderFacts(
                accession_number="A1", patient=PatientFacts(issuer="", patient_id="P1", name="DOE^JANE", birth_date="19600102", sex="F"),
                attributes={"RequestedProcedurePriority": "STAT"},
            ),
        )  # fmt: skip
    stored(mercy, many[0], many[1])
    urgent = [{"fact": "priority", "is": ["STAT"]}]
    compare = [{"fact": "priors", "at_least": 1}, {"fact": "days_since_prior", "at_most": 40}]
    with mercy.scope():
        connected("medhub-quantify")
        rules = [{**rule("urgent", conditions=urgent), "id": "1"}, {**rule("compare", conditions=compare), "id": "2"}]
        found = {t.study.study_date: [c.is_match for c in t.choices] for t in studies_try(rules=rules, last=9).studies}
    assert found == {"20260301": [True, False], "20260401": [True, True]}


def test_an_uploaded_file(mercy) -> None:
    """"over an uploaded file": as if a study of it alone had come; nothing of it is kept, a stranger's file is refused in words."""
    with mercy.scope():
        connected("medhub-quantify")
        trial = file_try(rules=[{**rule(), "id": "1"}], data=part10(ct_slice()))
        (one,) = trial.studies
        assert one.choices[0].reason == "1 slice, Lung density mask needs 20 or more"
        assert not Study.objects.exists()
        for data in (b"", b"no DICOM", b"\0" * 128 + b"DICM" + b"\xff" * 64):
            with pytest.raises(FileRefused, match="no DICOM file") as refused:
                file_try(rules=[{**rule(), "id": "1"}], data=data)
            assert "DOE" not in str(refused.value)


def test_another_hospitals_studies_are_not_tried(mercy, olaf, many) -> None:
    stored(olaf, many[0])
    with mercy.scope():
        assert studies_try(rules=[{**rule(), "id": "1"}], last=100).studies == []
