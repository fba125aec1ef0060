"""Addresses of the worklist, under /t/<slug>/dicomweb/."""

from django.urls import path

from ai.workitems.subscribing import SubscriberView, SuspendView
from ai.workitems.views import CancelRequestView, StateView, WorkitemsView, WorkitemView

ITEM = "workitems/<str:workitem_uid>"

urlpatterns = [
    path("workitems", WorkitemsView.as_view(), name="ups-workitems"),
    path(ITEM, WorkitemView.as_view(), name="ups-workitem"),
    path(f"{ITEM}/state", StateView.as_view(), name="ups-state"),
    path(f"{ITEM}/cancelrequest", CancelRequestView.as_view(), name="ups-cancel"),
    path(f"{ITEM}/cancelrequest/<str:aet>", CancelRequestView.as_view(), name="ups-cancel-by"),
    path(f"{ITEM}/subscribers/<str:aet>", SubscriberView.as_view(), name="ups-subscriber"),
    path(f"{ITEM}/subscribers/<str:aet>/suspend", SuspendView.as_view(), name="ups-suspend"),
]
