"""`nodes` and `transfers` of the API. Each view makes one domain call; the network is never inside a scope."""

from dataclasses import asdict
from typing import Any

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import exceptions
from rest_framework.request import Request
from rest_framework.response import Response

from imaging.api.base import ApiView, BadGateway, ProblemSerializer, page_of, page_response
from imaging.api.serializers import (
    CheckSerializer,
    MatchesSerializer,
    NodePageSerializer,
    NodeSerializer,
    QuerySerializer,
    TransferCreateSerializer,
    TransferPageSerializer,
    TransferSerializer,
)
from imaging.models import Node, Transfer
from imaging.nodes import node_create, node_delete, node_update
from imaging.scu.association import NotPossibleError, Peer, peer_of
from imaging.scu.check import node_check
from imaging.scu.query import node_query
from imaging.selectors import node_get, nodes_after, transfer_get, transfers_page
from imaging.transfers.rows import Pace, transfer_cancel, transfer_create, transfer_retry
from journal.audit import audit_record
from journal.wall.scope import tenant_scope
from tenants.permissions import is_allowed

PAGING = [OpenApiParameter("cursor", str), OpenApiParameter("limit", int)]
PACE = ("objects_per_minute", "studies_per_minute", "hour_from", "hour_to")


def _node(node_id: int) -> Node:
    node = node_get(node_id=node_id)
    if node is None:
        raise exceptions.NotFound
    return node


def _transfer(transfer_id: int) -> Transfer:
    transfer = transfer_get(transfer_id=transfer_id)
    if transfer is None:
        raise exceptions.NotFound
    return transfer


def _taken(serializer: Any) -> dict[str, Any]:
    serializer.is_valid(raise_exception=True)
    return dict(serializer.validated_data)


class NodesView(ApiView):
    capabilities = {"GET": "transfer.manage", "POST": "node.manage"}

    @extend_schema(operation_id="nodes_list", parameters=PAGING, responses=NodePageSerializer)
    def get(self, request: Request, slug: str) -> Response:
        cursor, limit = page_of(request)
        found = nodes_after(after=cursor, size=limit + 1)
        return page_response(request, NodeSerializer(found[:limit], many=True).data, found[limit - 1].id if len(found) > limit else 0)

    @extend_schema(operation_id="nodes_create", request=NodeSerializer, responses={201: NodeSerializer, 400: ProblemSerializer})
    def post(self, request: Request, slug: str) -> Response:
        node = node_create(actor=self.actor, **_taken(NodeSerializer(data=request.data)))
        address = request.build_absolute_uri(f"{request.path}/{node.id}")
        return Response(NodeSerializer(node).data, status=201, headers={"Location": address})


class NodeView(ApiView):
    capabilities = {"GET": "transfer.manage", "PATCH": "node.manage", "DELETE": "node.manage"}

    @extend_schema(operation_id="nodes_read", responses={200: NodeSerializer, 404: ProblemSerializer})
    def get(self, request: Request, slug: str, node_id: int) -> Response:
        return Response(NodeSerializer(_node(node_id)).data)

    @extend_schema(operation_id="nodes_update", request=NodeSerializer(partial=True), responses=NodeSerializer)
    def patch(self, request: Request, slug: str, node_id: int) -> Response:
        node = _node(node_id)
        node_update(actor=self.actor, node=node, **_taken(NodeSerializer(data=request.data, partial=True)))
        return Response(NodeSerializer(node).data)

    @extend_schema(operation_id="nodes_delete", responses={204: None, 404: ProblemSerializer})
    def delete(self, request: Request, slug: str, node_id: int) -> Response:
        node_delete(actor=self.actor, node=_node(node_id))
        return Response(status=204)


class NodeCheckView(ApiView):
    """Calls the node: up to half a minute when it does not answer."""

    capabilities = {"POST": "node.manage"}
    is_scoped = False

    @extend_schema(operation_id="nodes_check", request=None, responses={200: CheckSerializer, 404: ProblemSerializer})
    def post(self, request: Request, slug: str, node_id: int) -> Response:
        try:
            hops = node_check(tenant_id=self.tenant_id, node_id=node_id, actor=self.actor)
        except Node.DoesNotExist:
            raise exceptions.NotFound from None
        return Response({"is_ok": all(hop.is_ok for hop in hops), "hops": [asdict(hop) for hop in hops]})


