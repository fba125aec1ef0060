"""GET .../instances/{i}/frames/{list} (PS3.18 10.4.1.1.5): by offset, as stored where that is accepted."""

import re
from collections.abc import Iterator, Sequence

from django.http import HttpResponseBase
from rest_framework.request import Request

from imaging.dicomweb.accept import Offer, accept_choose
from imaging.dicomweb.frames import FrameError, Layout, frame_check, frame_pieces, layout_of
from imaging.dicomweb.pixels import frame_transcode
from imaging.dicomweb.reading import ReadView, Unreadable, is_unchanged, not_modified, range_of, tagged
from imaging.dicomweb.rows import StoredInstance, instance_of_frames
from imaging.dicomweb.streams import IN_MEMORY, Part, Piece, parts_response, plain_response
from imaging.dicomweb.syntaxes import EXPLICIT, IMPLICIT, MEDIA, OCTETS, encodable, is_decodable
from imaging.dicomweb.wado import objects_etag

MAX_NUMBERS = 10_000
_NUMBERS = re.compile(r"[0-9]{1,9}(?:,[0-9]{1,9})*")


def numbers_read(text: str) -> list[int]:
    """`1,2,3`. Raises Unreadable (400) for anything else, and for a frame 0."""
    text = text.replace(" ", "")
    if len(text) > 11 * MAX_NUMBERS or not _NUMBERS.fullmatch(text):
        raise Unreadable(400, "frames are a list of numbers like 1,2,3")
    numbers = [int(number) for number in text.split(",")]
    if 0 in numbers:
        raise Unreadable(400, "frames are counted from 1: there is no frame 0")
    if len(numbers) > MAX_NUMBERS:
        raise Unreadable(400, f"more than {MAX_NUMBERS} frames at once")
    return numbers


def frame_offers(layout: Layout, *, is_single: bool) -> list[Offer]:
    """What frames can be had in, best first: octets as stored, octets uncompressed, the stored code stream, other code streams.

    `transfer-syntax=*` therefore gives what is stored, and who names no syntax gets plain pixels (PS3.18 8.7.3.4).
    """
    offers: list[Offer] = []
    stored = layout.syntax if layout.is_encapsulated else EXPLICIT
    media = MEDIA.get(stored, OCTETS)
    if layout.is_encapsulated:
        offers.append(Offer(OCTETS, stored, is_default=False))
    if not layout.is_encapsulated or is_decodable(stored):
        offers.append(Offer(OCTETS, EXPLICIT))
        offers.append(Offer(OCTETS, IMPLICIT, is_default=False))
    if media != OCTETS:
        offers.append(Offer(media, stored))
    if not layout.is_encapsulated or is_decodable(stored):
        offers += [Offer(MEDIA[uid], uid) for uid in encodable() if uid != stored]
    if is_single:
        offers += [Offer(one.media_type, one.syntax, one.is_default, is_plain=True) for one in list(offers)]
    return offers


class FramesView(ReadView):
    """One part a frame, its transfer syntax named in its Content-Type."""

    produces = ('multipart/related; type="application/octet-stream"', 'multipart/related; type="image/*"', "application/octet-stream")
    rows_select = staticmethod(instance_of_frames)

    def get(
        self, request: Request, slug: str, study_uid: str, series_uid: str, instance_uid: str, numbers: str
    ) -> HttpResponseBase:
        wanted = numbers_read(numbers)
        rows = self.rows(action="dicom.retrieve", study_uid=study_uid, series_uid=series_uid, instance_uid=instance_uid)
        return self.answer(request, rows[0], wanted)

    def answer(self, request: Request, row: StoredInstance, wanted: Sequence[int]) -> HttpResponseBase:
        try:
            layout = layout_of(row.key, row.path)
            for number in wanted:
                frame_check(layout, number)
            form = accept_choose(accepted=self.accepted(request), offers=frame_offers(layout, is_single=len(wanted) == 1))
            etag = objects_etag([row], f"{wanted}{form}")
            if is_unchanged(request, etag):
                return not_modified(etag)
            parts = self._parts(row, layout, wanted, form)
        except FrameError as error:
            raise Unreadable(error.status, error.text) from None
        if form.is_plain:
            return tagged(plain_response(next(iter(parts)), range_header=range_of(request, etag)), etag)
        return tagged(parts_response(parts, media_type=form.media_type), etag)

    def _parts(self, row: StoredInstance, layout: Layout, wanted: Sequence[int], form: Offer) -> "list[Part] | Iterator[Part]":
        """A list for frames that lie in the file and for few decoded ones; else they are decoded one at a time, as they leave.

        The first one is always made before the first byte, so a frame that cannot be decoded is a status and not a broken body.
        """
        place = f"{self.base(self.request)}/{row.place}/frames"
        syntax = EXPLICIT if form.syntax == IMPLICIT else form.syntax

        def part(number: int) -> Part:
            if syntax == (layout.syntax if layout.is_encapsulated else EXPLICIT):
                pieces = frame_pieces(layout, row.path, number)
            else:
                pieces = (Piece(frame_transcode(layout, key=row.key, path=row.path, number=number, syntax=syntax)),)
            return Part(f"{form.media_type}; transfer-syntax={form.syntax}", pieces, f"{place}/{number}")

        is_lying = layout.word == 1 and layout.pixels.allocated != 1
        is_stored = is_lying and syntax == (layout.syntax if layout.is_encapsulated else EXPLICIT)
        if is_stored or len(wanted) == 1 or len(wanted) * layout.pixels.frame_bits // 8 <= IN_MEMORY:
            return [part(number) for number in wanted]
        first = part(wanted[0])
        return _chain(first, (part(number) for number in wanted[1:]))


def _chain(first: Part, rest: Iterator[Part]) -> Iterator[Part]:
    yield first
    yield from rest
