"""The connection form, made from a platform's own settings, and the form that sends a job again as something else."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from django import forms
from django.forms.boundfield import BoundField
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from ai.cards import Setting
from ai.connections import LONGEST
from ai.contract import Platform
from ai.models import Connection
from imaging.models import Series
from portal.forms import PlainForm

TEST = "is_test"
# Settings are named by platform files: what stands beside them must not meet them.
PREFIX = "setting-"
# Several lines, for keys are pasted with theirs; shown as dots, and no browser offers to keep them.
SECRET = {"rows": 1, "class": "form-control mh-secret", "autocomplete": "off", "spellcheck": "false", "autocapitalize": "off"}


class SecretInput(forms.Textarea):
    """Takes a value and never gives one back, not even to who has just typed it."""

    def format_value(self, value: Any) -> str:
        return ""


@dataclass(frozen=True)
class Group:
    """Fields that are asked together; `other` and `value` say when, `words` in words. Without them: always."""

    fields: tuple[BoundField, ...]
    other: str = ""
    value: str = ""
    words: str = ""


class ConnectionForm(PlainForm):
    """Words and shapes only: `connection_save` decides, and its problems come back beside their fields."""

    def __init__(self, *args: Any, platform: Platform, connection: Connection | None, held: frozenset[str], **kwargs: Any) -> None:
        kept = connection.settings if connection else {}
        initial = {PREFIX + one.name: kept.get(one.name, one.default) for one in platform.settings if one.kind != "secret"}
        super().__init__(*args, initial={**initial, TEST: bool(connection and connection.is_test)}, **kwargs)
        self._settings = platform.settings
        for one in platform.settings:
            self.fields[PREFIX + one.name] = _field(one, is_held=one.name in held)
        if not platform.card.is_in_house:
            self.fields[TEST] = forms.BooleanField(
                label=_("This is a stand-in (test): its results never bear the vendor's name"), required=False,
                widget=forms.CheckboxInput(attrs={"class": "form-check-input"}),
            )  # fmt: skip

    def groups(self) -> Iterator[Group]:
        """The settings in their order; those of one choice together."""
        labels = {one.name: one.label for one in self._settings}
        for only, part in groupby(self._settings, key=lambda one: one.only_with):
            fields = tuple(self[PREFIX + one.name] for one in part)
            if only is None:
                yield Group(fields)
            else:
                words = _("Only when “%(label)s” is %(value)s") % {"label": labels.get(only[0], only[0]), "value": only[1]}
                yield Group(fields, PREFIX + only[0], only[1], words)

    def values(self) -> dict[str, str]:
        """What `connection_save` takes."""
        return {one.name: self.cleaned_data.get(PREFIX + one.name, "") for one in self._settings}

    def problems_add(self, problems: Mapping[str, str]) -> None:
        for name, words in problems.items():
            self.add_error(PREFIX + name if PREFIX + name in self.fields else None, words)


def _field(one: Setting, *, is_held: bool) -> forms.Field:
    """Nothing is required here: what is needed depends on choices, which the domain knows."""
    common: dict[str, Any] = {"label": one.label, "required": False, "help_text": _help(one, is_held)}
    if one.kind == "choice":
        choice = forms.Select(attrs={"class": "form-select"})
        return forms.ChoiceField(choices=[(value, value) for value in one.choices], widget=choice, **common)
    attrs: dict[str, Any] = {"class": "form-control", "autocomplete": "off", "spellcheck": "false"}
    if one.kind == "secret":
        return forms.CharField(widget=SecretInput(attrs=SECRET), max_length=LONGEST, strip=False, **common)
    if one.kind == "pem":
        attrs |= {"rows": 3, "class": "form-control mh-pem"}
        return forms.CharField(widget=forms.Textarea(attrs=attrs), max_length=LONGEST, strip=False, **common)
    modes = {"url": "url", "port": "numeric", "number": "decimal"}
    if one.kind in modes:
        attrs["inputmode"] = modes[one.kind]
    return forms.CharField(widget=forms.TextInput(attrs=attrs), max_length=LONGEST, **common)


def _help(one: Setting, is_held: bool) -> str:
    # The help of a choice begins with one of its values, which is spelt as it is.
    said = [f"{one.help if one.kind == 'choice' else one.help[:1].upper() + one.help[1:]}."] if one.help else []
    if one.kind == "secret" and is_held:
        said.append(_("One is kept and not shown again. Empty: it stays."))
    elif one.name == "hook_secret":
        said.append(_("Empty: we make one where it is needed, and show it once."))
    elif not one.is_required:
        said.append(_("May stay empty."))
    return " ".join(said)


class RequeueForm(PlainForm):
    """The same question about another series, or another algorithm's question."""

    series = forms.ChoiceField(label=gettext_lazy("Series"))
    algorithm = forms.ChoiceField(label=gettext_lazy("Algorithm"))

    def __init__(self, *args: Any, series: Sequence[Series], platform: Platform, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["series"].choices = [(str(one.id), _series_words(one)) for one in series]  # type: ignore[attr-defined]
        self.fields["algorithm"].choices = [(one.name, one.title) for one in platform.card.algorithms]  # type: ignore[attr-defined]


def _series_words(one: Series) -> str:
    images = ngettext("%(count)s image", "%(count)s images", one.number_of_instances) % {"count": one.number_of_instances}
    return " · ".join(part for part in (str(one.number) if one.number is not None else "", one.modality, one.body_part, images) if part)