class NodeQueryView(ApiView):
    """C-FIND at the node. What comes back is the node's: patients that are not in this archive."""

    capabilities = {"POST": "transfer.manage"}
    is_scoped = False

    @extend_schema(
        operation_id="nodes_query", request=QuerySerializer,
        responses={200: MatchesSerializer, 409: ProblemSerializer, 502: ProblemSerializer},
    )  # fmt: skip
    def post(self, request: Request, slug: str, node_id: int) -> Response:
        peer = self._peer(node_id)
        asked = _taken(QuerySerializer(data=request.data))
        level, limit = asked.pop("level"), asked.pop("limit")
        try:
            matches = node_query(peer, level=level, limit=limit, **asked)
        except NotPossibleError as error:
            raise BadGateway(error.user_message) from None
        return Response({"items": [match.values for match in matches.found], "is_cut": matches.is_cut})

    def _peer(self, node_id: int) -> Peer:
        with tenant_scope(self.tenant_id):
            node = _node(node_id)
            audit_record(actor=self.actor, action="node.query", object_type="Node", object_id=str(node.id))
            return peer_of(node)


class TransfersView(ApiView):
    capabilities = {"GET": "transfer.manage", "POST": "transfer.manage"}

    @extend_schema(operation_id="transfers_list", parameters=PAGING, responses=TransferPageSerializer)
    def get(self, request: Request, slug: str) -> Response:
        cursor, limit = page_of(request)
        page = transfers_page(before=cursor, size=limit)
        return page_response(request, TransferSerializer(page.transfers, many=True).data, page.older)

    @extend_schema(
        operation_id="transfers_create", request=TransferCreateSerializer, responses={201: TransferSerializer, 400: ProblemSerializer}
    )
    def post(self, request: Request, slug: str) -> Response:
        asked = _taken(TransferCreateSerializer(data=request.data))
        if asked["kind"] == Transfer.Kind.MIGRATE and not is_allowed(role=request.auth.role, capability="node.manage"):
            raise exceptions.PermissionDenied
        node_id = asked.pop("node")
        node = node_get(node_id=int(node_id)) if node_id.isascii() and node_id.isdigit() else None
        if node is None:
            raise exceptions.ValidationError({"node": ["there is no such node"]})
        pace = Pace(**{name: asked.pop(name, None) for name in PACE})
        transfer = transfer_create(actor=self.actor, node=node, pace=pace, **asked)
        address = request.build_absolute_uri(f"{request.path}/{transfer.id}")
        return Response(TransferSerializer(transfer).data, status=201, headers={"Location": address})


class TransferView(ApiView):
    capabilities = {"GET": "transfer.manage"}

    @extend_schema(operation_id="transfers_read", responses={200: TransferSerializer, 404: ProblemSerializer})
    def get(self, request: Request, slug: str, transfer_id: int) -> Response:
        return Response(TransferSerializer(_transfer(transfer_id)).data)


class TransferCancelView(ApiView):
    """Ends it; what has come stays. One that had ended already is answered as it is."""

    capabilities = {"POST": "transfer.manage"}

    @extend_schema(operation_id="transfers_cancel", request=None, responses={200: TransferSerializer, 404: ProblemSerializer})
    def post(self, request: Request, slug: str, transfer_id: int) -> Response:
        transfer_cancel(actor=self.actor, transfer=_transfer(transfer_id))
        return Response(TransferSerializer(_transfer(transfer_id)).data)


class TransferRetryView(ApiView):
    """Goes on with a failed or cancelled one: only what is missing is asked for."""

    capabilities = {"POST": "transfer.manage"}

    @extend_schema(operation_id="transfers_retry", request=None, responses={200: TransferSerializer, 404: ProblemSerializer})
    def post(self, request: Request, slug: str, transfer_id: int) -> Response:
        transfer_retry(actor=self.actor, transfer=_transfer(transfer_id))
        return Response(TransferSerializer(_transfer(transfer_id)).data)
