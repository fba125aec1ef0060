"""Routing rules: the active version, its draft, and what was before; the editor of one rule; the dry run."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.csrf import csrf_exempt, csrf_protect
from django.views.decorators.http import require_POST

from ai.models import RuleSet
from ai.routing.compare import rulesets_compare
from ai.routing.dryrun import FILE_BYTES, FileRefused, Trial, file_try, studies_try
from ai.routing.editing import draft_rule_delete, draft_rule_move, draft_rule_save, rule_find, ruleset_edited
from ai.routing.sets import (
    RuleSetRefused,
    ruleset_activate,
    ruleset_active,
    ruleset_discard,
    ruleset_draft,
    ruleset_draft_get,
    ruleset_get,
    ruleset_revert,
    rulesets_page,
)
from ai.selectors import connections
from imaging.selectors import nodes
from journal.audit import audit_record
from portal.people import People
from portal.ruleforms import RuleEditor, TryFileForm, TryForm
from portal.ruletrial import trial_shown
from portal.rulewords import change_card, rule_card, rule_cards
from tenants.doors import HospitalRequest, hospital_page

HISTORY = 20
MAX_NUMBER = 2**31 - 1


@dataclass(frozen=True)
class VersionRow:
    """A version with its people in words."""

    found: RuleSet
    created_by: str
    changed_by: str
    activated_by: str
    count: int | None = None


def _version(found: RuleSet | None, people: People, *, has_rules: bool = True) -> VersionRow | None:
    if found is None:
        return None
    words = (people.words(name) for name in (found.created_by, found.changed_by, found.activated_by))
    return VersionRow(found, *words, len(found.rules) if has_rules else None)


def _revision(request: HttpRequest) -> int:
    """The one that the form was made of; none is a stale one."""
    text = request.POST.get("revision", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else -1


def _refused(request: HospitalRequest, refused: RuleSetRefused) -> None:
    """What stood in the way, by the rules' names."""
    if refused.is_stale:
        draft = ruleset_draft_get()
        who = People(request.tenant).words(draft.changed_by) if draft else ""
        messages.error(
            request, (_("Nothing was changed: %(who)s changed the draft meanwhile. This is how it is now.") % {"who": who}) if who
            else _("Nothing was changed: the draft was activated or discarded meanwhile."),
        )  # fmt: skip
        return
    rules, _revision_now = ruleset_edited()
    for place, words in refused.problems.items():
        messages.error(request, f"{rules[place]['name']}: {words}" if 0 <= place < len(rules) else words)


@hospital_page("ai.read")
def rules_page(request: HospitalRequest) -> HttpResponse:
    """The active version as cards, and beside it that there is a draft."""
    active, draft, people = ruleset_active(), ruleset_draft_get(), People(request.tenant)
    before = request.GET.get("before", "")
    page = rulesets_page(before=int(before) if before.isascii() and before.isdigit() and len(before) < 10 else 0, size=HISTORY + 1)
    context = {
        "active": _version(active, people), "draft": _version(draft, people),
        "cards": rule_cards(active.rules, connections()) if active else [],
        "history": [_version(one, people, has_rules=False) for one in page[:HISTORY]],
        "older": page[HISTORY - 1].number if len(page) > HISTORY else 0,
    }  # fmt: skip
    return render(request, "portal/rules.html", context)


@hospital_page("ai.read")
def rules_version(request: HospitalRequest, number: int) -> HttpResponse:
    """One version in words, and what is different in the active one."""
    found = ruleset_get(number=min(number, MAX_NUMBER))
    if found is None:
        raise Http404
    active, people = ruleset_active(), People(request.tenant)
    is_compared = active is not None and active.id != found.id
    # A draft is read as what would change; an old version as what going back to it would change.
    changes = rulesets_compare(before=active.rules, after=found.rules) if is_compared and active else []
    context = {
        "version": _version(found, people), "active": active, "cards": rule_cards(found.rules, connections()),
        "changes": [change_card(one, number) for number, one in enumerate(changes, 1)] if is_compared else None,
        "is_different": any(one.kind != "same" for one in changes),
    }  # fmt: skip
    return render(request, "portal/rules_version.html", context)


