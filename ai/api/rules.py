"""`rules` of the API: the active set, its draft, its versions, the vocabulary, and the dry run. Rules are data, never code."""

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import exceptions, serializers
from rest_framework.parsers import BaseParser, JSONParser
from rest_framework.request import Request
from rest_framework.response import Response

from ai.models import RuleSet
from ai.routing.compare import RuleChange, rulesets_compare
from ai.routing.dryrun import FILE_BYTES, MAX_STUDIES, FileRefused, StudyTrial, Trial, file_try, studies_try
from ai.routing.live import outcome_data
from ai.routing.sets import (
    RuleSetRefused,
    rules_read,
    ruleset_activate,
    ruleset_active,
    ruleset_discard,
    ruleset_draft,
    ruleset_draft_get,
    ruleset_get,
    ruleset_revert,
    ruleset_save,
    rulesets_page,
)
from ai.routing.vocabulary import OPERATORS, SERIES, STUDY
from imaging.api.base import ApiView, Conflict, ProblemSerializer, StrictSerializer, TooLarge, page_of, page_response
from journal.audit import audit_record

MAX_NUMBER = 2**31 - 1


class RuleSerializer(serializers.Serializer[Any]):
    """One rule: what holds of a study, and where it goes then."""

    id = serializers.UUIDField(required=False, help_text="stays the same over versions; made where it is left out")
    name = serializers.CharField(max_length=80)
    platform = serializers.CharField()
    algorithm = serializers.CharField()
    conditions = serializers.ListField(child=serializers.DictField(), help_text='all must hold: {"fact": "modality", "is": ["CT"]}')
    series = serializers.ListField(child=serializers.DictField(), help_text="conditions that a series must meet to be sent")
    is_stat = serializers.BooleanField(help_text="before all others")


class RuleSetSerializer(serializers.Serializer[Any]):
    """A version of the hospital's rules, in their order."""

    number = serializers.IntegerField()
    state = serializers.ChoiceField(choices=RuleSet.State.values)
    revision = serializers.IntegerField(help_text="of a draft; PUT and activate name the one that was read")
    based_on = serializers.IntegerField(help_text="the version it was copied from; 0: none")
    note = serializers.CharField()
    created_by = serializers.CharField()
    created_at = serializers.DateTimeField()
    changed_by = serializers.CharField()
    changed_at = serializers.DateTimeField()
    activated_by = serializers.CharField()
    activated_at = serializers.DateTimeField(allow_null=True)
    retired_at = serializers.DateTimeField(allow_null=True)


class RuleSetDetailSerializer(RuleSetSerializer):
    rules = RuleSerializer(many=True)


class RuleSetPageSerializer(serializers.Serializer[Any]):
    items = RuleSetSerializer(many=True)
    next = serializers.URLField(allow_null=True)


class DraftSerializer(StrictSerializer):
    """The whole draft, in place of what it was."""

    rules = serializers.JSONField()  # checked by ai.routing.sets, with a problem for each rule
    revision = serializers.IntegerField(min_value=0, max_value=MAX_NUMBER, help_text="as read; 0 where there was no draft")
    note = serializers.CharField(max_length=200, default="", allow_blank=True)


class ActivateSerializer(StrictSerializer):
    revision = serializers.IntegerField(min_value=0, max_value=MAX_NUMBER)


class TryOutSerializer(StrictSerializer):
    """`rules` to try; left out: those of `of`."""

    rules = serializers.JSONField(required=False)
    of = serializers.ChoiceField(choices=["draft", "active"], default="draft")
    last = serializers.IntegerField(min_value=1, max_value=MAX_STUDIES, default=100)


