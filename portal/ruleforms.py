"""The form of one rule: conditions out of the closed vocabulary, each with the kind of value that its fact takes.

Rows are added and removed by buttons of the form itself, so that it works without a script. `ai.routing` decides what may be saved.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from django import forms
from django.http import QueryDict
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from ai.contract import platforms
from ai.models import Connection
from ai.routing.rules import MAX_CONDITIONS, RuleError, conditions_check
from ai.routing.vocabulary import OPERATORS, SERIES, STUDY, WEEKDAYS, Fact
from portal.forms import PlainForm
from portal.rulewords import UNITS

GROUPS: dict[str, Mapping[str, Fact]] = {"study": STUDY, "series": SERIES}
# Facts with few values: boxes to tick. Those of the second line may have others.
CLOSED = {
    "weekday": WEEKDAYS, "sex": ("F", "M", "O"), "orientation": ("AXIAL", "CORONAL", "SAGITTAL", "OBLIQUE"),
    "contrast": ("WITH", "WITHOUT"),
}  # fmt: skip
OPEN = {
    "modality": ("CR", "CT", "DX", "MG", "MR", "NM", "OP", "OPT", "PT", "RF", "SM", "US", "XA"),
    "priority": ("STAT", "HIGH", "ROUTINE", "MEDIUM", "LOW"),
}  # fmt: skip
BOXES_MAX = 40
RESULT_WORDS = ("done", "flagged", "not analysable")  # as ai.facts says them


@dataclass
class Row:
    """One condition as it stands in the form. `words` of a list, `begin` and `end` of a time, else `text`."""

    group: str
    place: int
    fact: Fact
    operator: str
    words: list[str] = field(default_factory=list)
    text: str = ""
    begin: str = ""
    end: str = ""
    choices: Sequence[str] = ()
    has_others: bool = True
    error: str = ""
    is_new: bool = False

    @property
    def prefix(self) -> str:
        return f"{self.group}-{self.place}"

    @property
    def operators(self) -> list[tuple[str, str]]:
        return list(OPERATORS[self.fact.kind].items())

    @property
    def unit(self) -> str:
        return str(UNITS.get(self.fact.name, ""))

    @property
    def help(self) -> str:
        """The fact's, where it says more than what stands there anyway."""
        return "" if self.fact.help == self.unit or not self.has_others else self.fact.help

    @property
    def boxes(self) -> list[str]:
        """What is ticked or not. A word that a machine has written into a closed list stays as a box of its own."""
        extra = [] if self.has_others else [word for word in self.words if word not in self.choices]
        return [*self.choices, *extra]

    @property
    def others(self) -> str:
        """Words that have no box."""
        return ", ".join(word for word in self.words if word not in self.choices)

    def condition(self) -> dict[str, Any]:
        """As data. Raises RuleError where it is none."""
        value: Any = self.words
        if self.fact.kind == "clock":
            value = [self.begin, self.end]
        elif self.fact.kind == "number":
            try:
                value = float(self.text.replace(",", "."))
            except ValueError:
                raise RuleError(_("a number is needed")) from None
            value = int(value) if value.is_integer() else value
        found = {"fact": self.fact.name, self.operator: value}
        conditions_check([found], facts=GROUPS[self.group])
        return found


