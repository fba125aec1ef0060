"""The ladder: each connected platform's step, the change of it with a note, the readers of a pilot, and what was changed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django import forms
from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, pgettext_lazy
from django.views.decorators.http import require_POST

from ai.models import Connection
from ai.selectors import connection_get, connections
from ai.stages import STEPS, stage_changes, stage_of, stage_set
from portal.aiwords import connection_words
from portal.forms import PlainForm
from portal.people import People
from portal.rulewords import STEPS as WORDS
from portal.words import StateWords
from tenants.doors import HospitalRequest, hospital_page
from tenants.models import Membership
from tenants.permissions import is_allowed
from tenants.selectors import members_of

YES, NO = gettext_lazy("yes"), pgettext_lazy("answer", "no")
NOBODY = gettext_lazy("who decides about stages")
# step -> do rules send, who sees results, do results go out; as docs/routing.md has it
MEANING = {
    "off": (NO, gettext_lazy("nothing new comes"), NO),
    "test": (gettext_lazy("no: a person does, study by study"), NOBODY, NO),
    "shadow": (YES, gettext_lazy("who decides about stages: they are measured"), NO),
    "pilot": (YES, gettext_lazy("named readers too"), NO),
    "live": (YES, gettext_lazy("all who may read"), YES),
}


@dataclass(frozen=True)
class StepWords:
    key: str
    number: int
    word: str
    sends: str
    sees: str
    goes: str


@dataclass(frozen=True)
class ChangeWords:
    before: str
    after: str
    note: str
    by: str
    at: Any


@dataclass(frozen=True)
class LadderRow:
    connection: Connection
    step: str
    number: int
    state: StateWords
    readers: tuple[str, ...]
    changes: tuple[ChangeWords, ...]
    form: "StageForm | None"


class StageForm(PlainForm):
    """One step, up or back."""

    step = forms.ChoiceField(label=gettext_lazy("Step"), choices=[(key, WORDS[key]) for key in STEPS])
    readers = forms.MultipleChoiceField(
        label=gettext_lazy("Readers of the pilot"), required=False, widget=forms.CheckboxSelectMultiple,
        help_text=gettext_lazy("They see its results while it is in pilot."),
    )  # fmt: skip
    note = forms.CharField(
        label=gettext_lazy("Why"), max_length=200, help_text=gettext_lazy("Kept with your name and the time. Nothing about a patient.")
    )

    def __init__(self, *args: Any, readers: Sequence[Membership], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        names = [(str(one.user_id), one.user.name or one.user.email) for one in readers]
        self.fields["readers"].choices = names  # type: ignore[attr-defined]
        if not names:
            del self.fields["readers"]


def _steps() -> list[StepWords]:
    return [StepWords(key, number, str(WORDS[key]), *(str(one) for one in MEANING[key])) for number, key in enumerate(STEPS)]


def _readers(request: HospitalRequest) -> list[Membership]:
    return [one for one in members_of(tenant_id=request.tenant.id) if is_allowed(role=one.role, capability="study.read")]


def _row(connection: Connection, people: People, form: StageForm | None) -> LadderRow:
    step = stage_of(connection)
    changes = tuple(
        ChangeWords(str(WORDS.get(one.before, one.before)), str(WORDS.get(one.after, one.after)), one.note, people.words(one.by), one.at)
        for one in stage_changes(connection_id=connection.id)
    )
    readers = tuple(people.words(f"user:{key}") for key in connection.pilot_readers)
    return LadderRow(connection, step, STEPS.index(step), connection_words(connection), readers, changes, form)


def _page(request: HospitalRequest, failed: StageForm | None = None, platform: str = "") -> HttpResponse:
    people, readers = People(request.tenant), _readers(request)
    may = is_allowed(role=request.role, capability="ai.write")

    def form_of(one: Connection) -> StageForm | None:
        if failed is not None and one.platform == platform:
            return failed
        initial = {"step": stage_of(one), "readers": one.pilot_readers}
        return StageForm(readers=readers, initial=initial, auto_id=f"{one.platform}_%s") if may else None

    rows = [_row(one, people, form_of(one)) for one in connections().values()]
    return render(request, "portal/stages.html", {"rows": rows, "steps": _steps(), "failed": failed})


@hospital_page("ai.read")
def stages_page(request: HospitalRequest) -> HttpResponse:
    return _page(request)


@require_POST
@hospital_page("ai.write")
def stage_change(request: HospitalRequest, platform: str) -> HttpResponse:
    connection = connection_get(platform=platform)
    if connection is None:
        raise Http404
    form = StageForm(request.POST, readers=_readers(request), auto_id=f"{platform}_%s")
    if not form.is_valid():
        return _page(request, form, platform)
    given = form.cleaned_data
    stage_set(
        connection_id=connection.id, step=given["step"], readers=given.get("readers"), note=given["note"], actor=request.actor
    )
    messages.success(
        request, _("%(platform)s: %(step)s from now on.") % {"platform": connection.name, "step": WORDS[given["step"]]}
    )
    return redirect(reverse("stages", args=[request.tenant.slug]) + f"#{platform}")
