"""The pages of rules: cards in words, the draft and its editor, versions, the dry run, the ladder of stages."""

import re
from uuid import uuid4

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.urls import reverse

from ai.models import Decision, Job, RuleSet, StageChange
from ai.routing.compare import rulesets_compare
from ai.routing.sets import ruleset_draft, ruleset_publish, ruleset_save
from ai.services import connection_create
from imaging.models import Study
from journal.audit import Actor
from journal.models import AuditEvent
from tests import house
from tests.ai.routing.studies import rule
from tests.dicom_files import ct_slice, part10, series_of
from tests.portal.test_pages import signed_in

pytestmark = pytest.mark.database
ANNA = Actor(name="user:anna")
NIGHT = [{"fact": "modality", "is": ["CT"]}, {"fact": "time", "between": ["18:00", "07:00"]}]


def at(hospital, name: str, **needs) -> str:
    return reverse(name, kwargs={"slug": hospital.slug, **needs})


def posted(revision: int, name: str = "chest", do: str = "save", *rows: dict[str, object], **more: object) -> dict[str, object]:
    """What the editor's form sends: `rows` are conditions on the study."""
    found: dict[str, object] = {
        "revision": revision, "name": name, "target": "medhub-quantify/lung-density-mask", "do": do, "study-count": len(rows),
        "series-count": 0, **more,
    }  # fmt: skip
    for place, row in enumerate(rows):
        found |= {f"study-{place}-{part}": value for part, value in row.items()}
    return found


CT = {"fact": "modality", "op": "is", "box": ["CT"], "value": ""}


@pytest.fixture
def active(mercy):
    with mercy.scope():
        connection_create(platform="medhub-quantify")
        return ruleset_publish(rules=[rule("night", conditions=NIGHT, is_stat=True), rule("day")], actor=ANNA)


def test_the_active_rules_are_cards_in_words(client, mercy, active) -> None:
    """"rule editor with ordered cards, no code": conditions as sentences, in their order, with who and when."""
    page = signed_in(client, mercy).get(at(mercy, "rules")).content.decode()
    assert page.index(">night<") < page.index(">day<")
    assert "modality is CT" in page
    assert "time of arrival is between 18:00 and 07:00" in page
    assert 'class="mh-stat">STAT' in page
    assert "Lung density mask</strong>, MedHub Quantify" in page
    assert "Activated by a former member" in page
    assert "Edit the rules" not in page  # a radiologist reads


def test_a_draft_is_written_tried_activated_and_gone_back_from(client, mercy, active) -> None:
    """"versioned, draft -> active, with who and when": each version stays, is compared, and can be gone back to."""
    signed_in(client, mercy, "admin")
    first, second = (one["id"] for one in active.rules)
    assert client.post(at(mercy, "rules-draft-make")).status_code == 302
    client.post(at(mercy, "rule-move", rule=second), {"revision": 1, "to": "up"})
    client.post(at(mercy, "rule-edit", rule=second), posted(2, "day", "save", {**CT, "box": ["CT", "MR"]}))
    client.post(at(mercy, "rule-delete", rule=first), {"revision": 3})
    client.post(at(mercy, "rule-new"), posted(4, "thin", "save", CT, is_stat="on"))
    page = client.get(at(mercy, "rules-draft")).content.decode()
    assert re.findall(r'class="mh-state-\w+">(\w+)<', page) == ["changed", "added", "removed"]
    assert client.post(at(mercy, "rules-activate"), {"revision": 5}).headers["Location"] == at(mercy, "rules")
    with mercy.scope():
        now = RuleSet.objects.get(state="active")
        assert [one["name"] for one in now.rules] == ["day", "thin"]
        assert now.rules[0]["conditions"] == [{"fact": "modality", "is": ["CT", "MR"]}]
        assert (now.number, now.activated_by) == (2, f"user:{mercy.member('admin').pk}")
    page = client.get(at(mercy, "rules")).content.decode()
    assert "Activated by admin@" in page
    old = client.get(at(mercy, "rules-version", number=1)).content.decode()
    assert "Beside the active version 2" in old
    assert "In the active version" in old
    client.post(at(mercy, "rules-revert", number=1))
    with mercy.scope():
        assert RuleSet.objects.get(state="draft").rules == active.rules
    client.post(at(mercy, "rules-discard"))
    with mercy.scope():
        assert not RuleSet.objects.filter(state="draft").exists()
        assert AuditEvent.objects.filter(action="rules.discard").count() == 1


