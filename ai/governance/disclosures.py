"""What left the house: to whom, when, of which study, under which profile, by which job. Written before a byte goes."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, tzinfo
from urllib.parse import urlsplit

from django.db.models import F
from django.utils import timezone

from ai.contract import platforms
from ai.deident.profile import MEANINGS
from ai.models import Connection, Disclosure

FINDINGS = "findings"
SHEET_ROWS = 50_000  # of one CSV file
COLUMNS = (
    "begun_at", "taken_at", "platform", "is_test", "receiver", "study", "job", "algorithm", "what", "objects", "profile", "codes",
    "input_sha256", "attempts",
)  # fmt: skip
FORMULA = ("=", "+", "-", "@", "\t", "\r")


def disclosure_begin(
    *, job_uuid: str, study_id: int, connection: Connection, algorithm: str, what: str, instances: int, profile: str,
    codes: Sequence[str], input_sha256: str,
) -> None:
    """In the transaction that commits before the first byte. The same question once more is one attempt more."""
    row, is_new = Disclosure.objects.get_or_create(
        job_uuid=job_uuid, defaults={
            "study_id": study_id, "platform": connection.platform, "algorithm": algorithm, "is_test": connection.is_test,
            "receiver": receiver_of(connection), "what": what, "instances": instances,
            "profile": profile, "codes": list(codes), "input_sha256": input_sha256, "at": timezone.now(),
        },
    )  # fmt: skip
    if not is_new:
        Disclosure.objects.filter(id=row.id).update(attempts=F("attempts") + 1)


def disclosure_taken(*, job_uuid: str) -> None:
    """The platform said that it has it; the first time counts."""
    Disclosure.objects.filter(job_uuid=job_uuid, taken_at=None).update(taken_at=timezone.now())


def receiver_of(connection: Connection) -> str:
    """Host names of the connection's settings; "" where it goes to the vendor's own address, or lies in our worklist."""
    found = platforms().get(connection.platform)
    kinds = {one.name: one.kind for one in found.settings} if found else {}
    hosts = []
    for name, value in connection.settings.items():
        if kinds.get(name) == "url":
            hosts.append(urlsplit(value).hostname or "")
        elif kinds.get(name) == "host":
            hosts.append(value)
    return ", ".join(dict.fromkeys(filter(None, hosts)))[:200]


@dataclass(frozen=True, kw_only=True)
class DisclosureQuery:
    """Days of the hospital, both included; None is open."""

    since: date | None = None
    until: date | None = None
    platform: str = ""


@dataclass(frozen=True)
class DisclosurePage:
    rows: list[Disclosure]
    older: int  # the id that the next page begins behind; 0 on the last


def disclosures_page(*, query: DisclosureQuery, zone: tzinfo, before: int = 0, size: int = 50) -> DisclosurePage:
    """Newest first, by keyset."""
    rows = Disclosure.objects.select_related("study")
    if query.since:
        rows = rows.filter(at__gte=_midnight(query.since, zone))
    if query.until:
        rows = rows.filter(at__lt=_midnight(query.until + timedelta(days=1), zone))
    if query.platform:
        rows = rows.filter(platform=query.platform)
    if before:
        # What was taken over from older jobs has their ids: the place in the list is by time, then id.
        last = Disclosure.objects.filter(id=before).values_list("at", flat=True).first()
        rows = rows.filter(at__lte=last).exclude(at=last, id__gte=before) if last else rows.none()
    found = list(rows.order_by("-at", "-id")[: size + 1])
    return DisclosurePage(rows=found[:size], older=found[size - 1].id if len(found) > size else 0)


def _midnight(day: date, zone: tzinfo) -> datetime:
    return datetime.combine(day, time.min, tzinfo=zone)


def codes_words(row: Disclosure) -> list[str]:
    """Options of CID 7050 in words."""
    return [f"{code} {MEANINGS.get(code, '')}".strip() for code in row.codes]


def disclosures_csv(*, query: DisclosureQuery, zone: tzinfo) -> str:
    """RFC 4180, newest first. No identity of a patient: studies by our ids."""
    page = disclosures_page(query=query, zone=zone, size=SHEET_ROWS)
    rows = [
        (
            row.at.isoformat(), row.taken_at.isoformat() if row.taken_at else "", row.platform, row.is_test, row.receiver,
            row.study.uuid, row.job_uuid, row.algorithm, row.what, row.instances, row.profile, " ".join(row.codes), row.input_sha256,
            row.attempts,
        )
        for row in page.rows
    ]  # fmt: skip
    return sheet(COLUMNS, rows)


def sheet(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """CSV whose cells no spreadsheet takes for a formula."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(columns)
    for row in rows:
        writer.writerow([f"'{text}" if (text := str(cell)).startswith(FORMULA) else text for cell in row])
    return out.getvalue()
