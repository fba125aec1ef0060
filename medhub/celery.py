"""The Celery app: queues, the beat table, and the DIMSE listener as a bootstep of the worker (`--dimse`, `--dimse-tls`)."""

import os
from datetime import timedelta
from typing import Any

from celery import Celery
from celery.signals import worker_init
from django.conf import settings

from fhirapi.validation import models_warm
from imaging.dimse.bootstep import add_dimse_option

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "medhub.settings")

app = Celery("medhub")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.conf["CELERY_DB_REUSE_MAX"] = 10_000  # keep connections between tasks; each task looks whether they still live
app.autodiscover_tasks(["journal", "imaging", "ai", "fhirapi"])


@worker_init.connect
def warm(sender: Any, **_: Any) -> None:
    """Build what a first report would wait for, before the pool forks; workers that only receive don't need it."""
    if "default" in sender.app.amqp.queues.consume_from:
        models_warm()


QUEUES = ("ingest", "stat", "dispatch", "delivery", "transfer", "bulk", "notify", "default")

# Where the listener finds what it may call: a door makes one domain call per event.
app.conf.medhub_dimse = {
    "setup": "django.setup",
    "receivers": settings.MEDHUB_DIMSE_RECEIVERS,
    "admit": "imaging.associations.association_admit",
    "receive": "ai.returned.incoming.incoming_open",
    "alive": "imaging.associations.associations_alive",
    "ended": "imaging.associations.association_end",
    "thread_end": "imaging.associations.thread_end",
    "plain_public": settings.MEDHUB_DIMSE_PLAIN_PUBLIC,
    "secure": "imaging.certificates.contexts.server_context",
    "secure_check": "imaging.certificates.contexts.server_check",
    "refused": "imaging.associations.association_refused",
    "find": "imaging.finding.identifier_find",
    "retrieve": "imaging.query.doors.identifier_retrieve",
    "others": "imaging.commitment.door.OTHERS",
    "handlers": "ai.delivery.hearing.handlers",
}
add_dimse_option(app)


def beat_table(seconds: float) -> dict[str, dict[str, object]]:
    """Sweeps find what a lost message left behind; they hold no state of their own."""
    every = timedelta(seconds=seconds)
    return {
        "deliveries": {"task": "journal.tasks.deliveries_sweep", "schedule": every},
        "studies": {"task": "imaging.tasks.studies_sweep", "schedule": timedelta(seconds=min(seconds, 0.5))},
        "transfers": {"task": "imaging.tasks.transfers_sweep", "schedule": every},
        "commitments": {"task": "imaging.tasks.commitments_sweep", "schedule": every},
        "jobs": {"task": "ai.tasks.jobs_sweep", "schedule": every},
        "returned_files": {"task": "ai.tasks.returned_files_sweep", "schedule": timedelta(minutes=10)},
        "report_deliveries": {"task": "ai.tasks.report_deliveries_sweep", "schedule": every},
        "certificates": {"task": "imaging.tasks.certificates_sweep", "schedule": timedelta(minutes=10)},
        "uploads": {"task": "imaging.tasks.uploads_sweep", "schedule": every},
        "scrubs": {"task": "imaging.tasks.scrubs_sweep", "schedule": every},
        "query_tags": {"task": "imaging.tasks.query_tags_sweep", "schedule": every},
        "bulk_exports": {"task": "fhirapi.tasks.bulk_exports_sweep", "schedule": every},
        "subscriptions": {"task": "fhirapi.tasks.subscriptions_sweep", "schedule": every},
        "ehr_pushes": {"task": "fhirapi.tasks.ehr_pushes_sweep", "schedule": every},
        "subscription_events": {"task": "fhirapi.tasks.subscription_events_purge_sweep", "schedule": timedelta(hours=6)},
        "purge": {"task": "imaging.tasks.purge_sweep", "schedule": timedelta(minutes=10)},
        "audit": {"task": "imaging.tasks.audit_sweep", "schedule": timedelta(minutes=10)},
    }


app.conf.beat_schedule = beat_table(settings.MEDHUB_SWEEP_SECONDS)