def test_the_second_of_two_editors_is_told_and_loses_nothing(client, mercy, active) -> None:
    """What was typed is in the form again, with who was first and how the rule reads now; saving again puts it in."""
    signed_in(client, mercy, "admin")
    key = active.rules[0]["id"]
    form = client.get(at(mercy, "rule-edit", rule=key))
    assert form.context["revision"] == 0
    with mercy.scope():  # somebody else is faster
        draft = ruleset_draft(actor=Actor(name=f"user:{mercy.member('owner').pk}"))
        other = [{**draft.rules[0], "name": "night shift"}, draft.rules[1]]
        ruleset_save(rules=other, revision=1, actor=Actor(name=f"user:{mercy.member('owner').pk}"))
    told = client.post(at(mercy, "rule-edit", rule=key), posted(0, "mine", "save", CT))
    page = told.content.decode()
    assert f"owner@{mercy.slug}.example changed the draft" in page
    assert 'value="mine"' in page
    assert told.context["revision"] == 2
    assert told.context["meanwhile"]["card"].name == "night shift"
    assert client.post(at(mercy, "rule-edit", rule=key), posted(2, "mine", "save", CT)).status_code == 302
    for name, more in (("rule-move", {"to": "down"}), ("rule-delete", {})):
        page = client.post(at(mercy, name, rule=key), {"revision": 2, **more}, follow=True).content.decode()
        assert "changed the draft meanwhile" in page
    page = client.post(at(mercy, "rules-activate"), {"revision": 2}, follow=True).content.decode()
    assert "changed the draft meanwhile" in page
    with mercy.scope():
        assert [one["name"] for one in RuleSet.objects.get(state="draft").rules] == ["mine", "day"]
    # Taken out by somebody meanwhile: what was typed is still there, and goes to the end.
    client.post(at(mercy, "rule-delete", rule=key), {"revision": 3})
    page = client.post(at(mercy, "rule-edit", rule=key), posted(3, "mine still", "save", CT)).content.decode()
    assert "This rule was taken out of the draft meanwhile" in page
    client.post(at(mercy, "rule-edit", rule=key), posted(4, "mine still", "save", CT))
    with mercy.scope():
        assert [one["name"] for one in RuleSet.objects.get(state="draft").rules] == ["day", "mine still"]


def test_conditions_come_and_go_by_the_forms_own_buttons(client, mercy, active) -> None:
    """"closed vocabulary ... the right kind of value"; works without a script: the form comes back with the row, nothing is saved."""
    signed_in(client, mercy, "admin")
    new = at(mercy, "rule-new")
    add = {"study-add": "patient_age_years", "series-add": "contrast"}
    page = client.post(new, posted(0, "", "add-study", CT, **add)).content.decode()
    assert 'name="study-1-value"' in page
    assert 'inputmode="decimal"' in page
    assert 'class="mh-error' not in page  # nobody is told off while still at it
    page = client.post(new, posted(0, "x", "add-series", CT, **add)).content.decode()
    assert 'name="series-0-box" value="WITHOUT"' in page
    age = {"fact": "patient_age_years", "op": "at_least", "value": "old"}
    page = client.post(new, posted(0, "x", "remove-study-0", CT, age)).content.decode()
    assert ('value="old"' in page, 'name="study-1-fact"' in page) == (True, False)
    never = {"fact": "time", "op": "between", "begin": "07:00", "end": "07:00"}
    page = client.post(new, posted(0, "x", "save", age, never)).content.decode()
    assert "a number is needed" in page
    assert "between two different times" in page
    page = client.post(new, posted(0, "DAY", "save", CT)).content.decode()
    assert "another rule has this name" in page
    client.post(new, {**posted(0, "x", "save", {"fact": "__class__", "op": "is", "value": "a"}), "target": "nobody/nothing"})
    with mercy.scope():
        assert not RuleSet.objects.filter(state="draft").exists()


