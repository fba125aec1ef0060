"""Text as it is compared (PS3.4 C.2.2.2.1, C.2.2.2.4): without case and accents, the same for rows at index time and for keys.

`imaging.people` and `imaging.index` fold what rows hold; `imaging.query.match` folds what a peer asks for.
"""

import unicodedata

FOLDED_CHARS = 200  # ligatures may unfold to many letters, and a btree entry holds 2.7 kB
WILDCARDS = frozenset("*?")
# Letters that Unicode does not take apart, but people do.
_LETTERS = str.maketrans({"ø": "o", "ł": "l", "đ": "d", "ð": "d", "æ": "ae", "œ": "oe", "þ": "th", "ı": "i", "ħ": "h"})
# Accents of Latin, Greek and Cyrillic, and the optional vowel signs of Hebrew and Arabic. The voicing marks of kana stay:
# they make other letters.
_MARKS = ((0x0300, 0x036F), (0x0591, 0x05C7), (0x064B, 0x065F), (0x0670, 0x0670))


def _is_mark(char: str) -> bool:
    return any(first <= ord(char) <= last for first, last in _MARKS)


def text_fold(text: str) -> str:
    """One value without case, accents, compatibility forms and the padding around it."""
    if text.isascii():
        return text.casefold().strip()[:FOLDED_CHARS]
    apart = unicodedata.normalize("NFKD", text.casefold())
    plain = "".join(char for char in apart if not _is_mark(char)).casefold().translate(_LETTERS)
    return unicodedata.normalize("NFC", plain).strip()[:FOLDED_CHARS]


def group_fold(group: str) -> str:
    """One component group of a person name. Ends with one ^, so that `DOE^*` finds a DOE who has no given name.

    A key that ends with * stays open; another one is closed like a name.
    """
    folded = "^".join(part.strip() for part in text_fold(group).split("^"))
    if folded.endswith("*"):
        return folded
    folded = folded.rstrip("^")
    return f"{folded}^" if folded else ""


def name_fold(name: str) -> tuple[str, str, str]:
    """Alphabetic, ideographic and phonetic group of the first name of a value (PS3.5 6.2.1.1)."""
    groups = [group_fold(group) for group in name.split("\\", 1)[0].split("=")[:3]]
    groups += [""] * (3 - len(groups))
    return groups[0], groups[1], groups[2]


def name_key(name: str) -> str:
    """All three groups in one column, for names that are only scanned: `=smith^john^===`."""
    return f"={'='.join(name_fold(name))}=" if name else ""


def has_wildcards(value: str) -> bool:
    return not WILDCARDS.isdisjoint(value)
