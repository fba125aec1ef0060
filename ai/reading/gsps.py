"""Presentation states -> what they draw and write on images (PS3.3 C.10.5). Read by objects.py.

Windows, zooms and shutters say how to look, not what was seen: a state without annotations is kept as a document only.
"""

import math
from collections.abc import Iterator

from pydicom.dataset import Dataset

from ai.findings import Finding, ImageRef, Note, Outline
from ai.reading.evidence import evidence_read
from ai.reading.part10 import items_of, refusal
from ai.reading.said import FINDING, Said
from ai.reading.schemes import words
from ai.reading.tree import MAX_POINTS

GRAPHICS = {"POINT", "POLYLINE", "CIRCLE", "ELLIPSE"}
MAX_ANNOTATIONS = 2_000


def gsps_read(dataset: Dataset) -> Said:
    """One finding an annotation item: its words and its outlines on each image it applies to. Raises PlatformError past limits."""
    items = items_of(dataset, "GraphicAnnotationSequence")
    if len(items) > MAX_ANNOTATIONS:
        raise refusal("a presentation state of the answer draws too much")
    images = evidence_read(dataset)
    findings, notes = [], []
    for item in items:
        on = tuple(_references(item)) or tuple(ImageRef(sop_uid=uid) for _, uid in images)
        drawn = items_of(item, "GraphicObjectSequence")
        shapes = [one for one in drawn if one.get("GraphicAnnotationUnits") == "PIXEL" and one.get("GraphicType") in GRAPHICS]
        if len(shapes) < len(drawn):
            notes.append(Note(code="graphic", text="Something drawn relative to the display, or a curve, is in the object only"))
        text = "; ".join(words(one.get("UnformattedTextValue") or "", 300) for one in items_of(item, "TextObjectSequence"))
        outlines = tuple(_outline(shape, image) for shape in shapes for image in on)
        if text or outlines:
            findings.append(Finding(code=FINDING, value=None, images=on, outlines=outlines, words=words(text, 1_000)))
    return Said(findings=tuple(findings), notes=tuple(dict.fromkeys(notes)), images=images)


def _references(item: Dataset) -> Iterator[ImageRef]:
    for one in items_of(item, "ReferencedImageSequence"):
        frames = one.get("ReferencedFrameNumber")
        numbers = () if frames is None else tuple(frames) if not isinstance(frames, int) else (frames,)
        yield ImageRef(sop_uid=str(one.ReferencedSOPInstanceUID), frames=tuple(int(number) for number in numbers))


def _outline(shape: Dataset, image: ImageRef) -> Outline:
    data = [float(value) for value in shape.GraphicData]
    if len(data) % 2 or not 2 <= len(data) <= 2 * MAX_POINTS or not all(map(math.isfinite, data)):
        raise refusal("a presentation state of the answer draws no shape")
    pairs = tuple(zip(data[::2], data[1::2], strict=True))
    return Outline(image=image, graphic=shape.GraphicType, points=pairs)