class TallySerializer(serializers.Serializer[Any]):
    """One rule over all studies."""

    rule = serializers.CharField()
    name = serializers.CharField()
    matched = serializers.IntegerField()
    refused = serializers.IntegerField(help_text="its conditions held, the label said no")
    doubled = serializers.IntegerField(help_text="an earlier rule sends the same")
    held = serializers.IntegerField(help_text="matched, and its platform takes nothing now")
    warning = serializers.CharField(help_text="never, label, shadowed, or empty")
    reasons = serializers.ListField(child=serializers.ListField(), help_text="the commonest noes with their number")


class ConflictSerializer(serializers.Serializer[Any]):
    first = serializers.CharField(help_text="the rule that wins")
    second = serializers.CharField()
    about = serializers.ChoiceField(choices=["series", "priority"])
    count = serializers.IntegerField()


class StudyTrialSerializer(serializers.Serializer[Any]):
    study = serializers.UUIDField(allow_null=True)
    sent = serializers.ListField(child=serializers.CharField(), help_text="ids of the rules that would send it")
    held = serializers.DictField(child=serializers.CharField())
    outcomes = serializers.ListField(child=serializers.DictField(), help_text="each rule's yes or no with its reason")


class TrialSerializer(serializers.Serializer[Any]):
    """What would happen. Nothing was sent."""

    studies = StudyTrialSerializer(many=True)
    rules = TallySerializer(many=True)
    conflicts = ConflictSerializer(many=True)
    unmatched = serializers.IntegerField(help_text="studies that no rule sends")
    jobs = serializers.IntegerField()


class RuleChangeSerializer(serializers.Serializer[Any]):
    kind = serializers.ChoiceField(choices=["same", "added", "removed", "changed", "moved"])
    rule = serializers.UUIDField(help_text="a rule is known by its id, whatever it is called")
    fields_changed = serializers.ListField(child=serializers.CharField())
    has_moved = serializers.BooleanField(help_text="stands elsewhere among the others; a changed one may have moved too")
    before = RuleSerializer(allow_null=True)
    after = RuleSerializer(allow_null=True)


class ComparisonSerializer(serializers.Serializer[Any]):
    """In the order of the later one, what was removed at the end."""

    before = serializers.IntegerField()
    after = serializers.IntegerField()
    changes = RuleChangeSerializer(many=True)


class FileParser(BaseParser):
    """The bytes of one DICOM file."""

    media_type = "application/dicom"

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Any = None) -> bytes:
        data: bytes = stream.read(FILE_BYTES + 1)
        if len(data) > FILE_BYTES:
            raise TooLarge(f"at most {FILE_BYTES} bytes")
        return data


def ruleset_data(found: RuleSet) -> dict[str, Any]:
    return {**RuleSetSerializer(found).data, "rules": found.rules}


def trial_data(trial: Trial) -> dict[str, Any]:
    return {
        "studies": [_study_data(one) for one in trial.studies],
        "rules": [
            {
                "rule": one.rule["id"], "name": one.rule["name"], "matched": one.matched, "refused": one.refused,
                "doubled": one.doubled, "held": one.held, "warning": one.warning,
                "reasons": [[words, count] for words, count in one.reasons.most_common(5)],
            }
            for one in trial.tallies
        ],
        "conflicts": [vars(one) for one in trial.conflicts], "unmatched": trial.unmatched, "jobs": trial.jobs,
    }  # fmt: skip


def _study_data(one: StudyTrial) -> dict[str, Any]:
    return {
        "study": str(one.study.uuid) if one.study else None, "sent": [choice.rule["id"] for choice in one.sent], "held": one.held,
        "outcomes": [outcome_data(choice) for choice in one.choices],
    }  # fmt: skip


class RulesApiView(ApiView):
    """Refusals of the domain become the caller's errors: 409 for what was changed meanwhile, 400 by the rule's place."""

    def handle_exception(self, exc: Exception) -> Response:
        if isinstance(exc, RuleSetRefused):
            if exc.is_stale:
                exc = Conflict(str(exc))
            else:
                named = {"rules" if place < 0 else f"rules[{place}]": [words] for place, words in exc.problems.items()}
                exc = exceptions.ValidationError(named)
        return super().handle_exception(exc)


