"""Which objects a WADO-RS address means: one statement, values only, the hospital named explicitly and first; and their audit."""

import os
import time
from collections.abc import Sequence
from typing import NamedTuple

from imaging.storage import LazyPath, object_path
from journal.audit import BUCKET_SECONDS, Actor, audits_append
from journal.wall.reads import tenant_rows

MAX_OBJECTS = 200_000
REMEMBERED = 4096
RECENT_SECONDS = 1.0


class StoredInstance(NamedTuple):
    """An object as its row says; `path` fetches when it is opened."""

    study_id: int
    series_id: int
    instance_id: int
    study_uid: str
    series_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    syntax: str
    frames: int
    key: str
    size: int
    sha256: str

    @property
    def path(self) -> "LazyPath | str":
        path = object_path(self.key)
        return path if isinstance(path, LazyPath) else str(path)

    @property
    def place(self) -> str:
        """Its address below the hospital's DICOMweb root."""
        return f"studies/{self.study_uid}/series/{self.series_uid}/instances/{self.sop_instance_uid}"


_SQL = (
    "SELECT s.id, e.id, i.id, s.study_uid, e.series_uid, i.sop_instance_uid, i.sop_class_uid, i.transfer_syntax_uid, i.frames, "
    "i.key, i.size, i.sha256 FROM imaging_study s "
    "JOIN imaging_instance i ON i.tenant_id = s.tenant_id AND i.study_id = s.id "
    "JOIN imaging_series e ON e.tenant_id = i.tenant_id AND e.id = i.series_id "
    "WHERE s.tenant_id = %s AND e.tenant_id = %s AND i.tenant_id = %s AND s.study_uid = %s"
)
_ORDER = " ORDER BY e.number NULLS LAST, e.id, i.number NULLS LAST, i.id LIMIT %s"


def instances_select(
    *, tenant_id: int, study_uid: str, series_uid: str = "", instance_uid: str = ""
) -> list[StoredInstance]:
    """In the order people look at them; empty when there is no such study, series or instance in this hospital."""
    sql = _SQL
    values: list[object] = [tenant_id, tenant_id, tenant_id, study_uid]
    if series_uid:
        sql += " AND e.series_uid = %s"
        values.append(series_uid)
    if instance_uid:
        sql += " AND i.sop_instance_uid = %s"
        values.append(instance_uid)
    else:
        sql += _ORDER
        values.append(MAX_OBJECTS)
    return [StoredInstance(*row) for row in tenant_rows(tenant_id=tenant_id, sql=sql, values=values)]


_recent: dict[tuple[int, str, str, str], tuple[float, StoredInstance]] = {}


def instance_of_frames(
    *, tenant_id: int, study_uid: str, series_uid: str = "", instance_uid: str = ""
) -> list[StoredInstance]:
    """`instances_select` for one instance. A multi-frame one is remembered for a second: its frames are asked for one by one.

    Not when its bytes are gone meanwhile (deleted, or given up for others), nor when they lie with another store.
    """
    key = (tenant_id, study_uid, series_uid, instance_uid)
    now = time.monotonic()
    found = _recent.get(key)
    if found is not None and now - found[0] < RECENT_SECONDS and os.path.exists(found[1].path):
        return [found[1]]
    rows = instances_select(tenant_id=tenant_id, study_uid=study_uid, series_uid=series_uid, instance_uid=instance_uid)
    if len(rows) == 1 and rows[0].frames > 1 and isinstance(rows[0].path, str):
        if len(_recent) >= REMEMBERED:
            _recent.clear()
        _recent[key] = (now, rows[0])
    return rows


def place_exists(*, tenant_id: int, study_uid: str, series_uid: str = "") -> bool:
    """Is there such a study, or such a series of it, in this hospital?"""
    sql = (
        "SELECT 1 FROM imaging_study s JOIN imaging_series e ON e.tenant_id = s.tenant_id AND e.study_id = s.id "
        "WHERE s.tenant_id = %s AND e.tenant_id = %s AND s.study_uid = %s AND (%s = '' OR e.series_uid = %s) LIMIT 1"
    )
    return bool(tenant_rows(tenant_id=tenant_id, sql=sql, values=[tenant_id, tenant_id, study_uid, series_uid, series_uid]))


class SeriesState(NamedTuple):
    """A series and a mark that changes whenever the bytes of one of its instances do."""

    study_id: int
    series_id: int
    study_uid: str
    series_uid: str
    count: int
    mark: int


_STATES_SQL = (
    "SELECT s.id, e.id, s.study_uid, e.series_uid, count(*), bit_xor(hashtextextended(i.sop_instance_uid || i.sha256, 0)) "
    "FROM imaging_study s JOIN imaging_series e ON e.tenant_id = s.tenant_id AND e.study_id = s.id "
    "JOIN imaging_instance i ON i.tenant_id = e.tenant_id AND i.series_id = e.id "
    "WHERE s.tenant_id = %s AND e.tenant_id = %s AND i.tenant_id = %s AND s.study_uid = %s"
)


def series_states(*, tenant_id: int, study_uid: str, series_uid: str = "") -> list[SeriesState]:
    """The series of a study, by number. The mark is made of all UIDs and digests, so it needs no counter to be kept."""
    sql = _STATES_SQL
    values: list[object] = [tenant_id, tenant_id, tenant_id, study_uid]
    if series_uid:
        sql += " AND e.series_uid = %s"
        values.append(series_uid)
    sql += " GROUP BY s.id, e.id, s.study_uid, e.series_uid, e.number ORDER BY e.number NULLS LAST, e.id"
    return [SeriesState(*row) for row in tenant_rows(tenant_id=tenant_id, sql=sql, values=values)]


def series_of_size(*, tenant_id: int, series_uids: Sequence[str], at_least: int) -> list[tuple[str, str]]:
    """(study UID, series UID) of those of these series that have so many instances."""
    return tenant_rows(
        tenant_id=tenant_id,
        sql="SELECT s.study_uid, e.series_uid FROM imaging_series e "
        "JOIN imaging_study s ON s.tenant_id = e.tenant_id AND s.id = e.study_id "
        "WHERE e.tenant_id = %s AND s.tenant_id = %s AND e.series_uid = ANY(%s) AND e.number_of_instances >= %s",
        values=[tenant_id, tenant_id, list(series_uids), at_least],
    )


_written: dict[tuple[int, str, str, str, str | None], int] = {}


def read_audit(*, tenant_id: int, actor: Actor, action: str, study_id: int) -> None:
    """One row per actor, study, action and five minutes, committed before this returns; a process asks once in that time."""
    _audit_once(tenant_id=tenant_id, actor=actor, action=action, object_type="Study", object_id=str(study_id), detail={})


def query_audit(*, tenant_id: int, actor: Actor, level: str) -> None:
    """One row per actor and five minutes for searches, as over DIMSE."""
    _audit_once(
        tenant_id=tenant_id, actor=actor, action="dicom.find", object_type="Search", object_id=actor.name, detail={"level": level},
    )  # fmt: skip


def _audit_once(
    *, tenant_id: int, actor: Actor, action: str, object_type: str, object_id: str, detail: dict[str, int | str],
) -> None:
    bucket = int(time.time()) // BUCKET_SECONDS
    what = (tenant_id, actor.name, action, object_id, actor.address)
    if _written.get(what) == bucket:
        return
    audits_append(
        tenant_id=tenant_id, actor=actor, action=action, object_type=object_type, object_ids=[object_id], detail=detail
    )
    if len(_written) >= REMEMBERED:
        _written.clear()
    _written[what] = bucket
