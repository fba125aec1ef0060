"""Addresses under /t/<slug>/performer/<job>/dicomweb/."""

from django.urls import path

from ai.performer.storing import PerformerStudiesView, PerformerStudyView
from ai.performer.views import PerformerBulkView, PerformerMetadataView, PerformerRetrieveView, PerformerSearchView

STUDY = "studies/<str:study_uid>"
SERIES = f"{STUDY}/series/<str:series_uid>"
INSTANCE = f"{SERIES}/instances/<str:instance_uid>"

urlpatterns = [
    path("studies", PerformerStudiesView.as_view(), name="performer-studies"),
    path(f"{STUDY}/series", PerformerSearchView.as_view(level="series"), name="performer-search-series"),
    path(f"{STUDY}/instances", PerformerSearchView.as_view(level="instance"), name="performer-search-instances"),
    path(f"{SERIES}/instances", PerformerSearchView.as_view(level="instance"), name="performer-search-of-series"),
    path(STUDY, PerformerStudyView.as_view(), name="performer-study"),
    path(SERIES, PerformerRetrieveView.as_view(), name="performer-series"),
    path(INSTANCE, PerformerRetrieveView.as_view(), name="performer-instance"),
    path(f"{STUDY}/metadata", PerformerMetadataView.as_view(), name="performer-study-metadata"),
    path(f"{SERIES}/metadata", PerformerMetadataView.as_view(), name="performer-series-metadata"),
    path(f"{INSTANCE}/metadata", PerformerMetadataView.as_view(), name="performer-instance-metadata"),
    path(f"{INSTANCE}/bulkdata/<path:path>", PerformerBulkView.as_view(), name="performer-bulk"),
]
