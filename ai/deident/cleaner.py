"""The walk over one object's elements, each by the rule of its tag. `engine` cuts and writes, this decides and encodes."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from pydicom.valuerep import TEXT_VR_DELIMS

from ai.deident.blocks import Blocked
from ai.deident.profile import BASIC, CLEAN_PIXELS, CLEAN_STRUCTURED_CONTENT, MEANINGS, Profile
from ai.deident.rules import GEOMETRY, Action, Rule, rules_of
from ai.deident.surrogates import Keys, date_shift
from ai.deident.values import dummy, element_bytes, is_trusted, numbers, sequence_bytes
from ai.deident.walk import PIXEL_GROUP, Buffer, Element, elements, inner_encoding, items, nesting_check, sent_vr
from ai.deident.words import words_clean
from imaging.header import EXPLICIT_BIG, Encoding, text_decode

CONTENT_SEQUENCE, BURNED_IN, DOCUMENT, FRAME_OF_REFERENCE = 0x0040A730, 0x00280301, 0x00420011, 0x00200052
PERSON_CODE = 0x00401101
# What kind of thing a UID names; `other` for the rest.
KINDS = {
    0x0020000D: "study", 0x0020000E: "series", 0x00080018: "sop", 0x00081155: "sop", 0x00041511: "sop", 0x00080058: "sop",
    0x00081167: "sop", 0x00200242: "sop", FRAME_OF_REFERENCE: "frame", 0x30060024: "frame", 0x300600C2: "frame", 0x00640003: "frame",
    0x0018991E: "frame", 0x00209312: "frame", 0x00209313: "frame",
}  # fmt: skip
PRIVATE_VALUE_CAP = 256
WRITTEN_ANEW = frozenset((0x00100010, 0x00100020))  # at the top level


@dataclass(frozen=True, slots=True)
class Geometry:
    """Matrix and frame of a source image, for the gate. Spacing in mm, orientation as six cosines; () where it has none."""

    rows: int = 0
    columns: int = 0
    frames: int = 1
    frame_of_reference: str = ""
    spacing: tuple[float, ...] = ()
    orientation: tuple[float, ...] = ()


class Cleaner:
    """The walk over one object. Collects what the mapping needs on the way."""

    def __init__(
        self, data: Buffer, *, profile: Profile, keys: Keys, person: str, charset: bytes, names: frozenset[str],
    ) -> None:  # fmt: skip
        self.data, self.profile, self.keys = data, profile, keys
        self.charset, self.names = charset, names
        self.rules = rules_of(profile)
        self.private = {(entry.creator, entry.group, entry.element): entry.vr for entry in profile.safe_private}
        self.patient = keys.identifier("patient", person)
        self.shift = -keys.shift_days(person)
        self.geometry: dict[str, tuple[float, ...]] = {}
        self.frame_of_reference = ""
        self.uids: dict[str, dict[str, str]] = {}
        self.counts: Counter[str] = Counter()
        self.is_structured = False
        self.doers: dict[Action, Callable[[Element, Rule, Encoding, int], bytes]] = {
            Action.EMPTY: self._empty, Action.DUMMY: self._dummy, Action.UID: self._uid, Action.SHIFT: self._shift,
            Action.WORDS: self._words, Action.PATIENT: self._patient, Action.NAME: self._patient,
            Action.ACCESSION: self._identifier, Action.STUDY_ID: self._identifier, Action.AGE: self._age, Action.ITEMS: self._items,
        }  # fmt: skip

    def level(
        self, found: list[Element], encoding: Encoding, depth: int, *, skipped: frozenset[int] = frozenset(),
    ) -> list[tuple[int, bytes]]:  # fmt: skip
        """What is left of one level, as (tag, encoded element) in order."""
        nesting_check(depth)
        creators: dict[int, str] = {}
        parts: list[tuple[int, bytes]] = []
        for element in found:
            tag = element.tag
            if tag >> 16 & 1:
                self._private(element, encoding, creators, parts)
            elif tag not in skipped and not (depth and tag >> 16 == PIXEL_GROUP):
                encoded = self._element(element, encoding, depth)
                if encoded:
                    parts.append((tag, encoded))
        if creators:
            parts.sort(key=lambda part: part[0])
        return parts

    def _element(self, element: Element, encoding: Encoding, depth: int) -> bytes:
        rule = self.rules[element.tag]
        action = rule.action
        is_sequence = rule.vr == "SQ"
        if action is not Action.REMOVE and (element.vr == b"SQ" or element.is_undefined) != is_sequence and (
            not is_sequence or sent_vr(element.vr)
        ):
            action = Action.REMOVE  # a sequence where none may be, or none where one must be
        if action is Action.KEEP or action is Action.GEOMETRY:
            return self._keep(element, rule, encoding)
        self.counts[action.name.lower()] += 1
        if action is Action.REMOVE:
            return b""
        return self.doers[action](element, rule, encoding, depth)

    def _keep(self, element: Element, rule: Rule, encoding: Encoding) -> bytes:
        sent = sent_vr(element.vr)
        value = self.data[element.start : element.stop]
        if not is_trusted(rule.vr, sent, value):
            self.counts["distrusted"] += 1
            return b""
        if element.tag == BURNED_IN:
            if CLEAN_PIXELS in self.profile.options:
                return element_bytes(BURNED_IN, "CS", b"NO", encoding)
            if value.strip(b" \0").upper() == b"YES":
                raise Blocked("burned_in", "a picture inside the object carries annotation")
        if rule.action is Action.GEOMETRY:
            self.geometry.setdefault(GEOMETRY[element.tag], numbers(value, sent or rule.vr, encoding))
        return self.data[element.at : element.after]

    def _otherwise(self, element: Element, rule: Rule, encoding: Encoding) -> bytes:
        if rule.otherwise is Action.EMPTY:
            return self._empty(element, rule, encoding, 0)
        return self._dummy(element, rule, encoding, 0) if rule.otherwise is Action.DUMMY else b""

    def _empty(self, element: Element, rule: Rule, encoding: Encoding, depth: int) -> bytes:
        return element_bytes(element.tag, rule.vr, b"", encoding)

    def _dummy(self, element: Element, rule: Rule, encoding: Encoding, depth: int) -> bytes:
        if element.tag == DOCUMENT:
            raise Blocked("document", "an encapsulated document can't be de-identified")
        if element.tag == PERSON_CODE:
            item = b"".join(
                element_bytes(tag, vr, value, encoding)
                for tag, vr, value in ((0x00080100, "SH", b"0"), (0x00080102, "SH", b"99REMOVED"), (0x00080104, "LO", b"REMOVED"))
            )
            return sequence_bytes(PERSON_CODE, "SQ", [item], encoding, encoding)
        return element_bytes(element.tag, rule.vr, dummy(rule.vr), encoding)

    def _uid(self, element: Element, rule: Rule, encoding: Encoding, depth: int) -> bytes:
        kind = KINDS.get(element.tag, "other")
        told = []
        for part in self.data[element.start : element.stop].decode("ascii", "replace").split("\\"):
            original = part.strip(" \0")
            surrogate = self.keys.uid(original) if original else ""
            if surrogate != original:
                self.uids.setdefault(kind, {})[surrogate] = original
            told.append(surrogate)
        if element.tag == FRAME_OF_REFERENCE:
            self.frame_of_reference = self.frame_of_reference or told[0]
        return element_bytes(element.tag, "UI", "\\".join(told).encode("ascii"), encoding)

    def _shift(self, element: Element, rule: Rule, encoding: Encoding, depth: int) -> bytes:
        value = self.data[element.start : element.stop]
        if not value.strip(b" \0"):
            return element_bytes(element.tag, rule.vr, b"", encoding)
        if not is_trusted(rule.vr, sent_vr(element.vr), value):
            return self._otherwise(element, rule, encoding)
        if rule.vr == "TM":
            return element_bytes(element.tag, "TM", value, encoding)
        moved = [date_shift(part.strip(" \0"), self.shift) for part in value.decode("ascii", "replace").split("\\")]
        if any(part is None for part in moved):
            return self._otherwise(element, rule, encoding)
        return element_bytes(element.tag, rule.vr, "\\".join(part or "" for part in moved).encode("ascii"), encoding)

    def _words(self, element: Element, rule: Rule, encoding: Encoding, depth: int) -> bytes:
        kept = words_clean(text_decode(self.data[element.start : element.stop], self.charset, TEXT_VR_DELIMS), names=self.names)
        if rule.vr == "SH":
            kept = kept[:16].rsplit(" ", 1)[0] if len(kept) > 16 else kept
        return element_bytes(element.tag, rule.vr, kept.encode("ascii"), encoding) if kept else self._otherwise(element, rule, encoding)

    def _patient(self, element: Element, rule: Rule, encoding: Encoding, depth: int) -> bytes:
        return element_bytes(element.tag, rule.vr, self.patient.encode("ascii"), encoding)

    def _identifier(self, element: Element, rule: Rule, encoding: Encoding, depth: int) -> bytes:
        original = text_decode(self.data[element.start : element.stop], self.charset, TEXT_VR_DELIMS).strip(" \0")
        told = self.keys.identifier(rule.action.name.lower(), original) if original else ""
        return element_bytes(element.tag, rule.vr, told.encode("ascii"), encoding)

    def _age(self, element: Element, rule: Rule, encoding: Encoding, depth: int) -> bytes:
        value = self.data[element.start : element.stop]
        if not is_trusted("AS", sent_vr(element.vr), value):
            return self._otherwise(element, rule, encoding)
        # 45 CFR 164.514(b)(2)(i)(C): ages over 89 are told as one
        return element_bytes(element.tag, "AS", b"090Y" if value[3:4] == b"Y" and value[:3] > b"089" else value.strip(b" "), encoding)

    def _items(self, element: Element, rule: Rule, encoding: Encoding, depth: int) -> bytes:
        if element.tag == CONTENT_SEQUENCE:
            self.is_structured = True
        inner = inner_encoding(element.tag, element.vr, encoding)
        contents = [
            b"".join(part for _, part in self.level(list(elements(self.data, start, stop, inner)), inner, depth + 1))
            for start, stop in items(self.data, element, inner)
        ]
        return sequence_bytes(element.tag, "UN" if element.vr == b"UN" else "SQ", contents, encoding, inner)

    def _private(
        self, element: Element, encoding: Encoding, creators: dict[int, str], parts: list[tuple[int, bytes]],
    ) -> None:  # fmt: skip
        """X of PS3.15, but for numbers that the profile lists by their creator (E.3.10)."""
        tag, low = element.tag, element.tag & 0xFFFF
        if not self.private:
            return
        if 0x10 <= low <= 0xFF:
            creators[tag] = self.data[element.start : min(element.stop, element.start + 65)].decode("ascii", "replace").strip(" \0")
            return
        owner = tag & 0xFFFF0000 | low >> 8
        vr = self.private.get((creators.get(owner, ""), tag >> 16, low & 0xFF))
        if vr is None or element.is_undefined or element.stop - element.start > PRIVATE_VALUE_CAP:
            return
        value, sent = self.data[element.start : element.stop], sent_vr(element.vr)
        if sent not in ("", vr) or not is_trusted(vr, vr, value) or (sent == "" and encoding is EXPLICIT_BIG):
            return
        if all(part[0] != owner for part in parts):
            parts.append((owner, element_bytes(owner, "LO", creators[owner].encode("ascii"), encoding)))
        parts.append((tag, element_bytes(tag, vr, value, encoding)))

    def codes(self) -> tuple[str, ...]:
        """CID 7050, exactly what was applied to this object."""
        applied = self.profile.options | ({CLEAN_STRUCTURED_CONTENT} if self.is_structured else set())
        return (BASIC, *sorted(applied))

    def written(self, encoding: Encoding) -> list[tuple[int, bytes]]:
        """(0012,0062-0064), (0028,0303), and the patient, who is always there."""
        codes = self.codes()
        items = [
            b"".join((
                element_bytes(0x00080100, "SH", code.encode("ascii"), encoding),
                element_bytes(0x00080102, "SH", b"DCM", encoding),
                element_bytes(0x00080104, "LO", MEANINGS[code].encode("ascii"), encoding),
            ))
            for code in codes
        ]  # fmt: skip
        options = " ".join(codes[1:]) or "none"
        halves = [f"options {options}"] if len(options) <= 56 else [f"options {options[:55]}", options[56:]]
        method = "\\".join(["PS3.15 Annex E, UIDs and identifiers by keyed hash", *halves])
        found = {
            0x00100010: element_bytes(0x00100010, "PN", self.patient.encode("ascii"), encoding),
            0x00100020: element_bytes(0x00100020, "LO", self.patient.encode("ascii"), encoding),
            0x00120062: element_bytes(0x00120062, "CS", b"YES", encoding),
            0x00120063: element_bytes(0x00120063, "LO", method.encode("ascii"), encoding),
            0x00120064: sequence_bytes(0x00120064, "SQ", items, encoding, encoding),
            0x00280303: element_bytes(0x00280303, "CS", self.profile.temporal_information.encode("ascii"), encoding),
        }
        return list(found.items())
