"""`platforms` of the API: the cards as data, each with the schema of its connection's form and what it did at this hospital."""

from typing import Any

from django.utils import timezone
from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_field
from rest_framework import exceptions, serializers
from rest_framework.request import Request
from rest_framework.response import Response

from ai.cards import AlgorithmCard
from ai.catalogue import CatalogueRefused, catalogue_find, catalogue_query, compare_of, inputs_words
from ai.contract import Platform, platforms
from ai.governance.figures import Figures, figures_read
from ai.selectors import connections
from imaging.api.base import ApiView, ProblemSerializer


class SourceSerializer(serializers.Serializer[Any]):
    """Where a fact can be checked; an address without a scheme is a document of ours."""

    title = serializers.CharField()
    url = serializers.CharField()


class ClearanceSerializer(serializers.Serializer[Any]):
    """A regulator's number and what it covers."""

    number = serializers.CharField()
    authority = serializers.CharField()
    scope = serializers.CharField()
    date = serializers.CharField(help_text="ISO 8601, as exact as known; empty when not known")
    source = SourceSerializer()  # type: ignore[assignment] # the library has a word like that


class PerformanceSerializer(serializers.Serializer[Any]):
    """A figure, on what, and where to check it."""

    what = serializers.CharField()
    value = serializers.CharField()
    source = SourceSerializer()  # type: ignore[assignment] # as above


@extend_schema_field(list[str])
class SortedField(serializers.Field[Any, Any, Any, Any]):
    """A set, in order; empty: not limited."""

    def to_representation(self, value: Any) -> list[str]:
        return sorted(value)


class AlgorithmSerializer(serializers.Serializer[Any]):
    """One algorithm: what it may be given, and what it says."""

    name = serializers.CharField()
    title = serializers.CharField()
    role = serializers.CharField()
    clearance = serializers.CharField(help_text="number and region, or why there is none")
    clearances = ClearanceSerializer(many=True)
    modalities = SortedField()
    body_parts = SortedField()
    findings = serializers.ListField(child=serializers.CharField())
    min_instances = serializers.IntegerField()
    min_age_years = serializers.FloatField(allow_null=True)
    max_age_years = serializers.FloatField(allow_null=True)
    max_slice_spacing_mm = serializers.FloatField(allow_null=True)
    is_contrast = serializers.BooleanField(allow_null=True)
    camera_models = SortedField()
    sop_classes = SortedField()
    intended_use = serializers.CharField()
    out_of_scope = serializers.CharField()
    inputs = serializers.SerializerMethodField(help_text="what images must be, in words")
    performance = PerformanceSerializer(many=True, help_text="empty: none was published that we could check")
    versions = serializers.ListField(child=serializers.CharField(), help_text="known to us; empty: not published")
    limits = serializers.CharField()

    def get_inputs(self, card: AlgorithmCard) -> list[str]:
        return list(inputs_words(card))


class SettingSerializer(serializers.Serializer[Any]):
    """One field of the connection's form."""

    name = serializers.CharField()
    label = serializers.CharField()  # type: ignore[assignment] # as above
    kind = serializers.CharField()
    help = serializers.CharField()
    is_required = serializers.BooleanField()
    default = serializers.CharField()
    choices = serializers.ListField(child=serializers.CharField())
    only_with = serializers.ListField(
        child=serializers.CharField(), allow_null=True, help_text="asked only when this other setting has this value"
    )


class FiguresSerializer(serializers.Serializer[Any]):
    """Null where there are fewer than twenty cases."""

    runs = serializers.IntegerField()
    median_seconds = serializers.FloatField(allow_null=True, help_text="from sent to answered")
    failure_share = serializers.FloatField(allow_null=True)
    not_analysable_share = serializers.FloatField(allow_null=True)


class PlatformSerializer(serializers.Serializer[Any]):
    """What is known about a platform, with sources, and what connecting it takes."""

    slug = serializers.CharField(source="card.slug")
    name = serializers.CharField(source="card.name")
    vendor = serializers.CharField(source="card.vendor")
    kind = serializers.CharField(source="card.kind")
    summary = serializers.CharField(source="card.summary")
    history = serializers.CharField(source="card.history")
    interface = serializers.CharField(source="card.interface")
    is_public = serializers.BooleanField(source="card.is_public", help_text="has a public interface that we speak")
    is_in_house = serializers.BooleanField(source="card.is_in_house")
    regions = serializers.ListField(source="card.regions", child=serializers.CharField(), help_text="empty: by contract")
    residence = serializers.CharField(source="card.residence", help_text="here, chosen, own, france or contract")
    limits = serializers.CharField(source="card.limits")
    wire = serializers.CharField()
    deidentification = serializers.CharField()
    sources = SourceSerializer(source="card.sources", many=True)
    algorithms = AlgorithmSerializer(source="card.algorithms", many=True)
    settings = SettingSerializer(many=True)
    local = serializers.SerializerMethodField(help_text="what it did at this hospital in the last ninety days")
    is_connected = serializers.SerializerMethodField()

    @extend_schema_field(FiguresSerializer)
    def get_local(self, platform: Platform) -> Any:
        return FiguresSerializer(self.context["figures"].get((platform.card.slug, ""), Figures())).data

    def get_is_connected(self, platform: Platform) -> bool:
        return platform.card.slug in self.context["connected"]


class PlatformListSerializer(serializers.Serializer[Any]):
    items = PlatformSerializer(many=True, help_text="all that were asked for")


def _context() -> dict[str, Any]:
    return {"figures": figures_read(now=timezone.now()), "connected": set(connections())}


def platform_found(slug: str) -> Platform:
    """Raises NotFound."""
    found = platforms().get(slug)
    if found is None:
        raise exceptions.NotFound
    return found


class PlatformsView(ApiView):
    capabilities = {"GET": "ai.read"}

    @extend_schema(
        operation_id="platforms_list", responses={200: PlatformListSerializer, 400: ProblemSerializer},
        parameters=[
            *(OpenApiParameter(name, str) for name in ("modality", "body_part", "finding", "role", "region", "connects", "connected")),
            OpenApiParameter("q", str, description="words, all of which are on the card"),
            OpenApiParameter("compare", str, description="two to four slugs with commas between them; nothing else is looked at then"),
        ],
    )  # fmt: skip
    def get(self, request: Request, slug: str) -> Response:
        context = _context()
        try:
            if "compare" in request.query_params:
                found = compare_of(text=request.query_params["compare"])
            else:
                query = catalogue_query(params=request.query_params, is_strict=True)
                found = [one.platform for one in catalogue_find(query=query, connected=sorted(context["connected"]))]
        except CatalogueRefused as refused:
            raise exceptions.ValidationError({name: [words] for name, words in refused.problems.items()}) from None
        return Response({"items": PlatformSerializer(found, many=True, context=context).data})


class PlatformView(ApiView):
    capabilities = {"GET": "ai.read"}

    @extend_schema(operation_id="platforms_read", responses={200: PlatformSerializer, 404: ProblemSerializer})
    def get(self, request: Request, slug: str, platform: str) -> Response:
        return Response(PlatformSerializer(platform_found(platform), context=_context()).data)
