"""Shapes of the API: what comes in is checked here for its form, in the domain for its sense. Ids are strings: they have 63 bits."""

from typing import Any

from rest_framework import serializers

from imaging.api.base import StrictSerializer
from imaging.certificates.authority import MAX_REQUEST_CHARS
from imaging.models import Node, Transfer
from imaging.nodes import MAX_ADDRESSES, MAX_SECRET, MAX_USER, SERVICES, services_of
from imaging.scu.query import LIMIT
from imaging.transfers.rows import STUDIES_CAP
from imaging.webout.address import MAX_URL


class HopSerializer(serializers.Serializer[Any]):
    hop = serializers.CharField(help_text="setup, address, dns, tcp, tls, association, echo or web")
    is_ok = serializers.BooleanField()
    milliseconds = serializers.FloatField()
    words = serializers.CharField()


class NodeSerializer(StrictSerializer):
    """A DICOM peer of the hospital."""

    id = serializers.CharField(read_only=True)
    ae_title = serializers.CharField(max_length=16)
    description = serializers.CharField(max_length=120, allow_blank=True, required=False)
    addresses = serializers.ListField(
        child=serializers.CharField(max_length=64), max_length=MAX_ADDRESSES, required=False,
        help_text="where it may call from: addresses and CIDR networks; none means any",
    )  # fmt: skip
    host = serializers.CharField(max_length=255, allow_blank=True, required=False, help_text="where it listens")
    port = serializers.IntegerField(min_value=1, max_value=65535, allow_null=True, required=False)
    uses_tls = serializers.BooleanField(required=False, help_text="whether we call it over TLS")
    tls_certificate = serializers.CharField(
        max_length=MAX_REQUEST_CHARS, allow_blank=True, required=False,
        help_text="PEM: the only certificate it may show when we call it; empty: one of an authority that we trust",
    )  # fmt: skip
    services = serializers.ListField(
        child=serializers.ChoiceField(choices=SERVICES), max_length=len(SERVICES), required=False,
        help_text="what it may ask us for; a new node may store, one without any is not let in",
    )  # fmt: skip
    retrieve_by = serializers.ChoiceField(choices=Node.RetrieveBy.choices, required=False, help_text="how we pull from it")
    is_asked_for_priors = serializers.BooleanField(required=False)
    priors_count = serializers.IntegerField(min_value=1, max_value=50, required=False)
    priors_years = serializers.IntegerField(min_value=1, max_value=100, required=False)
    results_as = serializers.ChoiceField(
        choices=Node.ResultsAs.choices, allow_blank=True, required=False,
        help_text="AI reports are sent there as SR, encapsulated PDF, Secondary Capture, or SR and PDF; empty: not at all",
    )  # fmt: skip
    results_by = serializers.ChoiceField(
        choices=Node.ResultsBy.choices, required=False, help_text="C-STORE to host and port, or STOW-RS to web_url",
    )  # fmt: skip
    is_commitment_asked = serializers.BooleanField(
        required=False, help_text="after a C-STORE of results it is asked for storage commitment; until it is given none is confirmed",
    )  # fmt: skip
    web_url = serializers.CharField(
        max_length=MAX_URL, allow_blank=True, required=False,
        help_text="root of its DICOMweb: https, or http where EGRESS_ALLOW names the host and port",
    )  # fmt: skip
    web_auth = serializers.ChoiceField(choices=Node.WebAuth.choices, required=False)
    web_user = serializers.CharField(max_length=MAX_USER, allow_blank=True, required=False, help_text="of basic")
    web_secret = serializers.CharField(
        max_length=MAX_SECRET, allow_blank=True, required=False, write_only=True,
        help_text="token of bearer, password of basic; never shown again. Empty keeps the one that is held for the same server",
    )  # fmt: skip
    has_web_secret = serializers.BooleanField(read_only=True)
    last_check = HopSerializer(many=True, read_only=True, allow_null=True)
    checked_at = serializers.DateTimeField(read_only=True, allow_null=True)

    def to_representation(self, instance: Node) -> dict[str, Any]:
        return {
            "id": str(instance.id), "ae_title": instance.ae_title, "description": instance.description,
            "addresses": instance.addresses, "host": instance.host, "port": instance.port, "uses_tls": instance.uses_tls,
            "tls_certificate": instance.tls_certificate,
            "services": sorted(services_of(instance)), "retrieve_by": instance.retrieve_by,
            "is_asked_for_priors": instance.is_asked_for_priors, "priors_count": instance.priors_count,
            "priors_years": instance.priors_years, "results_as": instance.results_as, "results_by": instance.results_by,
            "is_commitment_asked": instance.is_commitment_asked, "web_url": instance.web_url, "web_auth": instance.web_auth,
            "web_user": instance.web_user, "has_web_secret": bool(instance.web_secret), "last_check": instance.last_check,
            "checked_at": instance.checked_at,
        }  # fmt: skip


