"""What one job told a platform, the other way round: surrogate -> original, and the shape of each source image.

Kept with the job as JSON. It holds identifiers but no names; the caller stores it as it stores patient rows.
"""

import json
from collections.abc import Iterable
from collections.abc import Mapping as ReadOnly
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from ai.deident.cleaner import Geometry
from ai.deident.engine import Done

KINDS = ("study", "series", "sop", "frame", "other")
FORMAT = 1


class MappingError(ValueError):
    """Objects of two studies or persons in one job, or JSON that is no mapping. No value is told."""


@dataclass(frozen=True, slots=True)
class Source:
    """One object that was sent."""

    sop_class_uid: str
    series_uid: str  # surrogate
    geometry: Geometry


@dataclass(frozen=True, slots=True)
class Mapping:
    """Of one job, which is one study of one person. `sent_on` is the UTC day when it was sent; `shift_days` what dates moved back by.

    `uids` is kind -> surrogate -> original; `sources` is SOP surrogate -> what was sent.
    """

    study_uid: str
    patient: str
    original_patient: str = field(repr=False)
    shift_days: int
    sent_on: date
    uids: ReadOnly[str, ReadOnly[str, str]] = field(repr=False)
    sources: ReadOnly[str, Source] = field(repr=False)

    def original(self, surrogate: str, kind: str | None = None) -> str | None:
        """The UID that a surrogate stands for, of one kind or of any. None: it isn't of this job."""
        kinds = KINDS if kind is None else (kind,)
        return next((found for name in kinds if (found := self.uids.get(name, {}).get(surrogate)) is not None), None)

    def is_original(self, uid: str) -> bool:
        """Somebody knows a UID that was never told."""
        return any(uid in pairs.values() for pairs in self.uids.values())

    @property
    def all_uids(self) -> dict[str, str]:
        """surrogate -> original, whatever the kind."""
        return {surrogate: original for name in reversed(KINDS) for surrogate, original in self.uids.get(name, {}).items()}

    def to_json(self) -> str:
        """Compact: geometries are told once, sources by number. A 500-slice CT takes 80 to 200 kB."""
        shapes = list(dict.fromkeys(source.geometry for source in self.sources.values()))
        classes = list(dict.fromkeys((source.sop_class_uid, source.series_uid) for source in self.sources.values()))
        numbers = {shape: n for n, shape in enumerate(shapes)}
        places = {pair: n for n, pair in enumerate(classes)}
        content = {
            "format": FORMAT, "study": self.study_uid, "patient": [self.patient, self.original_patient], "shift": self.shift_days,
            "sent": self.sent_on.isoformat(), "uids": self.uids, "classes": classes,
            "shapes": [
                [g.rows, g.columns, g.frames, g.frame_of_reference, list(g.spacing), list(g.orientation)] for g in shapes
            ],
            "sources": {
                sop: [places[source.sop_class_uid, source.series_uid], numbers[source.geometry]]
                for sop, source in self.sources.items()
            },
        }  # fmt: skip
        return json.dumps(content, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> "Mapping":
        """Raises MappingError."""
        try:
            content: dict[str, Any] = json.loads(text)
            if content["format"] != FORMAT:
                raise MappingError("a mapping of another format")
            shapes = [Geometry(r, c, f, frame, tuple(s), tuple(o)) for r, c, f, frame, s, o in content["shapes"]]
            classes = [(str(sop_class), str(series)) for sop_class, series in content["classes"]]
            sources = {
                sop: Source(classes[place][0], classes[place][1], shapes[number]) for sop, (place, number) in content["sources"].items()
            }
            patient, original_patient = content["patient"]
            return cls(
                study_uid=content["study"], patient=patient, original_patient=original_patient, shift_days=content["shift"],
                sent_on=date.fromisoformat(content["sent"]), uids=content["uids"], sources=sources,
            )  # fmt: skip
        except (KeyError, TypeError, ValueError, IndexError, AttributeError):
            raise MappingError("this is no mapping of a job") from None


def mapping_build(done: Iterable[Done], *, sent_on: date) -> Mapping:
    """The mapping of a job from everything that was de-identified for it. Raises MappingError unless it is one study of one person."""
    uids: dict[str, dict[str, str]] = {}
    sources: dict[str, Source] = {}
    told = {}
    for one in done:
        told[one.study_uid, one.patient, one.shift_days] = one.original_patient
        for kind, pairs in one.uids.items():
            uids.setdefault(kind, {}).update(pairs)
        sources[one.sop_uid] = Source(one.sop_class_uid, one.series_uid, one.geometry)
    if len(told) != 1:
        raise MappingError("a job is one study of one person")
    [((study_uid, patient, shift_days), original_patient)] = told.items()
    return Mapping(
        study_uid=study_uid, patient=patient, original_patient=original_patient, shift_days=shift_days, sent_on=sent_on, uids=uids,
        sources=sources,
    )  # fmt: skip


