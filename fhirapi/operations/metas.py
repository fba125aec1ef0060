"""The operations $meta, $meta-add and $meta-delete: profiles, tags and security labels (FHIR R4 2.26.3.4)."""

from collections.abc import Sequence
from typing import Any

import orjson
from django.db import connection

from fhirapi.index.hashes import present_hash
from fhirapi.jsontext import json_load
from fhirapi.outcomes import FhirError
from fhirapi.registry import TYPES
from fhirapi.search.pages import time_limit
from fhirapi.store import (
    REST,
    ResourceGoneError,
    Row,
    content_amend,
    draft_make,
    graves_read,
    is_same,
    lock_name,
    lock_take,
    rows_read,
)
from fhirapi.writing.writes import hub_check
from journal.wall.scope import tenant_id_current

Json = dict[str, Any]
SETS = ("profile", "security", "tag")
SETS_MAX = 1000  # different sets of labels that are looked at
KEYS = {"profile": "_profile", "security": "_security", "tag": "_tag"}


def metas_gather(*, rtypes: Sequence[str]) -> Json:
    """Every profile, label and tag that current resources of these types have. Raises FhirError 504 where that takes too long."""
    tenant_id = tenant_id_current()
    keys = [key for name in rtypes for param in KEYS.values() for key in TYPES[name].by_name[param].keys]
    present = [present_hash(tenant_id=tenant_id, key=key) for key in keys]
    with time_limit(), connection.cursor() as cursor:
        # Only of those that have any: the others' texts are not read.
        cursor.execute(
            "SELECT DISTINCT (m.meta -> 'profile')::text, (m.meta -> 'security')::text, (m.meta -> 'tag')::text FROM "  # noqa: S608
            "(SELECT r.content::json -> 'meta' AS meta FROM fhir_resource r WHERE r.tenant_id = %s AND r.rtype = ANY(%s) "
            f"AND r.tok && %s::bigint[] OFFSET 0) m LIMIT {SETS_MAX + 1}",
            [tenant_id, [TYPES[name].number for name in rtypes], present],
        )
        rows = cursor.fetchall()
    if len(rows) > SETS_MAX:
        raise FhirError(504, "There are too many different labels to gather; ask for one type.", code="too-costly")
    found: Json = {}
    for row in rows:
        found = meta_joined(found, {name: orjson.loads(text) for name, text in zip(SETS, row, strict=True) if text})
    return {name: sorted(values, key=_identity) for name, values in found.items()}


def meta_joined(meta: Json, more: Json) -> Json:
    """With what `more` has beyond it: they are sets, a tag's identity is its system and code."""
    joined = dict(meta)
    for name in SETS:
        known = {_identity(one) for one in joined.get(name, ())}
        new = {_identity(one): one for one in more.get(name, ()) if _identity(one) not in known}
        if new:
            joined[name] = [*joined.get(name, ()), *new.values()]
    return joined


def meta_without(meta: Json, less: Json) -> Json:
    left = dict(meta)
    for name in SETS:
        gone = {_identity(one) for one in less.get(name, ())}
        kept = [one for one in left.pop(name, ()) if _identity(one) not in gone]
        left |= {name: kept} if kept else {}
    return left


def _identity(value: Any) -> tuple[str, str]:
    return (value.get("system", ""), value.get("code", "")) if isinstance(value, dict) else ("", str(value))


def meta_change(*, rtype: str, fhir_id: str, meta: Json, is_deletion: bool, version: int | None = None) -> Json:
    """Change the labels of the current version, which stays that version (notes of the operation meta-add). Returns its meta.

    `version` is If-Match. Raises FhirError, ResourceGoneError, InvalidResourceError.
    """
    key = (TYPES[rtype].number, fhir_id)
    lock_take(names=[lock_name(key=key)])
    row: Row | None = rows_read(keys=[key], is_content_wanted=True).get(key)
    if row is None:
        if graves_read(keys=[key]):
            raise ResourceGoneError
        raise FhirError(404)
    if version not in (None, row.version):
        raise FhirError(412, "If-Match does not name the current version.")
    hub_check(rtype=rtype, row=row)
    resource = json_load(row.content.encode())
    change = meta_without if is_deletion else meta_joined
    changed = change(resource["meta"], meta)
    draft = draft_make(resource=resource | {"meta": changed}, writer=REST)
    if not is_same(draft=draft, row=row):
        content_amend(draft=draft, row=row)
    return changed
