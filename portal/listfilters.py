"""Filters of the worklist: their form, their words, and where they live. Nothing of them is in an address but a random key.

What was asked for last lies in the session, a few for several windows; what is kept under a name is a row of the person's own, without
the text that was searched for.
"""

import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from django import forms
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from ai.readers import Reader
from ai.worklist import AI_FILTERS, ai_where
from imaging.listing import StudyWish
from imaging.models import Priority
from portal.forms import PlainForm
from portal.listwords import AI_WORDS, PRIORITIES
from tenants.doors import HospitalRequest
from tenants.filters import NAME_CHARS, filter_get

KEPT = 8  # of one session
SAVED = "s"  # a key of a saved filter begins with it; a random one never does
ROWS = (50, 100, 200)
DAYS = {
    "": gettext_lazy("at any time"), "1": gettext_lazy("in the last 24 hours"), "3": gettext_lazy("in the last 3 days"),
    "7": gettext_lazy("in the last 7 days"), "30": gettext_lazy("in the last 30 days"),
}  # fmt: skip
AI_CHOICES = {key: AI_WORDS[key] for key in AI_FILTERS}
MODALITIES_MAX, TEXT_CHARS = 8, 64


@dataclass(frozen=True, kw_only=True)
class ListFilter:
    """What somebody wants to see. Plain values: it lies in sessions and rows."""

    days: str = ""
    modalities: tuple[str, ...] = ()
    ai: str = ""
    priority: str = ""
    is_flagged: bool = False
    text: str = ""
    rows: int = ROWS[0]

    @property
    def is_empty(self) -> bool:
        return replace(self, rows=ROWS[0]) == ListFilter()

    def wish(self, *, reader: Reader, now: datetime) -> StudyWish:
        return StudyWish(
            since=now - timedelta(days=int(self.days)) if self.days else None, modalities=self.modalities,
            priorities=("stat", "urgent") if self.priority == "raised" else (self.priority,) if self.priority else (),
            is_flagged=self.is_flagged, text=self.text, where=(ai_where(state=self.ai, reader=reader, now=now),) if self.ai else (),
        )  # fmt: skip

    def words(self) -> list[str]:
        """What is asked for, one thing each."""
        found = [_("arrived %(when)s") % {"when": DAYS[self.days]}] if self.days else []
        found += [", ".join(self.modalities)] if self.modalities else []
        found += [_("AI: %(state)s") % {"state": AI_CHOICES[self.ai]}] if self.ai else []
        found += [_("flagged by AI")] if self.is_flagged else []
        if self.priority:
            found.append(_("STAT or urgent") if self.priority == "raised" else str(PRIORITIES[self.priority]))
        return found + ([f"“{self.text}”"] if self.text else [])

    def kept(self) -> dict[str, Any]:
        """As a row holds it: without the text."""
        data = asdict(replace(self, text=""))
        return {**data, "modalities": list(self.modalities)}


def filter_read(data: Mapping[str, Any]) -> ListFilter:
    """Of a session or a row; what is no value any more is left out."""
    rows = data.get("rows")
    return ListFilter(
        days=_one_of(data.get("days"), DAYS), ai=_one_of(data.get("ai"), AI_CHOICES), text=str(data.get("text", ""))[:TEXT_CHARS],
        priority=_one_of(data.get("priority"), {"raised", *Priority.values}), is_flagged=data.get("is_flagged") is True,
        modalities=tuple(str(one)[:16] for one in data.get("modalities") or ())[:MODALITIES_MAX], rows=rows if rows in ROWS else ROWS[0],
    )  # fmt: skip


def _one_of(value: Any, known: Any) -> str:
    return value if isinstance(value, str) and value in known else ""


class FilterForm(PlainForm):
    days = forms.ChoiceField(label=gettext_lazy("Arrived"), choices=list(DAYS.items()), required=False)
    modalities = forms.CharField(
        label=gettext_lazy("Modality"), max_length=80, required=False, help_text=gettext_lazy("Like CT, MR.")
    )
    priority = forms.ChoiceField(
        label=gettext_lazy("Priority"), required=False,
        choices=[("", gettext_lazy("any")), ("raised", gettext_lazy("STAT or urgent")), *PRIORITIES.items()],
    )  # fmt: skip
    ai = forms.ChoiceField(label=gettext_lazy("AI"), choices=[("", gettext_lazy("any state")), *AI_CHOICES.items()], required=False)
    text = forms.CharField(
        label=gettext_lazy("Name or number"), max_length=TEXT_CHARS, required=False,
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
        help_text=gettext_lazy("How it begins: DOE, or DOE, JA; patient or accession number."),
    )  # fmt: skip
    rows = forms.TypedChoiceField(
        label=gettext_lazy("Rows"), coerce=int, choices=[(n, str(n)) for n in ROWS], required=False, empty_value=ROWS[0]
    )
    is_flagged = forms.BooleanField(label=gettext_lazy("Only what AI flags"), required=False)
    save_as = forms.CharField(
        label=gettext_lazy("Keep it as"), max_length=NAME_CHARS, required=False,
        help_text=gettext_lazy("For you alone, without name or number. Empty: not kept."),
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )  # fmt: skip

    def found(self) -> ListFilter:
        given = dict(self.cleaned_data)
        given["modalities"] = [one.strip().upper() for one in given["modalities"].replace("/", ",").split(",") if one.strip()]
        return filter_read({**given, "text": given["text"].strip()})


def filter_form(found: ListFilter) -> FilterForm:
    return FilterForm(initial={**asdict(found), "modalities": ", ".join(found.modalities)}, auto_id="f_%s")


def filter_of(request: HospitalRequest) -> tuple[str, ListFilter]:
    """The key in the address and what it stands for; a key that nobody knows any more stands for everything."""
    key = request.GET.get("view", "")[:32]
    if key.startswith(SAVED) and key[1:].isascii() and key[1:].isdigit() and len(key) < 20:
        kept = filter_get(filter_id=int(key[1:]), actor=request.actor)
        return (key, filter_read(kept.wish)) if kept else ("", ListFilter())
    data = request.session.get(_place(request), {}).get(key)
    return (key, filter_read(data)) if data else ("", ListFilter())


def filter_keep(request: HospitalRequest, found: ListFilter) -> str:
    """Into the session. Returns its key, "" for everything."""
    if found == ListFilter():
        return ""
    key = "v" + secrets.token_urlsafe(6)
    kept = dict(list(request.session.get(_place(request), {}).items())[-KEPT + 1 :])
    request.session[_place(request)] = {**kept, key: {**found.kept(), "text": found.text}}
    return key


def _place(request: HospitalRequest) -> str:
    return f"worklist-{request.tenant.id}"

