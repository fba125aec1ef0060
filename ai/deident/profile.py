"""Which options of the confidentiality profile a platform gets (PS3.15 Annex E, CID 7050). An invalid choice can't be constructed."""

import re
from dataclasses import dataclass

BASIC = "113100"
CLEAN_PIXELS = "113101"
CLEAN_GRAPHICS = "113103"
CLEAN_STRUCTURED_CONTENT = "113104"
CLEAN_DESCRIPTORS = "113105"
FULL_DATES = "113106"
MODIFIED_DATES = "113107"
PATIENT_CHARACTERISTICS = "113108"
DEVICE_IDENTITY = "113109"
SAFE_PRIVATE = "113111"
INSTITUTION_IDENTITY = "113112"

MEANINGS = {
    BASIC: "Basic Application Confidentiality Profile",
    CLEAN_PIXELS: "Clean Pixel Data Option",
    CLEAN_GRAPHICS: "Clean Graphics Option",
    CLEAN_STRUCTURED_CONTENT: "Clean Structured Content Option",
    CLEAN_DESCRIPTORS: "Clean Descriptors Option",
    FULL_DATES: "Retain Longitudinal Temporal Information Full Dates Option",
    MODIFIED_DATES: "Retain Longitudinal Temporal Information Modified Dates Option",
    PATIENT_CHARACTERISTICS: "Retain Patient Characteristics Option",
    DEVICE_IDENTITY: "Retain Device Identity Option",
    SAFE_PRIVATE: "Retain Safe Private Option",
    INSTITUTION_IDENTITY: "Retain Institution Identity Option",
}
NOT_OFFERED = {
    "113102": "faces in head images are not removed",
    CLEAN_STRUCTURED_CONTENT: "it isn't chosen: texts and names of a structured report are always emptied",
    "113110": "UIDs are always replaced",
}
OFFERED = frozenset(MEANINGS) - {BASIC} - frozenset(NOT_OFFERED)
NUMERIC_VRS = frozenset(("DS", "IS", "FL", "FD", "US", "SS", "UL", "SL", "UV", "SV"))
_CREATOR = re.compile(r"[ -\[\]-~]{1,64}")


class ProfileError(ValueError):
    """The options can't stand together or aren't offered."""


@dataclass(frozen=True, order=True)
class SafePrivate:
    """A private element that a platform needs (PS3.15 E.3.10). Only numbers: no text passes through a private element.

    `element` is the low byte, whatever block the creator reserved: 0x100E of Philips's (2005,10xx) is group 0x2005, element 0x0E.
    """

    creator: str
    group: int
    element: int
    vr: str

    def __post_init__(self) -> None:
        if not _CREATOR.fullmatch(self.creator) or self.creator != self.creator.strip():
            raise ProfileError("a private creator is 1 to 64 plain characters")
        if not (self.group & 1 and 8 < self.group < 0xFFFF and 0 <= self.element <= 0xFF):
            raise ProfileError("a private element is an odd group and one byte")
        if self.vr not in NUMERIC_VRS:
            raise ProfileError("only numeric private elements can be kept")


@dataclass(frozen=True)
class Profile:
    """The Basic Profile with `options`, codes of CID 7050. Raises ProfileError for what isn't offered or contradicts itself.

    113101 is a statement of the caller: the pixels were cleaned before. The engine never looks at pixels.
    """

    options: frozenset[str] = frozenset()
    safe_private: frozenset[SafePrivate] = frozenset()

    def __post_init__(self) -> None:
        if refused := sorted(self.options & frozenset(NOT_OFFERED)):
            raise ProfileError(f"{refused[0]} is not offered: {NOT_OFFERED[refused[0]]}")
        if unknown := sorted(self.options - OFFERED):
            raise ProfileError(f"not an option of CID 7050: {unknown[0]}")
        if {FULL_DATES, MODIFIED_DATES} <= self.options:
            raise ProfileError("dates are either kept or shifted, not both (PS3.15 E.3.6)")
        if bool(self.safe_private) != (SAFE_PRIVATE in self.options):
            raise ProfileError("113111 and a list of private elements belong together")

    @property
    def temporal_information(self) -> str:
        """(0028,0303), PS3.3 C.12.1.1.7."""
        return "UNMODIFIED" if FULL_DATES in self.options else "MODIFIED" if MODIFIED_DATES in self.options else "REMOVED"


# Scaling and diffusion weighting, without which numbers of these scanners mean nothing (PS3.15 Table E.3.10-1).
SCANNER_NUMBERS = frozenset((
    SafePrivate("Philips PET Private Group", 0x7053, 0x00, "DS"),
    SafePrivate("Philips PET Private Group", 0x7053, 0x09, "DS"),
    SafePrivate("Philips MR Imaging DD 001", 0x2005, 0x0D, "FL"),
    SafePrivate("Philips MR Imaging DD 001", 0x2005, 0x0E, "FL"),
    SafePrivate("Philips Imaging DD 001", 0x2001, 0x03, "FL"),
    SafePrivate("SIEMENS MR HEADER", 0x0019, 0x0C, "IS"),
    SafePrivate("SIEMENS MR HEADER", 0x0019, 0x0E, "FD"),
    SafePrivate("GEMS_PARM_01", 0x0043, 0x39, "IS"),
))  # fmt: skip

DEFAULT = Profile(
    options=frozenset((
        CLEAN_GRAPHICS, CLEAN_DESCRIPTORS, MODIFIED_DATES, PATIENT_CHARACTERISTICS, DEVICE_IDENTITY, SAFE_PRIVATE,
    )),
    safe_private=SCANNER_NUMBERS,
)  # fmt: skip
