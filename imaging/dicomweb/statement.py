"""What the conformance statement says of DICOMweb (PS3.2, PS3.18): tables read from the doors themselves and from their limits.

`imaging.conformance` makes Markdown of them; tests call the doors and compare.
"""

from collections.abc import Iterable

from pydicom.datadict import keyword_for_tag
from pydicom.uid import UID

from imaging.dicomweb import asis, bulk, framesview, pictures, pixels, related, rendered, rows, stow, stow_metadata
from imaging.dicomweb.capabilities import resources_of
from imaging.dicomweb.syntaxes import EXPLICIT, IMPLICIT, MEDIA, OCTETS, encodable, is_decodable
from imaging.dicomweb.urls import urlpatterns
from imaging.dimse.contexts import STORABLE_SYNTAXES
from imaging.query import web
from imaging.query.attributes import ATTRIBUTES, Attribute, Level
from imaging.query.match import LISTED_VRS, WILDCARD_VRS

Table = tuple[tuple[str, ...], Iterable[tuple[str, ...]]]
RANGE_VRS = frozenset(("DA", "TM", "DT"))
LIMITS: dict[str, tuple[str, int]] = {
    "head": ("head of one part of a request, bytes", related.MAX_HEADER),
    "metadata": ("metadata of one STOW-RS request, bytes", stow_metadata.METADATA_BYTES),
    "instances": ("data sets in the metadata of one STOW-RS request", stow_metadata.INSTANCES),
    "nested": ("one value of bulk data below the top level of a data set, bytes", stow_metadata.NESTED_BYTES),
    "objects": ("objects of one retrieval", rows.MAX_OBJECTS),
    "frames": ("frames of one request", framesview.MAX_NUMBERS),
    "frame": ("one frame that is decoded or encoded, bytes", pixels.FRAME_CAP),
    "fragments": ("fragments of a film that is given as it is", asis.MAX_FRAGMENTS),
    "side": ("side of a viewport, pixels", pictures.MAX_SIDE),
    "pictures": ("pictures of one multipart answer; a warning says when there are more", rendered.MAX_FRAMES),
    "film": ("frames of one GIF; a warning says when there are more", rendered.MAX_FILM),
    "studies": ("matches of one answer, studies", web.LIMIT[Level.STUDY]),
    "series": ("matches of one answer, series", web.LIMIT[Level.SERIES]),
    "matches": ("matches of one answer, instances", web.LIMIT[Level.IMAGE]),
    "offset": ("offset", web.OFFSET_MAX),
}
STATUSES: dict[str, dict[int, str]] = {
    "store": {
        200: "all are stored", 202: "some are", 400: "the body is not what it says it is, or holds no part", 401: "no token",
        403: "the token's role may not store", 404: "another hospital's address", 409: "none is stored", 413: "too large",
        415: "another media type", 507: "none is stored, for want of room or quota",
    },
    "retrieve": {
        200: "whole", 206: "the range that was asked for", 304: "If-None-Match names it", 400: "a parameter, by its name",
        401: "no token and no session", 403: "the role may not read", 404: "not there, or not yours",
        406: "not in this form: the list of what can be had, or the reason", 410: "its bytes are lost", 416: "no byte of that range",
    },
    "search": {
        200: "matches, or an empty list", 400: "a parameter, by its name", 401: "no token and no session", 403: "the role may not read",
        404: "below a study or series that is not there, or not yours", 406: "not in this form", 413: "too many matches: narrow it",
    },
    "delete": {204: "gone", 401: "no token and no session", 403: "the role may not delete", 404: "not there, or not yours"},
    "options": {200: "the root: capabilities", 204: "Allow names the methods", 401: "no token and no session", 404: "another hospital's"},
}  # fmt: skip


def web_tables() -> dict[str, Table]:
    """Name of a mark -> head and rows."""
    return {
        "web-resources": (("resource", "methods", "GET answers in"), resource_rows()),
        "web-store": (("STOW-RS takes", "as"), (
            *((f"`{kind}`", "a request") for kind in stow.TAKEN), *((f"`{kind}`", f"a part with pixels, {UID(uid).name}")
            for kind, uid in stow_metadata.MEDIA_SYNTAXES.items()), ("any other", "a part with a value that the metadata points at"),
        )),
        "web-syntaxes": (("stored in", "UID", "frames as", "also uncompressed"), syntax_rows()),
        "web-targets": (("can be had in", "UID"), ((UID(uid).name, uid) for uid in targets())),
        "web-keys": (("level", "key", "tag", "VR", "matching", "answered unasked"), key_rows()),
        "web-statuses": (("transaction", "status", "means"), (
            (name, str(status), words) for name, found in STATUSES.items() for status, words in found.items()
        )),
        "web-limits": (("limit", "value"), ((words, f"{value:,}") for words, value in LIMITS.values())),
        "web-documents": (("media type of an encapsulated document",), ((f"`{kind}`",) for kind in sorted(bulk.SHOWN_TYPES))),
    }  # fmt: skip


def resource_rows() -> list[tuple[str, ...]]:
    return [
        (f"`/{one['path']}`", ", ".join(one["method"]), ", ".join(f"`{kind}`" for kind in one["representation"]))
        for one in resources_of(urlpatterns)
    ]


def targets() -> list[str]:
    """What an object that can be decoded can be had in, beside the syntax that it is stored in."""
    return [EXPLICIT, IMPLICIT, *encodable()]


def syntax_rows() -> list[tuple[str, ...]]:
    uids = sorted(STORABLE_SYNTAXES, key=lambda uid: [int(part) for part in uid.split(".")])
    return [(UID(uid).name, uid, f"`{MEDIA.get(uid, OCTETS)}`", "yes" if is_decodable(uid) else "no") for uid in uids]


def matching_of(attribute: Attribute) -> list[str]:
    """PS3.4 C.2.2.2; universal matching is everybody's."""
    if attribute.tag == web.TIME_ZONE:
        return ["none: the zone of the dates and times asked for"]
    found = ["single value"] if attribute.vr != "SQ" else ["sequence: one attribute of its items"]
    if attribute.vr in WILDCARD_VRS:
        found.append("wild card")
    if attribute.vr in LISTED_VRS:
        found.append("list")
    if attribute.vr in RANGE_VRS:
        found.append("range")
    if attribute.tag in (web.PATIENT_NAME, web.REFERRER):
        found.append("words (fuzzymatching)")
    return found


def key_rows() -> Iterable[tuple[str, ...]]:
    from_top = sorted(ATTRIBUTES.values(), key=lambda one: (max(one.level, Level.STUDY), one.tag))
    for one in from_top:
        level = Level(max(one.level, Level.STUDY))
        unasked = [Level(at).name.lower() for at in (Level.STUDY, Level.SERIES, Level.IMAGE) if one.tag in web.DEFAULTS[at]]
        tag = f"({one.tag >> 16:04X},{one.tag & 0xFFFF:04X})"
        yield level.name, keyword_for_tag(one.tag) or f"{one.tag:08X}", tag, one.vr, ", ".join(matching_of(one)), ", ".join(unasked)
