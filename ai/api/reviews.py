"""`reports/<id>/verdicts` of the API: what people decided about a report, and one more decision, which needs a person's session."""

from typing import Any
from uuid import UUID

from drf_spectacular.utils import extend_schema
from rest_framework import exceptions, serializers
from rest_framework.request import Request
from rest_framework.response import Response

from ai.findings import Correction
from ai.models import Report, Verdict
from ai.readers import Reader
from ai.review.reasons import REASONS
from ai.review.selectors import verdict_history
from ai.review.services import VerdictRefused, verdict_give
from imaging.api.base import ApiView, Conflict, ProblemSerializer, StrictSerializer
from journal.audit import audit_record
from tenants.doors import TOKEN_OR_SESSION, SessionHolder
from tenants.permissions import is_allowed

CODES = sorted({code for known in REASONS.values() for code in known})


class CorrectionSerializer(StrictSerializer):
    item = serializers.CharField(max_length=24, help_text="measurement/0, finding/2: its place in the report")
    value = serializers.FloatField(
        required=False, allow_null=True, help_text="in the measurement's own unit; without it the item does not hold"
    )
    words = serializers.CharField(max_length=1000, required=False, allow_blank=True)


class VerdictGiveSerializer(StrictSerializer):
    version = serializers.IntegerField(min_value=1, help_text="the report version that the person has seen")
    action = serializers.ChoiceField(choices=Verdict.Action.choices)
    reason = serializers.ChoiceField(choices=CODES, required=False, allow_blank=True, help_text="needed to reject and to correct")
    words = serializers.CharField(max_length=1000, required=False, allow_blank=True)
    corrections = CorrectionSerializer(many=True, required=False, max_length=400)


class VerdictSerializer(serializers.Serializer[Any]):
    """A decision. It is never changed: taking it back is one of its own."""

    id = serializers.UUIDField()
    action = serializers.ChoiceField(choices=Verdict.Action.choices)
    version = serializers.IntegerField(help_text="that was judged")
    made_version = serializers.IntegerField(help_text="that came of it")
    reason = serializers.CharField(allow_blank=True)
    words = serializers.CharField(allow_blank=True)
    corrections = CorrectionSerializer(many=True)
    by = serializers.CharField(help_text="the person's name")
    at = serializers.DateTimeField()

    def to_representation(self, instance: Verdict) -> dict[str, Any]:
        return {
            "id": str(instance.uuid), "action": instance.action, "version": instance.report.version, "made_version": instance.made_version,
            "reason": instance.reason, "words": instance.words, "corrections": instance.items, "by": instance.by_name, "at": instance.at,
        }  # fmt: skip


class VerdictsSerializer(serializers.Serializer[Any]):
    items = VerdictSerializer(many=True, help_text="oldest first")


class VerdictMadeSerializer(serializers.Serializer[Any]):
    """The report version that came of a verdict."""

    id = serializers.UUIDField()
    version = serializers.IntegerField()
    status = serializers.ChoiceField(choices=Report.Status.choices)
    conclusion = serializers.CharField()


class VerdictsView(ApiView):
    """409 for a version that is not the newest any more, and for what cannot be decided as things stand."""

    authentication_classes = TOKEN_OR_SESSION
    capabilities = {"GET": "report.read", "POST": "report.review"}

    @extend_schema(operation_id="verdicts_list", responses={200: VerdictsSerializer, 404: ProblemSerializer})
    def get(self, request: Request, slug: str, uuid: UUID) -> Response:
        found = verdict_history(report_uuid=uuid, reader=_reader(request))
        if found is None:
            raise exceptions.NotFound
        audit_record(actor=self.actor, action="report.review.list", object_type="Report", object_id=str(uuid))
        return Response({"items": VerdictSerializer(found, many=True).data})

    @extend_schema(
        operation_id="verdicts_give", request=VerdictGiveSerializer,
        responses={201: VerdictMadeSerializer, 400: ProblemSerializer, 404: ProblemSerializer, 409: ProblemSerializer},
    )  # fmt: skip
    def post(self, request: Request, slug: str, uuid: UUID) -> Response:
        body = VerdictGiveSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        said = {**body.validated_data, "corrections": [Correction(**one) for one in body.validated_data.get("corrections", ())]}
        try:
            made = verdict_give(report_uuid=uuid, actor=self.actor, reader=_reader(request), **said)
        except VerdictRefused as refused:
            if not refused.field:
                raise Conflict(refused.user_message) from None
            raise exceptions.ValidationError({refused.field: [refused.user_message]}) from None
        if made is None:
            raise exceptions.NotFound
        return Response(
            {"id": str(made.uuid), "version": made.version, "status": made.status, "conclusion": made.conclusion}, status=201
        )


def _reader(request: Request) -> Reader:
    user = str(request.auth.user_id) if isinstance(request.auth, SessionHolder) else ""
    return Reader(user=user, sees_all=is_allowed(role=request.auth.role, capability="ai.write"))