class RuleForm(PlainForm):
    """Name, target and urgency of a rule; its conditions are in `rows`."""

    name = forms.CharField(label=gettext_lazy("Name of the rule"), max_length=80)
    target = forms.ChoiceField(label=gettext_lazy("Send to"))
    is_stat = forms.BooleanField(
        label=gettext_lazy("STAT: before all others, here and at the platform"), required=False
    )

    def __init__(self, *args: Any, connections: Mapping[str, Connection], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["target"].choices = [("", _("choose an algorithm")), *_targets(connections)]  # type: ignore[attr-defined]


def _targets(connections: Mapping[str, Connection]) -> list[tuple[str, list[tuple[str, str]]]]:
    """Algorithms under their platforms, connected ones first."""
    found = []
    for platform in sorted(platforms().values(), key=lambda one: (one.card.slug not in connections, one.card.name.lower())):
        card = platform.card
        name = card.name if card.slug in connections else _("%(platform)s (not connected)") % {"platform": card.name}
        if card.algorithms:
            found.append((name, [(f"{card.slug}/{one.name}", one.title) for one in card.algorithms]))
    return found


class RuleEditor:
    """The whole form. `aes`: AE titles of the hospital's nodes."""

    def __init__(self, *, connections: Mapping[str, Connection], aes: Sequence[str], rule: Mapping[str, Any] | None = None) -> None:
        self._connections, self._aes = connections, aes
        self.rule_id = str(rule["id"]) if rule else ""
        initial = {"name": rule["name"], "target": f"{rule['platform']}/{rule['algorithm']}", "is_stat": rule["is_stat"]} if rule else {}
        self.form = RuleForm(initial=initial, connections=connections)
        self.rows: dict[str, list[Row]] = {group: [] for group in GROUPS}
        self.problem = ""
        for group, key in (("study", "conditions"), ("series", "series")):
            for condition in (rule or {}).get(key) or []:
                self._add_known(group, condition)

    def _add_known(self, group: str, condition: Mapping[str, Any]) -> None:
        row = self._row(group, condition["fact"])
        if row is None:
            return
        operator, value = next((key, found) for key, found in condition.items() if key != "fact")
        row.operator = operator
        if row.fact.kind == "clock":
            row.begin, row.end = value
        elif row.fact.kind == "number":
            row.text = f"{value:g}"
        else:
            row.words = [str(word) for word in value]
        self.rows[group].append(row)

    def _row(self, group: str, name: str) -> Row | None:
        fact = GROUPS[group].get(name)
        if fact is None:
            return None
        choices, has_others = self._choices(fact)
        return Row(group, len(self.rows[group]), fact, next(iter(OPERATORS[fact.kind])), choices=choices, has_others=has_others)

    def _choices(self, fact: Fact) -> tuple[Sequence[str], bool]:
        if fact.name in CLOSED:
            return CLOSED[fact.name], False
        if fact.name == "calling_ae" and len(self._aes) <= BOXES_MAX:
            return self._aes, True
        if fact.name == "result":
            return _results(self._connections), True
        return OPEN.get(fact.name, ()), True

    @property
    def study_rows(self) -> list[Row]:
        return self.rows["study"]

    @property
    def series_rows(self) -> list[Row]:
        return self.rows["series"]

    @property
    def study_facts(self) -> list[Fact]:
        return list(STUDY.values())

    @property
    def series_facts(self) -> list[Fact]:
        return list(SERIES.values())

    def read(self, data: QueryDict) -> str:
        """Take what was posted, and do what its button asks. Returns "save" when that is what it asks."""
        self.form = RuleForm(data, connections=self._connections)
        for group in GROUPS:
            self.rows[group] = []
            for place in range(min(_number(data.get(f"{group}-count", "")), MAX_CONDITIONS)):
                self._read_row(data, group, f"{group}-{place}")
        asked, _sep, rest = data.get("do", "").partition("-")
        if asked == "save":
            return "save"
        # No complaints while somebody is still at it.
        self.form = RuleForm(initial={key: data.get(key, "") for key in ("name", "target", "is_stat")}, connections=self._connections)
        if asked == "add" and rest in GROUPS:
            self._add_new(rest, data.get(f"{rest}-add", ""))
        if asked == "remove":
            self._remove(*rest.partition("-")[::2])
        return asked

    def _read_row(self, data: QueryDict, group: str, prefix: str) -> None:
        row = self._row(group, data.get(f"{prefix}-fact", ""))
        if row is None:
            return
        operator = data.get(f"{prefix}-op", "")
        row.operator = operator if operator in OPERATORS[row.fact.kind] else row.operator
        row.text, row.begin, row.end = (data.get(f"{prefix}-{part}", "").strip() for part in ("value", "begin", "end"))
        if row.fact.kind in ("words", "text"):
            typed = row.text.replace("\n", ",").split(",")
            row.words = list(dict.fromkeys(word.strip() for word in (*data.getlist(f"{prefix}-box"), *typed) if word.strip()))
        self.rows[group].append(row)

    def _add_new(self, group: str, name: str) -> None:
        row = self._row(group, name)
        if row is not None and len(self.rows[group]) < MAX_CONDITIONS:
            row.is_new = True
            self.rows[group].append(row)

    def _remove(self, group: str, place: str) -> None:
        kept = [row for row in self.rows.get(group, []) if str(row.place) != place]
        for at, row in enumerate(kept):
            row.place = at
        if group in self.rows:
            self.rows[group] = kept

    def rule(self) -> dict[str, Any] | None:
        """The rule as data; None where the form has something to say."""
        is_good = self.form.is_valid()
        found: dict[str, list[dict[str, Any]]] = {}
        for group, rows in self.rows.items():
            found[group] = []
            for row in rows:
                try:
                    found[group].append(row.condition())
                except RuleError as error:
                    row.error, is_good = str(error), False
        if not is_good:
            return None
        given = self.form.cleaned_data
        platform, _sep, algorithm = given["target"].partition("/")
        return {
            **({"id": self.rule_id} if self.rule_id else {}), "name": given["name"].strip(), "platform": platform, "algorithm": algorithm,
            "conditions": found["study"], "series": found["series"], "is_stat": given["is_stat"],
        }  # fmt: skip


def _results(connections: Mapping[str, Connection]) -> list[str]:
    """What rules may ask of the results of connected platforms: "viz-ai/ich-triage flagged"."""
    known = platforms()
    targets = [(slug, card.name) for slug in connections if slug in known for card in known[slug].card.algorithms]
    return [f"{slug}/{name} {word}" for slug, name in targets for word in RESULT_WORDS][:BOXES_MAX]


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 4 else 0


OF = [("draft", gettext_lazy("the draft")), ("active", gettext_lazy("the active rules"))]


class TryForm(PlainForm):
    """What to try, and on how many studies."""

    of = forms.ChoiceField(label=gettext_lazy("Rules"), choices=OF)
    last = forms.TypedChoiceField(
        label=gettext_lazy("How many of the last studies"), coerce=int, choices=[(n, str(n)) for n in (20, 100, 500, 1000)], initial=100
    )


class TryFileForm(PlainForm):
    of = forms.ChoiceField(label=gettext_lazy("Rules"), choices=OF)
    file = forms.FileField(
        label=gettext_lazy("DICOM file"), max_length=255, help_text=gettext_lazy("At most 64 MiB. It is read and not kept."),
        widget=forms.FileInput(attrs={"class": "form-control"}),
    )  # fmt: skip
