"""`certificates` of the API: signed requests, made keys, revocation, and the files that devices need."""

import base64
import json
from typing import Any

from django.utils import timezone
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework import exceptions, serializers
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from imaging.api.base import ApiView, ProblemSerializer, StrictSerializer, page_of, page_response
from imaging.api.views import PAGING
from imaging.certificates.authority import MAX_NAMES, MAX_REQUEST_CHARS, NAME_CHARS, password_check
from imaging.certificates.contexts import trust_bundle
from imaging.certificates.selectors import certificate_get, certificate_state, certificates_page
from imaging.certificates.services import REASONS, certificate_make, certificate_revoke, certificate_sign, revocations
from imaging.models import Certificate, Node
from imaging.selectors import node_get

FORMATS = ("pem", "pkcs12")


class CertificateSerializer(serializers.ModelSerializer[Certificate]):
    """A certificate that the hospital's authority has issued; its private key is nowhere here."""

    id = serializers.CharField()
    node = serializers.CharField(source="node_id", allow_null=True, help_text="the only one that may use it; null: any")
    key = serializers.CharField(source="key_words")
    certificate = serializers.CharField(source="pem", help_text="PEM")
    state = serializers.SerializerMethodField(help_text="valid, ending (less than 60 days), ended or revoked")

    class Meta:
        model = Certificate
        fields = (
            "id", "kind", "name", "hosts", "node", "key", "serial", "fingerprint", "state", "not_before", "not_after", "created_at",
            "seen_at", "revoked_at", "reason", "certificate",
        )  # fmt: skip
        read_only_fields = fields

    def get_state(self, certificate: Certificate) -> str:
        return certificate_state(certificate, now=timezone.now())


class CertificatePageSerializer(serializers.Serializer[Any]):
    items = CertificateSerializer(many=True)
    next = serializers.URLField(allow_null=True)


class SignSerializer(StrictSerializer):
    """A request of PKCS #10: name, host names and public key are taken from it, the rest is ours."""

    csr = serializers.CharField(max_length=MAX_REQUEST_CHARS, help_text="PEM")
    name = serializers.CharField(max_length=NAME_CHARS, required=False, help_text="the request's own unless given")
    node = serializers.CharField(max_length=19, required=False, allow_null=True)


class MakeSerializer(StrictSerializer):
    """A key made by us, for a device that cannot make requests. It is answered once and kept nowhere."""

    name = serializers.CharField(max_length=NAME_CHARS)
    hosts = serializers.ListField(child=serializers.CharField(max_length=253), max_length=MAX_NAMES, required=False)
    node = serializers.CharField(max_length=19, required=False, allow_null=True)
    format = serializers.ChoiceField(choices=FORMATS, default="pem")
    password = serializers.CharField(max_length=128, required=False, trim_whitespace=False, help_text="of PKCS #12")


class MadeSerializer(CertificateSerializer):
    pem = serializers.CharField(required=False, help_text="key, certificate and authority")
    pkcs12 = serializers.CharField(required=False, help_text="the same, encrypted, base64")

    class Meta(CertificateSerializer.Meta):
        fields = (*CertificateSerializer.Meta.fields, "pem", "pkcs12")
        read_only_fields = fields


class RevokeSerializer(StrictSerializer):
    reason = serializers.ChoiceField(choices=REASONS, default="unspecified")


class PemRenderer(BaseRenderer):
    """Files; a problem stays JSON."""

    media_type = "application/x-pem-file"
    format = "pem"

    def render(self, data: Any, accepted_media_type: str | None = None, renderer_context: Any = None) -> bytes:
        if isinstance(data, str):
            return data.encode()
        return data if isinstance(data, bytes) else json.dumps(data).encode()


def _certificate(certificate_id: int) -> Certificate:
    certificate = certificate_get(certificate_id=certificate_id)
    if certificate is None:
        raise exceptions.NotFound
    return certificate


