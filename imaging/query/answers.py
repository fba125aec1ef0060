"""Answers of a query as encoded data sets (PS3.5 7.1, 6.1.2; PS3.4 C.4.1.1.3.2): straight from values to bytes.

The character set is the one asked for when it holds the text, else none for ASCII, else UTF-8.
"""

import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from pydicom.charset import convert_encodings, decode_bytes, encode_string, python_encoding
from pydicom.valuerep import PN_DELIMS, TEXT_VR_DELIMS

from imaging.query import attributes
from imaging.query.attributes import Attribute
from imaging.query.keys import Key, Query
from imaging.query.match import Value

UTF8 = "ISO_IR 192"
IMPLICIT = "1.2.840.10008.1.2"
LONG_VRS = frozenset(("OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"))
_BINARY = {"US": struct.Struct("<H"), "SS": struct.Struct("<h"), "UL": struct.Struct("<I"), "SL": struct.Struct("<i")}
_TEXT_VRS = frozenset(("LO", "LT", "PN", "SH", "ST", "UC", "UT"))  # what Specific Character Set is about
_HEAD = struct.Struct("<HH")
_DEFAULT = frozenset(("", "ISO_IR 6", "ISO 2022 IR 6"))
_TO_ASCII = b"\x1b(B"
_G0_DESIGNATIONS = frozenset((b"\x1b$B", b"\x1b$("))  # JIS X 0208 and 0212: the only ones in the place of ASCII


class UnfitError(Exception):
    """The character set does not hold the text."""


class CharacterSet:
    """One Specific Character Set, and whether a text is in it."""

    def __init__(self, terms: str) -> None:
        self.terms = terms
        parts = [term.strip() for term in terms.split("\\")]
        self._codecs = list(convert_encodings(parts))
        if parts[0] in _DEFAULT:
            self._codecs[0] = "ascii"  # pydicom takes the default repertoire for Latin-1

    def encode(self, text: str, vr: str) -> bytes:
        """Raises UnfitError: read back, the bytes must be the text, else a peer would read another name."""
        delimiters = PN_DELIMS if vr == "PN" else TEXT_VR_DELIMS
        try:
            if len(self._codecs) == 1:
                encoded = text.encode(self._codecs[0])
            else:
                encoded = _pieces_encode(text, self._codecs, "^=\\" if vr == "PN" else "\\\r\n")
            if decode_bytes(encoded, self._codecs, delimiters) != text:
                raise UnfitError
        except (ValueError, LookupError, IndexError, Warning):
            raise UnfitError from None
        return encoded


def _pieces_encode(text: str, codecs: Sequence[str], delimiters: str) -> bytes:
    """Each component for itself: a delimiter takes the code extensions back (PS3.5 6.1.2.5.3)."""
    encoded, piece = b"", ""
    for char in text:
        if char in delimiters:
            encoded += _piece_encode(piece, codecs) + char.encode("ascii")
            piece = ""
        else:
            piece += char
    return encoded + _piece_encode(piece, codecs)


def _piece_encode(piece: str, codecs: Sequence[str]) -> bytes:
    if piece.isascii():
        return piece.encode("ascii")
    encoded = encode_string(piece, codecs)
    if _G0_DESIGNATIONS & {encoded[at : at + 3] for at in range(len(encoded)) if encoded[at] == 0x1B}:
        encoded = encoded.removesuffix(_TO_ASCII) + _TO_ASCII  # and back, before a delimiter or the end
    return encoded


def character_set_make(asked: str) -> CharacterSet | None:
    """None for a set that is unknown here, and for the default one: then ASCII has none and other text gets UTF-8."""
    terms = [term.strip() for term in asked.split("\\")]
    if (len(terms) == 1 and terms[0] in _DEFAULT) or not all(term in python_encoding for term in terms):
        return None
    try:
        return CharacterSet(asked)
    except (LookupError, ValueError, Warning):
        return None


@dataclass(frozen=True, slots=True)
class _Field:
    """One element: its head without the length, where its value comes from, or the whole of it when it is constant."""

    tag: int
    vr: str
    head: bytes
    length_bytes: int
    position: int  # in the row of values
    items: tuple[Key, ...] = ()
    item_vrs: Mapping[int, str] = field(default_factory=dict)
    constant: bytes = b""


Answers = Sequence[tuple[Key, Attribute | None]]
Constants = Mapping[int, tuple[str, str]]  # tag -> VR and value


