"""Which form each object leaves in, and its bytes (PS3.18 8.7.3.5, 10.4). `wado` asks; bytes that fit are never re-encoded.

Who names no transfer syntax gets objects that are stored uncompressed in little endian as they are, explicit or implicit VR, and
others in Explicit VR Little Endian where a decoder exists. `transfer-syntax=*` gives everybody's stored bytes.
"""

import logging
from collections.abc import Iterator, Sequence

from imaging.dicomweb.accept import MediaRange, NotAcceptable, Offer, accept_choose
from imaging.dicomweb.rows import StoredInstance
from imaging.dicomweb.streams import Part, Piece
from imaging.dicomweb.syntaxes import DICOM, EXPLICIT, IMPLICIT, PLAIN, encodable, is_decodable
from imaging.dicomweb.transcode import TranscodingError, object_transcode

log = logging.getLogger(__name__)


def object_offers(stored: str, *, is_plain: bool) -> list[Offer]:
    """What an object of this transfer syntax can be had in, best first."""
    can_decode = is_decodable(stored)
    found = [Offer(DICOM, stored, is_default=stored in PLAIN or not can_decode, is_plain=is_plain)]
    if can_decode:
        targets = [EXPLICIT, IMPLICIT, *encodable()]
        found += [Offer(DICOM, uid, is_default=uid == EXPLICIT, is_plain=is_plain) for uid in targets if uid != stored]
    return found


def forms_choose(
    rows: Sequence[StoredInstance], accepted: Sequence[MediaRange], *, extra: Sequence[Offer] = ()
) -> tuple[dict[str, Offer], Offer]:
    """Stored syntax -> the form it leaves in, and the form of the first. Raises NotAcceptable when one of them cannot be had.

    A single object can be had by itself as well. `extra` are forms of the whole, like application/zip.
    """
    forms: dict[str, Offer] = {}
    for stored in dict.fromkeys(row.syntax for row in rows):
        offers = object_offers(stored, is_plain=False)
        if len(rows) == 1:
            offers += object_offers(stored, is_plain=True)
        forms[stored] = accept_choose(accepted=accepted, offers=[*offers, *extra])
        if forms[stored] in extra:
            return {}, next(one for one in extra if one == forms[stored])
    kinds = {form.is_plain for form in forms.values()}
    if len(kinds) != 1:
        raise NotAcceptable([*forms.values(), *extra])
    return forms, forms[rows[0].syntax]


def stored_part(row: StoredInstance, *, base: str, syntax: str = "") -> Part:
    """The bytes as stored, group 2 as well."""
    piece = Piece(path=row.path, start=0, length=row.size)
    return Part(f"{DICOM}; transfer-syntax={syntax or row.syntax}", (piece,), f"{base}/{row.place}")


def transcoded_part(row: StoredInstance, *, base: str, syntax: str) -> Part:
    """In another syntax. Raises TranscodingError."""
    content = object_transcode(
        row.path, sop_class_uid=row.sop_class_uid, sop_instance_uid=row.sop_instance_uid, transfer_syntax_uid=syntax
    )
    return Part(f"{DICOM}; transfer-syntax={syntax}", (Piece(content),), f"{base}/{row.place}")


def object_part(row: StoredInstance, *, base: str, syntax: str) -> Part:
    return stored_part(row, base=base) if syntax == row.syntax else transcoded_part(row, base=base, syntax=syntax)


def object_parts(rows: Sequence[StoredInstance], forms: dict[str, Offer], *, base: str) -> "list[Part] | Iterator[Part]":
    """A list when all leave as stored, so the length is known; else one is made at a time."""
    if all(forms[row.syntax].syntax == row.syntax for row in rows):
        return [stored_part(row, base=base) for row in rows]
    return _object_parts(rows, forms, base)


def _object_parts(rows: Sequence[StoredInstance], forms: dict[str, Offer], base: str) -> Iterator[Part]:
    for row in rows:
        try:
            yield object_part(row, base=base, syntax=forms[row.syntax].syntax)
        except TranscodingError as error:
            # The status has left. The stored bytes, named as what they are, lose nothing; an empty place would.
            log.warning("wado: instance %s leaves as stored: %s", row.instance_id, error)
            yield stored_part(row, base=base)