def test_every_fact_of_the_vocabulary_survives_the_form(client, mercy) -> None:
    """What the API may write the editor shows and saves as it was."""
    from ai.routing.vocabulary import SERIES, STUDY

    values = {
        "words": ("is_not", ["A", "B"]), "text": ("contains", ["chest w/o"]), "number": ("at_most", 2.5),
        "clock": ("between", ["22:00", "06:30"]),
    }  # fmt: skip
    every = {
        key: [{"fact": fact.name, values[fact.kind][0]: values[fact.kind][1]} for fact in facts.values()]
        for key, facts in (("conditions", STUDY), ("series", SERIES))
    }
    with mercy.scope():
        connection_create(platform="medhub-quantify")
        made = ruleset_publish(rules=[rule("all", **every)], actor=ANNA)
    url = at(mercy, "rule-edit", rule=made.rules[0]["id"])
    editor = signed_in(client, mercy, "admin").get(url).context["editor"]
    sent = posted(0, "all", "save")
    for rows in editor.rows.values():
        for row in rows:
            parts = {"fact": row.fact.name, "op": row.operator, "begin": row.begin, "end": row.end}
            parts["box"] = [word for word in row.words if word in row.boxes]
            parts["value"] = row.text or (row.others if row.has_others else "")
            sent |= {f"{row.prefix}-{part}": value for part, value in parts.items()}
        sent[f"{rows[0].group}-count"] = len(rows)
    assert client.post(url, sent).status_code == 302
    with mercy.scope():
        assert RuleSet.objects.get(state="draft").rules[0] == made.rules[0]


def test_a_comparison_knows_what_moved() -> None:
    """"compare a version with the active one": added, removed, changed, moved, as before."""
    a, b, c, d = ({"id": key, "name": key} for key in "abcd")
    found = rulesets_compare(before=[a, b, c, d], after=[b, c, a, {**d, "name": "other"}, {"id": "e"}])
    assert [(one.rule["id"], one.kind) for one in found] == [("b", "same"), ("c", "same"), ("a", "moved"), ("d", "changed"), ("e", "added")]
    assert [(one.rule["id"], one.kind) for one in rulesets_compare(before=[a], after=[])] == [("a", "removed")]


def test_the_dry_run_says_yes_and_no_with_reasons(client, mercy) -> None:
    """"dry run over the last N real studies ..., with the reason for each yes and no, conflicts and "no rule matched" reported"."""
    with mercy.scope():
        connection_create(platform="medhub-quantify")
        ruleset_publish(
            rules=[rule("thin"), rule("again", is_stat=True), rule("never", conditions=[{"fact": "modality", "is": ["XA"]}])], actor=ANNA
        )
    for datasets in (series_of(25, PatientName="ZZCANARY^A"), [ct_slice(Modality="MG", PatientID="P3", StudyDescription="ZZCANARY")]):
        house.store(mercy, datasets)
    house.index(mercy)
    house.complete(mercy)
    answer = signed_in(client, mercy, "admin").post(at(mercy, "rules-try"), {"of": "draft", "last": "100"})
    page, trial = answer.content.decode(), answer.context["trial"]
    assert (trial.count, trial.jobs, trial.unmatched) == (2, 1, 1)
    assert "modality is MG, the rule wants CT" in page
    assert "never: matches none of these studies" in page
    assert "again: sends nothing that a rule before it does not send already" in page
    assert "with another priority for 1 study: thin, which is before it, wins" in page
    assert "1 study that no rule sends" in page
    assert "yes, but a rule before it sends the same" in page
    assert "ZZCANARY" not in page
    assert 'class="mh-share-yes" x="0.0" width="120.0"' in page
    with mercy.scope():
        assert not Job.objects.exists()
        assert not Decision.objects.exists()
        assert AuditEvent.objects.filter(action="rules.dry_run").count() == 1


