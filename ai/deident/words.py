"""The closed vocabulary of Clean Descriptors (PS3.15 E.3.5): words of anatomy and technique. Whatever isn't here is dropped."""

import re
from collections.abc import Collection
from pathlib import Path

VOCABULARY = frozenset(Path(__file__).with_name("vocabulary.txt").read_text(encoding="ascii").split())
JOINING = frozenset(("AND", "FOR", "IN", "MM", "OF", "THE", "TO"))
_WORD = re.compile(r"[A-Za-z0-9.+-]+")
_THICKNESS = re.compile(r"[0-9]{1,2}(?:\.[0-9]{1,3})?")


def words_clean(text: str, *, names: Collection[str] = ()) -> str:
    """The words of `text` that the vocabulary has, at most 64 characters. `names`: upper-case words that are never kept, because
    they are somebody's name here. A number stays only in front of `mm`."""
    found = [word.strip(".+-") for word in _WORD.findall(text)]
    kept: list[str] = []
    for place, word in enumerate(found):
        upper = word.upper()
        is_thickness = _THICKNESS.fullmatch(word) and found[place + 1 : place + 2] and found[place + 1].upper() == "MM"
        is_joined = upper.endswith("MM") and _THICKNESS.fullmatch(word[:-2])
        if is_thickness or is_joined or (upper in VOCABULARY and upper not in names):
            kept.append(word)
    if all(word.upper() in JOINING for word in kept):
        return ""
    while len(" ".join(kept)) > 64:
        kept.pop()
    return " ".join(kept)