class DatasetEncoder:
    """Values in the order of the keys to data sets, or to items of a sequence; made once a query, used for each match."""

    def __init__(self, answers: Answers, *, transfer_syntax_uid: str, constants: Constants) -> None:
        self._is_implicit = transfer_syntax_uid == IMPLICIT
        self._fields = self._fields_make(answers, constants)

    def _fields_make(self, answers: Answers, constants: Constants) -> list[_Field]:
        fields = []
        for position, (key, attribute) in enumerate(answers):
            if key.tag not in constants:
                items = key.items if key.vr == "SQ" else ()
                length_bytes = 4 if self._is_implicit or key.vr in LONG_VRS else 2
                known = dict(attribute.items) if attribute is not None else {}
                fields.append(_Field(key.tag, key.vr, self._head(key.tag, key.vr), length_bytes, position, items, known))
        for tag, (vr, value) in constants.items():
            element = self._element(self._head(tag, vr), vr, value.encode("ascii", "replace"))
            fields.append(_Field(tag, vr, b"", 0, 0, constant=element))
        return sorted(fields, key=lambda one: one.tag)

    def dataset(self, values: Sequence[Value | bytes], charset: CharacterSet | None, *, is_item: bool = False) -> bytes:
        """An item names no character set of its own: it has the data set's. Raises UnfitError."""
        parts: list[bytes] = []
        if charset is not None and not is_item:
            tag = attributes.CHARACTER_SET
            parts.append(self._element(self._head(tag, "CS"), "CS", charset.terms.encode("ascii", "replace")))
        for one in self._fields:
            if one.constant:
                parts.append(one.constant)
                continue
            encoded = self._value(values[one.position], one, charset)
            if len(encoded) & 1:
                encoded += b"\0" if one.vr == "UI" else b" "
            parts += (one.head, len(encoded).to_bytes(one.length_bytes, "little"), encoded)
        body = b"".join(parts)
        return item_encoded(body) if is_item else body

    def _value(self, value: Value | bytes, field: _Field, charset: CharacterSet | None) -> bytes:
        if isinstance(value, bytes):
            return value  # items that are encoded already
        if isinstance(value, list):
            return self._items(value, field, charset) if field.vr == "SQ" else b""
        return self._text(value, field.vr, charset)

    def _text(self, value: str | int | None, vr: str, charset: CharacterSet | None) -> bytes:
        if value is None or value == "" or vr == "SQ":
            return b""
        if vr in _BINARY:
            return _binary(vr, str(value))
        text = str(value)
        if text.isascii():
            return text.encode()
        if vr not in _TEXT_VRS:
            return text.encode("ascii", "replace")
        if charset is None:
            raise UnfitError
        return charset.encode(text, vr)

    def _items(self, items: Iterable[dict[str, str]], field: _Field, charset: CharacterSet | None) -> bytes:
        """The items with the keys asked for, or with all we have when none was named (PS3.4 C.2.2.2.6)."""
        encoded = []
        for item in items:
            wanted = {key.tag: key.vr for key in field.items} or {int(name, 16): "" for name in item}
            encoded.append(item_encoded(b"".join(
                self._element(
                    self._head(tag, vr := _item_vr(field, tag, sent)), vr, self._text(item.get(f"{tag:08X}"), vr, charset),
                )
                for tag, sent in sorted(wanted.items())
            )))
        return b"".join(encoded)

    def _head(self, tag: int, vr: str) -> bytes:
        numbers = _HEAD.pack(tag >> 16, tag & 0xFFFF)
        if self._is_implicit:
            return numbers
        return numbers + vr.encode("ascii") + (b"\0\0" if vr in LONG_VRS else b"")

    def _element(self, head: bytes, vr: str, value: bytes) -> bytes:
        if len(value) & 1:
            value += b"\0" if vr == "UI" else b" "
        if self._is_implicit or vr in LONG_VRS:
            return head + len(value).to_bytes(4, "little") + value
        return head + len(value).to_bytes(2, "little") + value


def _binary(vr: str, text: str) -> bytes:
    form = _BINARY[vr]
    try:
        return b"".join(form.pack(int(part)) for part in text.split("\\"))
    except (ValueError, struct.error):
        return b""


def _item_vr(field: _Field, tag: int, sent: str) -> str:
    return field.item_vrs.get(tag) or (sent if len(sent) == 2 else "UN")


def item_encoded(body: bytes) -> bytes:
    return _HEAD.pack(0xFFFE, 0xE000) + struct.pack("<I", len(body)) + body


class AnswerEncoder:
    """Rows of one query to data sets."""

    def __init__(self, query: Query, *, transfer_syntax_uid: str, retrieve_ae: str) -> None:
        constants = {attributes.QUERY_LEVEL: ("CS", query.level.name), attributes.RETRIEVE_AE: ("AE", retrieve_ae)}
        if any(key.tag == attributes.AVAILABILITY for key, _ in query.answers):
            constants[attributes.AVAILABILITY] = ("CS", "ONLINE")
        self._encoder = DatasetEncoder(query.answers, transfer_syntax_uid=transfer_syntax_uid, constants=constants)
        self._asked = character_set_make(query.character_set)

    def encode(self, values: Sequence[Value]) -> bytes:
        try:
            return self._encoder.dataset(values, self._asked)
        except UnfitError:
            return self._encoder.dataset(values, CharacterSet(UTF8))
