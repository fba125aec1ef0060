"""The registry of algorithms: everything that the connected platforms may run here, and what it has run."""

from dataclasses import dataclass
from datetime import datetime

from django.contrib.postgres.aggregates import ArrayAgg
from django.db.models import Count, Max, Q

from ai.cards import AlgorithmCard, Card
from ai.contract import platforms
from ai.governance.recalls import recalls_standing
from ai.models import Connection, Job, Recall
from ai.stages import stage_of


@dataclass(frozen=True, kw_only=True)
class RegistryRow:
    """`card` is None for what the platform does not offer any more and has run here before. `versions`: as answers said them."""

    connection: Connection
    platform: Card | None
    algorithm: str
    card: AlgorithmCard | None
    stage: str
    runs: int = 0  # that were sent
    last_run_at: datetime | None = None
    versions: tuple[str, ...] = ()
    recall: Recall | None = None


def registry_read() -> list[RegistryRow]:
    """By platform and algorithm: three queries."""
    links = {row.id: row for row in Connection.objects.order_by("name")}
    ran = {
        (row["connection_id"], row["algorithm"]): row
        for row in Job.objects.values("connection_id", "algorithm").annotate(
            runs=Count("id", filter=Q(sent_at__isnull=False)), last=Max("sent_at"),
            versions=ArrayAgg("version_said", distinct=True, filter=~Q(version_said="")),
        )
    }  # fmt: skip
    recalls, rows = recalls_standing(), []
    for link in links.values():
        found = platforms().get(link.platform)
        cards = {one.name: one for one in found.card.algorithms} if found else {}
        gone = [name for of, name in ran if of == link.id and name not in cards]
        for name in (*cards, *sorted(gone)):
            told = ran.get((link.id, name), {})
            rows.append(RegistryRow(
                connection=link, platform=found.card if found else None, algorithm=name, card=cards.get(name), stage=stage_of(link),
                runs=told.get("runs") or 0, last_run_at=told.get("last"), versions=tuple(sorted(told.get("versions") or ())),
                recall=recalls.get((link.platform, name)),
            ))  # fmt: skip
    return rows


def registry_get(*, platform: str, algorithm: str) -> RegistryRow | None:
    return next((row for row in registry_read() if (row.connection.platform, row.algorithm) == (platform, algorithm)), None)
