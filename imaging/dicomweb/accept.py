"""What a client accepts and what it gets (RFC 9110 12.5.1, PS3.18 8.7.4, 8.7.5, 8.3.3.1). Every DICOMweb GET door asks here.

Read leniently, since a refusal is a black viewport: `type` quoted or not, semicolons where commas belong, an unescaped `+`
in the query. Names that cannot be read are passed over; what is left decides.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

MAX_LENGTH = 8192
MAX_RANGES = 64
RELATED = "multipart/related"
ANY = "*"

_TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"  # noqa: S105 RFC 9110 5.6.2
_RANGE = re.compile(rf"({_TOKEN})/({_TOKEN})")
_PARAMETER = re.compile(rf"({_TOKEN})\s*=\s*(.*)", re.DOTALL)
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*(?:"|$)', re.DOTALL)
_WEIGHT = re.compile(r"(?:0?\.[0-9]+|[01](?:\.[0-9]*)?)")


@dataclass(frozen=True, slots=True)
class MediaRange:
    """One thing that a client takes. `part` is the `type` of multipart/related, `syntax` a UID, `*` or nothing."""

    kind: str
    part: str = ""
    syntax: str = ""
    quality: float = 1.0


@dataclass(frozen=True, slots=True)
class Offer:
    """One form that a resource can be had in.

    `is_default`: also for who names no transfer syntax. `is_plain`: by itself, not as a part of multipart/related.
    """

    media_type: str
    syntax: str = ""
    is_default: bool = True
    is_plain: bool = False

    def __str__(self) -> str:
        syntax = f"; transfer-syntax={self.syntax}" if self.syntax else ""
        return f"{self.media_type}{syntax}" if self.is_plain else f'{RELATED}; type="{self.media_type}"{syntax}'


class NotAcceptable(Exception):
    """Nothing that we have is accepted; `available` is what can be had, best first. Doors answer 406 with `body`."""

    def __init__(self, available: Sequence[Offer]) -> None:
        super().__init__("nothing that can be had is accepted")
        self.available = tuple(dict.fromkeys(str(offer) for offer in available))

    @property
    def body(self) -> dict[str, Any]:
        return {"error": str(self), "available": list(self.available)}


def accept_read(*, header: str, query: Sequence[str] = ()) -> tuple[MediaRange, ...]:
    """The media ranges of the `accept=` parameters, or without such of the header; `*/*` when neither says anything."""
    # a client that forgets to escape `application/dicom+json` in a query means a plus where a space arrives
    asked = ",".join(re.sub(r"(?<=[A-Za-z]) (?=[A-Za-z])", "+", text) for text in query if text.strip())
    return _ranges(asked or header)


def accept_choose(*, accepted: Sequence[MediaRange], offers: Sequence[Offer]) -> Offer:
    """The offer of the highest quality, the earlier one of equals. Raises NotAcceptable.

    The most specific range that names an offer decides its quality, so `q=0` takes one out of a wildcard.
    """
    best, best_quality = None, 0.0
    for offer in offers:
        quality = max(((_match(one, offer), one.quality) for one in accepted), default=(0, 0.0))
        if quality[0] and quality[1] > best_quality:
            best, best_quality = offer, quality[1]
    if best is None:
        raise NotAcceptable(offers)
    return best


def _match(accepted: MediaRange, offer: Offer) -> int:
    """How specifically the range names the offer; 0 when it does not."""
    if accepted.kind in ("*/*", RELATED, "multipart/*"):
        if accepted.kind != "*/*" and offer.is_plain:
            return 0
        wanted = accepted.part or "*/*"
        kind = 1 if accepted.kind != "*/*" else 0
        # `*/*; type=...` is nobody's grammar; read as if it said multipart/related
        kind += _kind_match(wanted, offer.media_type)
    else:
        if not offer.is_plain:
            return 0
        kind = _kind_match(accepted.kind, offer.media_type)
        kind += 1 if kind else 0
    if not kind or not _kind_match(accepted.part or "*/*", offer.media_type):
        return 0
    if accepted.syntax == ANY:
        return 4 * kind + 2
    if accepted.syntax:
        return 4 * kind + 3 if accepted.syntax == offer.syntax else 0
    return 4 * kind + 1 if offer.is_default else 0


def _kind_match(wanted: str, media_type: str) -> int:
    if wanted == "*/*":
        return 1
    if wanted.endswith("/*"):
        return 2 if media_type.startswith(wanted[:-1]) else 0
    return 3 if wanted == media_type else 0


@lru_cache(maxsize=256)
def _ranges(text: str) -> tuple[MediaRange, ...]:
    if not text.strip():
        return (MediaRange("*/*"),)
    found: list[MediaRange] = []
    for element in _split(text[:MAX_LENGTH], ","):
        found.extend(_element(element))
    return tuple(found[:MAX_RANGES])


def _element(element: str) -> Iterator[MediaRange]:
    """One list element, or several where semicolons were written for commas."""
    current: dict[str, str] | None = None
    for piece in _split(element, ";"):
        piece = piece.strip()
        parameter = _PARAMETER.fullmatch(piece)
        kind = None if parameter else _RANGE.fullmatch(piece)
        if kind:
            if current is not None:
                yield _range(current)
            current = {"": piece.lower()}
        elif parameter and current is not None:
            current.setdefault(parameter[1].lower(), _unquoted(parameter[2]))
    if current is not None:
        yield _range(current)


def _range(found: dict[str, str]) -> MediaRange:
    weight = _WEIGHT.fullmatch(found.get("q", "1"))
    return MediaRange(
        kind=found[""], part=found.get("type", "").lower(), syntax=found.get("transfer-syntax", ""),
        quality=min(float(weight[0]), 1.0) if weight else 1.0,
    )  # fmt: skip


def _unquoted(text: str) -> str:
    text = text.strip()
    if text.startswith('"'):
        text = re.sub(r"\\(.)", r"\1", text[1:-1] if len(text) > 1 and text.endswith('"') else text[1:])
    return text.strip()


def _split(text: str, separator: str) -> Iterator[str]:
    """Cut at separators that are not inside quotes."""
    start = at = 0
    while at < len(text):
        if text[at] == '"':
            quoted = _QUOTED.match(text, at)
            at = quoted.end() if quoted else len(text)
            continue
        if text[at] == separator:
            yield text[start:at]
            start = at + 1
        at += 1
    yield text[start:]
