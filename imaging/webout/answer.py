"""The answer to a STOW-RS request (PS3.18 10.5.3, Annex I.2), as JSON or XML: what was taken, warned about, refused.

Knows nothing of the house, so the wires of `ai` use it too. A store's own words are never repeated.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from xml.parsers import expat

import orjson

REFERENCED, FAILED, REASON, WARNING, SOP_UID = "00081199", "00081198", "00081197", "00081196", "00081155"
ALREADY_THERE = frozenset({45070, 0x0111})  # Azure's "already stored", PS3.7's "duplicate SOP instance"
PASSING = frozenset({45071, 0x0110})  # being created by somebody else, processing failure; and A7xx
MAX_JSON_BYTES = 32 * 1024 * 1024
MAX_XML_DEPTH = 16
MAX_NAMED = 100_000


class AnswerError(Exception):
    """The answer says nothing that can be read. `words` go behind "the platform's" or "the archive's"."""

    def __init__(self, words: str, *, is_permanent: bool = False) -> None:
        super().__init__(words)
        self.words = words
        self.is_permanent = is_permanent


@dataclass
class Stored:
    """What the store named: `taken` now or before, of these `warned` with a reason (0008,1196), `refused` with one (0008,1197)."""

    taken: set[str] = field(default_factory=set)
    warned: dict[str, int] = field(default_factory=dict)
    refused: dict[str, int] = field(default_factory=dict)

    def add(self, other: "Stored") -> None:
        self.taken |= other.taken
        self.warned |= other.warned
        self.refused |= other.refused


def is_passing(reason: int) -> bool:
    """May another try help?"""
    return reason in PASSING or reason & 0xFF00 == 0xA700


def answer_read(body: bytes, content_type: str) -> Stored:
    """Referenced and failed instances. An empty body names nothing. Raises AnswerError."""
    if not body.strip():
        return Stored()
    is_xml = "xml" in content_type or body.lstrip()[:1] == b"<"
    found = _xml_items(body) if is_xml else _json_items(_json(body))
    stored = Stored()
    for sequence, item in found:
        uid, reason, warning = str(item.get(SOP_UID) or ""), item.get(REASON), item.get(WARNING)
        if not uid or len(stored.taken) + len(stored.refused) >= MAX_NAMED:
            continue
        if sequence == REFERENCED or reason in ALREADY_THERE:
            stored.taken.add(uid)
            if isinstance(warning, int) and warning:
                stored.warned[uid] = warning
        else:
            stored.refused[uid] = reason if isinstance(reason, int) else 0x0110
    return stored


def _json(body: bytes) -> Any:
    if len(body) > MAX_JSON_BYTES:
        raise AnswerError("answer is too large", is_permanent=True)
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise AnswerError("answer is not JSON") from error


def _json_items(answer: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    datasets = answer if isinstance(answer, list) else [answer]
    for dataset in datasets:
        for sequence in (REFERENCED, FAILED):
            for item in _values(dataset, sequence):
                yield sequence, {tag: next(iter(_values(item, tag)), None) for tag in (SOP_UID, REASON, WARNING)}


def _values(dataset: Any, tag: str) -> list[Any]:
    element = dataset.get(tag) if isinstance(dataset, dict) else None
    found = element.get("Value") if isinstance(element, dict) else None
    return found if isinstance(found, list) else []


def _xml_items(body: bytes) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The Native DICOM Model (PS3.19 A.1), read by expat; a document type is refused, so nothing expands."""
    reader = _XmlReader()
    parser = expat.ParserCreate()
    parser.StartElementHandler, parser.EndElementHandler = reader.start, reader.end
    parser.CharacterDataHandler, parser.StartDoctypeDeclHandler = reader.text, reader.doctype
    try:
        parser.Parse(body, True)
    except expat.ExpatError as error:
        raise AnswerError("answer is not the XML it should be") from error
    yield from reader.items


class _XmlReader:
    """Items of the two sequences, with the first value of each attribute of theirs."""

    def __init__(self) -> None:
        self.items: list[tuple[str, dict[str, Any]]] = []
        self._tags: list[str] = []
        self._depth = 0
        self._words = ""

    def doctype(self, *_: Any) -> None:
        raise AnswerError("answer has a document type")  # a page of a proxy has one

    def start(self, name: str, attributes: dict[str, str]) -> None:
        self._depth += 1
        if self._depth > MAX_XML_DEPTH or len(self.items) > MAX_NAMED:
            raise AnswerError("answer is too deep or too long", is_permanent=True)
        self._words = ""
        if name.endswith("DicomAttribute"):
            self._tags.append(attributes.get("tag", "").upper())
        elif name.endswith("Item") and self._tags and self._tags[-1] in {REFERENCED, FAILED}:
            self.items.append((self._tags[-1], {}))

    def text(self, words: str) -> None:
        self._words = (self._words + words)[:128]

    def end(self, name: str) -> None:
        self._depth -= 1
        if name.endswith("DicomAttribute") and self._tags:
            self._tags.pop()
        elif name.endswith("Value") and self.items and len(self._tags) == 2 and self._tags[0] in {REFERENCED, FAILED}:
            words, tag = self._words.strip(), self._tags[-1]
            if tag == SOP_UID:
                self.items[-1][1].setdefault(SOP_UID, words)
            elif tag in {REASON, WARNING} and words.isascii() and words.isdigit():
                self.items[-1][1].setdefault(tag, int(words))
