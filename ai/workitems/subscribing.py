"""The doors for subscriptions (PS3.18 11.10 to 11.12). Where the reports come is a WebSocket (`channels`)."""

from django.conf import settings
from django.http import HttpResponse
from rest_framework.request import Request

from ai.workitems import dataset as ds
from ai.workitems.states import NOT_FOUND, UpsRefused
from ai.workitems.subscriptions import (
    FILTERED,
    GLOBAL,
    TooManySubscribersError,
    subscription_delete,
    subscription_set,
    subscription_suspend,
)
from ai.workitems.views import UpsView, answered, parameters_of, title_of
from journal.wall.scope import tenant_scope

LOCK = "deletionlock"


class SubscriberView(UpsView):
    """POST and DELETE /workitems/{uid}/subscribers/{aet}, of one workitem, the global or the filtered worklist."""

    capabilities = {"POST": "ups.read", "DELETE": "ups.read", "OPTIONS": "ups.read"}

    def post(self, request: Request, slug: str, workitem_uid: str, aet: str) -> HttpResponse:
        title = title_of(aet)
        asked = parameters_of(request)
        keys = [(name, value) for name, value in asked if name.lower() != LOCK]
        lock = next((value for name, value in asked if name.lower() == LOCK), "false").strip().lower()
        if lock not in ("", "true", "false"):
            raise ds.DatasetError("deletionlock is true or false")
        try:
            with tenant_scope(self.tenant_id):
                subscription_set(
                    viewer=self.viewer, workitem_uid=workitem_uid, ae_title=title, keys=keys, has_lock=lock != "false", actor=self.actor
                )
        except TooManySubscribersError as error:
            return answered({"error": error.text}, status=409)
        response = answered(None, status=201)
        response["Content-Location"] = f"{settings.MEDHUB_EVENTS_URL}/t/{slug}/dicomweb/subscribers/{title}"
        return response

    def delete(self, request: Request, slug: str, workitem_uid: str, aet: str) -> HttpResponse:
        with tenant_scope(self.tenant_id):
            if not subscription_delete(viewer=self.viewer, workitem_uid=workitem_uid, ae_title=title_of(aet), actor=self.actor):
                raise UpsRefused(NOT_FOUND)
        return answered(None, status=200)


class SuspendView(UpsView):
    """POST /workitems/{global or filtered}/subscribers/{aet}/suspend."""

    capabilities = {"POST": "ups.read", "OPTIONS": "ups.read"}

    def post(self, request: Request, slug: str, workitem_uid: str, aet: str) -> HttpResponse:
        if workitem_uid not in (GLOBAL, FILTERED):
            raise UpsRefused(NOT_FOUND)
        with tenant_scope(self.tenant_id):
            is_there = subscription_suspend(
                viewer=self.viewer, ae_title=title_of(aet), is_filtered=workitem_uid == FILTERED, actor=self.actor
            )
            if not is_there:
                raise UpsRefused(NOT_FOUND)
        return answered(None, status=200)