class RulesView(RulesApiView):
    """The active set; an empty one where no rule was ever activated."""

    capabilities = {"GET": "ai.read"}

    @extend_schema(operation_id="rules_active", responses={200: RuleSetDetailSerializer, 404: ProblemSerializer})
    def get(self, request: Request, slug: str) -> Response:
        found = ruleset_active()
        if found is None:
            raise exceptions.NotFound("no rule is active: studies are kept and not sent to AI")
        return Response(ruleset_data(found))


class DraftView(RulesApiView):
    """What is being edited."""

    capabilities = {"GET": "ai.read", "PUT": "ai.write", "POST": "ai.write", "DELETE": "ai.write"}

    @extend_schema(operation_id="rules_draft", responses={200: RuleSetDetailSerializer, 404: ProblemSerializer})
    def get(self, request: Request, slug: str) -> Response:
        found = ruleset_draft_get()
        if found is None:
            raise exceptions.NotFound("there is no draft: POST makes one of the active rules")
        return Response(ruleset_data(found))

    @extend_schema(operation_id="rules_draft_make", request=None, responses={200: RuleSetDetailSerializer})
    def post(self, request: Request, slug: str) -> Response:
        return Response(ruleset_data(ruleset_draft(actor=self.actor)))

    @extend_schema(
        operation_id="rules_draft_set", request=DraftSerializer,
        responses={200: RuleSetDetailSerializer, 400: ProblemSerializer, 409: ProblemSerializer},
    )  # fmt: skip
    def put(self, request: Request, slug: str) -> Response:
        body = DraftSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        return Response(ruleset_data(ruleset_save(actor=self.actor, **body.validated_data)))

    @extend_schema(operation_id="rules_draft_discard", responses={204: None, 404: ProblemSerializer})
    def delete(self, request: Request, slug: str) -> Response:
        if not ruleset_discard(actor=self.actor):
            raise exceptions.NotFound
        return Response(status=204)


class ActivateView(RulesApiView):
    """The draft becomes what studies are routed by."""

    capabilities = {"POST": "ai.write"}

    @extend_schema(
        operation_id="rules_activate", request=ActivateSerializer,
        responses={200: RuleSetDetailSerializer, 400: ProblemSerializer, 409: ProblemSerializer},
    )  # fmt: skip
    def post(self, request: Request, slug: str) -> Response:
        body = ActivateSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        return Response(ruleset_data(ruleset_activate(actor=self.actor, **body.validated_data)))


class VersionsView(RulesApiView):
    """What is or was active, newest first."""

    capabilities = {"GET": "ai.read"}

    @extend_schema(
        operation_id="rules_versions", responses=RuleSetPageSerializer,
        parameters=[OpenApiParameter("cursor", str), OpenApiParameter("limit", int)],
    )  # fmt: skip
    def get(self, request: Request, slug: str) -> Response:
        cursor, limit = page_of(request)
        found = rulesets_page(before=min(cursor, MAX_NUMBER), size=limit + 1)
        older = found[limit - 1].number if len(found) > limit else 0
        return page_response(request, list(RuleSetSerializer(found[:limit], many=True).data), older)


class VersionView(RulesApiView):
    capabilities = {"GET": "ai.read"}

    @extend_schema(operation_id="rules_version", responses={200: RuleSetDetailSerializer, 404: ProblemSerializer})
    def get(self, request: Request, slug: str, number: int) -> Response:
        found = ruleset_get(number=min(number, MAX_NUMBER))
        if found is None:
            raise exceptions.NotFound
        return Response(ruleset_data(found))