class NodePageSerializer(serializers.Serializer[Any]):
    items = NodeSerializer(many=True)
    next = serializers.URLField(allow_null=True)


class CheckSerializer(serializers.Serializer[Any]):
    is_ok = serializers.BooleanField()
    hops = HopSerializer(many=True)


class QuerySerializer(StrictSerializer):
    """What to look for at a node, by DICOM keyword; `*` and `?` as the node understands them."""

    level = serializers.ChoiceField(choices=["STUDY", "SERIES"], default="STUDY")
    limit = serializers.IntegerField(min_value=1, max_value=LIMIT, default=100)
    StudyInstanceUID = serializers.CharField(max_length=64, required=False)
    PatientID = serializers.CharField(max_length=64, required=False)
    IssuerOfPatientID = serializers.CharField(max_length=64, required=False)
    PatientName = serializers.CharField(max_length=324, required=False)
    PatientBirthDate = serializers.RegexField(r"^[0-9-]{1,17}$", required=False)
    AccessionNumber = serializers.CharField(max_length=16, required=False)
    StudyDate = serializers.RegexField(r"^[0-9-]{1,17}$", required=False, help_text="YYYYMMDD or a range")
    ModalitiesInStudy = serializers.CharField(max_length=16, required=False)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        keys = set(attrs) - {"level", "limit"}
        if not keys:
            raise serializers.ValidationError("at least one attribute to look for")
        if attrs["level"] == "SERIES" and "StudyInstanceUID" not in keys:
            raise serializers.ValidationError({"StudyInstanceUID": ["needed at SERIES level"]})
        return attrs


class MatchesSerializer(serializers.Serializer[Any]):
    items = serializers.ListField(child=serializers.DictField(child=serializers.CharField()))
    is_cut = serializers.BooleanField(help_text="the node had more than the limit, or was slower than the deadline")


class MigrationSerializer(StrictSerializer):
    """`from` and `to` are days, YYYYMMDD; both are included."""

    to = serializers.CharField(max_length=10)
    modalities = serializers.ListField(child=serializers.CharField(max_length=16), max_length=20, required=False)

    def get_fields(self) -> dict[str, Any]:
        return {"from": serializers.CharField(max_length=10), **super().get_fields()}  # a keyword of the language


class TransferCreateSerializer(StrictSerializer):
    kind = serializers.ChoiceField(choices=["pull", "send", "migrate"])
    node = serializers.CharField(max_length=19)
    study_uids = serializers.ListField(child=serializers.CharField(max_length=64), max_length=STUDIES_CAP, required=False)
    query = MigrationSerializer(required=False, help_text="of a migration")
    method = serializers.ChoiceField(choices=Node.RetrieveBy.choices, required=False, help_text="the node's own unless given")
    objects_per_minute = serializers.IntegerField(min_value=1, max_value=1_000_000, required=False, allow_null=True)
    studies_per_minute = serializers.IntegerField(min_value=1, max_value=1_000_000, required=False, allow_null=True)
    hour_from = serializers.IntegerField(min_value=0, max_value=23, required=False, allow_null=True)
    hour_to = serializers.IntegerField(min_value=0, max_value=24, required=False, allow_null=True)


class TransferSerializer(serializers.ModelSerializer[Transfer]):
    """How far a transfer has come. Objects are counted over all its studies; `remaining` are those of the study under way."""

    id = serializers.CharField()
    node = serializers.CharField(source="node_id", allow_null=True)
    method = serializers.CharField(help_text="move or get; empty for a send")

    class Meta:
        model = Transfer
        fields = (
            "id", "kind", "node", "node_ae", "method", "state", "cursor", "studies", "studies_done", "studies_failed", "remaining",
            "completed", "failed", "warned", "failed_uids", "last_error", "objects_per_minute", "studies_per_minute", "hour_from",
            "hour_to", "created_at", "changed_at", "ended_at",
        )  # fmt: skip
        read_only_fields = fields


class TransferPageSerializer(serializers.Serializer[Any]):
    items = TransferSerializer(many=True)
    next = serializers.URLField(allow_null=True)
