"""`connections` of the API, by the platform's slug. A secret goes in and never comes out, but for one that we made: once, when saved."""

from typing import Any

from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import exceptions, serializers
from rest_framework.request import Request
from rest_framework.response import Response

from ai.api.platforms import platform_found
from ai.connecting import connection_save, hook_url, secrets_held
from ai.connections import LONGEST, ConnectionRefused, connection_check, connections_pushed
from ai.governance.terms import TermsRefused, terms_accept, terms_are_accepted, terms_state
from ai.models import Connection
from ai.selectors import connection_get, connection_state, connections
from ai.stages import MAX_READERS, STEPS, connection_switch, stage_changes, stage_of, stage_set
from imaging.api.base import ApiView, ProblemSerializer, StrictSerializer
from imaging.api.hl7 import Hl7SourceListSerializer, Hl7SourceSerializer
from imaging.hl7.sources import SourceError, source_add, sources_list
from journal.audit import Actor
from journal.wall.scope import tenant_scope


class ConnectionSerializer(serializers.Serializer[Any]):
    """A hospital's link to one platform."""

    platform = serializers.CharField()
    name = serializers.CharField()
    state = serializers.CharField(help_text="off, broken, failing, unchecked or on")
    is_enabled = serializers.BooleanField()
    stage = serializers.CharField(help_text="test, shadow, pilot or live")
    is_test = serializers.BooleanField(help_text="a stand-in answers: its results never bear the vendor's name")
    settings = serializers.DictField(child=serializers.CharField(), help_text="what is no secret")
    secrets = serializers.ListField(child=serializers.CharField(), help_text="names of those that are there")
    hook = serializers.URLField(help_text="where signed answers are posted")
    checked_at = serializers.DateTimeField(allow_null=True)
    is_check_good = serializers.BooleanField(allow_null=True)
    check_words = serializers.CharField()
    broken_until = serializers.DateTimeField(allow_null=True)
    are_terms_accepted = serializers.BooleanField(help_text="while they are not, no study goes there")
    secrets_made = serializers.DictField(
        child=serializers.CharField(), required=False, help_text="in the answer to PUT alone: secrets that we made, this once"
    )

    def to_representation(self, instance: Connection) -> dict[str, Any]:
        return {
            "platform": instance.platform, "name": instance.name,
            "state": connection_state(connection=instance, now=timezone.now()), "is_enabled": instance.is_enabled, "stage": instance.stage,
            "is_test": instance.is_test, "settings": instance.settings, "secrets": sorted(secrets_held(instance)),
            "hook": hook_url(instance), "checked_at": instance.checked_at, "is_check_good": instance.is_check_good,
            "check_words": instance.check_words, "broken_until": instance.broken_until,
            "are_terms_accepted": terms_are_accepted(instance),
        }  # fmt: skip


class ConnectionListSerializer(serializers.Serializer[Any]):
    items = ConnectionSerializer(many=True, help_text="at most one for each platform: all of them")


class ConnectionSetSerializer(StrictSerializer):
    """The whole form; a secret that is left out stays as it is."""

    settings = serializers.DictField(child=serializers.CharField(max_length=LONGEST, allow_blank=True, trim_whitespace=False), default=dict)
    is_test = serializers.BooleanField(default=False)
    is_enabled = serializers.BooleanField(required=False)
    terms = serializers.CharField(required=False, max_length=16, help_text="version of the platform's terms that is accepted by this")


class CheckAnswerSerializer(serializers.Serializer[Any]):
    is_good = serializers.BooleanField()
    words = serializers.CharField()


def _connection(platform: str) -> Connection:
    found = connection_get(platform=platform)
    if found is None:
        raise exceptions.NotFound
    return found


class ConnectionsView(ApiView):
    capabilities = {"GET": "ai.read"}

    @extend_schema(operation_id="connections_list", responses=ConnectionListSerializer)
    def get(self, request: Request, slug: str) -> Response:
        return Response({"items": ConnectionSerializer(list(connections().values()), many=True).data})