class CompareView(RulesApiView):
    """What is different in one version from another, the draft's number as good as any."""

    capabilities = {"GET": "ai.read"}

    @extend_schema(operation_id="rules_compare", responses={200: ComparisonSerializer, 404: ProblemSerializer})
    def get(self, request: Request, slug: str, number: int, other: int) -> Response:
        before, after = (ruleset_get(number=min(one, MAX_NUMBER)) for one in (number, other))
        if before is None or after is None:
            raise exceptions.NotFound
        changes = rulesets_compare(before=before.rules, after=after.rules)
        return Response({"before": before.number, "after": after.number, "changes": [_change_data(one) for one in changes]})


def _change_data(one: RuleChange) -> dict[str, Any]:
    return {
        "kind": one.kind, "rule": one.rule["id"], "fields_changed": list(one.fields), "has_moved": one.has_moved,
        "before": one.before, "after": one.after,
    }  # fmt: skip


class RevertView(RulesApiView):
    """A draft with that version's rules, in place of the present draft."""

    capabilities = {"POST": "ai.write"}

    @extend_schema(operation_id="rules_revert", request=None, responses={200: RuleSetDetailSerializer, 404: ProblemSerializer})
    def post(self, request: Request, slug: str, number: int) -> Response:
        found = ruleset_revert(number=min(number, MAX_NUMBER), actor=self.actor)
        if found is None:
            raise exceptions.NotFound
        return Response(ruleset_data(found))


class VocabularyView(RulesApiView):
    """What conditions may be about, and what may be asked."""

    capabilities = {"GET": "ai.read"}

    @extend_schema(operation_id="rules_vocabulary", responses={200: OpenApiTypes.OBJECT})
    def get(self, request: Request, slug: str) -> Response:
        def listed(facts: Any) -> list[dict[str, Any]]:
            return [
                {"fact": fact.name, "label": fact.label, "kind": fact.kind, "operators": list(OPERATORS[fact.kind]), "help": fact.help}
                for fact in facts.values()
            ]

        return Response({"study": listed(STUDY), "series": listed(SERIES)})


class DryRunView(RulesApiView):
    """Over the last studies of the hospital. Nothing is sent."""

    capabilities = {"POST": "ai.write"}

    @extend_schema(operation_id="rules_dry_run", request=TryOutSerializer, responses={200: TrialSerializer, 400: ProblemSerializer})
    def post(self, request: Request, slug: str) -> Response:
        body = TryOutSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        asked = body.validated_data
        audit_record(actor=self.actor, action="rules.dry_run", object_type="RuleSet", object_id=asked["of"])
        return Response(trial_data(studies_try(rules=_asked(asked), last=asked["last"])))


class FileTrialView(RulesApiView):
    """Over one DICOM file (at most 64 MiB), as if a study of it alone had come. Nothing of it is kept."""

    capabilities = {"POST": "ai.write"}
    parser_classes = [FileParser, JSONParser]
    max_body = FILE_BYTES

    @extend_schema(
        operation_id="rules_dry_run_file", request={"application/dicom": bytes},
        parameters=[OpenApiParameter("of", str, enum=["draft", "active"])],
        responses={200: TrialSerializer, 400: ProblemSerializer, 413: ProblemSerializer},
    )  # fmt: skip
    def post(self, request: Request, slug: str) -> Response:
        if not isinstance(request.data, bytes):
            raise exceptions.UnsupportedMediaType(str(request.content_type))
        of = request.query_params.get("of", "draft")
        if of not in ("draft", "active"):
            raise exceptions.ValidationError({"of": ["draft or active"]})
        try:
            return Response(trial_data(file_try(rules=_asked({"of": of}), data=request.data)))
        except FileRefused as refused:
            raise exceptions.ValidationError({"file": [str(refused)]}) from None


def _asked(asked: dict[str, Any]) -> list[dict[str, Any]]:
    """Raises RuleSetRefused, NotFound."""
    if "rules" in asked:
        return [vars(rule) for rule in rules_read(asked["rules"])]
    found = ruleset_draft_get() if asked["of"] == "draft" else None
    found = found or ruleset_active()
    if found is None:
        raise exceptions.NotFound("there are no rules to try")
    return list(found.rules)
