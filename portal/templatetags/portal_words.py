"""Filters over portal.words for templates."""

from typing import Any

from django import template

from ai.reports import finding_words, number_words
from portal import words

register = template.Library()

UNITS = {"[hnsf'U]": "HU"}  # UCUM codes that people write differently

register.filter("patient_name", words.patient_name)
register.filter("patient_line", words.patient_line)
register.filter("exam_time", words.exam_time)
register.filter("number_words", number_words)
register.filter("finding_words", finding_words)


@register.filter
def modalities(text: str) -> str:
    return ", ".join(text.split(","))


@register.filter
def parameter_words(parameters: list[dict[str, Any]]) -> str:
    """threshold attenuation coefficient -950 HU, ...: what the number depends on."""
    return ", ".join(f"{p['code']['display'].lower()} {p['value']:g} {UNITS.get(p['unit'], p['unit'])}" for p in parameters)
