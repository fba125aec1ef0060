"""Rendered resources and thumbnails (PS3.18 10.4.1.1.2, 10.4.1.1.3, 8.7.4): study, series, instance, frames, as a person sees them.

Of a study or series by itself: the middle picture of its largest series. Its pictures one by one, or the frames of an instance,
as multipart/related when that is what is accepted; frames also as one animated GIF. Documents and films come back as they are.
400 with the parameter's name, 404, 406 with the list of what can be had or with the reason why an object cannot be shown.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import NamedTuple

from django.conf import settings
from django.http import HttpResponse, HttpResponseBase
from rest_framework.request import Request

from imaging.dicomweb.accept import Offer, accept_choose
from imaging.dicomweb.asis import document_piece, film_pieces
from imaging.dicomweb.memory import Memory
from imaging.dicomweb.pictures import (
    GIF,
    JPEG,
    PNG,
    THUMBNAIL,
    Look,
    ParameterError,
    Viewport,
    look_read,
    picture_fit,
    picture_write,
    sheet_draw,
)  # fmt: skip
from imaging.dicomweb.reading import ReadView, Unreadable, is_unchanged, not_modified, tagged
from imaging.dicomweb.rows import StoredInstance
from imaging.dicomweb.streams import Part, Piece, parts_response, plain_response
from imaging.dicomweb.syntaxes import MEDIA
from imaging.rendering import FrameMissingError, NoPixelsError, RenderError, frame_shown

MAX_FRAMES = 1000  # of one multipart answer
MAX_FILM = 200  # frames of one GIF, which is made as a whole
FILM_SIDE = 512
PDF_CLASS, PDF = "1.2.840.10008.5.1.4.1.1.104.1", "application/pdf"
_NO_PICTURE = tuple(
    f"1.2.840.10008.5.1.4.1.1.{branch}" for branch in ("88.", "11.", "104.", "9.", "66", "481.3", "481.4", "481.5", "481.8", "67", "68.")
)
_NUMBERS = re.compile(r"[0-9]{1,9}(?:,[0-9]{1,9}){0,999}")

_kept: Memory[bytes] = Memory(settings.MEDHUB_RENDERED_CACHE_BYTES, len)


class Shot(NamedTuple):
    """One frame of one object."""

    row: StoredInstance
    frame: int


def is_picture(row: StoredInstance) -> bool:
    """By its class: reports, presentation states, documents, waveforms and plans hold none."""
    return not row.sop_class_uid.startswith(_NO_PICTURE)


def row_represent(rows: Sequence[StoredInstance]) -> StoredInstance:
    """The middle of the largest series, of those that hold pictures if any does (PS3.18 10.4.1.1.2: "representative")."""
    seen = [row for row in rows if is_picture(row)] or list(rows)
    largest = Counter(row.series_id for row in seen).most_common(1)[0][0]
    series = [row for row in seen if row.series_id == largest]
    return series[len(series) // 2]


def shot_write(shots: Sequence[Shot], *, kind: str, look: Look, is_thumbnail: bool = False) -> bytes:
    """One picture of one shot, or a film of several. Raises RenderError, ParameterError; a thumbnail is always had."""
    images = []
    for row, frame in shots:
        try:
            shown = frame_shown(row.path, frame=frame, window=look.window, function=look.function)
        except FrameMissingError:
            raise
        except RenderError:
            if not is_thumbnail:
                raise
            images.append(sheet_draw(look.viewport or Viewport(THUMBNAIL, THUMBNAIL)))
            continue
        viewport = look.viewport
        if viewport is None and len(shots) > 1 and max(shown.shape[:2]) > FILM_SIDE:
            viewport = Viewport(FILM_SIDE, FILM_SIDE)
        images.append(picture_fit(shown, viewport))
    return picture_write(images, kind=kind, quality=look.quality)


class RenderedView(ReadView):
    """GET .../rendered at the four levels."""

    is_thumbnail = False
    produces = (JPEG, PNG, GIF, 'multipart/related; type="image/*"', PDF, "video/*")

    def get(
        self, request: Request, slug: str, study_uid: str, series_uid: str = "", instance_uid: str = "", numbers: str = "",
    ) -> HttpResponseBase:
        query = request.GET.dict()
        try:
            look = look_read(query, is_thumbnail=self.is_thumbnail)
        except ParameterError as error:
            raise Unreadable(400, error.text) from None
        if numbers and not _NUMBERS.fullmatch(numbers):
            raise Unreadable(400, "frames are numbers with commas, the first is 1")
        rows = self.rows(action="dicom.render", study_uid=study_uid, series_uid=series_uid, instance_uid=instance_uid)
        try:
            return self._answer(request, rows, numbers, look)
        except ParameterError as error:
            raise Unreadable(400, error.text) from None
        except FrameMissingError as error:
            raise Unreadable(404, error.reason) from None
        except NoPixelsError as error:
            raise Unreadable(406, f"{error.reason}; it can be retrieved as application/dicom") from None
        except RenderError as error:
            raise Unreadable(406, error.reason) from None

    def _answer(self, request: Request, rows: list[StoredInstance], numbers: str, look: Look) -> HttpResponseBase:
        row = row_represent(rows)
        media = PDF if row.sop_class_uid == PDF_CLASS else MEDIA.get(row.syntax, "")
        if not self.is_thumbnail and (media == PDF or media.startswith("video/")):
            return self._as_is(request, row, media)
        shots = _shots(row, numbers)
        is_list = "," in numbers
        single = [Offer(kind, is_plain=True) for kind in (JPEG, PNG)]
        film = [Offer(GIF, is_plain=True)]
        many = [] if self.is_thumbnail else [Offer(kind) for kind in (JPEG, PNG, GIF)]
        chosen = accept_choose(accepted=self.accepted(request), offers=[*many, *film] if is_list else [*single, *film, *many])
        if not chosen.is_plain:
            return self._parts(request, rows if not numbers and len(rows) > 1 else [row], shots, chosen.media_type, look)
        is_film = chosen.media_type == GIF and not self.is_thumbnail
        if is_film and (numbers or row.frames > 1):
            wanted = shots[:MAX_FILM]
        elif numbers:
            wanted = shots[:1]
        else:
            wanted = [Shot(row, 1 if "instance_uid" in self.kwargs and not self.is_thumbnail else max(row.frames, 1) // 2 + 1)]
        warnings = list(look.warnings)
        if is_film and len(shots) > MAX_FILM:
            warnings.append(f"the film shows the first {MAX_FILM} frames")
        etag = _etag(wanted, chosen.media_type, look)
        if is_unchanged(request, etag):
            return not_modified(etag)
        key = (self.tenant_id, etag)
        content = _kept.get(
            key, lambda: shot_write(wanted, kind=chosen.media_type, look=look, is_thumbnail=self.is_thumbnail)
        )
        response = HttpResponse(content, content_type=chosen.media_type)
        response["Content-Location"] = f"{self.base(request)}/{wanted[0].row.place}"
        return _warned(tagged(response, etag), warnings)

    def _parts(
        self, request: Request, rows: list[StoredInstance], shots: list[Shot], kind: str, look: Look
    ) -> HttpResponseBase:
        if len(rows) > 1:
            shots = [Shot(row, frame) for row in rows if is_picture(row) for frame in range(1, max(row.frames, 1) + 1)]
        warnings = list(look.warnings)
        if len(shots) > MAX_FRAMES:
            warnings.append(f"these are the first {MAX_FRAMES} of {len(shots)} frames")
        wanted, base = shots[:MAX_FRAMES], self.base(request)
        etag = _etag(wanted, kind, look)
        if is_unchanged(request, etag):
            return not_modified(etag)
        # The first is drawn before the status leaves, so that an object that cannot be shown is a 406.
        parts = _drawn(wanted, kind=kind, look=look, base=base)
        first = list(islice(parts, 1))
        if not first:
            raise RenderError("no picture in it can be shown")
        return _warned(tagged(parts_response(_joined(first, parts), media_type=kind), etag), warnings)

    def _as_is(self, request: Request, row: StoredInstance, media: str) -> HttpResponseBase:
        """PS3.18 table 8.7.4-1: PDF and video are rendered as what they are; ranges, so a film can be wound."""
        accept_choose(accepted=self.accepted(request), offers=[Offer(media, is_plain=True)])
        etag = f'"{row.sha256[:32]}"'
        if is_unchanged(request, etag):
            return not_modified(etag)
        pieces = (document_piece(row.path),) if media == PDF else film_pieces(row.path)
        part = Part(media, pieces, f"{self.base(request)}/{row.place}")
        response = plain_response(part, range_header=request.META.get("HTTP_RANGE", ""))
        response["Content-Disposition"] = "inline"
        return tagged(response, etag)


class ThumbnailView(RenderedView):
    """GET .../thumbnail at the four levels: small, of the middle; a sheet of paper for what is no picture."""

    is_thumbnail = True
    produces = (JPEG, PNG, GIF)


def _shots(row: StoredInstance, numbers: str) -> list[Shot]:
    """The frames of the address, or all. Raises Unreadable for one that is not there."""
    count = max(row.frames, 1)
    if not numbers:
        return [Shot(row, frame) for frame in range(1, count + 1)]
    wanted = [int(number) for number in numbers.split(",")]
    if 0 in wanted:
        raise Unreadable(400, "frames are numbers with commas, the first is 1")
    beyond = next((number for number in wanted if number > count), None)
    if beyond is not None:
        raise Unreadable(404, f"there is no frame {beyond}")
    return [Shot(row, number) for number in wanted]


def _etag(shots: Sequence[Shot], kind: str, look: Look) -> str:
    digest = hashlib.sha256(f"{kind} {look.mark}".encode())
    for row, frame in shots:
        digest.update(f"{row.sop_instance_uid} {row.sha256} {frame};".encode())
    return f'"{digest.hexdigest()[:32]}"'


def _drawn(shots: Sequence[Shot], *, kind: str, look: Look, base: str) -> Iterator[Part]:
    for at, shot in enumerate(shots):
        try:
            content = shot_write([shot], kind=kind, look=look)
        except RenderError:
            if at == 0 and len(shots) == 1:
                raise
            continue  # the others are still worth having; Content-Location says which they are
        yield Part(kind, (Piece(content),), f"{base}/{shot.row.place}/frames/{shot.frame}/rendered")


def _joined(first: list[Part], rest: Iterator[Part]) -> Iterator[Part]:
    yield from first
    yield from rest


def _warned(response: HttpResponseBase, warnings: Sequence[str]) -> HttpResponseBase:
    if warnings:
        response["Warning"] = ", ".join(f'299 MedHub "{text}"' for text in warnings)
    return response
