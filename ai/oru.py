"""The door's one call for ORU^R01: whose job it answers, and the same gate as every other answer."""

import time
from uuid import UUID

from ai import jobs
from ai.connections import connection_settings
from ai.contract import Payload, platforms
from ai.models import Connection, Job
from ai.reading.oru import answer_of_message, study_uid_of
from ai.results import result_take
from imaging.hl7.acks import Outcome
from imaging.hl7.errors import MessageRefused
from imaging.hl7.reading import Told
from journal.audit import Actor
from journal.wall.scope import tenant_id_current
from tenants.models import Hl7Source


def result_message_take(*, actor: Actor, told: Told, source: Hl7Source, body: bytes) -> Outcome | None:
    """OBR-2 or ORC-2 names the job by our own id of it, else DCM 110180 names its study. Raises MessageRefused.

    What the gate keeps back is with us, and is told: its outcome is AE with the gate's words.
    """
    connection = Connection.objects.filter(id=source.connection_id or 0).first()
    if connection is None or not platforms()[connection.platform].is_pushed(connection_settings(connection)):
        raise MessageRefused("MSH-3", "this sender's answers do not come by HL7 any more", code="AR")
    job = _job(told, connection)
    data = answer_of_message(told=told, job_id=str(job.uuid))
    jobs.exchange_keep(job_id=job.id, kind="hl7", is_good=True, words="an ORU^R01 came", began=time.monotonic())
    if not result_take(tenant_id=tenant_id_current(), job_id=job.id, payload=Payload(kind="json", data=data)):
        raise MessageRefused("OBR-2", "names a job that waits for no answer")
    words = jobs.job_kept_back(job_id=job.id)
    return Outcome(code="AE", where="OBX", words=words) if words else None


def _job(told: Told, connection: Connection) -> Job:
    """Of this connection alone: another one's is not there."""
    for segment in ("OBR", "ORC"):
        try:
            uuid = UUID(told.value(segment, 2))
        except ValueError:
            continue
        if found := Job.objects.filter(uuid=uuid, connection=connection).first():
            return found
        raise MessageRefused(f"{segment}-2", "names no job of this sender")
    uid = study_uid_of(told)
    waiting = list(Job.objects.filter(connection=connection, surrogate_uid=uid, state__in=jobs.OPEN)[:2]) if uid else []
    if len(waiting) != 1:
        raise MessageRefused("OBR-2", "names no job, and OBX with DCM 110180 no study that one job of this sender waits for")
    return waiting[0]
