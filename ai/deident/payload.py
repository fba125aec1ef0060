"""The gate and the way back for what returns as JSON: a hook's body, FHIR resources, DICOM JSON. `ai.results` calls it."""

import re
from collections.abc import Collection, Iterator
from typing import Any

from ai.deident.gate import GateRefused
from ai.deident.mapping import Mapping
from ai.deident.surrogates import uid_is_standard

DEPTH_CAP = 64
VALUES_CAP = 200_000
# A UID anywhere in a text, `urn:oid:` before it or not. Shorter chains of numbers are versions and addresses.
_UID = re.compile(r"(?<![0-9A-Za-z.])(?:2\.25\.[1-9][0-9]{0,38}|[0-2](?:\.(?:0|[1-9][0-9]{0,38})){4,30})(?![0-9A-Za-z]|\.[0-9])")
LEAST_CHARACTERS = 16
NOT_INSTANCES = frozenset(("system",))  # FHIR: what names a code system or a kind of identifier, never an instance


def uids_check(payload: Any, *, mapping: Mapping, own: Collection[str] = ()) -> None:
    """Raises GateRefused when a UID in nested dicts, lists and strings isn't of this job, standard, or the platform's `own`."""
    known, mine = mapping.all_uids, frozenset(own)
    for text in _texts(payload):
        for uid in _found(text):
            if uid not in known and uid not in mine and not uid_is_standard(uid):
                raise GateRefused("foreign_uid", "the result refers to something that isn't part of this job")


def uids_reverse(payload: Any, *, mapping: Mapping) -> Any:
    """The same with this job's surrogates replaced by the originals; UIDs, PatientID and keys that aren't surrogates stay."""
    known = mapping.all_uids | {mapping.patient: mapping.original_patient}
    return _reversed(payload, known, 0)


def _reversed(value: Any, known: dict[str, str], depth: int) -> Any:
    if depth > DEPTH_CAP:
        raise GateRefused("unreadable", f"the result is nested deeper than {DEPTH_CAP}")
    if isinstance(value, str):
        return known[value] if value in known else _UID.sub(lambda found: known.get(found[0], found[0]), value)
    if isinstance(value, dict):
        return {_reversed(key, known, depth + 1): _reversed(inner, known, depth + 1) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_reversed(inner, known, depth + 1) for inner in value]
    return value


def _found(text: str) -> Iterator[str]:
    for found in _UID.finditer(text):
        if len(found[0]) >= LEAST_CHARACTERS or found[0].startswith("2.25."):
            yield found[0]


def _texts(payload: Any) -> Iterator[str]:
    """All strings, keys too, but for the values of NOT_INSTANCES. Raises GateRefused beyond the caps."""
    stack: list[tuple[Any, int]] = [(payload, 0)]
    left = VALUES_CAP
    while stack:
        value, depth = stack.pop()
        left -= 1
        if depth > DEPTH_CAP or left < 0:
            raise GateRefused("unreadable", "the result is nested too deep or too large")
        if isinstance(value, str):
            yield value
        elif isinstance(value, dict):
            stack.extend((key, depth + 1) for key in value)
            stack.extend((inner, depth + 1) for key, inner in value.items() if key not in NOT_INSTANCES or not isinstance(inner, str))
        elif isinstance(value, list | tuple):
            stack.extend((inner, depth + 1) for inner in value)