class ConnectionView(ApiView):
    """PUT makes or changes it."""

    capabilities = {"GET": "ai.read", "PUT": "ai.write"}

    @extend_schema(operation_id="connections_read", responses={200: ConnectionSerializer, 404: ProblemSerializer})
    def get(self, request: Request, slug: str, platform: str) -> Response:
        return Response(ConnectionSerializer(_connection(platform)).data)

    @extend_schema(
        operation_id="connections_set", request=ConnectionSetSerializer,
        responses={200: ConnectionSerializer, 400: ProblemSerializer, 404: ProblemSerializer},
    )  # fmt: skip
    def put(self, request: Request, slug: str, platform: str) -> Response:
        platform_found(platform)
        body = ConnectionSetSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        asked = dict(body.validated_data)
        if terms := asked.pop("terms", ""):
            terms_agree(platform=platform, version=terms, actor=self.actor)
        try:
            saved = connection_save(platform=platform, values=asked.pop("settings"), actor=self.actor, **asked)
        except ConnectionRefused as refused:
            raise exceptions.ValidationError({name[:64]: [words[:300]] for name, words in refused.problems.items()}) from None
        made = {"secrets_made": dict(saved.made)} if saved.made else {}
        return Response({**ConnectionSerializer(saved.connection).data, **made})


class ConnectionHl7SourcesView(ApiView):
    """Who brings this platform's answers as ORU^R01. Such a source brings results of its own jobs, and nothing else.

    They stand among `hl7/sources` as well, and are removed there.
    """

    capabilities = {"GET": "node.manage", "POST": "node.manage"}

    @extend_schema(operation_id="connections_hl7_sources_list", responses={200: Hl7SourceListSerializer, 404: ProblemSerializer})
    def get(self, request: Request, slug: str, platform: str) -> Response:
        connection_id = _connection(platform).id
        mine = [row for row in sources_list() if row.connection_id == connection_id]
        return Response({"items": Hl7SourceSerializer(mine, many=True).data})

    @extend_schema(
        operation_id="connections_hl7_sources_create", request=Hl7SourceSerializer,
        responses={201: Hl7SourceSerializer, 400: ProblemSerializer, 404: ProblemSerializer},
    )  # fmt: skip
    def post(self, request: Request, slug: str, platform: str) -> Response:
        found = _connection(platform)
        if found.id not in {one.id for one in connections_pushed()}:
            raise exceptions.ValidationError({"platform": ["its answers are fetched: nothing comes by itself"]})
        body = Hl7SourceSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        try:
            row = source_add(actor=self.actor, connection_id=found.id, **body.validated_data)
        except SourceError as error:
            raise exceptions.ValidationError({error.field: [str(error)]}) from error
        return Response(Hl7SourceSerializer(row).data, status=201)


class ConnectionCheckView(ApiView):
    """Asks the platform; up to half a minute when it does not answer."""

    capabilities = {"POST": "ai.write"}
    is_scoped = False

    @extend_schema(operation_id="connections_check", request=None, responses={200: CheckAnswerSerializer, 404: ProblemSerializer})
    def post(self, request: Request, slug: str, platform: str) -> Response:
        with tenant_scope(self.tenant_id):
            connection_id = _connection(platform).id
        found = connection_check(tenant_id=self.tenant_id, connection_id=connection_id, actor=self.actor)
        return Response({"is_good": found.is_good, "words": found.words})


class ConnectionOnView(ApiView):
    """Its jobs go out again."""

    capabilities = {"POST": "ai.write"}
    is_on = True

    @extend_schema(operation_id="connections_on", request=None, responses={200: ConnectionSerializer, 404: ProblemSerializer})
    def post(self, request: Request, slug: str, platform: str) -> Response:
        connection_switch(connection_id=_connection(platform).id, is_enabled=self.is_on, actor=self.actor)
        return Response(ConnectionSerializer(_connection(platform)).data)


class ConnectionOffView(ConnectionOnView):
    """Nothing more is sent over it."""

    is_on = False

    @extend_schema(operation_id="connections_off", request=None, responses={200: ConnectionSerializer, 404: ProblemSerializer})
    def post(self, request: Request, slug: str, platform: str) -> Response:
        return super().post(request, slug, platform)


