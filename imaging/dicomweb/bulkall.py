"""GET .../bulkdata of a study, series or instance (PS3.18 10.4): every value that its metadata points at, one part each.

Content-Location is the BulkDataURI of the metadata; encapsulated pixels are as many parts as frames, in their order, all with that
one location, which is also how STOW-RS takes them (PS3.18 10.5.1). Made as it leaves, so memory is that of one value.
"""

import logging
from collections.abc import Iterator, Sequence
from itertools import chain

from django.http import Http404, HttpResponseBase
from rest_framework.request import Request

from imaging.dicomweb.accept import Offer, accept_choose
from imaging.dicomweb.asis import film_pieces
from imaging.dicomweb.bulk import value_find
from imaging.dicomweb.elements import object_open
from imaging.dicomweb.frames import FrameError, frame_pieces, layout_of
from imaging.dicomweb.jsonmodel import object_json
from imaging.dicomweb.pixels import frame_transcode
from imaging.dicomweb.reading import ReadView, Unreadable, is_unchanged, not_modified, tagged
from imaging.dicomweb.rows import StoredInstance
from imaging.dicomweb.streams import Part, Piece, parts_response
from imaging.dicomweb.syntaxes import EXPLICIT, IMPLICIT, NATIVE, OCTETS, is_decodable
from imaging.dicomweb.wado import objects_etag
from imaging.header import HeaderError
from imaging.rendering import RenderError

log = logging.getLogger(__name__)


def bulk_offers(stored: str) -> list[Offer]:
    """What the values of an object of this transfer syntax can be had in; `transfer-syntax=*` gives code streams as stored."""
    if stored in NATIVE:
        return [Offer(OCTETS, EXPLICIT), Offer(OCTETS, IMPLICIT, is_default=False)]
    can_decode = is_decodable(stored)
    return [Offer(OCTETS, stored, is_default=not can_decode), *([Offer(OCTETS, EXPLICIT)] if can_decode else [])]


class BulkAllView(ReadView):
    produces = ('multipart/related; type="application/octet-stream"',)

    def get(self, request: Request, slug: str, study_uid: str, series_uid: str = "", instance_uid: str = "") -> HttpResponseBase:
        rows = self.rows(action="dicom.retrieve", study_uid=study_uid, series_uid=series_uid, instance_uid=instance_uid)
        accepted = self.accepted(request)
        syntaxes = dict.fromkeys(row.syntax for row in rows)
        forms = {stored: accept_choose(accepted=accepted, offers=bulk_offers(stored)).syntax for stored in syntaxes}
        etag = objects_etag(rows, f"bulkdata{forms}")
        if is_unchanged(request, etag):
            return not_modified(etag)
        parts = resource_parts(rows, forms, base=self.base(request))
        first = next(parts, None)  # before the status leaves
        if first is None:
            raise Unreadable(404, "nothing here has bulk data: every value is in the metadata")
        return tagged(parts_response(chain([first], parts), media_type=OCTETS), etag)


def resource_parts(rows: Sequence[StoredInstance], forms: dict[str, str], *, base: str) -> Iterator[Part]:
    """In the order of the metadata. A value that nobody can cut out of its object is left out, and the log says of which."""
    for row in rows:
        try:
            with object_open(row.path) as opened:
                paths: list[str] = []
                object_json(opened, bulk=lambda path, paths=paths: paths.append(path) or path)  # type: ignore[misc]
        except HeaderError as error:
            log.warning("bulk data of instance %s left out: %s", row.instance_id, error.reason)
            continue
        for path in paths:
            location = f"{base}/{row.place}/bulkdata/{path}"
            try:
                yield from _value_parts(row, path, forms[row.syntax], location)
            except (HeaderError, RenderError, Http404):
                log.warning("a value of instance %s left out: it is encapsulated and broken", row.instance_id)


def _value_parts(row: StoredInstance, path: str, syntax: str, location: str) -> Iterator[Part]:
    """Raises HeaderError, RenderError, Http404."""
    found = value_find(row.path, path)
    if found is not None:
        yield Part(f"{OCTETS}; transfer-syntax={found.syntax}", found.pieces, location)
        return
    try:
        layout = layout_of(row.key, row.path)
    except FrameError:  # frames that cannot be told apart: the code stream whole, nothing of it is lost
        yield Part(f"{OCTETS}; transfer-syntax={row.syntax}", film_pieces(row.path), location)
        return
    for number in range(1, layout.count + 1):
        form, pieces = row.syntax, frame_pieces(layout, row.path, number)
        if syntax == EXPLICIT:
            try:
                pieces = (Piece(frame_transcode(layout, key=row.key, path=row.path, number=number, syntax=EXPLICIT)),)
                form = EXPLICIT
            except FrameError as error:
                log.warning("a frame of instance %s leaves as stored: %s", row.instance_id, error.text)
        yield Part(f"{OCTETS}; transfer-syntax={form}", pieces, location)
