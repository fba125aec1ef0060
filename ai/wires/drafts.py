"""Does a draft say only what was given, and all of it? Sentence by sentence, each against one finding. Used by the chat wire.

A language model is not trusted to repeat: a number, a word or a negation that its finding does not have drops the whole draft.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from ai.findings import Coding, Finding, Measurement, ReportContent

MAX_NAME = 120
# A number with its sign, a word, or a sign that could mean something (<, ±, ?, %); punctuation and Markdown's marks mean nothing.
TOKEN = re.compile(r"[-\u2212]?\d[\d,]*(?:\.\d+)?(?:[eE][-+]?\d{1,3})?|[^\W\d_]+|[^\w\s.,;:()'\"*#\u2013\u2014\u2212-]")
CLAUSES = re.compile(r"(?<=[.;!?])\s+|\n+|;")
NEGATIVE = frozenset({
    "no", "not", "none", "nor", "neither", "never", "without", "absent", "absence", "negative", "free", "excluded", "unremarkable",
    "unlikely", "cannot", "non", "lack", "lacks",
})  # fmt: skip
# Words that state nothing: a sentence may add them. No word of degree, comparison, doubt or number is among them.
GLUE = frozenset({
    "a", "an", "the", "of", "in", "on", "at", "by", "for", "from", "with", "and", "to", "it", "its", "this", "that", "these", "there",
    "which", "is", "are", "was", "were", "be", "been", "has", "have", "had", "measured", "measures", "measure", "measurement",
    "calculated", "computed", "determined", "reported", "shows", "finding", "findings", "noted", "seen", "value", "values", "result",
    "results", "amounts", "equals", "impression", "study", "examination", "image", "images", "series",
})  # fmt: skip

Token = str | Decimal


@dataclass(frozen=True)
class _Given:
    """One finding as tokens; `value` is what must stand together: the number and its unit, or the word of the statement."""

    tokens: frozenset[Token]
    value: tuple[Token, ...]


def items_of(report: ReportContent) -> dict[str, Any]:
    """What the model is given: codes' displays, numbers, units, sites. No vendor's free words, no identity."""
    return {
        "measurements": [_measurement(one) for one in report.measurements],
        "findings": [_finding(one) for one in report.findings],
    }


def draft_refusal(text: str, report: ReportContent) -> str:
    """Why this draft is dropped, or nothing. The reason never repeats the draft: it may hold anything."""
    items = items_of(report)
    given = [_given(one) for one in (*items["measurements"], *items["findings"])]
    covered: set[int] = set()
    for clause in CLAUSES.split(text):
        tokens = _tokens(clause)
        said = frozenset(tokens) - GLUE
        if not said:
            continue
        fits = [number for number, one in enumerate(given) if said == one.tokens and _stands(one.value, tokens)]
        if not fits:
            return _reason(given, said)
        covered.update(fits)
    missing = len(given) - len(covered)
    return f"it leaves out {missing} of {len(given)} findings" if missing else ""


def _stands(value: Sequence[Token], tokens: Sequence[Token]) -> bool:
    """Whether these tokens follow one another somewhere: 2.7 % is not 2.7 HU, though both units are in the sentence."""
    size = len(value)
    return any(tuple(tokens[at : at + size]) == tuple(value) for at in range(len(tokens) - size + 1))


def _reason(given: Sequence[_Given], said: frozenset[Token]) -> str:
    """The plainest of what is wrong."""
    new = said - frozenset().union(*(one.tokens for one in given))
    if any(isinstance(token, Decimal) for token in new):
        return "it has a number that is not in the findings"
    if new & NEGATIVE:
        return "it has a negation that is not in the findings"
    if new:
        return "it has a word that is not in the findings"
    return "a sentence of it is not exactly one finding"


def _measurement(one: Measurement) -> dict[str, str]:
    value = f"{Decimal(repr(one.value)).normalize():f}"
    return {"name": _name(one.code, one.body_site, one.laterality), "value": value, "unit": one.unit_display[:32]}


def _finding(one: Finding) -> dict[str, str]:
    value = one.value.display[:MAX_NAME] if one.value else "reported"
    return {"name": _name(one.code, one.body_site, one.laterality), "value": value, "unit": ""}


def _name(code: Coding, site: Coding | None, side: Coding | None) -> str:
    parts = [code.display]
    for extra in (side, site):
        if extra is not None and extra.display.split()[0].casefold() not in code.display.casefold():
            parts.append(extra.display)
    return ", ".join(parts)[:MAX_NAME]


def _given(item: dict[str, str]) -> _Given:
    value = tuple(_tokens(f"{item['value']} {item['unit']}"))
    return _Given(tokens=frozenset(_tokens(" ".join(item.values()))) - GLUE, value=value if value != ("reported",) else ())


def _tokens(text: str) -> list[Token]:
    """Words without case, numbers as values: 4,215.2 is 4215.2. A digit of any script is a digit, so nothing hides."""
    plain = "".join(str(int(char)) if char.isdecimal() else char for char in text)
    return [_token(match) for match in TOKEN.findall(plain)]


def _token(match: str) -> Token:
    if any(char.isdecimal() for char in match):
        return Decimal(match.replace(",", "").replace("\u2212", "-"))
    return match.casefold()
