"""What happened to workitems, told over PostgreSQL (NOTIFY, ids only) to the process that holds the WebSockets, and as reports.

`services` tells inside its transaction, so nothing is heard of what was rolled back; `channels` listens.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import orjson
from django.db import connection

from ai.models import Workitem
from ai.workitems import dataset as ds
from ai.workitems.selectors import workitem_dataset

CHANNEL = "ai_workitems"
UPS_EVENT = "1.2.840.10008.5.1.4.34.6.4"


class Kind(IntEnum):
    """Event types (PS3.4 CC.2.4)."""

    STATE = 1
    CANCEL = 2
    PROGRESS = 3
    ASSIGNED = 5


@dataclass(frozen=True)
class Told:
    """One notification. `state` is the one it came to, so that two in a row are told as two; `subscription_id` when only one is meant;
    `version` is the workitem's after it."""

    tenant_id: int
    workitem_id: int
    kind: Kind
    state: str = ""
    subscription_id: int = 0
    version: int = 0


def event_tell(item: Workitem, kind: Kind, *, subscription_id: int = 0) -> None:
    told = [item.tenant_id, item.id, int(kind), item.state, subscription_id, item.version]
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_notify(%s, %s)", [CHANNEL, orjson.dumps(told).decode()])


def told_read(text: str) -> Told:
    """Raises ValueError for what is none of ours."""
    tenant_id, workitem_id, kind, state, subscription_id, version = orjson.loads(text)
    return Told(tenant_id, workitem_id, Kind(kind), state, subscription_id, version)


_OF_KIND = {
    Kind.STATE: (ds.READINESS,),
    Kind.PROGRESS: (ds.PROGRESS,),
    Kind.ASSIGNED: (ds.STATION, ds.HUMANS),
}


def event_report(item: Workitem, kind: Kind, *, message_id: int, state: str = "") -> bytes:
    """One event report as DICOM JSON (PS3.18 11.13, PS3.4 table CC.2.4-1)."""
    found = workitem_dataset(item)
    report: dict[str, Any] = {
        "00000002": ds.element("UI", UPS_EVENT),
        "00000110": ds.element("US", message_id % 65536),
        "00001000": ds.element("UI", item.workitem_uid),
        "00001002": ds.element("US", int(kind)),
    }
    report |= ds.shown(found, _OF_KIND.get(kind, ()))
    if kind is Kind.STATE:
        report[ds.STATE] = ds.element("CS", state or item.state)
        if report[ds.STATE]["Value"] == ["CANCELED"]:
            (progress,) = ds.items_of(found, ds.PROGRESS)[:1] or ({},)
            report |= ds.shown(progress, (ds.DISCONTINUED, ds.REASON))
    elif kind is Kind.CANCEL:
        report |= item.cancel_request or {}
    return orjson.dumps(report, option=orjson.OPT_SORT_KEYS)
