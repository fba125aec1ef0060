"""What an answer may say is a matter of its algorithm's role; the rest is left out with a note, or refused. Used by every parse.

Triage may flag and nothing more; a store may only say what it has; a language model only words (DESIGN section 6).
"""

from collections.abc import Callable
from dataclasses import replace

from ai.cards import Card, Role
from ai.contract import PlatformError
from ai.findings import Answer, Coding, Note, Receipt

SCT = "http://snomed.info/sct"
NOT_FLAGGED = "not_flagged"
PRESENT = frozenset({(SCT, "52101004"), (SCT, "10828004")})  # Present, Positive


def role_of(card: Card, algorithm: str) -> Role:
    """Raises PlatformError for an algorithm that the card does not have."""
    found = next((one for one in card.algorithms if one.name == algorithm), None)
    if found is None:
        raise PlatformError("the platform has no algorithm of that name", is_permanent=True)
    return found.role


def role_apply(answer: Answer, role: Role) -> Answer:
    """The answer as its role may give it. Raises PlatformError for one that says what the role never may."""
    return RULES[role](answer)


def _seen(answer: Answer) -> Answer:
    """Detection, quantification, autonomous: what was seen in the images, or why not."""
    if answer.receipt is not None or answer.wording is not None:
        raise PlatformError("the answer is a receipt or wording, not a result", is_permanent=True)
    return answer


def _triage(answer: Answer) -> Answer:
    """A flag, or none. No flag is no statement about the patient: the platform has the images, that is all it says."""
    _seen(answer)
    if answer.not_analysable is not None:
        return answer
    is_flagged = answer.is_flagged or any(_is_present(finding.value) for finding in answer.findings)
    left_out = sum(len(part) for part in (answer.measurements, answer.findings, answer.regions, answer.documents))
    notes = list(answer.notes)
    if left_out:
        notes.append(Note(code="role", text=f"{left_out} parts of the answer were left out: a triage algorithm may flag and nothing more"))
    if not is_flagged:
        notes.append(Note(code=NOT_FLAGGED, text="the triage algorithm did not flag this study; that is no negative finding"))
    return replace(
        answer, measurements=(), findings=(), regions=(), documents=(), notes=tuple(notes), is_flagged=is_flagged,
        receipt=None if is_flagged else Receipt(instances=len(answer.sop_uids)),
    )  # fmt: skip


def _storage(answer: Answer) -> Answer:
    if answer.is_seen or answer.wording is not None or answer.not_analysable is not None or answer.receipt is None:
        raise PlatformError("a store may say what it has, and nothing else", is_permanent=True)
    return answer


def _wording(answer: Answer) -> Answer:
    if answer.is_seen or answer.receipt is not None or answer.not_analysable is not None or answer.wording is None:
        raise PlatformError("a language model gives wording and nothing else", is_permanent=True)
    return answer


def _is_present(value: Coding | None) -> bool:
    return value is not None and (value.system, value.code) in PRESENT


RULES: dict[Role, Callable[[Answer], Answer]] = {
    "triage": _triage, "detection": _seen, "quantification": _seen, "autonomous": _seen, "storage": _storage, "wording": _wording,
}  # fmt: skip
