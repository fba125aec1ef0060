"""Masks of a report that stands again: whoever honours a rejection note hides what it names, so the mask goes out as a new object. Pure."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from ai.encoding.edition import uid_of

Content = dict[str, Any]  # of ai.models.Report
Names = Mapping[str, tuple[str, str]]  # SOP Instance UID of the first object -> SOP Instance and Series UID of its newest copy


def masks_renewed(content: Content, *, report_uuid: UUID, version: int) -> Content:
    """`content` as `version`, which takes a rejection back, says it: over copies, whose UIDs follow from report and version."""
    names = {
        _first(one): (uid_of(report_uuid, "SEG", version, one["sop_uid"]), uid_of(report_uuid, "SEG", version, one["series_uid"]))
        for one in _masks(content)
    }
    return _renamed(content, names)


def masks_kept(content: Content, *, newest: Content) -> Content:
    """An older version's content over the copies that stand now: what it names itself may have been rejected since."""
    return _renamed(content, {one["copy_of"]: (one["sop_uid"], one["series_uid"]) for one in _masks(newest) if one.get("copy_of")})


def _masks(content: Content) -> list[dict[str, Any]]:
    return [one for one in content.get("documents") or () if one["kind"] == "SEG"]


def _first(document: Mapping[str, Any]) -> str:
    return str(document.get("copy_of") or document["sop_uid"])


def _renamed(content: Content, names: Names) -> Content:
    renamed = {one["sop_uid"]: (_first(one), *names[_first(one)]) for one in _masks(content) if _first(one) in names}
    if not renamed:
        return content
    documents, regions = [], []
    for one in content["documents"]:
        first, sop_uid, series_uid = renamed.get(one["sop_uid"], ("", "", ""))
        documents.append({**one, "sop_uid": sop_uid, "series_uid": series_uid, "copy_of": first} if first else one)
    for one in content.get("regions") or ():
        regions.append({**one, "sop_uid": renamed[one["sop_uid"]][1]} if one["sop_uid"] in renamed else one)
    return {**content, "documents": documents, "regions": regions}
