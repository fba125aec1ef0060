"""Our own COPY loader: fills the resource store with what `fhir_make` makes, indexed as the product indexes it.

PostgreSQL has no COPY into walled tables for anybody whom the walls bind, so it runs as the superuser: the bench's, never a product's.
The row starts `python -m bench.fhir_load` once for each hospital.
"""

import argparse
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any

import django
import psycopg
from django.utils import timezone

BATCH = 5000
RESOURCE = (
    "tenant_id", "rid", "rtype", "fhir_id", "version", "last_updated", "patient", "sort_date", "tok", "digest", "indexed", "content",
    "writer",
)  # fmt: skip


def load(*, dsn: str, tenant_id: int, patients: range) -> None:
    """All resources of these patients, a transaction for each five thousand."""
    from bench.fhir_make import resources_make
    from fhirapi.index.hashes import is_posted
    from fhirapi.index.indexed import resource_index
    from fhirapi.index.postings import POSTING, SIDES
    from fhirapi.registry import TYPES
    from fhirapi.store import REST, Draft
    from journal.wall.ids import id_new

    made = resources_make(patients=patients)
    with psycopg.connect(dsn) as connection:
        while batch := list(islice(made, BATCH)):
            now = timezone.now()
            at = now.replace(microsecond=now.microsecond // 1000 * 1000)
            drafts = [
                Draft(
                    key=(TYPES[one["resourceType"]].number, one["id"]), rid=id_new(), version=1, writer=REST, body=one, digest=b"bench",
                    index=resource_index(tenant_id=tenant_id, resource=one),
                )
                for one in batch
            ]  # fmt: skip
            rows = [
                (tenant_id, d.rid, d.key[0], d.key[1], 1, at, d.index.patient, d.index.sort_date, list(d.index.tokens), d.digest,
                 d.index.digest, d.content(at), d.writer)
                for d in drafts
            ]  # fmt: skip
            _copy(connection, "fhir_resource", RESOURCE, rows)
            posted = [(tenant_id, d.rid, hv, d.index.sort_date) for d in drafts for hv in d.index.tokens if is_posted(hv)]
            _copy(connection, "fhir_posting", _names(POSTING), posted)
            for table, (name, columns) in SIDES.items():
                _copy(connection, table, _names(columns), [(tenant_id, d.rid, *row) for d in drafts for row in getattr(d.index, name)])
            connection.commit()


def _names(columns: Iterable[tuple[str, str]]) -> Sequence[str]:
    return "tenant_id", "rid", *(name for name, _ in columns)


def _copy(connection: psycopg.Connection[Any], table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    with connection.cursor() as cursor, cursor.copy(f"COPY {table} ({', '.join(columns)}) FROM STDIN") as copy:
        for row in rows:
            copy.write_row(row)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--dsn", required=True)
    for name in ("tenant", "first", "last"):
        parser.add_argument(f"--{name}", type=int, required=True)
    given = parser.parse_args()
    django.setup()
    load(dsn=given.dsn, tenant_id=given.tenant, patients=range(given.first, given.last))
