"""What one object or document says, before all of an answer's are put together (objects.py, fhir.py, hook.py)."""

from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import dataclass, replace

from ai.findings import Algorithm, Answer, Coding, Document, Finding, Measurement, Note, Region
from ai.reading.part10 import refusal
from ai.reading.schemes import DCM

FINDING = Coding(system=DCM, code="121071", display="Finding")
MAX_SAID = 2_000  # measurements, findings, regions, notes: no reader looks at more
MAX_IMAGES = 100_000


@dataclass(frozen=True, kw_only=True)
class Said:
    """`images` are the instances it was computed from as it says, each with its series: (series UID, SOP Instance UID)."""

    measurements: tuple[Measurement, ...] = ()
    findings: tuple[Finding, ...] = ()
    regions: tuple[Region, ...] = ()
    documents: tuple[Document, ...] = ()
    notes: tuple[Note, ...] = ()
    not_analysable: Note | None = None
    is_flagged: bool = False
    name: str = ""  # of the algorithm, as stated
    version: str = ""
    udi: str = ""
    images: tuple[tuple[str, str], ...] = ()


def together(parts: Sequence[Said]) -> Said:
    """All parts as one. Raises PlatformError where they contradict each other."""
    reasons = [part.not_analysable for part in parts if part.not_analysable]
    stated = [part for part in parts if part.version]
    if len({(part.name, part.version) for part in stated}) > 1:
        raise refusal("the parts of the answer come from different algorithms")
    return Said(
        measurements=tuple(item for part in parts for item in part.measurements),
        findings=tuple(item for part in parts for item in part.findings),
        regions=tuple(item for part in parts for item in part.regions),
        documents=tuple(item for part in parts for item in part.documents),
        notes=tuple(dict.fromkeys(note for part in parts for note in part.notes)),
        not_analysable=reasons[0] if reasons else None,
        is_flagged=any(part.is_flagged for part in parts),
        name=next((part.name for part in parts if part.name), ""),
        version=stated[0].version if stated else "",
        udi=next((part.udi for part in parts if part.udi), ""),
        images=tuple(dict.fromkeys(image for part in parts for image in part.images)),
    )


def answer_of(said: Said, *, algorithm: Algorithm, study_uid: str, own: Set[str] = frozenset()) -> Answer:
    """The typed answer; `own` are the objects that came with it: whoever points at them points at no image that was sent.

    Raises PlatformError when it says nothing, too much, or both something and nothing.

    The algorithm keeps the name that was asked for and the manufacturer of the connection; the version is what the answer states.
    """
    said = replace(said, images=tuple((series, uid) for series, uid in (*said.images, *_more(said)) if uid not in own))
    seen = (said.measurements, said.findings, said.regions)
    if max(len(said.notes), *(len(items) for items in seen)) > MAX_SAID or len(said.images) > MAX_IMAGES:
        raise refusal("the answer says more than an answer may")
    if said.not_analysable and (any(seen) or said.is_flagged):
        raise refusal("the answer says both something and nothing")
    if not (any(seen) or said.documents or said.is_flagged or said.not_analysable):
        raise refusal("the answer says nothing")
    notes = said.notes
    if said.name and said.name.casefold() != algorithm.name.casefold():
        notes = (*notes, Note(code="algorithm_name", text=f"The answer names its algorithm {said.name}"))
    return Answer(
        algorithm=replace(algorithm, version=said.version or algorithm.version, udi=said.udi or algorithm.udi),
        study_uid=study_uid,
        series_uid=_series(said.images),
        sop_uids=tuple(uid for _, uid in said.images),
        input_sha256="",
        measurements=said.measurements,
        not_analysable=said.not_analysable,
        notes=notes,
        findings=said.findings,
        regions=said.regions,
        # A report that says "not analysable" is a document all the same, but nothing was seen in it.
        documents=() if said.not_analysable else said.documents,
        is_flagged=said.is_flagged,
    )


def _more(said: Said) -> Iterator[tuple[str, str]]:
    """Images that only a measurement or finding points at: the gate must see every one, or a foreign image slips by."""
    known = {uid for _, uid in said.images}
    items: tuple[Measurement | Finding, ...] = (*said.measurements, *said.findings)
    for item in items:
        for uid in (*(image.sop_uid for image in item.images), *(outline.image.sop_uid for outline in item.outlines)):
            if uid not in known:
                known.add(uid)
                yield "", uid


def _series(images: Iterable[tuple[str, str]]) -> str:
    """The series most of the images are of; the first of several with the same number."""
    counts: dict[str, int] = {}
    for series, _ in images:
        if series:
            counts[series] = counts.get(series, 0) + 1
    return max(counts, key=lambda series: counts[series], default="")
