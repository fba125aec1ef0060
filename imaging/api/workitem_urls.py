"""Addresses of work items, merges, clients and HL7 under /t/<slug>/api/v1/."""

from django.urls import path, register_converter

from imaging.api.clients import ClientsView, ClientView
from imaging.api.hl7 import (
    Hl7DestinationsView,
    Hl7DestinationTestView,
    Hl7DestinationView,
    Hl7MessageAgainView,
    Hl7MessageAsideView,
    Hl7MessagesView,
    Hl7SourcesView,
    Hl7SourceView,
)
from imaging.api.merges import MergesView, MergeUndoView, MergeView
from imaging.api.workitems import WorkItemResolveView, WorkItemsView, WorkItemView


class SnowflakeConverter:
    """A positive number below 2**63: anything longer is no id of ours, and PostgreSQL would stumble over it."""

    regex = "[0-9]{1,18}|[1-8][0-9]{18}"

    def to_python(self, value: str) -> int:
        return int(value)

    def to_url(self, value: int) -> str:
        return str(value)


register_converter(SnowflakeConverter, "snowflake")

urlpatterns = [
    path("workitems", WorkItemsView.as_view(), name="api-workitems"),
    path("workitems/<snowflake:item_id>", WorkItemView.as_view(), name="api-workitem"),
    path("workitems/<snowflake:item_id>/resolve", WorkItemResolveView.as_view(), name="api-workitem-resolve"),
    path("merges", MergesView.as_view(), name="api-merges"),
    path("merges/<snowflake:merge_id>", MergeView.as_view(), name="api-merge"),
    path("merges/<snowflake:merge_id>/undo", MergeUndoView.as_view(), name="api-merge-undo"),
    path("clients", ClientsView.as_view(), name="api-clients"),
    path("clients/<str:client_id>", ClientView.as_view(), name="api-client"),
    path("hl7/sources", Hl7SourcesView.as_view(), name="api-hl7-sources"),
    path("hl7/sources/<snowflake:source_id>", Hl7SourceView.as_view(), name="api-hl7-source"),
    path("hl7/destinations", Hl7DestinationsView.as_view(), name="api-hl7-destinations"),
    path("hl7/destinations/<snowflake:destination_id>", Hl7DestinationView.as_view(), name="api-hl7-destination"),
    path("hl7/destinations/<snowflake:destination_id>/test", Hl7DestinationTestView.as_view(), name="api-hl7-destination-test"),
    path("hl7/messages", Hl7MessagesView.as_view(), name="api-hl7-messages"),
    path("hl7/messages/<snowflake:message_id>/aside", Hl7MessageAsideView.as_view(), name="api-hl7-message-aside"),
    path("hl7/messages/<snowflake:message_id>/again", Hl7MessageAgainView.as_view(), name="api-hl7-message-again"),
]
