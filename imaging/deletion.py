"""Taking objects out of the archive for good. `imaging.dicomweb.wado` calls it for who has the right (`dicom.delete`).

Rows, counts and the audit record go in one transaction; the bytes after it has committed, so a crash leaves bytes without a row
and never a row without bytes. The study's own row stays, empty: reports and jobs that name it keep what they speak of.
"""

from functools import partial

from django.db import connection, transaction

from imaging.dicomweb.documents import document_forget
from imaging.filing import use_adjust
from imaging.models import Instance, Series, Study, Upload
from imaging.storage import object_delete
from journal.audit import Actor, audit_record
from journal.outbox import event_publish
from journal.wall.scope import tenant_id_current


def instances_delete(*, actor: Actor, study_uid: str, series_uid: str = "", instance_uid: str = "") -> int:
    """Delete a study's objects, a series' or one. Returns how many there were; 0 says that there was no such thing."""
    study = Study.objects.select_for_update(of=("self",)).filter(study_uid=study_uid).first()
    if study is None:
        return 0
    rows = Instance.objects.filter(study=study)
    if series_uid:
        rows = rows.filter(series__series_uid=series_uid, series__tenant_id=study.tenant_id)
    if instance_uid:
        rows = rows.filter(sop_instance_uid=instance_uid)
    found = list(rows.values_list("id", "key", "size", "series_id"))
    if not found:
        return 0
    Instance.objects.filter(id__in=[row[0] for row in found]).delete()
    keys = [row[1] for row in found]
    Upload.objects.filter(key__in=keys).delete()
    use_adjust(size=-sum(row[2] for row in found), objects=-len(found))
    _recount(study)
    # named by what went, so that two deletions of one study within five minutes are two records
    level, object_id = ("Instance", found[0][0]) if instance_uid else ("Series", found[0][3]) if series_uid else ("Study", study.id)
    audit_record(
        actor=actor, action="dicom.delete", object_type=level, object_id=str(object_id),
        detail={"objects": len(found), "study": str(study.id)},
    )  # fmt: skip
    event_publish(name="study.changed", ids={"study_id": study.id})
    for key in keys:
        transaction.on_commit(partial(object_delete, key), robust=True)
    for series_id in {row[3] for row in found}:
        transaction.on_commit(partial(document_forget, tenant_id=study.tenant_id, series_id=series_id), robust=True)
    return len(found)


def _recount(study: Study) -> None:
    """Series that are empty go; the study says what is left of it."""
    tenant_id = tenant_id_current()
    Series.objects.filter(study=study).exclude(id__in=Instance.objects.filter(study=study).values("series_id")).delete()
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE imaging_series s SET number_of_instances = (SELECT count(*) FROM imaging_instance i "
            "WHERE i.tenant_id = %s AND i.series_id = s.id) WHERE s.tenant_id = %s AND s.study_id = %s",
            [tenant_id, tenant_id, study.id],
        )
        cursor.execute(
            "UPDATE imaging_study t SET (number_of_series, number_of_instances, modalities) = ("
            "SELECT count(*), coalesce(sum(number_of_instances), 0), "
            "coalesce(left(string_agg(DISTINCT nullif(modality, ''), ',' ORDER BY nullif(modality, '')), 120), '') "
            "FROM imaging_series s WHERE s.tenant_id = %s AND s.study_id = t.id) WHERE t.tenant_id = %s AND t.id = %s",
            [tenant_id, tenant_id, study.id],
        )
