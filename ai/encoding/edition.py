"""Which version of which report is encoded, and the UIDs that follow from that alone: a retry makes the same objects."""

import hashlib
from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

Kind = Literal["SR", "SEG", "SC", "PDF", "KOS", "DEVICE", "TRACK", "DIMENSIONS"]
SERIES_NUMBERS = {"SR": 9101, "SEG": 9102, "SC": 9103, "PDF": 9104, "KOS": 9105}


class EncodingError(ValueError):
    """The report cannot be this object: no source image, nothing to say, a reference to an image that was not given."""


@dataclass(frozen=True, kw_only=True)
class Verifier:
    """The person who answers for a version, as DICOM names people (PN), for which organization, and since when."""

    name: str
    organization: str
    at: datetime


@dataclass(frozen=True, kw_only=True)
class Edition:
    """`issued_at` is aware, in the hospital's own zone. `replaces`: an earlier version's number that was filed before, 0 for none.

    `is_final`: a named person has decided; then `verifier` says who, and the SR is VERIFIED.
    """

    report_uuid: UUID
    version: int
    issued_at: datetime
    replaces: int = 0
    is_final: bool = False
    verifier: Verifier | None = None

    def series_uid(self, kind: Kind) -> str:
        """One series a kind and report: its versions stand together."""
        return uid_of(self.report_uuid, kind, "series")

    def sop_uid(self, kind: Kind, place: int = 0, *, version: int = 0) -> str:
        return uid_of(self.report_uuid, kind, version or self.version, place)


def uid_of(*parts: object) -> str:
    """A UID that the same parts give again: 128 bits of their SHA-256 as a UUID of version 8 under 2.25 (PS3.5 B.2, RFC 9562)."""
    digest = bytearray(hashlib.sha256("|".join(str(part) for part in parts).encode()).digest()[:16])
    digest[6] = digest[6] & 0x0F | 0x80
    digest[8] = digest[8] & 0x3F | 0x80
    return f"2.25.{int.from_bytes(digest, 'big')}"
