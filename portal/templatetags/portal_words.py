"""Filters over portal.words for templates."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django import template
from django.http import HttpRequest
from django.utils import timezone

from ai.reports import finding_words, number_words, statement_words
from portal import words
from portal.smart import patient_words
from portal.timeline import Hop
from tenants.models import Membership
from tenants.permissions import is_allowed

register = template.Library()

UNITS = {"[hnsf'U]": "HU"}  # UCUM codes that people write differently

register.filter("patient_name", words.patient_name)
register.filter("patient_line", words.patient_line)
register.filter("sex_age", words.sex_age)
register.filter("exam_time", words.exam_time)
register.filter("told_apart", patient_words)
register.filter("merge_origin", words.origin_words)
register.filter("since", words.since_words)
register.filter("item_kind", words.item_kind)
register.filter("resolution_words", words.resolution_words)
register.filter("date_words", words.date_words)
register.filter("hop_words", words.hop_words)
register.filter("number_words", number_words)
register.filter("finding_words", finding_words)
register.filter("statement_words", statement_words)


@register.filter
def modalities(text: str) -> str:
    return ", ".join(text.split(","))


@register.filter
def backslashes(text: str) -> str:
    """CT, SR of a value of several (PS3.5 6.4)."""
    return ", ".join(part for part in text.split("\\") if part)


@register.filter
def parameter_words(parameters: list[dict[str, Any]]) -> str:
    """threshold attenuation coefficient -950 HU, ...: what the number depends on."""
    return ", ".join(f"{p['code']['display'].lower()} {p['value']:g} {UNITS.get(p['unit'], p['unit'])}" for p in parameters)


@register.filter
def may(holder: HttpRequest | Membership, capability: str) -> bool:
    """Of a hospital's request or a membership: so that no page links to one that its reader may not open."""
    return is_allowed(role=getattr(holder, "role", ""), capability=capability)


@register.simple_tag
def since_words() -> str:
    """The words of elapsed time for portal.js, which counts them on."""
    return "|".join(str(part) for part in words.SINCE)


@dataclass(frozen=True)
class Step:
    """A hop as the timeline shows it: `since` the one before, and its date only where that changes."""

    hop: Hop
    since: str
    has_date: bool


@register.filter
def steps(hops: Sequence[Hop]) -> list[Step]:
    """What happened earlier than the hop above it ran beside that one: no time is shown between them."""
    found, last, day = [], None, None
    for hop in hops:
        if hop.at is None:
            found.append(Step(hop, "", False))
            continue
        today = timezone.localtime(hop.at).date()
        is_later = last is not None and hop.at >= last
        found.append(Step(hop, f"+{words.duration_words(hop.at - last)}" if is_later and last else "", today != day))
        last, day = max(hop.at, last) if last else hop.at, today
    return found


@register.filter
def way_words(hops: Sequence[Hop]) -> str:
    """From the first image to the last report; empty while there is none."""
    ends = [hop.at for hop in hops if hop.key == "report" and hop.at]
    return words.duration_words(max(ends) - hops[0].at) if ends and hops[0].at else ""
