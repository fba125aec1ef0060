"""Is this a UCUM code? The units that imaging numbers come in, by UCUM's grammar; read by every reader of numbers."""

import re

PREFIXES = ("", "da", "Y", "Z", "E", "P", "T", "G", "M", "k", "h", "d", "c", "m", "u", "n", "p", "f", "a")
METRIC = frozenset(
    {"m", "g", "s", "L", "l", "rad", "Hz", "Bq", "Ci", "mol", "eq", "K", "V", "A", "T", "J", "N", "W", "Pa", "bar", "Gy", "Sv",
     "Ohm", "F", "C", "S", "U", "[iU]", "cal", "eV", "B", "osm", "m[Hg]", "m[H2O]", "Cel", "u", "kat", "sr", "cd", "lm", "lx"}
)  # fmt: skip
PLAIN = frozenset(
    {"%", "[ppth]", "[ppm]", "[hnsf'U]", "[arb'U]", "deg", "'", "''", "min", "h", "d", "wk", "mo", "a", "[in_i]", "[ft_i]",
     "[lb_av]", "[pi]", "[pH]", "[diop]", "[bit_s]", "bit", "[Btu]", "10*", "10^"}
)  # fmt: skip
ATOMS = PLAIN | {prefix + atom for prefix in PREFIXES for atom in METRIC}
REMARK = r"\{[!-z|~]*\}"
ATOM = r"10[*^]|\d+|(?:[^\d{}./+\-\[\]]|\[[^\[\]{} ]+\])*?"
PART = re.compile(rf"(?:{REMARK}(?=[^.{{]))?(?P<atom>{ATOM})(?P<power>[+-]?\d+)?(?P<remark>{REMARK})?")
MAX_UNIT = 64


def is_ucum(code: str) -> bool:
    """mm, cm2, mL/min/{1.73_m2}, [hnsf'U], 10*3/uL, {score}, 1: terms joined by `.` and `/` (UCUM 2.3).

    A remark may stand in front as well: DICOM's own {SUVbw}g/ml does (PS3.16 CID 85).
    """
    if not code or len(code) > MAX_UNIT or not code.isascii() or "(" in code:
        return False
    return all(_is_part(part) for part in re.split(r"[./](?![^{]*\})", code.removeprefix("/")))


def _is_part(part: str) -> bool:
    found = PART.fullmatch(part)
    if not found:
        return False
    atom, remark = found["atom"], found["remark"]
    if not atom:
        # `1` and `-1` alone parse as a power; a bare remark counts as 1.
        return (found["power"] or "").isdigit() or bool(remark and not found["power"])
    return atom in ATOMS or atom.isdigit()
