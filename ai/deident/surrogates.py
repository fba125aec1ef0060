"""Keyed stand-ins for UIDs, identifiers and dates: the same original gives the same surrogate under one key, and nothing under another."""

import hmac
import re
from base64 import b32encode
from dataclasses import dataclass, field
from datetime import date, timedelta
from hashlib import sha256

from pydicom._uid_dict import UID_dictionary

SECRET_BYTES = 32
SHIFT_DAYS = range(8, 3651)  # never less than a week: `reidentify` tells a platform's own dates from shifted ones by it
# DICOM's root, and coding schemes that PS3.16 Table 8-1 names outside it. Devices have been seen to make instance UIDs under DICOM's
# root too: only short numbers count, for those are assigned and not made.
_STANDARD = re.compile(
    r"1\.2\.840\.10008(?:\.(?:0|[1-9]\d{0,3})){1,10}"
    r"|(?:2\.16\.840\.1\.113883\.[56]|1\.3\.6\.1\.4\.1\.19376|1\.2\.276\.0\.76\.5)(?:\.(?:0|[1-9]\d{0,3})){1,3}", re.ASCII,
)  # fmt: skip
STANDARD_LENGTH = 40
_DATE = re.compile(r"(\d{4})(?:(\d\d)(?:(\d\d)(.*))?)?", re.DOTALL)
_OLD_DATE = re.compile(r"(\d{4})\.(\d\d)\.(\d\d)")
_DATETIME_REST = re.compile(r"(?:\d{2}){0,3}(?:\.\d{1,6})?(?:[+-]\d{4})?")


def uid_is_standard(uid: str) -> bool:
    """A UID that means the same everywhere: SOP classes, transfer syntaxes, well-known frames of reference, coding schemes."""
    return uid in UID_dictionary or (len(uid) <= STANDARD_LENGTH and _STANDARD.fullmatch(uid) is not None)


def date_shift(text: str, days: int) -> str | None:
    """A DA or DT value (PS3.5 6.2) moved by `days`; the time of day stays, and the precision. None: it is no date."""
    if old := _OLD_DATE.fullmatch(text):  # DA before 1993
        text = "".join(old.groups())
    found = _DATE.fullmatch(text)
    if found is None:
        return None
    year, month, day, rest = found.groups()
    if rest and not _DATETIME_REST.fullmatch(rest):
        return None
    try:
        moved = date(int(year), int(month or 1), int(day or 1)) + timedelta(days=days)
    except (ValueError, OverflowError):
        return None
    return f"{moved:%Y%m%d}".rjust(8, "0")[: 4 + 2 * bool(month) + 2 * bool(day)] + (rest or "")


@dataclass(frozen=True)
class Keys:
    """Everything that is derived from the secret of one hospital's connection to one platform.

    HMAC-SHA256 with a label per kind, so that a PatientID and an accession number of the same characters have nothing in common.
    """

    secret: bytes = field(repr=False)
    _uids: dict[str, str] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        if len(self.secret) < SECRET_BYTES:
            raise ValueError(f"the secret needs {SECRET_BYTES} bytes or more")

    def _digest(self, label: str, value: str) -> bytes:
        return hmac.digest(self.secret, f"{label}\0{value}".encode("utf-8", "surrogateescape"), sha256)

    def uid(self, original: str) -> str:
        """`2.25.` and 128 bits (PS3.5 B.2); a standard UID is returned as it is."""
        known = self._uids.get(original)
        if known is None:
            if len(self._uids) > 100_000:
                self._uids.clear()
            known = original if uid_is_standard(original) else f"2.25.{int.from_bytes(self._digest('uid', original)[:16])}"
            self._uids[original] = known
        return known

    def identifier(self, kind: str, original: str) -> str:
        """16 characters A-Z and 2-7, which fit SH and LO. `kind` is e.g. `patient`, `accession`, `study`."""
        return b32encode(self._digest(kind, original)[:10]).decode("ascii")

    def shift_days(self, patient: str) -> int:
        """How many days earlier all dates of this patient are told: constant, 8 to 3650."""
        return SHIFT_DAYS[int.from_bytes(self._digest("dates", patient)[:8]) % len(SHIFT_DAYS)]


def keys_derive(master: bytes, *, tenant_id: int, connection_id: int) -> Keys:
    """Keys of one connection: another hospital's, or another platform's, can't be linked with them."""
    return Keys(hmac.digest(master, f"deident\0{tenant_id}\0{connection_id}".encode("ascii"), sha256))