def _node(given: str | None) -> Node | None:
    """The node to bind it to."""
    if not given:
        return None
    node = node_get(node_id=int(given)) if given.isascii() and given.isdigit() else None
    if node is None:
        raise exceptions.ValidationError({"node": ["there is no such node"]})
    return node


def _taken(serializer: Any) -> dict[str, Any]:
    serializer.is_valid(raise_exception=True)
    return dict(serializer.validated_data)


class CertificatesView(ApiView):
    capabilities = {"GET": "node.manage", "POST": "certificate.manage"}

    @extend_schema(operation_id="certificates_list", parameters=PAGING, responses=CertificatePageSerializer)
    def get(self, request: Request, slug: str) -> Response:
        cursor, limit = page_of(request)
        page = certificates_page(before=cursor, size=limit)
        return page_response(request, CertificateSerializer(page.certificates, many=True).data, page.older)

    @extend_schema(
        operation_id="certificates_sign", request=SignSerializer, responses={201: CertificateSerializer, 400: ProblemSerializer}
    )
    def post(self, request: Request, slug: str) -> Response:
        asked = _taken(SignSerializer(data=request.data))
        node = _node(asked.pop("node", None))
        found = certificate_sign(actor=self.actor, node=node, **asked)
        address = request.build_absolute_uri(f"{request.path}/{found.id}")
        return Response(CertificateSerializer(found).data, status=201, headers={"Location": address})


class CertificateKeysView(ApiView):
    capabilities = {"POST": "certificate.manage"}

    @extend_schema(
        operation_id="certificates_make", request=MakeSerializer, responses={201: MadeSerializer, 400: ProblemSerializer}
    )
    def post(self, request: Request, slug: str) -> Response:
        asked = _taken(MakeSerializer(data=request.data))
        kind, password = asked.pop("format"), asked.pop("password", "")
        if kind == "pkcs12":
            password_check(password)
        made = certificate_make(actor=self.actor, node=_node(asked.pop("node", None)), **asked)
        secret = {"pem": made.pem} if kind == "pem" else {"pkcs12": base64.b64encode(made.pkcs12(password=password)).decode()}
        address = request.build_absolute_uri(request.path.removesuffix("keys") + str(made.certificate.id))
        return Response({**CertificateSerializer(made.certificate).data, **secret}, status=201, headers={"Location": address})


class CertificateView(ApiView):
    capabilities = {"GET": "node.manage"}

    @extend_schema(operation_id="certificates_read", responses={200: CertificateSerializer, 404: ProblemSerializer})
    def get(self, request: Request, slug: str, certificate_id: int) -> Response:
        return Response(CertificateSerializer(_certificate(certificate_id)).data)


class CertificateRevokeView(ApiView):
    """Refused from its next association on. One that was revoked already is answered as it is."""

    capabilities = {"POST": "certificate.manage"}

    @extend_schema(
        operation_id="certificates_revoke", request=RevokeSerializer, responses={200: CertificateSerializer, 404: ProblemSerializer}
    )
    def post(self, request: Request, slug: str, certificate_id: int) -> Response:
        certificate = _certificate(certificate_id)
        certificate_revoke(actor=self.actor, certificate=certificate, **_taken(RevokeSerializer(data=request.data)))
        return Response(CertificateSerializer(certificate).data)


class TrustView(ApiView):
    """What a device puts into its trust store: who vouches for our listener, and the hospital's authority."""

    capabilities = {"GET": "node.manage"}
    renderer_classes = [PemRenderer]

    @extend_schema(operation_id="certificates_trust", responses={(200, PemRenderer.media_type): OpenApiResponse(str)})
    def get(self, request: Request, slug: str) -> Response:
        return Response(trust_bundle())


class RevocationsView(ApiView):
    """The hospital's revocation list (RFC 5280 5), signed now, good for a week. We look at the rows, not at this."""

    capabilities = {"GET": "node.manage"}
    renderer_classes = [PemRenderer]

    @extend_schema(operation_id="certificates_revocations", responses={(200, PemRenderer.media_type): OpenApiResponse(str)})
    def get(self, request: Request, slug: str) -> Response:
        return Response(revocations())
