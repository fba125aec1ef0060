"""Who reads, and which reports they are shown: what is in shadow or pilot is not for everybody."""

from dataclasses import dataclass

from django.db.models import Q, QuerySet

from ai.models import Report, Stage


@dataclass(frozen=True, kw_only=True)
class Reader:
    """`user`: the id of a person; a machine has none. `sees_all`: who decides about stages sees what it is decided about."""

    user: str = ""
    sees_all: bool = False


def reports_shown(rows: QuerySet[Report], reader: Reader) -> QuerySet[Report]:
    """Live ones; in the pilot those of its named readers."""
    if reader.sees_all:
        return rows
    shown = Q(stage=Stage.LIVE)
    if reader.user:
        shown |= Q(stage=Stage.PILOT, connection__pilot_readers__contains=[reader.user])
    return rows.filter(shown)