def test_the_dry_run_over_a_file(client, mercy, active) -> None:
    """"and over an uploaded file": its answer on the page, nothing kept; what is no DICOM, or too large, is refused in words."""
    signed_in(client, mercy, "admin")
    url = at(mercy, "rules-try-file")

    def sent(content: bytes):
        return client.post(url, {"of": "active", "file": SimpleUploadedFile("DOE_JANE.dcm", content)})

    page = sent(part10(ct_slice())).content.decode()
    assert "1 slice, Lung density mask needs 20 or more" in page
    assert "DOE" not in page
    assert "this is no DICOM file that can be read" in sent(b"no DICOM").content.decode()
    assert "This field is required" in client.post(url, {"of": "active"}).content.decode()
    assert client.post(url, b"x", content_type="multipart/form-data; boundary=a", CONTENT_LENGTH=str(66 << 20)).status_code == 413
    with mercy.scope():
        assert not Study.objects.exists()


def test_the_file_door_checks_the_csrf_token(mercy, active) -> None:
    """The body's length is looked at first; the token all the same."""
    from django.test import Client

    client = Client(enforce_csrf_checks=True)
    client.force_login(mercy.member("admin"), backend="django.contrib.auth.backends.ModelBackend")
    assert client.post(at(mercy, "rules-try-file"), {"of": "active"}).status_code == 403


def test_the_ladder(client, mercy, active) -> None:
    """"stages off -> test -> shadow -> pilot -> live per platform": one page, a step with its note, readers, the history with who."""
    signed_in(client, mercy, "admin")
    reader = mercy.member("radiologist")
    url = at(mercy, "stage-set", platform="medhub-quantify")
    assert "Why: This field is required" in client.post(url, {"step": "pilot"}).content.decode()
    answer = client.post(url, {"step": "pilot", "readers": [str(reader.pk)], "note": "measured for a month"})
    assert answer.headers["Location"] == at(mercy, "stages") + "#medhub-quantify"
    page = client.get(at(mercy, "stages")).content.decode()
    assert '<li aria-current="step"><span>pilot</span>' in page
    assert f"Readers of the pilot: radiologist@{mercy.slug}.example" in page
    assert "measured for a month" in page
    assert "MedHub Quantify: pilot from now on." in page
    client.post(url, {"step": "shadow", "readers": [str(uuid4())], "note": "x"})  # nobody of this hospital
    assert client.post(at(mercy, "stage-set", platform="aidoc"), {}).status_code == 404
    with mercy.scope():
        (change,) = StageChange.objects.all()
        assert (change.before, change.after, change.by) == ("live", "pilot", f"user:{mercy.member('admin').pk}")
    client.logout()
    page = signed_in(client, mercy).get(at(mercy, "stages")).content.decode()
    assert "Take this step" not in page
    page = client.get(at(mercy, "rules")).content.decode()
    assert "The platform is in pilot" in page


def test_another_hospitals_rules_are_not_there(client, mercy, olaf, active) -> None:
    """"Foreign ids answer 404": of rules and versions."""
    signed_in(client, olaf, "admin")
    key = active.rules[0]["id"]
    assert client.get(at(olaf, "rules-version", number=1)).status_code == 404
    assert client.post(at(olaf, "rules-revert", number=1)).status_code == 404
    assert client.get(at(olaf, "rule-edit", rule=key)).status_code == 404
    for name in ("rule-move", "rule-delete"):
        assert client.post(at(olaf, name, rule=key), {"revision": 0}).status_code == 404
