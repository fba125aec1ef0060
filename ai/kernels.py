"""How sharp a CT reconstruction kernel is, as far as its maker's names tell. Sharp ones add noise that bends densities."""

import re
from functools import lru_cache

# Makers' names, from their public protocols; what is not here is not known, and not guessed.
SHARP = frozenset({"LUNG", "BONE", "BONEPLUS", "EDGE", "DETAIL", "ULTRA", "D", "E", "L", "YB", "YC", "YD"})
SOFT = frozenset({"SOFT", "STANDARD", "STND", "A", "B", "C", "YA"})
SIEMENS = re.compile(r"[A-Z]{1,2}(\d{2})[A-Z]?")  # B30F, BR40D, QR59: the number grows with sharpness
CANON = re.compile(r"FC(\d{2})")
SIEMENS_SHARP, CANON_SHARP = 50, range(30, 90)


@lru_cache(maxsize=1024)
def kernel_is_sharp(name: str) -> bool | None:
    """`name` as ConvolutionKernel says, upper case; None where its maker's naming is not known."""
    word = name.strip().upper()
    if word in SHARP or word in SOFT:
        return word in SHARP
    if found := CANON.fullmatch(word):
        return int(found[1]) in CANON_SHARP
    if found := SIEMENS.fullmatch(word.split("\\")[0]):
        return int(found[1]) >= SIEMENS_SHARP
    return None
