"""A query as a peer states it (PS3.4 C.4.1.1.3, C.4.1.2.1): level and keys, read and checked against the attributes we know."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from imaging.header import BINARY_VRS, Header, HeaderError, header_read, uid_is_valid
from imaging.query import attributes
from imaging.query.attributes import ATTRIBUTES, UNIQUE, Attribute, Level

UNIQUE_NAMES = ("PatientID", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
# What a peer states about the query itself, and no key of it (PS3.4 C.4.1.1.3.1).
_ABOUT = frozenset((attributes.CHARACTER_SET, attributes.QUERY_LEVEL, attributes.QUERY_VIEW))
_ANSWERED = frozenset((attributes.RETRIEVE_AE, attributes.AVAILABILITY))
MAX_KEYS = 200
MAX_VALUE_CHARS = 1 << 20  # a UID list of 15,000
MAX_TEXT_CHARS = 1024


class QueryError(Exception):
    """The identifier is none for this SOP class; `comment` goes to the peer and holds nothing from it."""

    def __init__(self, comment: str) -> None:
        super().__init__(comment)
        self.comment = comment


@dataclass(frozen=True, slots=True)
class Key:
    """One attribute of an identifier: wanted back, and a condition too when it has a value."""

    tag: int
    vr: str
    value: str = ""
    items: tuple["Key", ...] = ()

    @property
    def is_universal(self) -> bool:
        """PS3.4 C.2.2.2.3; a lone * means the same for every VR."""
        return self.value in {"", "*"} and all(item.is_universal for item in self.items)


@dataclass(frozen=True, slots=True)
class Query:
    """Checked: conditions and answers of one level."""

    level: Level
    is_patient_root: bool
    conditions: tuple[tuple[Attribute, Key], ...]
    answers: tuple[tuple[Key, Attribute | None], ...]  # by tag; None: unknown here, so answered empty
    is_combined: bool = False  # dates and times match as one (extended negotiation, PS3.4 C.5.1.1)
    character_set: str = ""
    unique: dict[Level, tuple[str, ...]] = field(default_factory=dict)

    @property
    def has_unsupported(self) -> bool:
        return any(attribute is None and key.tag not in _ANSWERED for key, attribute in self.answers)


@dataclass(frozen=True, slots=True)
class Identifier:
    """An identifier as it came (PS3.4 C.4.1.1.3): decoded, not checked."""

    level: str
    character_set: str
    keys: tuple[Key, ...]


def identifier_read(
    encoded: bytes, *, transfer_syntax_uid: str, known: Mapping[int, Attribute] = ATTRIBUTES,
) -> Identifier:
    """`known`: what can be asked for. Raises QueryError for what is no data set."""
    try:
        header = header_read(encoded, transfer_syntax_uid=transfer_syntax_uid)
        keys = keys_read(header, known)
        level = header.text(attributes.QUERY_LEVEL)
    except HeaderError:
        raise QueryError("the identifier cannot be read") from None
    return Identifier(level, header.text(attributes.CHARACTER_SET), keys)


def keys_read(header: Header, known: Mapping[int, Attribute]) -> tuple[Key, ...]:
    """The keys of a data set or of an item, by tag, read as those that are known. Raises QueryError."""
    keys = tuple(_key(header, tag, known) for tag in sorted(header.values) if tag & 0xFFFF and tag not in _ABOUT)
    if len(keys) > MAX_KEYS:
        raise QueryError("the identifier has too many keys")
    return keys


def _key(header: Header, tag: int, known: Mapping[int, Attribute]) -> Key:
    attribute = known.get(tag)
    if attribute is None:
        return Key(tag, header.vr(tag)[:2])  # "US or SS": either is answered empty
    if attribute.vr == "SQ":
        return Key(tag, "SQ", items=_item_keys(header, attribute))
    return Key(tag, attribute.vr, _key_text(header, tag, attribute.vr))


def _item_keys(header: Header, attribute: Attribute) -> tuple[Key, ...]:
    """The keys of the one item that a sequence key has (PS3.4 C.2.2.2.6), as far as we keep them."""
    known = dict(attribute.items)
    return tuple(
        Key(tag, vr := known.get(tag, item.vr(tag)[:2]), _key_text(item, tag, vr) if tag in known else "")
        for item in sequence_items(header, attribute.tag)[:1]
        for tag in sorted(item.values)
        if tag & 0xFFFF and tag != attributes.CHARACTER_SET
    )


def sequence_items(header: Header, tag: int) -> list[Header]:
    """The items of a sequence; one without a character set of its own has that of the data set (PS3.5 6.1.2.3)."""
    inherited = {attributes.CHARACTER_SET: header.values.get(attributes.CHARACTER_SET, b"")}
    return [Header({**inherited, **item.values}, item.vrs, item.encoding, None) for item in header.items(tag)]


def _key_text(header: Header, tag: int, vr: str) -> str:
    if vr in BINARY_VRS:
        if header.vr(tag) not in BINARY_VRS:  # a private key in implicit VR
            header = Header(header.values, {**header.vrs, tag: vr.encode()}, header.encoding, None)
        return "\\".join(str(number) for number in header.ints(tag))
    return header.text(tag)


def query_parse(
    *, level: str, keys: Iterable[Key], is_patient_root: bool, is_combined: bool = False, is_relational: bool = False,
    character_set: str = "", known: Mapping[int, Attribute] = ATTRIBUTES,
) -> Query:
    """Check the keys against the level. Raises QueryError; its words are fit for a peer.

    `is_relational` drops the demand for the unique keys of the levels above (QIDO-RS may, PS3.18 10.6.1.1).
    """
    at = level_read(level, is_patient_root=is_patient_root)
    given = {key.tag: key for key in keys}
    conditions: list[tuple[Attribute, Key]] = []
    answers: list[tuple[Key, Attribute | None]] = []
    for key in given.values():
        attribute = known.get(key.tag)
        if attribute is not None and attribute.level > at:
            if key.tag in UNIQUE and not key.is_universal:
                raise QueryError("relational queries are not supported")
            attribute = None
        answers.append((key, attribute))
        if attribute is not None and not key.is_universal:
            value_check(key)
            conditions.append((attribute, key))
    unique = unique_read(given, level=at, is_patient_root=is_patient_root, is_demanded=not is_relational)
    if UNIQUE[at] not in given:
        answers.append((Key(UNIQUE[at], ATTRIBUTES[UNIQUE[at]].vr), ATTRIBUTES[UNIQUE[at]]))
    answers += _creators(answers, known, given)
    return Query(
        at, is_patient_root, tuple(conditions), tuple(sorted(answers, key=lambda answer: answer[0].tag)),
        is_combined, character_set, unique,
    )


def _creators(
    answers: Iterable[tuple[Key, Attribute | None]], known: Mapping[int, Attribute], given: Mapping[int, Key],
) -> list[tuple[Key, Attribute | None]]:
    """A private attribute is answered with the element that reserves its block, asked for or not (PS3.5 7.8.1)."""
    tags = {key.tag & 0xFFFF0000 | key.tag >> 8 & 0xFF for key, one in answers if one is not None and one.creator and not one.is_creator}
    return [(Key(tag, "LO"), known[tag]) for tag in sorted(tags - set(given))]


def level_read(text: str, *, is_patient_root: bool) -> Level:
    try:
        level = Level[text.strip().upper()]
    except KeyError:
        raise QueryError("QueryRetrieveLevel is missing or unknown") from None
    if level == Level.PATIENT and not is_patient_root:
        raise QueryError("the study root has no PATIENT level")
    return level


def unique_read(
    given: dict[int, Key], *, level: Level, is_patient_root: bool, is_demanded: bool,
) -> dict[Level, tuple[str, ...]]:
    """Unique keys by level: one value above the level (PS3.4 C.4.1.2.1), at it what was given."""
    found: dict[Level, tuple[str, ...]] = {}
    for at in range(Level.PATIENT if is_patient_root else Level.STUDY, level + 1):
        name, key = UNIQUE_NAMES[at], given.get(UNIQUE[at])
        values = () if key is None or key.is_universal else tuple(key.value.split("\\"))
        if at < level and is_demanded:
            if not values:
                raise QueryError(f"{name} is missing (no relational queries)")
            if len(values) > 1 or "*" in values[0] or (at == Level.PATIENT and "?" in values[0]):
                raise QueryError(f"{name} must be one value at this level")
        if at != Level.PATIENT and not all(uid_is_valid(value) for value in values):
            raise QueryError(f"{name} is not a UID")
        if values:
            found[Level(at)] = values
    return found


def retrieve_parse(identifier: Identifier, *, is_patient_root: bool) -> tuple[Level, dict[Level, tuple[str, ...]]]:
    """Level and unique keys of a C-MOVE or C-GET identifier (PS3.4 C.4.2.2.1); other keys mean nothing there."""
    level = level_read(identifier.level, is_patient_root=is_patient_root)
    given = {key.tag: key for key in identifier.keys}
    unique = unique_read(given, level=level, is_patient_root=is_patient_root, is_demanded=True)
    if level not in unique:
        raise QueryError(f"{UNIQUE_NAMES[level]} is missing")
    if level == Level.PATIENT and (len(unique[level]) > 1 or set("*?") & set(unique[level][0])):
        raise QueryError("PatientID must be one value")
    return level, unique


def value_check(key: Key) -> None:
    """Raises QueryError for a value that is too long to be compared."""
    cap = MAX_VALUE_CHARS if key.vr == "UI" else MAX_TEXT_CHARS
    if len(key.value) > cap:
        raise QueryError("a key is too long")
