"""Wire family "DICOMweb", the way back: what a store has of ours, and results that others put beside it (PS3.18 10.4, 10.6)."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from ai.contract import Handle, Http, Payload, PlatformError
from ai.wires.multipart import objects_split
from ai.wires.replies import list_read, status_check
from ai.wires.stow import instances_store

__all__ = ["change_feed_count", "instances_count", "instances_store", "results_fetch", "store_check"]

STUDY, SERIES, SOP, MODALITY = "0020000D", "0020000E", "00080018", "00080060"
RESULT_MODALITIES = frozenset({"SR", "SEG", "PR", "KO", "DOC", "OT", "SC", "REG", "RTSTRUCT", "ANN"})
JSON = {"Accept": "application/dicom+json"}
OBJECTS = {"Accept": 'multipart/related; type="application/dicom"; transfer-syntax=*'}
PAGE = 1000
MAX_PAGES = 50
MAX_SERIES = 50
MAX_OBJECTS = 200
MAX_BYTES = 512 * 1024 * 1024
CLOCKS_APART = timedelta(minutes=5)


def store_check(*, base_url: str, http: Http) -> str:
    """Ask for one study; a store that takes our key answers, with or without one. Raises PlatformError."""
    status, _, body = http.request("GET", f"{base_url}/studies?limit=1", headers=JSON)
    status_check(status, what="the question for studies")
    if status != 204 and body.strip():
        list_read(body)
    return "the DICOMweb store answered"


def instances_count(handle: Handle, *, base_url: str, http: Http) -> int:
    """How many of the instances that we sent the store lists. Raises PlatformError."""
    ours = set(handle.sop_uids)
    found: set[str] = set()
    for page in range(MAX_PAGES):
        rows = _ask(http, f"{base_url}/studies/{handle.study_uid}/instances", limit=PAGE, offset=page * PAGE)
        found |= {_text(row, SOP) for row in rows}
        if len(rows) < PAGE:
            break
    return len(found & ours)


def change_feed_count(handle: Handle, *, since: datetime, base_url: str, http: Http) -> int:
    """The same by Azure's change feed: how many of ours it says were created since then, and not deleted after. Raises PlatformError."""
    ours, there = set(handle.sop_uids), set[str]()
    start = (since - CLOCKS_APART).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    for page in range(MAX_PAGES):
        status, _, body = http.request(
            "GET",
            f"{base_url}/changefeed?" + urlencode({"startTime": start, "offset": page * 100, "limit": 100, "includeMetadata": "false"}),
            headers={"Accept": "application/json"},
        )
        status_check(status, what="the question for changes")
        rows = list_read(body) if status != 204 else []
        for row in rows:
            said: dict[str, Any] = {str(name).lower(): value for name, value in row.items()} if isinstance(row, dict) else {}
            if said.get("studyinstanceuid") == handle.study_uid and (uid := said.get("sopinstanceuid")) in ours:
                (there.discard if str(said.get("action")).lower() == "delete" else there.add)(uid)
        if len(rows) < 100:
            break
    return len(there)


def results_fetch(handle: Handle, *, base_url: str, http: Http, folder: Path, closing: str = "SR") -> Payload | None:
    """Objects that somebody else put into our study, or None before a series of modality `closing` is among them.

    They lie in `folder`. Raises PlatformError.
    """
    rows = _ask(http, f"{base_url}/studies/{handle.study_uid}/series", limit=PAGE, offset=0)
    series = {_text(row, SERIES): _text(row, MODALITY) for row in rows}
    theirs = {uid: kind for uid, kind in series.items() if uid and uid != handle.series_uid and kind in RESULT_MODALITIES}
    if closing not in theirs.values():
        return None
    if len(theirs) > MAX_SERIES:
        raise PlatformError(f"the answer has more than {MAX_SERIES} series", is_permanent=True)
    left, files = MAX_BYTES, []
    for number, uid in enumerate(sorted(theirs)):
        found = _fetch(handle, uid, base_url, http, folder, number, left)
        files += found
        left -= sum(path.stat().st_size for path in found)
    return Payload(kind="dicom", files=tuple(files))


def _fetch(handle: Handle, uid: str, base_url: str, http: Http, folder: Path, number: int, left: int) -> list[Path]:
    target = folder / f"answer-{number}"
    status, headers = http.request_to_file(
        "GET", f"{base_url}/studies/{handle.study_uid}/series/{_uid(uid)}", headers=OBJECTS, target=target, max_bytes=left
    )
    status_check(status, what="the question for results")
    found = objects_split(target, headers.get("content-type", ""), folder, prefix=f"result-{number}", max_parts=MAX_OBJECTS)
    target.unlink(missing_ok=True)
    return found


def _ask(http: Http, url: str, **query: Any) -> list[Any]:
    status, _, body = http.request("GET", f"{url}?{urlencode(query)}", headers=JSON)
    if status == 404:  # some stores say so of a study that they do not have yet
        return []
    status_check(status, what="the question for results")
    return [] if status == 204 or not body.strip() else list_read(body)


def _text(row: Any, tag: str) -> str:
    element: Any = row.get(tag) if isinstance(row, Mapping) else None
    values = element.get("Value") if isinstance(element, Mapping) else None
    return str(values[0]) if isinstance(values, list) and values else ""


def _uid(text: str) -> str:
    """A UID is digits and dots (PS3.5 9.1): anything else is not put into an address."""
    if not text or len(text) > 64 or not set(text) <= set("0123456789."):
        raise PlatformError("the platform's answer has a UID that is none", is_permanent=True)
    return text
