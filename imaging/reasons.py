"""Failure and warning reasons of the standard in words (PS3.18 table I.2-2, PS3.4 J.3.3): STOW-RS and storage commitment tell them."""

from collections import Counter
from collections.abc import Iterable

from pydicom.uid import UID

NOT_NAMED = 0  # in the place of a reason: the answer does not speak of the object at all
REASONS = {
    NOT_NAMED: "not named in the answer", 0x0110: "processing failure", 0x0111: "duplicate object", 0x0112: "no such object",
    0x0117: "a UID that is none", 0x0119: "class and instance do not belong together", 0x0122: "SOP class not supported",
    0x0124: "not authorized", 0x0131: "the transaction was used before", 0x0213: "out of resources",
    0xB000: "elements were changed", 0xB006: "elements were left out", 0xB007: "it does not match its SOP class",
    45070: "already there", 45071: "being stored by somebody else", 0xC122: "transfer syntax not supported",
}  # fmt: skip
FAMILIES = {0xA700: "out of resources", 0xA900: "it does not match its SOP class"}
WORDS_CAP = 3


def reason_words(reason: int) -> str:
    """With its number: "out of resources (A700)"."""
    words = REASONS.get(reason) or FAMILIES.get(reason & 0xFF00) or ("cannot understand" if reason & 0xF000 == 0xC000 else "reason")
    return f"{words} ({reason:04X})" if reason else words


def objects_words(found: Iterable[tuple[str, int]]) -> str:
    """What was said of each object, (SOP class, reason): "Encapsulated PDF, out of resources (A700)". Equal ones are counted."""
    counted = Counter(found).most_common()
    told = [
        f"{f'{number} ' if number > 1 else ''}{_class_words(sop_class)}, {reason_words(reason)}"
        for (sop_class, reason), number in counted[:WORDS_CAP]
    ]
    return "; ".join(told) + ("; and others" if len(counted) > WORDS_CAP else "")


def count_words(count: int) -> str:
    return f"{count} object{'' if count == 1 else 's'}"


def _class_words(sop_class: str) -> str:
    name = UID(sop_class).name
    return "an object" if name == sop_class else name.removesuffix(" Storage")
