"""What is never sent: pictures that may carry a name, documents, video, sound, objects that can't be cleaned. `engine` asks."""

from collections.abc import Mapping
from dataclasses import dataclass

STORAGE = "1.2.840.10008.5.1.4.1.1."
# Images that an acquiring device makes without text, so that an absent BurnedInAnnotation says nothing bad (PS3.3 C.7.6.1).
# Every other image needs BurnedInAnnotation NO: ultrasound, endoscopy, photographs, slides, secondary capture, whatever comes next.
PLAIN_IMAGES = frozenset(
    STORAGE + suffix
    for suffix in (
        "1", "1.1", "1.1.1", "1.2", "1.2.1", "1.3", "1.3.1", "2", "2.1", "2.2", "4", "4.1", "4.3", "4.4", "12.1", "12.1.1", "12.2",
        "12.2.1", "13.1.1", "13.1.2", "13.1.3", "13.1.4", "13.1.5", "14.1", "14.2", "20", "30", "66.4", "66.7", "128", "130",
        "128.1", "481.1", "481.2", "77.1.5.4", "77.1.5.8",
    )
)  # fmt: skip
SPEAKING_IMAGE_TYPES = frozenset((
    "SCREEN", "SCREENSHOT", "SCREENSAVE", "SCREENCAPTURE", "CAPTURE", "PROT", "PROTOCOL", "REPORT", "DOSE", "FILM", "TEXT",
    "LABEL",  # the label of a slide
))  # fmt: skip
PAPER_CONVERSIONS = frozenset(("DF", "SD", "SI", "DRW"))  # PS3.3 C.8.6.1: film, documents, drawings carry their labels in the picture
DOCUMENTS = STORAGE + "104."
SOUND = frozenset((STORAGE + "9.4.1", STORAGE + "9.4.2"))
VIDEO_SYNTAXES = tuple(f"1.2.840.10008.1.2.4.10{n}" for n in range(10))
VIDEO_CLASSES = frozenset((STORAGE + "77.1.1.1", STORAGE + "77.1.2.1", STORAGE + "77.1.4.1"))
REFERENCED_SYNTAXES = frozenset(f"1.2.840.10008.1.2.4.{n}" for n in (94, 95, 204, 205))
NATIVE_SYNTAXES = frozenset((
    "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99", "1.2.840.113619.5.2",
))  # fmt: skip


class Blocked(Exception):
    """An object that may not be sent. `code` is for programs, `words` for people; neither holds a value of the object."""

    def __init__(self, code: str, words: str) -> None:
        super().__init__(words)
        self.code = code
        self.words = words


@dataclass(frozen=True, slots=True)
class Facts:
    """What an object says of itself at the top level; codes by DICOM keyword, "" where absent."""

    codes: Mapping[str, str]
    syntax: str
    overlays_in_pixels: bool
    has_pixels: bool
    pixel_bytes: int | None  # None: encapsulated, or none

    def __getitem__(self, keyword: str) -> str:
        return self.codes.get(keyword, "")


def object_check(facts: Facts, *, pixels_are_cleaned: bool) -> None:
    """Raises Blocked for what may not be sent whatever the profile, and for pictures that may carry a name unless cleaned."""
    for keyword in ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"):
        if not facts[keyword]:
            raise Blocked("incomplete", f"the object has no {keyword}")
    sop_class = facts["SOPClassUID"]
    if sop_class.startswith(DOCUMENTS):
        raise Blocked("document", "an encapsulated document can't be de-identified")
    if facts.syntax.startswith(VIDEO_SYNTAXES) or sop_class in VIDEO_CLASSES:
        raise Blocked("video", "video can't be de-identified: it may show or speak a name")
    if sop_class in SOUND:
        raise Blocked("sound", "sound can't be de-identified")
    if facts.syntax in REFERENCED_SYNTAXES:
        raise Blocked("elsewhere", "the pixels lie at an address outside the object")
    if facts.has_pixels:
        _length_check(facts)
        if not pixels_are_cleaned:
            _picture_check(facts)


def _picture_check(facts: Facts) -> None:
    if facts["BurnedInAnnotation"] == "YES":
        raise Blocked("burned_in", "the object says that its picture carries annotation (BurnedInAnnotation YES)")
    if facts.overlays_in_pixels:
        raise Blocked("burned_in", "an overlay lies in the unused bits of the pixels")
    if facts["ConversionType"] in PAPER_CONVERSIONS:
        raise Blocked("burned_in", "digitised film and paper carry their labels in the picture")
    image_type = set(facts["ImageType"].replace("_", "\\").replace(" ", "\\").split("\\"))
    if image_type & SPEAKING_IMAGE_TYPES:
        raise Blocked("burned_in", "a saved screen, report or protocol carries text in the picture")
    is_colour = facts["SamplesPerPixel"] not in ("", "1")  # of a grey modality: a fused or captured picture
    if facts["BurnedInAnnotation"] != "NO" and (facts["SOPClassUID"] not in PLAIN_IMAGES or is_colour):
        raise Blocked("burned_in", "this kind of picture may carry a name, and the object doesn't say that it has none")


def _length_check(facts: Facts) -> None:
    """Native pixels as long as the header says (PS3.5 8.1.1, A.1); YBR 4:2:2 needs two thirds."""
    if facts.pixel_bytes is None or facts.syntax not in NATIVE_SYNTAXES:
        return
    try:
        rows, columns, samples, bits, frames = (
            int(facts[keyword] or default)
            for keyword, default in (
                ("Rows", "0"), ("Columns", "0"), ("SamplesPerPixel", "1"), ("BitsAllocated", "0"), ("NumberOfFrames", "1"),
            )
        )  # fmt: skip
    except ValueError:
        raise Blocked("unreadable", "the size of the picture is no number") from None
    needed = rows * columns * samples * frames * bits // 8
    if facts["PhotometricInterpretation"] in ("YBR_FULL_422", "YBR_PARTIAL_422"):
        needed = needed * 2 // 3
    if facts.pixel_bytes < needed:
        raise Blocked("truncated", "the object has fewer pixels than its header says")
