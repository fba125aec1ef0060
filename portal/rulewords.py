"""Rules in words: cards, what is different between versions, and what a dry run found. Every text goes through gettext."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, pgettext

from ai.contract import platforms
from ai.models import Connection
from ai.routing.compare import RuleChange
from ai.routing.vocabulary import OPERATORS, SERIES, STUDY, Fact
from ai.stages import stage_of

UNITS = {
    "patient_age_years": gettext_lazy("years"), "days_since_prior": gettext_lazy("days"), "slice_thickness_mm": gettext_lazy("mm"),
    "slice_spacing_mm": gettext_lazy("mm"),
}  # fmt: skip
STEPS = {
    "off": gettext_lazy("off"), "test": gettext_lazy("test"), "shadow": gettext_lazy("shadow"), "pilot": gettext_lazy("pilot"),
    "live": gettext_lazy("live"),
}  # fmt: skip
CHANGES = {
    "added": ("ok", gettext_lazy("added")), "removed": ("bad", gettext_lazy("removed")), "changed": ("note", gettext_lazy("changed")),
    "moved": ("note", gettext_lazy("moved")), "same": ("off", gettext_lazy("as before")),
}  # fmt: skip
FIELDS = {
    "name": gettext_lazy("name"), "platform": gettext_lazy("platform"), "algorithm": gettext_lazy("algorithm"),
    "conditions": gettext_lazy("conditions"), "series": gettext_lazy("series"), "is_stat": gettext_lazy("STAT"),
}  # fmt: skip


@dataclass(frozen=True)
class RuleCard:
    """A rule as a person reads it. `notes`: why it would send nothing as things are."""

    rule: Mapping[str, Any]
    number: int
    platform: str
    algorithm: str
    conditions: tuple[str, ...]
    series: tuple[str, ...]
    notes: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        return str(self.rule["id"])

    @property
    def name(self) -> str:
        return str(self.rule["name"])


@dataclass(frozen=True)
class ChangeCard:
    """A rule of two versions: what became of it, and how it read before where its words differ."""

    card: RuleCard
    kind: str
    word: str
    fields: str
    before: RuleCard | None


def condition_words(condition: Mapping[str, Any], facts: Mapping[str, Fact] = STUDY) -> str:
    """patient age is at least 18 years."""
    name = condition["fact"]
    fact = facts.get(name)
    operator, value = next(((key, found) for key, found in condition.items() if key != "fact"), ("", ""))
    if fact is None:
        return f"{name}: {_('no longer known')}"
    words = OPERATORS[fact.kind].get(operator, operator)
    if operator == "between":
        return f"{fact.label} {words} {value[0]} {_('and')} {value[1]}"
    if isinstance(value, list):
        return f"{fact.label} {words} {_(' or ').join(str(one) for one in value)}"
    return f"{fact.label} {words} {value:g} {UNITS.get(name, '')}".rstrip()


def rule_card(rule: Mapping[str, Any], number: int, connections: Mapping[str, Connection] | None = None) -> RuleCard:
    platform = platforms().get(rule["platform"])
    cards = platform.card.algorithms if platform else ()
    title = next((one.title for one in cards if one.name == rule["algorithm"]), rule["algorithm"])
    return RuleCard(
        rule=rule, number=number, platform=platform.card.name if platform else rule["platform"], algorithm=title,
        conditions=tuple(condition_words(one) for one in rule.get("conditions", [])),
        series=tuple(condition_words(one, SERIES) for one in rule.get("series") or []),
        notes=() if connections is None else _notes(rule, connections),
    )  # fmt: skip


def rule_cards(rules: Sequence[Mapping[str, Any]], connections: Mapping[str, Connection] | None = None) -> list[RuleCard]:
    return [rule_card(rule, number, connections) for number, rule in enumerate(rules, 1)]


def _notes(rule: Mapping[str, Any], connections: Mapping[str, Connection]) -> tuple[str, ...]:
    if rule["platform"] not in platforms():
        return (_("The platform is not offered any more: nothing is sent."),)
    connection = connections.get(rule["platform"])
    if connection is None:
        return (_("The platform is not connected: a draft with this rule cannot be activated."),)
    step = stage_of(connection)
    said = {
        "off": _("The platform is switched off: nothing is sent."),
        "test": _("The platform is in test: a person sends, study by study."),
        "shadow": _("The platform is in shadow: results are measured and shown to nobody who reads."),
        "pilot": _("The platform is in pilot: results are shown to its named readers only."),
    }
    return (said[step],) if step in said else ()


def change_card(change: RuleChange, number: int) -> ChangeCard:
    kind, word = CHANGES[change.kind]
    fields = [str(FIELDS[name]) for name in change.fields]
    if change.has_moved and change.kind == "changed":
        fields.append(pgettext("of a rule", "place"))
    before = rule_card(change.before, number) if change.before is not None and change.kind == "changed" else None
    return ChangeCard(rule_card(change.rule, number), kind, str(word), ", ".join(fields), before)
