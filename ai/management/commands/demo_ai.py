"""`manage.py demo_ai --json`: jobs that wait for an answer, and every door to give it by, for integrators who try their side.

For hospitals of the demo: the connection is marked as test, and one that a person made for real is left alone.
"""

import fcntl
import json
import time
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from ai.connecting import HOOK_SECRET, connection_save, hook_url
from ai.connections import ConnectionRefused, secrets_open
from ai.contract import platforms
from ai.demo_series import series_make
from ai.dispatch import job_run
from ai.facts import study_facts
from ai.governance.terms import terms_accept, terms_of
from ai.models import Connection, Job
from ai.selectors import connection_get
from imaging.completion import study_complete
from imaging.inbox import inbox_objects, inbox_root, object_write
from imaging.index import batch_index
from imaging.models import Study
from imaging.selectors import study_get
from journal.audit import Actor
from journal.wall.scope import tenant_scope
from tenants.models import Tenant
from tenants.selectors import tenant_by_slug
from tenants.services import performer_token_create

PLATFORM = "sharedmind"
ALGORITHM = "by-contract"
FORM = {"contract": "demo", "way": "ups", "answer": "pushed", "auth": "none"}
CALLING_AE = "DEMO_PERFORMER"
ADDRESSES = "127.0.0.1, ::1"  # the demo's performer runs on this machine
ACTOR = Actor(name="system:demo_ai")
IMAGES = 3
WAIT_SECONDS = 30.0
PAUSE_SECONDS = 0.1


class Command(BaseCommand):
    help = "Open jobs that wait for an answer, and say how to give it."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="one object on one line")
        parser.add_argument("--hospital", default="mercy", help="slug of the hospital with two jobs")
        parser.add_argument("--other", default="st-olaf", help="slug of the one whose job must stay out of reach")

    def handle(self, *args: Any, **options: Any) -> None:
        hospital, other = _hospital(options["hospital"]), _hospital(options["other"])
        connection = _connection(hospital)
        jobs = [_job_open(hospital, connection) for _ in range(2)]
        other_job = _job_open(other, _connection(other))
        facts = {
            "ups": f"{settings.MEDHUB_PUBLIC_URL}/t/{hospital.slug}/dicomweb/workitems",
            "performer_token": performer_token_create(tenant=hospital, name="demo_ai", connection_id=connection.id),
            "webhook": {
                "url": hook_url(connection), "secret": secrets_open(connection)[HOOK_SECRET], "jobs": [str(job.uuid) for job in jobs],
                "other_job": str(other_job.uuid),
            },
            "return_ae": {**_return_ae(hospital), "study_uid": jobs[0].surrogate_uid},
        }  # fmt: skip
        self.stdout.write(json.dumps(facts) if options["json"] else json.dumps(facts, indent=2))


def _hospital(slug: str) -> Tenant:
    tenant = tenant_by_slug(slug=slug)
    if tenant is None:
        raise CommandError(f"there is no hospital {slug}: run the demo first")
    return tenant


def _connection(tenant: Tenant) -> Connection:
    """The hospital's connection to a performer whose work lies in our worklist, with a secret of signatures."""
    with tenant_scope(tenant.id):
        before = connection_get(platform=PLATFORM)
        if before is not None and not before.is_test:
            raise CommandError(f"{tenant.slug} has a connection to {PLATFORM} that is not marked as test: it is left alone")
        values = {
            **FORM, "return_ae": _return_title(tenant), "return_from_ae": CALLING_AE, "return_addresses": ADDRESSES,
        }  # fmt: skip
        terms = terms_of(platforms()[PLATFORM])
        try:
            if terms is not None:
                terms_accept(platform=PLATFORM, version=terms.version, actor=ACTOR)
            return connection_save(platform=PLATFORM, values=values, is_test=True, is_enabled=True, actor=ACTOR).connection
        except ConnectionRefused as error:
            raise CommandError(error.user_message) from None


def _return_title(tenant: Tenant) -> str:
    return f"{tenant.slug.upper()[:11]}_BACK".replace("-", "_")


def _return_ae(tenant: Tenant) -> dict[str, Any]:
    host = urlsplit(settings.MEDHUB_PUBLIC_URL).hostname or "localhost"
    return {"host": host, "port": settings.MEDHUB_DIMSE_PORT, "called_ae": _return_title(tenant), "calling_ae": CALLING_AE}


def _job_open(tenant: Tenant, connection: Connection) -> Job:
    """A job of a new small study, as far as it goes without the other side: sent."""
    study = _study_make(tenant)
    with tenant_scope(tenant.id):
        study = study_get(study_id=study.id)
        verdict = platforms()[PLATFORM].accepts(study_facts(study=study), ALGORITHM)
        if verdict.series is None:
            raise CommandError(f"{PLATFORM} does not take the demo's series: {verdict.reason}")
        now = timezone.now()
        job = Job(
            study=study, study_version=study.version, connection=connection, algorithm=ALGORITHM, series=verdict.series.id,
            trace_id="", created_at=now, due_at=now,
        )  # fmt: skip
        job.save(force_insert=True)
    end = time.monotonic() + WAIT_SECONDS
    while job.state == Job.State.QUEUED and time.monotonic() < end:
        job_run(tenant_id=tenant.id, job_id=job.id)  # or a worker of the running house has it
        with tenant_scope(tenant.id):
            job.refresh_from_db()
        time.sleep(PAUSE_SECONDS if job.state == Job.State.QUEUED else 0)
    if job.state != Job.State.SENT:
        raise CommandError(f"the job was not sent: {job.reason or job.state}")
    return job


def _study_make(tenant: Tenant) -> Study:
    """A phantom's study through the inbox, like any other, and complete."""
    study_uid, files = series_make(images=IMAGES)
    for content in files:
        object_write(tenant_id=tenant.id, source=0, trace_id="0" * 32, parts=[content])
    end = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < end:
        _index(tenant.id)
        with tenant_scope(tenant.id):
            study: Study | None = Study.objects.filter(study_uid=study_uid, number_of_instances=IMAGES).first()
            if study is not None:
                study_complete(study_id=study.id, is_forced=True)
                return study
        time.sleep(PAUSE_SECONDS)
    raise CommandError("the study was not indexed: does the index worker run?")


def _index(tenant_id: int) -> None:
    """The index worker's part, where no worker holds the inbox."""
    inbox_root().mkdir(parents=True, exist_ok=True)
    with (inbox_root() / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return
        for objects in list(inbox_objects(limit=1000)):
            if objects[0].tenant_id == tenant_id:
                batch_index(tenant_id=tenant_id, objects=objects)
