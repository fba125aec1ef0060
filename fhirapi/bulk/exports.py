"""What a client is told of an export, and its cancelling."""

import shutil
from collections.abc import Set
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from fhirapi.bulk.files import Extent, export_folder
from fhirapi.models import BulkExport, BulkFile
from fhirapi.store import instant
from journal.audit import Actor, audit_record
from journal.outbox import lease_end
from journal.wall.scope import tenant_id_current


def export_get(*, uuid: UUID, hidden: Set[str]) -> BulkExport | None:
    """An export that is not cancelled, for whoever may see all its types."""
    row: BulkExport | None = BulkExport.objects.filter(uuid=uuid).exclude(state=BulkExport.State.CANCELLED).first()
    return row if row is not None and not hidden & set(row.rtypes) else None


def export_progress(export: BulkExport) -> str:
    """For X-Progress: 100 characters at most (STU2 2.5.4), and nobody's data."""
    names = export.rtypes
    return f"{min(export.place, len(names))} of {len(names)} types, {export.count} resources"


def export_manifest(export: BulkExport) -> dict[str, Any]:
    """The answer of a finished one (STU2 2.5.6)."""
    found: dict[str, list[dict[str, Any]]] = {kind: [] for kind in BulkFile.Kind.values}
    for file in BulkFile.objects.filter(export=export).order_by("id"):
        url = f"{export.base}/bulk/{export.uuid}/{file.name}.ndjson"
        found[file.kind].append({"type": file.rtype, "url": url, "count": file.count})
    return {
        "transactionTime": instant(export.at),
        "request": export.request,
        "requiresAccessToken": True,
        **found,
    }


@dataclass(frozen=True, kw_only=True)
class Held:
    """A file to be read: where it lies and how far it goes."""

    path: Path
    extent: Extent


def export_file(*, export: BulkExport, name: str, actor: Actor) -> Held | None:
    """A file of a finished export; that it is read is written down."""
    file = BulkFile.objects.filter(export=export, name=name).first() if export.state == BulkExport.State.DONE else None
    if file is None:
        return None
    audit_record(
        actor=actor, action="fhir.export.read", object_type="BulkFile", object_id=str(file.id),
        detail={"export": str(export.uuid), "file": name, "lines": file.count},
    )  # fmt: skip
    path = export_folder(tenant_id=export.tenant_id, export_id=export.id) / str(file.id)
    return Held(path=path, extent=Extent(count=file.count, size=file.size, stored=file.stored, crc=file.crc))


def export_cancel(*, export: BulkExport, actor: Actor) -> None:
    """Stop it, and remove what it made. A worker in the midst of a chunk finds out; the sweep removes what that one left."""
    BulkExport.objects.filter(id=export.id).update(state=BulkExport.State.CANCELLED, claim=0, due_at=lease_end(timezone.now()))
    audit_record(actor=actor, action="fhir.export.cancel", object_type="BulkExport", object_id=str(export.uuid))
    folder = export_folder(tenant_id=tenant_id_current(), export_id=export.id)
    transaction.on_commit(partial(shutil.rmtree, folder, ignore_errors=True), robust=True)
