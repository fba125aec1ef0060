"""GET .../instances/{i}/bulkdata/{path} (PS3.18 10.4.1.1.6): the value that a BulkDataURI stands for; whole, by part, or a range."""

import os
from typing import NamedTuple

from django.http import Http404, HttpResponseBase
from rest_framework.request import Request

from imaging.dicomweb.accept import Offer, accept_choose
from imaging.dicomweb.elements import Element, Opened, element_find, object_open
from imaging.dicomweb.frames import PIXELS, FrameError, fragments_of, layout_of, words_swapped
from imaging.dicomweb.framesview import FramesView
from imaging.dicomweb.jsonmodel import WORDS
from imaging.dicomweb.reading import ReadView, Unreadable, is_unchanged, not_modified, range_of, tagged
from imaging.dicomweb.streams import Part, Piece, parts_response, plain_response
from imaging.dicomweb.syntaxes import EXPLICIT, GE_BIG_PIXELS, OCTETS
from imaging.dicomweb.wado import objects_etag
from imaging.header import BINARY_VRS, HeaderError

DOCUMENT, DOCUMENT_TYPE = 0x00420011, "00420012"
SHOWN_TYPES = frozenset(("application/pdf", "model/stl", "model/obj"))  # nothing that a browser would run


class BulkView(FramesView):
    """`path`: hexadecimal tags and item numbers from 1, `00880200/1/7FE00010`. Encapsulated pixels come as their frames."""

    produces = ("application/octet-stream", 'multipart/related; type="application/octet-stream"', "application/pdf")

    def get(  # type: ignore[override]
        self, request: Request, slug: str, study_uid: str, series_uid: str, instance_uid: str, path: str
    ) -> HttpResponseBase:
        row = ReadView.rows(
            self, action="dicom.retrieve", study_uid=study_uid, series_uid=series_uid, instance_uid=instance_uid
        )[0]
        try:
            found = value_find(row.path, path)
        except HeaderError as error:
            raise Unreadable(404, error.reason) from None
        if found is None:
            try:
                count = layout_of(row.key, row.path).count
            except FrameError as error:
                raise Unreadable(error.status, error.text) from None
            return self.answer(request, row, range(1, count + 1))
        offers = [Offer(OCTETS, found.syntax, is_plain=True), Offer(OCTETS, found.syntax)]
        if found.kind:
            offers = [Offer(found.kind, is_plain=True), Offer(found.kind), *offers]
        form = accept_choose(accepted=self.accepted(request), offers=offers)
        etag = objects_etag([row], f"{path}{form}")
        if is_unchanged(request, etag):
            return not_modified(etag)
        part = Part(form.media_type, found.pieces, f"{self.base(request)}/{row.place}/bulkdata/{path}")
        if form.is_plain:
            return tagged(plain_response(part, range_header=range_of(request, etag)), etag)
        return tagged(parts_response([part], media_type=form.media_type), etag)


class Value(NamedTuple):
    """Where a value lies, the media type that it says it is, and how it is coded."""

    pieces: tuple[Piece, ...]
    kind: str = ""
    syntax: str = EXPLICIT


def value_find(path: os.PathLike[str] | str, where: str) -> Value | None:
    """None for the encapsulated pixels of the object itself, which are frames. Raises Http404, HeaderError."""
    with object_open(path) as opened:
        found = element_find(opened, where)
        if found is None or found.vr == "SQ":
            raise Http404
        element = found.element
        if element.is_undefined:
            if element.tag == PIXELS and "/" not in where:
                return None
            return Value(_fragments(opened, path, element), syntax=opened.syntax)
        word = _word(opened, found.vr, element.tag, found.encoding.order)
        kind = _document_type(opened) if element.tag == DOCUMENT and "/" not in where else ""
        if word > 1 or opened.is_copy:
            data = bytes(opened.data[element.start : element.stop])
            return Value((Piece(words_swapped(data, word) if word > 1 else data),), kind)
        return Value((Piece(path=path, start=element.start, length=element.stop - element.start),), kind)


def _fragments(opened: Opened, path: os.PathLike[str] | str, element: Element) -> tuple[Piece, ...]:
    """The code stream of an icon (PS3.3 C.7.6.1.1.6), which is one frame: its fragments without the offset table. Raises Http404."""
    spans = list(fragments_of(opened.data, element.start, element.stop))[1:]
    if not spans:
        raise Http404
    if opened.is_copy:
        return tuple(Piece(bytes(opened.data[start : start + length])) for start, length in spans)
    return tuple(Piece(path=path, start=start, length=length) for start, length in spans)


def _word(opened: Opened, vr: str, tag: int, order: str) -> int:
    """Bytes to swap: what leaves is little endian, whatever the file is."""
    if opened.syntax == GE_BIG_PIXELS and tag == PIXELS:
        return 2
    if order != ">":
        return 1
    sizes = {"H": 2, "h": 2, "I": 4, "i": 4, "f": 4, "Q": 8, "q": 8, "d": 8}
    return WORDS.get(vr) or sizes.get(BINARY_VRS.get(vr, ""), 1)


def _document_type(opened: Opened) -> str:
    found = element_find(opened, DOCUMENT_TYPE)
    if found is None:
        return ""
    said = opened.data[found.element.start : found.element.stop].decode("ascii", "replace").strip(" \0").lower()
    return said if said in SHOWN_TYPES else ""
