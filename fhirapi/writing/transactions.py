"""A transaction: all of its entries or none (FHIR R4 3.1.0.11.2), in the order DELETE, POST, PUT and PATCH, GET.

The writes take a constant number of statements; criteria take one search each.
"""

import base64
import binascii
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from fhirapi.jsontext import InvalidJsonError, json_load
from fhirapi.outcomes import FhirError
from fhirapi.patch.patches import patch_make
from fhirapi.registry import TYPES
from fhirapi.store import Document, lock_name, lock_take
from fhirapi.subscriptions.rows import Author
from fhirapi.writing.conditional import Criteria, criteria_lock, criteria_match, criteria_read
from fhirapi.writing.entries import Entry, EntryRefusedError, duplicates_check, names_check, write_check
from fhirapi.writing.links import conditional, references, replacer, rewritten, root_of
from fhirapi.writing.writes import Change, ChangeRefusedError, Done, changes_write, fhir_id_new

CONDITIONAL_MAX = 200  # searches that one transaction may cost


@dataclass
class _Plan:
    """What is known of the entries while they are settled; by position."""

    base: str
    entries: Sequence[Entry]
    criteria: dict[int, Criteria] = field(default_factory=dict)
    links: dict[str, tuple[Criteria, Entry]] = field(default_factory=dict)  # conditional references, and who has them first
    ids: dict[int, str] = field(default_factory=dict)
    absent: set[int] = field(default_factory=set)  # conditional updates that would create under the client's id
    author: Author | None = None
    done: dict[int, Done] = field(default_factory=dict)
    matched: dict[int, Document] = field(default_factory=dict)  # ifNoneExist that exists


def transaction_write(
    *, entries: Sequence[Entry], base: str, author: Author | None = None
) -> tuple[dict[int, Done], dict[int, Document]]:
    """(what was done, what was found instead of being created), by position. Raises EntryRefusedError."""
    names_check(entries=entries)
    plan = _Plan(base=base, author=author, entries=[entry for entry in entries if entry.method not in {"GET", "HEAD"}])
    for entry in plan.entries:
        with _naming(entry):
            _criteria_gather(plan, entry)
    criteria_lock(several=[*plan.criteria.values(), *(criteria for criteria, _ in plan.links.values())])
    # All that is known by id at once, in one order: two transactions over the same resources wait, and never in a ring.
    lock_take(names=[lock_name(key=(TYPES[one.rtype].number, one.fhir_id)) for one in plan.entries if one.fhir_id])
    deletions = [entry for entry in plan.entries if entry.method == "DELETE"]
    others = sorted((entry for entry in plan.entries if entry.method != "DELETE"), key=lambda entry: entry.method != "POST")
    _identify(plan, deletions)
    _write(plan, deletions, {})
    _identify(plan, others)
    writing = [entry for entry in [*deletions, *others] if entry.position not in plan.matched]
    duplicates_check(keys=[(entry.position, entry.rtype, plan.ids[entry.position]) for entry in writing])
    _write(plan, others, _targets(plan, others))
    return plan.done, plan.matched


def _criteria_gather(plan: _Plan, entry: Entry) -> None:
    """What has to be searched for, so that all of it is locked before anything is."""
    write_check(entry)
    if entry.if_none_exist and entry.method == "POST":
        criteria = criteria_read(rtype=entry.rtype, query=entry.if_none_exist)
        if criteria in plan.criteria.values():
            raise FhirError(400, "Another entry has the same criteria.", code="duplicate")
        plan.criteria[entry.position] = criteria
    elif not entry.fhir_id and entry.method != "POST":
        plan.criteria[entry.position] = criteria_read(rtype=entry.rtype, query=entry.query)
    if entry.method in {"POST", "PUT"}:
        for reference in references(entry.resource):
            if reference not in plan.links and (asked := conditional(reference)):
                plan.links[reference] = criteria_read(rtype=asked[0], query=asked[1]), entry
    if len(plan.criteria) + len(plan.links) > CONDITIONAL_MAX:
        raise FhirError(413, f"A transaction has at most {CONDITIONAL_MAX} different criteria.", code="too-costly")


