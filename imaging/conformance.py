"""The parts of the DICOM conformance statement (PS3.2) that the code knows best, as Markdown.

`manage.py conformance_write` puts them between their marks in docs/conformance/dicom.md; a test finds a page that is behind.
"""

import re
from collections.abc import Iterable
from dataclasses import fields

import pynetdicom  # noqa: F401 - its import adds the names of the youngest UIDs
from pydicom._uid_dict import UID_dictionary
from pydicom.charset import python_encoding
from pydicom.datadict import keyword_for_tag
from pydicom.uid import UID

from imaging.dicomweb.statement import web_tables
from imaging.dimse.contexts import FIND_CLASSES, GET_CLASSES, MOVE_CLASSES, STORABLE_SYNTAXES, VERIFICATION, is_storage
from imaging.dimse.contract import AssociationLimits, DoorLimits
from imaging.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from imaging.query.attributes import ATTRIBUTES, Level

_LIMITED = (DoorLimits, AssociationLimits)
_LIMITS = {
    "request_seconds": "A-ASSOCIATE-RQ, from connection to its last byte",
    "request_bytes": "length of an A-ASSOCIATE-RQ",
    "waiting": "connections without a complete request; one more costs the longest waiting",
    "waiting_per_address": "the same, of one address",
    "admitting": "admissions decided at the same time",
    "handshake_seconds": "a TLS handshake",
    "handshakes": "TLS handshakes under way; one more is closed",
    "handshakes_per_address": "the same, of one address",
    "open_per_address": "associations of one address; one more is rejected, local limit exceeded",
    "open_per_tenant": "associations of one hospital, likewise",
    "pdu_bytes": "Maximum Length that we offer, and the cap of a P-DATA-TF",
    "pdu_seconds": "one PDU, from the first byte of its header",
    "idle_seconds": "silence of the peer",
    "association_seconds": "a whole association",
    "send_seconds": "one send that the peer does not take",
    "object_bytes": "one object",
    "connect_seconds": "connection and negotiation with the destination of a C-MOVE",
    "response_seconds": "a C-STORE response to what we send",
}
_MARK = re.compile(r"(<!-- generated: ([a-z-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def statement_fill(page: str) -> str:
    """The page with every generated part renewed. Raises KeyError for a mark that nobody generates."""
    parts = statement_parts()
    return _MARK.sub(lambda found: f"{found[1]}{parts[found[2]]}\n{found[3]}", page)


def statement_parts() -> dict[str, str]:
    """Name of a mark -> Markdown."""
    return {
        "implementation": _table(("", ""), (
            ("Implementation Class UID", IMPLEMENTATION_CLASS_UID),
            ("Implementation Version Name", IMPLEMENTATION_VERSION_NAME),
            ("Application Context", "1.2.840.10008.3.1.1.1"),
        )),
        "transfer-syntaxes": _table(("transfer syntax", "UID"), sorted(
            ((_name(uid), uid) for uid in STORABLE_SYNTAXES), key=lambda row: _order(row[1])
        )),
        "storage-classes": _table(("SOP class", "UID"), sorted(
            ((_name(uid), uid) for uid in _storage_classes()), key=lambda row: _order(row[1])
        )),
        "query-classes": _table(("SOP class", "UID"), sorted(
            ((_name(uid), uid) for uid in (VERIFICATION, *FIND_CLASSES, *MOVE_CLASSES, *GET_CLASSES)),
            key=lambda row: _order(row[1]),
        )),
        "query-keys": _table(("level", "keys matched and returned"), ((level.name, _keys(level)) for level in Level)),
        "limits": _table(("limit", "value"), (
            (_LIMITS[limit.name], _amount(limit.name, limit.default)) for kind in _LIMITED for limit in fields(kind)
        )),
        **{name: _table(*table) for name, table in web_tables().items()},
        "character-sets": ", ".join(f"`{term}`" for term in sorted(filter(None, python_encoding)) if term.startswith(("ISO", "GB"))),
    }  # fmt: skip


def _storage_classes() -> list[str]:
    """Those that this version's dictionary has a name for; younger and private ones are taken too."""
    return [
        uid for uid, facts in UID_dictionary.items()
        if facts[1] == "SOP Class" and uid.startswith("1.2.840.10008.") and is_storage(uid)
    ]  # fmt: skip


def _keys(level: Level) -> str:
    found = sorted((a for a in ATTRIBUTES.values() if a.level == level), key=lambda a: a.tag)
    return "; ".join(
        f"{_keyword(a.tag)} ({a.tag >> 16:04X},{a.tag & 0xFFFF:04X})"
        + (f" > {', '.join(_keyword(tag) for tag, _ in a.items)}" if a.items else "")
        for a in found
    )


def _keyword(tag: int) -> str:
    return keyword_for_tag(tag) or f"{tag:08X}"


def _name(uid: str) -> str:
    name = UID(uid).name
    return "private" if name == uid else name


def _order(uid: str) -> list[int]:
    return [int(part) for part in uid.split(".")]


def _amount(name: str, value: object) -> str:
    number = float(str(value))
    if name.endswith("_seconds"):
        return f"{number / 3600:g} h" if number >= 3600 else f"{number:g} s"
    if name.endswith("_bytes"):
        return next(f"{number / size:g} {unit}" for size, unit in ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")) if number >= size)
    return f"{number:g}"


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])
