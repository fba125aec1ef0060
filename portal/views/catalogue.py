"""The catalogue: platforms as cards with filters in the address, and two to four of them side by side."""

from collections.abc import Sequence
from dataclasses import dataclass

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from ai.cards import AlgorithmCard, Clearance
from ai.catalogue import CatalogueRefused, catalogue_choices, catalogue_find, catalogue_query, compare_of, inputs_words
from ai.contract import Platform
from ai.governance.figures import Figures, figures_read
from ai.governance.registry import RegistryRow
from ai.models import Connection
from ai.selectors import connections
from portal.aiwords import KINDS, PROFILES, RESIDENCES, ROLES, WIRES, connection_words, figure_words
from portal.figures import RateRow
from portal.words import StateWords
from tenants.doors import HospitalRequest, hospital_page

LABELS = {
    "modality": gettext_lazy("Modality"), "body_part": gettext_lazy("Body part"), "finding": gettext_lazy("Finding"),
    "role": gettext_lazy("Role"), "region": gettext_lazy("Data goes"), "connects": gettext_lazy("Connects by"),
    "connected": gettext_lazy("Connected here"),
}  # fmt: skip
CONNECTED = {"yes": gettext_lazy("yes"), "no": gettext_lazy("no")}
PARTS_SHOWN = 4


@dataclass(frozen=True)
class AlgorithmRow:
    """An algorithm with words for people; `seen` are versions that its answers named here."""

    card: AlgorithmCard
    role: str
    modalities: str
    parts: str
    inputs: tuple[str, ...]
    local: dict[str, str]
    registry: RegistryRow | None = None
    judged: Sequence[RateRow] = ()


@dataclass(frozen=True)
class PlatformRow:
    """A platform as a card on the list, or a column of a comparison."""

    platform: Platform
    kind: str
    wire: str
    state: StateWords
    connection: Connection | None
    residence: str
    profile: str
    local: dict[str, str]
    algorithms: tuple[AlgorithmRow, ...] = ()
    clearances: tuple[Clearance, ...] = ()


@dataclass(frozen=True)
class Filter:
    name: str
    label: str
    value: str
    options: list[tuple[str, str]]


def algorithm_row(
    platform: Platform, card: AlgorithmCard, figures: dict[tuple[str, str], Figures], seen: RegistryRow | None = None,
    judged: Sequence[RateRow] = (),
) -> AlgorithmRow:
    parts = sorted(card.body_parts)
    more = _(" and %(n)s more") % {"n": len(parts) - PARTS_SHOWN} if len(parts) > PARTS_SHOWN else ""
    words = ", ".join(parts[:PARTS_SHOWN]).lower() + more
    local = figure_words(figures.get((platform.card.slug, card.name), Figures()))
    return AlgorithmRow(
        card, str(ROLES[card.role]), ", ".join(sorted(card.modalities)) or str(_("any modality")), words, inputs_words(card), local, seen,
        judged,
    )


def platform_row(
    platform: Platform, connection: Connection | None, figures: dict[tuple[str, str], Figures], algorithms: tuple[AlgorithmCard, ...]
) -> PlatformRow:
    card = platform.card
    residence = ", ".join(card.regions) or str(RESIDENCES[card.residence])
    return PlatformRow(
        platform, str(KINDS[card.kind]), str(WIRES.get(platform.wire, platform.wire)), connection_words(connection), connection,
        residence, str(PROFILES["none" if card.is_in_house else platform.deidentification]),
        figure_words(figures.get((card.slug, ""), Figures())), tuple(algorithm_row(platform, one, figures) for one in algorithms),
        tuple(item for one in algorithms for item in one.clearances),
    )  # fmt: skip


@hospital_page("ai.read")
def platforms_page(request: HospitalRequest) -> HttpResponse:
    """Those that are connected first. Filters and the comparison are in the address; what means nothing is left out."""
    made, figures = connections(), figures_read(now=timezone.now())
    if "compare" in request.GET:
        try:
            found = compare_of(text=",".join(request.GET.getlist("compare")))
        except CatalogueRefused:
            messages.error(request, _("Nothing was compared: choose two to four platforms."))
        else:
            columns = [platform_row(one, made.get(one.card.slug), figures, one.card.algorithms) for one in found]
            return render(request, "portal/platforms_compare.html", {"columns": columns})
    query = catalogue_query(params=request.GET.dict())
    entries = catalogue_find(query=query, connected=list(made))
    rows = [platform_row(one.platform, made.get(one.platform.card.slug), figures, one.algorithms) for one in entries]
    rows.sort(key=lambda row: row.connection is None)
    context = {
        "rows": rows, "connected": len(made), "query": query, "filters": _filters(query.kept), "is_filtered": bool(query.kept),
    }  # fmt: skip
    return render(request, "portal/platforms.html", context)


def _filters(kept: dict[str, str]) -> list[Filter]:
    words = {"role": ROLES, "region": RESIDENCES, "connects": WIRES, "connected": CONNECTED}
    return [
        Filter(name, str(LABELS[name]), kept.get(name, ""), [(value, _option(name, value, words)) for value in values])
        for name, values in catalogue_choices().items()
    ]


def _option(name: str, value: str, words: dict[str, dict[str, object]]) -> str:
    said = str(words.get(name, {}).get(value, value.capitalize() if name == "body_part" else value))
    return f"{value}: {said}" if name == "role" else said