class StageSerializer(StrictSerializer):
    step = serializers.ChoiceField(choices=STEPS)
    readers = serializers.ListField(
        child=serializers.UUIDField(), required=False, max_length=MAX_READERS, help_text="users who see its results in the pilot"
    )
    note = serializers.CharField(max_length=200, default="", allow_blank=True)


class StageChangeSerializer(serializers.Serializer[Any]):
    before = serializers.CharField()
    after = serializers.CharField()
    note = serializers.CharField()
    by = serializers.CharField()
    at = serializers.DateTimeField()


class StageStateSerializer(serializers.Serializer[Any]):
    """Where the platform stands on its way to live, and every step so far, newest first."""

    step = serializers.ChoiceField(choices=STEPS)
    readers = serializers.ListField(child=serializers.UUIDField())
    changes = StageChangeSerializer(many=True)


def _stage_data(row: Connection) -> dict[str, Any]:
    changes = StageChangeSerializer(stage_changes(connection_id=row.id), many=True).data
    return {"step": stage_of(row), "readers": row.pilot_readers, "changes": changes}


class ConnectionStageView(ApiView):
    """off, test, shadow, pilot, live: one step is one PUT, up or back."""

    capabilities = {"GET": "ai.read", "PUT": "ai.write"}

    @extend_schema(operation_id="connections_stage", responses={200: StageStateSerializer, 404: ProblemSerializer})
    def get(self, request: Request, slug: str, platform: str) -> Response:
        return Response(_stage_data(_connection(platform)))

    @extend_schema(
        operation_id="connections_stage_set", request=StageSerializer,
        responses={200: StageStateSerializer, 400: ProblemSerializer, 404: ProblemSerializer},
    )  # fmt: skip
    def put(self, request: Request, slug: str, platform: str) -> Response:
        connection = _connection(platform)
        body = StageSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        asked = dict(body.validated_data)
        readers = [str(one) for one in asked.pop("readers")] if "readers" in asked else None
        return Response(_stage_data(stage_set(connection_id=connection.id, readers=readers, actor=self.actor, **asked)))


class ClauseSerializer(serializers.Serializer[Any]):
    title = serializers.CharField()
    text = serializers.CharField()


class TermsStateSerializer(serializers.Serializer[Any]):
    """What is sent, where and how, and who answers for it; null where nothing leaves the house."""

    version = serializers.CharField(allow_null=True)
    clauses = ClauseSerializer(many=True)
    is_accepted = serializers.BooleanField()
    accepted_version = serializers.CharField(allow_null=True)
    accepted_by = serializers.CharField(allow_null=True)
    accepted_at = serializers.DateTimeField(allow_null=True)


class TermsSerializer(StrictSerializer):
    version = serializers.CharField(max_length=16)


def terms_agree(*, platform: str, version: str, actor: Actor) -> None:
    """Raises ValidationError, beside `terms`."""
    try:
        terms_accept(platform=platform, version=version, actor=actor)
    except TermsRefused as refused:
        raise exceptions.ValidationError({"terms": [refused.user_message]}) from None


class ConnectionTermsView(ApiView):
    """POST accepts the version that was read. It may come before the connection."""

    capabilities = {"GET": "ai.read", "POST": "ai.write"}

    @extend_schema(operation_id="connections_terms", responses={200: TermsStateSerializer, 404: ProblemSerializer})
    def get(self, request: Request, slug: str, platform: str) -> Response:
        state = terms_state(platform=platform_found(platform))
        accepted = state.accepted
        return Response({
            "version": state.terms.version if state.terms else None, "is_accepted": state.is_accepted,
            "clauses": ClauseSerializer(state.terms.clauses if state.terms else (), many=True).data,
            "accepted_version": accepted.version if accepted else None, "accepted_by": accepted.by if accepted else None,
            "accepted_at": accepted.at if accepted else None,
        })  # fmt: skip

    @extend_schema(
        operation_id="connections_terms_accept", request=TermsSerializer,
        responses={200: TermsStateSerializer, 400: ProblemSerializer, 404: ProblemSerializer},
    )  # fmt: skip
    def post(self, request: Request, slug: str, platform: str) -> Response:
        platform_found(platform)
        body = TermsSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        terms_agree(platform=platform, version=body.validated_data["version"], actor=self.actor)
        return self.get(request, slug, platform)
