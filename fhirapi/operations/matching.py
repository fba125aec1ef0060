"""Patient/$match (FHIR R4, operation Patient-match): deterministic, by the weights below, over candidates that an index finds.

Only a shared identifier makes a match certain, and only when neither birth date nor gender speaks against it and nobody else is.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from django.db import connection

from fhirapi.index.hashes import branch_number, token_hash
from fhirapi.index.periods import text_range
from fhirapi.index.values import LOCAL, normalized
from fhirapi.registry import TYPES
from fhirapi.search.pages import time_limit
from fhirapi.store import Document
from journal.wall.scope import tenant_id_current

Json = dict[str, Any]
GRADE = "http://hl7.org/fhir/StructureDefinition/match-grade"
CERTAIN, PROBABLE, POSSIBLE = "certain", "probable", "possible"
# In hundredths. What agrees gives its weight; the score is the sum. docs/conformance/fhir.md says the same.
WEIGHTS = {"family": 25, "given": 20, "birthDate": 30, "gender": 5, "telecom": 10, "address": 10}
PROBABLE_FROM, POSSIBLE_FROM = 75, 40
DOUBTED = 80  # an identifier that other facts speak against, or that two people share
OTHER_BIRTH_DATE, OTHER_GENDER = 0.5, 0.8  # a contradiction's factor
NAME, BIRTH_DATE, IDENTIFIER, TELECOM = "Patient.name", "Patient.birthDate", "Patient.identifier", "Patient.telecom"
EACH_MAX, CANDIDATES_MAX = 1000, 200  # rows that one kind of fact finds; people who are scored


@dataclass(frozen=True, kw_only=True)
class Match:
    document: Document
    score: float
    grade: str


def patients_match(*, patient: Json, is_certain_only: bool) -> list[Match]:
    """The people whom this valid Patient may be, best first: one statement."""
    people = [(document, orjson.loads(document.content)) for document in _candidates(patient)]
    there = {f"Patient/{document.fhir_id}" for document, _ in people}
    # Whoever was merged into one of them is that one.
    scored = [(document, *_scored(patient, one)) for document, one in people if there.isdisjoint(_replaced_by(one))]
    is_shared = sum(is_sure for _, _, is_sure in scored) > 1
    found = []
    for document, facts, is_sure in scored:
        score = DOUBTED if is_sure and is_shared else facts
        grade = CERTAIN if is_sure and not is_shared else PROBABLE if score >= PROBABLE_FROM else POSSIBLE
        if score >= POSSIBLE_FROM and (grade == CERTAIN or not is_certain_only):
            found.append(Match(document=document, score=round(score) / 100, grade=grade))
    return sorted(found, key=lambda match: (-match.score, match.document.fhir_id))


def _candidates(patient: Json) -> list[Document]:
    """Who shares an identifier, a name, the birth date, a telephone number or an address; those who share most first."""
    tenant_id = tenant_id_current()
    facts: list[tuple[str, str | None, str]] = [(IDENTIFIER, system, value) for system, value in sorted(_identifiers(patient))]
    facts += [(TELECOM, None, one["value"]) for one in patient.get("telecom", ()) if one.get("value")]
    tokens = [token_hash(tenant_id=tenant_id, key=key, system=system, code=value) for key, system, value in facts]
    names = sorted(_words(patient, "name", "family", "given"))
    days = [text_range(patient["birthDate"])[0]] if patient.get("birthDate") else []
    birth, name = branch_number(BIRTH_DATE + LOCAL), branch_number(NAME)
    with time_limit(), connection.cursor() as cursor:
        cursor.execute(
            "WITH shared AS (SELECT rid, sum(weight) AS weight FROM ("  # noqa: S608 constants
            f"(SELECT p.rid, 8 AS weight FROM fhir_posting p WHERE p.tenant_id = %s AND p.hv = ANY(%s) LIMIT {EACH_MAX}) "
            "UNION ALL (SELECT DISTINCT x.rid, 4 FROM fhir_date d JOIN fhir_string x ON x.tenant_id = %s AND x.rid = d.rid "
            "AND x.param = %s AND x.norm = ANY(%s) WHERE d.tenant_id = %s AND d.param = %s AND d.lo = ANY(%s)"
            f" LIMIT {EACH_MAX}) "
            f"UNION ALL (SELECT d.rid, 2 FROM fhir_date d WHERE d.tenant_id = %s AND d.param = %s AND d.lo = ANY(%s) LIMIT {EACH_MAX}) "
            "UNION ALL (SELECT x.rid, count(*) FROM fhir_string x WHERE x.tenant_id = %s AND x.param = %s AND x.norm = ANY(%s) "
            f"GROUP BY x.rid ORDER BY count(*) DESC, x.rid LIMIT {EACH_MAX})"
            f") s GROUP BY rid ORDER BY sum(weight) DESC, rid LIMIT {CANDIDATES_MAX}) "
            "SELECT r.fhir_id, r.version, r.last_updated, r.content FROM shared JOIN fhir_resource r "
            "ON r.tenant_id = %s AND r.rid = shared.rid WHERE r.rtype = %s ORDER BY r.rid",
            [
                tenant_id, tokens, tenant_id, name, names, tenant_id, birth, days, tenant_id, birth, days, tenant_id, name, names,
                tenant_id, TYPES["Patient"].number,
            ],
        )  # fmt: skip
        return [
            Document(rtype="Patient", fhir_id=fhir_id, version=version, last_updated=at, content=content)
            for fhir_id, version, at, content in cursor.fetchall()
        ]


def _scored(wanted: Json, found: Json) -> tuple[float, bool]:
    """The weights of what agrees, and whether an identifier says that it is the same person."""
    score: float = sum(weight for name, weight in WEIGHTS.items() if AGREEMENTS[name](wanted, found))
    is_other_day = _differs(wanted, found, "birthDate")
    is_other_gender = _differs(wanted, found, "gender") and "unknown" not in {wanted["gender"], found["gender"]}
    is_shared = bool(_identifiers(wanted) & _identifiers(found))
    if is_shared and not (is_other_day or is_other_gender):
        return 100, True
    score *= (OTHER_BIRTH_DATE if is_other_day else 1) * (OTHER_GENDER if is_other_gender else 1)
    return max(score, DOUBTED) if is_shared else score, False


def _identifiers(patient: Json) -> set[tuple[str, str]]:
    """A number without its system says nothing about who gave it; an old or temporary one may be anybody's by now."""
    return {
        (one["system"], one["value"])
        for one in patient.get("identifier", ())
        if one.get("system") and one.get("value") and one.get("use") not in {"old", "temp"}
    }


