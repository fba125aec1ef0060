"""`platforms` of the API: the cards as data, each with the schema of its connection's form. Facts only, the same for every hospital."""

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import exceptions, serializers
from rest_framework.request import Request
from rest_framework.response import Response

from ai.contract import Platform, platforms
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
    limits = serializers.CharField(source="card.limits")
    wire = serializers.CharField()
    deidentification = serializers.CharField()
    sources = SourceSerializer(source="card.sources", many=True)
    algorithms = AlgorithmSerializer(source="card.algorithms", many=True)
    settings = SettingSerializer(many=True)


class PlatformListSerializer(serializers.Serializer[Any]):
    items = PlatformSerializer(many=True, help_text="all of them")


def platform_found(slug: str) -> Platform:
    """Raises NotFound."""
    found = platforms().get(slug)
    if found is None:
        raise exceptions.NotFound
    return found


class PlatformsView(ApiView):
    capabilities = {"GET": "ai.read"}

    @extend_schema(operation_id="platforms_list", responses=PlatformListSerializer)
    def get(self, request: Request, slug: str) -> Response:
        found = sorted(platforms().values(), key=lambda one: one.card.name.lower())
        return Response({"items": PlatformSerializer(found, many=True).data})


class PlatformView(ApiView):
    capabilities = {"GET": "ai.read"}

    @extend_schema(operation_id="platforms_read", responses={200: PlatformSerializer, 404: ProblemSerializer})
    def get(self, request: Request, slug: str, platform: str) -> Response:
        return Response(PlatformSerializer(platform_found(platform)).data)