def _identify(plan: _Plan, entries: Sequence[Entry]) -> None:
    """Settle which resource each entry is about."""
    for entry in entries:
        with _naming(entry):
            _identify_one(plan, entry)


def _identify_one(plan: _Plan, entry: Entry) -> None:
    criteria = plan.criteria.get(entry.position)
    found = criteria_match(criteria=criteria, base=plan.base) if criteria else None
    if entry.method == "POST":
        if found:
            plan.matched[entry.position] = found
        plan.ids[entry.position] = found.fhir_id if found else fhir_id_new()
    elif criteria is None:
        plan.ids[entry.position] = entry.fhir_id
    elif entry.method == "PUT":
        own = str(entry.resource.get("id", ""))
        if found and own and own != found.fhir_id:
            raise FhirError(400, "The resource's id is not that of the resource that matches.")
        plan.ids[entry.position] = found.fhir_id if found else own or fhir_id_new()
        if own and not found:
            plan.absent.add(entry.position)
    elif found is None:
        raise FhirError(404, "Nothing matches the criteria.")
    else:
        plan.ids[entry.position] = found.fhir_id


def _targets(plan: _Plan, entries: Sequence[Entry]) -> dict[str, str]:
    """What every link of the bundle means: fullUrls of its entries, and conditional references."""
    targets = {entry.full_url: f"{entry.rtype}/{plan.ids[entry.position]}" for entry in entries if entry.full_url}
    for reference, (criteria, entry) in plan.links.items():
        with _naming(entry):
            found = criteria_match(criteria=criteria, base=plan.base)
            if found is None:
                raise FhirError(412, "A conditional reference matches nothing.", code="not-found")
        targets[reference] = f"{found.rtype}/{found.fhir_id}"
    return targets


def _write(plan: _Plan, entries: Sequence[Entry], targets: dict[str, str]) -> None:
    writing = [entry for entry in entries if entry.position not in plan.matched]
    if not writing:
        return
    changes = []
    for entry in writing:
        with _naming(entry):
            changes.append(_change(plan, entry, targets))
    try:
        done = changes_write(changes=changes, author=plan.author)
    except ChangeRefusedError as error:
        raise EntryRefusedError(writing[error.position].position, error.cause) from None
    plan.done.update({entry.position: one for entry, one in zip(writing, done, strict=True)})


def _change(plan: _Plan, entry: Entry, targets: dict[str, str]) -> Change:
    names: dict[str, Any] = {"rtype": entry.rtype, "fhir_id": plan.ids[entry.position], "version": entry.version}
    if entry.method == "DELETE":
        return Change(**names, is_deletion=True)
    if entry.method == "PATCH":
        return Change(**names, patch=patch_make(tree=_patch_tree(entry.resource)))
    resource = entry.resource
    if targets:
        resource = rewritten(resource, replacer(targets=targets, root=root_of(entry.full_url)))
    is_new = entry.method == "POST"
    if is_new or not entry.fhir_id:
        resource = resource | {"id": names["fhir_id"]}
    is_absent = entry.if_none_match.strip() == "*" or entry.position in plan.absent
    return Change(**names, resource=resource, is_new=is_new, is_absent=is_absent)


def _patch_tree(resource: dict[str, Any]) -> Any:
    """Parameters, or the JSON Patch that a Binary holds (FHIR R4 3.1.0.11.2)."""
    if resource.get("resourceType") != "Binary":
        return resource
    try:
        return json_load(base64.b64decode(str(resource.get("data", "")), validate=True))
    except (binascii.Error, InvalidJsonError):
        raise FhirError(400, "The Binary holds no JSON Patch.", code="structure") from None


@contextmanager
def _naming(entry: Entry) -> Iterator[None]:
    """Whatever is refused inside is refused for this entry."""
    try:
        yield
    except (FhirError, InvalidJsonError) as error:
        raise EntryRefusedError(entry.position, error) from None