@hospital_page("ai.read")
def rules_draft(request: HospitalRequest) -> HttpResponse:
    """The draft as cards with their buttons, and what it changes."""
    draft, active, people = ruleset_draft_get(), ruleset_active(), People(request.tenant)
    if draft is None:
        return redirect("rules", slug=request.tenant.slug)
    changes = rulesets_compare(before=active.rules if active else [], after=draft.rules)
    context = {
        "draft": _version(draft, people), "cards": rule_cards(draft.rules, connections()), "active": active,
        "changes": [change_card(one, number) for number, one in enumerate(changes, 1) if one.kind != "same"],
    }  # fmt: skip
    return render(request, "portal/rules_draft.html", context)


@require_POST
@hospital_page("ai.write")
def draft_make(request: HospitalRequest) -> HttpResponse:
    ruleset_draft(actor=request.actor)
    return redirect("rules-draft", slug=request.tenant.slug)


@require_POST
@hospital_page("ai.write")
def activate(request: HospitalRequest) -> HttpResponse:
    try:
        made = ruleset_activate(revision=_revision(request), actor=request.actor)
    except RuleSetRefused as refused:
        _refused(request, refused)
        return redirect("rules-draft", slug=request.tenant.slug)
    messages.success(request, _("Version %(number)s is active: studies are routed by it from now on.") % {"number": made.number})
    return redirect("rules", slug=request.tenant.slug)


@require_POST
@hospital_page("ai.write")
def discard(request: HospitalRequest) -> HttpResponse:
    if ruleset_discard(actor=request.actor):
        messages.success(request, _("The draft is gone. The active rules are as they were."))
    return redirect("rules", slug=request.tenant.slug)


@require_POST
@hospital_page("ai.write")
def revert(request: HospitalRequest, number: int) -> HttpResponse:
    if ruleset_revert(number=min(number, MAX_NUMBER), actor=request.actor) is None:
        raise Http404
    messages.success(
        request, _("This draft has the rules of version %(number)s. Look at it, try it, then activate it.") % {"number": number}
    )
    return redirect("rules-draft", slug=request.tenant.slug)


def _editor(rule: dict[str, Any] | None) -> RuleEditor:
    return RuleEditor(rule=rule, connections=connections(), aes=[node.ae_title for node in nodes()])


@hospital_page("ai.write")
def rule_new(request: HospitalRequest) -> HttpResponse:
    return _edited(request, None)


@hospital_page("ai.write")
def rule_edit(request: HospitalRequest, rule: UUID) -> HttpResponse:
    found = rule_find(rule_id=str(rule))
    # Taken out by somebody else while it was edited: what was typed is worth more than a 404.
    if found is None and "revision" not in request.POST:
        raise Http404
    return _edited(request, found, rule_id=str(rule))


def _edited(request: HospitalRequest, rule: dict[str, Any] | None, rule_id: str = "") -> HttpResponse:
    editor, revision, meanwhile = _editor(rule), ruleset_edited()[1], None
    editor.rule_id = rule_id
    if request.method == "POST":
        revision = _revision(request)
        found = editor.rule() if editor.read(request.POST) == "save" else None
        if found is not None:
            try:
                draft_rule_save(rule=found, revision=revision, actor=request.actor)
            except RuleSetRefused as refused:
                if refused.is_stale:
                    revision, meanwhile = ruleset_edited()[1], _meanwhile(request, rule)
                else:
                    editor.problem = "; ".join(dict.fromkeys(refused.problems.values()))
            else:
                return redirect("rules-draft", slug=request.tenant.slug)
    context = {"editor": editor, "form": editor.form, "revision": revision, "meanwhile": meanwhile, "is_new": not rule_id}
    return render(request, "portal/rules_edit.html", context)


def _meanwhile(request: HospitalRequest, rule: dict[str, Any] | None) -> dict[str, Any]:
    """For the second of two editors: who was first, and how this rule reads now."""
    draft = ruleset_draft_get()
    return {
        "who": People(request.tenant).words(draft.changed_by) if draft else "", "at": draft.changed_at if draft else None,
        "card": rule_card(rule, 1) if rule else None,
    }  # fmt: skip