def _replaced_by(patient: Json) -> Iterable[str]:
    return (link["other"].get("reference", "") for link in patient.get("link", ()) if link.get("type") == "replaced-by")


def _differs(one: Json, other: Json, name: str) -> bool:
    """Both say something, and not the same; a year alone does not contradict its days."""
    first, second = one.get(name, ""), other.get(name, "")
    return bool(first and second) and not (first.startswith(second) or second.startswith(first))


def _words(patient: Json, name: str, *parts: str) -> set[str]:
    values = [one.get(part, ()) for one in patient.get(name, ()) for part in parts]
    texts = [text for value in values for text in ([value] if isinstance(value, str) else value) if text]
    return {normalized(text) for text in texts}


def _agrees(name: str, *parts: str) -> Callable[[Json, Json], bool]:
    return lambda wanted, found: bool(_words(wanted, name, *parts) & _words(found, name, *parts))


def _same(name: str) -> Callable[[Json, Json], bool]:
    return lambda wanted, found: bool(wanted.get(name)) and wanted[name] == found.get(name)


def _phones(patient: Json) -> set[str]:
    """A telephone number is its digits, however it was spaced."""
    texts = (normalized(one.get("value", "")) for one in patient.get("telecom", ()))
    return {text if "@" in text else "".join(filter(str.isalnum, text)) for text in texts} - {""}


def _lives_there(wanted: Json, found: Json) -> bool:
    return bool(
        (_words(wanted, "address", "line") & _words(found, "address", "line"))
        and (_words(wanted, "address", "city", "postalCode") & _words(found, "address", "city", "postalCode"))
    )


AGREEMENTS: dict[str, Callable[[Json, Json], bool]] = {
    "family": _agrees("name", "family"),
    "given": _agrees("name", "given"),
    "birthDate": _same("birthDate"),
    "gender": _same("gender"),
    "telecom": lambda wanted, found: bool(_phones(wanted) & _phones(found)),
    "address": _lives_there,
}


def match_bundle(*, matches: Sequence[Match], base: str, total: int, now: str) -> bytes:
    """The Bundle, from the stored texts (FHIR R4 2.36.4.1)."""
    entries = []
    for match in matches:
        search = {"extension": [{"url": GRADE, "valueCode": match.grade}], "mode": "match", "score": match.score}
        url = orjson.dumps(f"{base}/Patient/{match.document.fhir_id}").decode()
        entries.append(f'{{"fullUrl":{url},"resource":{match.document.content},"search":{orjson.dumps(search).decode()}}}')
    head = orjson.dumps({"resourceType": "Bundle", "meta": {"lastUpdated": now}, "type": "searchset", "total": total}).decode()
    return (f'{head[:-1]},"entry":[{",".join(entries)}]}}' if entries else head).encode()
