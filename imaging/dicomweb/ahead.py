"""Metadata documents made before anybody asks, by the index worker, when a series has not grown for a moment (DESIGN section 8).

What is waiting is held in memory only: a document that was not made ahead is made when it is first asked for.
"""

import logging
from collections.abc import Callable, Iterable
from functools import partial
from itertools import groupby, takewhile
from operator import attrgetter
from typing import NamedTuple

from django.db import InterfaceError, OperationalError

from imaging.dicomweb.documents import document_make, document_path
from imaging.dicomweb.rows import instances_select, series_of_size, series_states
from imaging.storage import StoreAwayError
from tenants.selectors import tenant_get

log = logging.getLogger(__name__)
QUIET_SECONDS = 3.0
WORTHWHILE = 8  # instances: fewer are rendered while the client waits, and nobody notices
REMEMBERED = 20_000


class SeriesKey(NamedTuple):
    tenant_id: int
    study_uid: str
    series_uid: str


class Ahead:
    """The series that have grown, oldest first."""

    def __init__(self) -> None:
        self._grown: dict[SeriesKey, float] = {}

    def note(self, grown: Iterable[tuple[int, str, str]], *, now: float) -> None:
        """`grown`: hospital, study and series of what has rows now."""
        for one in grown:
            key = SeriesKey(*one)
            self._grown.pop(key, None)
            self._grown[key] = now
        while len(self._grown) > REMEMBERED:
            del self._grown[next(iter(self._grown))]

    def due(self, *, now: float) -> list[SeriesKey]:
        """Those that have been quiet, oldest first, taken off the list."""
        quiet = list(takewhile(lambda key: now - self._grown[key] >= QUIET_SECONDS, self._grown))
        for key in quiet:
            del self._grown[key]
        return quiet


def series_worthwhile(keys: Iterable[SeriesKey]) -> list[SeriesKey]:
    """Which of these series have enough instances: one question a hospital, since most of thousands may be small."""
    found: list[SeriesKey] = []
    for tenant_id, of_one in groupby(sorted(keys), key=attrgetter("tenant_id")):
        try:
            rows = series_of_size(tenant_id=tenant_id, series_uids=[key.series_uid for key in of_one], at_least=WORTHWHILE)
        except (OperationalError, InterfaceError) as error:
            log.warning("no metadata is made ahead (%s)", type(error).__name__)
            continue
        found += [SeriesKey(tenant_id, *row) for row in rows]
    return found


def series_document_make(key: SeriesKey, *, between: Callable[[], None]) -> bool:
    """Make the document of a series unless it is there; `between` is called between its instances.

    Nothing depends on it, so what goes wrong is logged and left to whoever asks for the document.
    """
    try:
        for state in series_states(**key._asdict()):
            slug = tenant_get(tenant_id=key.tenant_id).slug
            path = document_path(state, tenant_id=key.tenant_id, slug=slug)
            rows = partial(instances_select, **key._asdict())
            document_make(path, rows, slug=slug, between=between)
            return True
    except (OperationalError, InterfaceError, StoreAwayError, OSError) as error:
        log.warning("metadata of a series was not made ahead (%s)", type(error).__name__)
    return False