def _moved(request: HospitalRequest, rule: UUID, act: Callable[..., RuleSet], **how: Any) -> HttpResponse:
    if rule_find(rule_id=str(rule)) is None:
        raise Http404
    try:
        act(rule_id=str(rule), revision=_revision(request), actor=request.actor, **how)
    except RuleSetRefused as refused:
        _refused(request, refused)
    return redirect("rules-draft", slug=request.tenant.slug)


@require_POST
@hospital_page("ai.write")
def rule_move(request: HospitalRequest, rule: UUID) -> HttpResponse:
    to = "up" if request.POST.get("to") == "up" else "down"
    answer = _moved(request, rule, draft_rule_move, step=-1 if to == "up" else 1)
    answer.headers["Location"] += f"?moved={rule}&to={to}"  # the page gives the button its focus back
    return answer


@require_POST
@hospital_page("ai.write")
def rule_delete(request: HospitalRequest, rule: UUID) -> HttpResponse:
    return _moved(request, rule, draft_rule_delete)


@hospital_page("ai.write")
def dry_run(request: HospitalRequest) -> HttpResponse:
    """What rules would do with the last studies. Nothing is sent and nothing is kept."""
    if request.method != "POST":
        return _trial(request, None)
    form = TryForm(request.POST, auto_id="try_%s")
    if not form.is_valid():
        return _trial(request, None, form=form)
    of, last = form.cleaned_data["of"], form.cleaned_data["last"]
    audit_record(actor=request.actor, action="rules.dry_run", object_type="RuleSet", object_id=of)
    rules = _rules_of(of)
    return _trial(request, studies_try(rules=rules, last=last) if rules else None, form=form, is_empty=not rules)


def _sized(view: Callable[..., HttpResponseBase]) -> Callable[..., HttpResponseBase]:
    """Too large a body is refused by its length, before the CSRF check reads it all to find its token."""

    @wraps(view)
    def run(request: HttpRequest, **kwargs: Any) -> HttpResponseBase:
        length = request.META.get("CONTENT_LENGTH") or "0"
        if not length.isdigit() or int(length) > FILE_BYTES + (1 << 20):
            return HttpResponse(_("The file is larger than 64 MiB. Nothing of it was read."), status=413, content_type="text/plain")
        return csrf_protect(view)(request, **kwargs)

    return csrf_exempt(run)


@_sized
@require_POST
@hospital_page("ai.write")
def dry_run_file(request: HospitalRequest) -> HttpResponse:
    """The same over one DICOM object, as if a study of it alone had come."""
    form = TryFileForm(request.POST, request.FILES, auto_id="file_%s")
    if not form.is_valid():
        return _trial(request, None, file_form=form)
    of = form.cleaned_data["of"]
    audit_record(actor=request.actor, action="rules.dry_run_file", object_type="RuleSet", object_id=of)
    rules = _rules_of(of)
    try:
        found = file_try(rules=rules, data=form.cleaned_data["file"].read(FILE_BYTES)) if rules else None
    except FileRefused as refused:
        form.add_error("file", str(refused))
        return _trial(request, None, file_form=form)
    return _trial(request, found, file_form=form, is_empty=not rules)


def _rules_of(of: str) -> list[dict[str, Any]]:
    found = ruleset_draft_get() if of == "draft" else None
    found = found or ruleset_active()
    return list(found.rules) if found else []


def _trial(
    request: HospitalRequest, trial: Trial | None, *, form: TryForm | None = None, file_form: TryFileForm | None = None,
    is_empty: bool = False,
) -> HttpResponse:  # fmt: skip
    of = "draft" if ruleset_draft_get() else "active"
    context = {
        "form": form or TryForm(initial={"of": of, "last": 100}, auto_id="try_%s"),
        "file_form": file_form or TryFileForm(initial={"of": of}, auto_id="file_%s"), "is_empty": is_empty,
        "trial": trial_shown(trial) if trial is not None else None, "is_file": file_form is not None,
    }  # fmt: skip
    return render(request, "portal/rules_try.html", context)
