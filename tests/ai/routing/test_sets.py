"""Versions of rules: draft, active, retired; who and when; two editors; another hospital's are not there."""

import pytest

from ai.models import RuleSet
from ai.routing.sets import (
    RuleSetRefused,
    ruleset_activate,
    ruleset_active,
    ruleset_discard,
    ruleset_draft,
    ruleset_get,
    ruleset_revert,
    ruleset_save,
    rulesets_page,
)
from ai.services import connection_create, rule_set
from journal.audit import Actor
from journal.models import AuditEvent
from tests.ai.routing.studies import rule

pytestmark = pytest.mark.database
ANNA, BERT = Actor(name="user:anna"), Actor(name="user:bert")


@pytest.fixture
def ward(mercy):
    """In scope, connected to what is in the house."""
    with mercy.scope():
        connection_create(platform="medhub-quantify")
        yield mercy


def test_draft_to_active_with_who_and_when(ward) -> None:
    """"rules are data ..., versioned, draft -> active, with who and when"."""
    draft = ruleset_save(rules=[rule()], revision=0, note="first", actor=ANNA)
    assert (draft.number, draft.state, ruleset_active()) == (1, "draft", None)
    active = ruleset_activate(revision=draft.revision, actor=BERT)
    assert (active.number, active.state, active.created_by, active.activated_by) == (1, "active", "user:anna", "user:bert")
    assert active.activated_at is not None
    second = ruleset_save(rules=[*active.rules, rule("second", is_stat=True)], revision=0, actor=ANNA)
    assert (second.number, second.based_on, second.rules[0]["id"]) == (2, 1, active.rules[0]["id"])
    ruleset_activate(revision=second.revision, actor=ANNA)
    assert [(one.number, one.state) for one in rulesets_page()] == [(2, "active"), (1, "retired")]
    assert ruleset_get(number=1).retired_at is not None
    assert [one["name"] for one in ruleset_get(number=1).rules] == ["chest"], "what was active is never changed"
    actions = list(AuditEvent.objects.filter(object_type="RuleSet").order_by("id").values_list("action", "actor"))
    assert ("rules.activate", "user:bert") in actions


def test_two_editors_do_not_overwrite_each_other(ward) -> None:
    """The second one is told, also at activating: nobody activates what they have not seen."""
    draft = ruleset_save(rules=[rule()], revision=0, actor=ANNA)
    ruleset_save(rules=[rule("other")], revision=draft.revision, actor=BERT)
    for act in (
        lambda: ruleset_save(rules=[], revision=draft.revision, actor=ANNA),
        lambda: ruleset_save(rules=[], revision=0, actor=ANNA),
        lambda: ruleset_activate(revision=draft.revision, actor=ANNA),
    ):
        with pytest.raises(RuleSetRefused) as refused:
            act()
        assert refused.value.is_stale
    assert [one["name"] for one in ruleset_draft(actor=ANNA).rules] == ["other"]


def test_revert_is_a_draft_of_the_old_version(ward) -> None:
    """"one-click way back": an older version's rules stand in a draft, which is activated like any other."""
    rule_set(name="a", connection=connection_create(platform="medhub-quantify"), algorithm="lung-density-mask", conditions=[])
    rule_set(name="b", connection=connection_create(platform="medhub-quantify"), algorithm="lung-density-mask", conditions=[])
    ruleset_save(rules=[], revision=0, actor=ANNA)
    draft = ruleset_revert(number=1, actor=ANNA)
    assert draft is not None
    assert ([one["name"] for one in draft.rules], draft.based_on, draft.state) == (["a"], 1, "draft")
    assert ruleset_active().number == 2
    assert ruleset_revert(number=77, actor=ANNA) is None
    assert ruleset_discard(actor=ANNA)
    assert not ruleset_discard(actor=ANNA)


@pytest.mark.parametrize(
    ("rules", "place"),
    [
        ([rule(platform="nobody")], 0), ([rule(algorithm="other")], 0), ([rule(name="")], 0), ([rule(name="x" * 81)], 0),
        ([rule(), rule("CHEST")], 1), ([rule(conditions=[{"fact": "name", "is": ["x"]}])], 0),
        ([rule(series=[{"fact": "sex", "is": ["F"]}])], 0),
        ([rule(is_stat="yes")], 0), ([rule(code="exec()")], 0), ([rule(id="1")], 0), ([rule(platform=["x"])], 0), (["x"], 0), ({}, -1),
        ([rule(str(n)) for n in range(201)], -1), ([rule(conditions={})], 0),
    ],
)  # fmt: skip
def test_what_is_no_rule_is_refused_by_its_place(ward, rules, place) -> None:
    """"closed vocabulary ..., no code": nothing half understood is kept."""
    with pytest.raises(RuleSetRefused) as refused:
        ruleset_save(rules=rules, revision=0, actor=ANNA)
    assert list(refused.value.problems) == [place]
    assert not RuleSet.objects.exists()


def test_a_platform_that_is_not_connected_cannot_be_activated(ward) -> None:
    """The draft may name it; activating says which rule waits for which connection."""
    draft = ruleset_save(rules=[rule(), rule("head", "viz-ai", "ich-triage")], revision=0, actor=ANNA)
    with pytest.raises(RuleSetRefused) as refused:
        ruleset_activate(revision=draft.revision, actor=ANNA)
    assert refused.value.problems == {1: "Viz.ai is not connected yet"}
    assert ruleset_active() is None


def test_another_hospitals_rules_are_not_there(mercy, olaf) -> None:
    """Two walls: neither read, nor reverted to, nor replaced."""
    for hospital in (mercy, olaf):
        with hospital.scope():
            made = connection_create(platform="medhub-quantify")
            rule_set(name=hospital.slug, connection=made, algorithm="lung-density-mask", conditions=[])
    with olaf.scope():
        rule_set(name="second", connection=connection_create(platform="medhub-quantify"), algorithm="lung-density-mask", conditions=[])
        assert [one["name"] for one in ruleset_active().rules] == [olaf.slug, "second"]
    with mercy.scope():
        assert [one["name"] for one in ruleset_active().rules] == [mercy.slug]
        assert ruleset_get(number=2) is None
        assert ruleset_revert(number=2, actor=ANNA) is None


def test_of_two_who_make_the_draft_at_once_one_is_told(mercy) -> None:
    """"the second of two editors is told": the row that the other has just written is no error of ours."""
    from ai.routing.sets import _draft_make

    with mercy.scope():
        first = _draft_make(None, ANNA)
        with pytest.raises(RuleSetRefused) as refused:  # as if it had looked before the other wrote
            _draft_make(None, BERT)
        assert refused.value.is_stale
        assert ruleset_draft(actor=BERT).id == first.id
