"""Addresses under /t/<slug>/dicomweb/."""

from django.urls import path

from imaging.dicomweb.bulk import BulkView
from imaging.dicomweb.bulkall import BulkAllView
from imaging.dicomweb.capabilities import CapabilitiesView
from imaging.dicomweb.framesview import FramesView
from imaging.dicomweb.metadata import InstanceMetadataView, MetadataView
from imaging.dicomweb.qido import InstancesSearchView, SeriesSearchView, StudiesView
from imaging.dicomweb.rendered import RenderedView, ThumbnailView
from imaging.dicomweb.uri import UriView
from imaging.dicomweb.wado import InstanceView, RetrieveView, StudyView

STUDY = "studies/<str:study_uid>"
SERIES = f"{STUDY}/series/<str:series_uid>"
INSTANCE = f"{SERIES}/instances/<str:instance_uid>"

urlpatterns = [
    path("studies", StudiesView.as_view(), name="stow"),
    path("series", SeriesSearchView.as_view(), name="qido-series"),
    path("instances", InstancesSearchView.as_view(), name="qido-instances"),
    path(f"{STUDY}/series", SeriesSearchView.as_view(), name="qido-study-series"),
    path(f"{STUDY}/instances", InstancesSearchView.as_view(), name="qido-study-instances"),
    path(f"{SERIES}/instances", InstancesSearchView.as_view(), name="qido-series-instances"),
    path(STUDY, StudyView.as_view(), name="stow-study"),
    path(SERIES, RetrieveView.as_view(), name="wado-series"),
    path(INSTANCE, InstanceView.as_view(), name="wado-instance"),
    path(f"{INSTANCE}/frames/<str:numbers>", FramesView.as_view(), name="wado-frames"),
    path(f"{STUDY}/rendered", RenderedView.as_view(), name="rendered-study"),
    path(f"{SERIES}/rendered", RenderedView.as_view(), name="rendered-series"),
    path(f"{INSTANCE}/rendered", RenderedView.as_view(), name="rendered-instance"),
    path(f"{INSTANCE}/frames/<str:numbers>/rendered", RenderedView.as_view(), name="rendered-frames"),
    path(f"{STUDY}/thumbnail", ThumbnailView.as_view(), name="thumbnail-study"),
    path(f"{SERIES}/thumbnail", ThumbnailView.as_view(), name="thumbnail-series"),
    path(f"{INSTANCE}/thumbnail", ThumbnailView.as_view(), name="thumbnail-instance"),
    path(f"{INSTANCE}/frames/<str:numbers>/thumbnail", ThumbnailView.as_view(), name="thumbnail-frames"),
    path(f"{INSTANCE}/bulkdata/<path:path>", BulkView.as_view(), name="wado-bulk"),
    path(f"{STUDY}/bulkdata", BulkAllView.as_view(), name="wado-study-bulk"),
    path(f"{SERIES}/bulkdata", BulkAllView.as_view(), name="wado-series-bulk"),
    path(f"{INSTANCE}/bulkdata", BulkAllView.as_view(), name="wado-instance-bulk"),
    path(f"{STUDY}/metadata", MetadataView.as_view(), name="wado-study-metadata"),
    path(f"{SERIES}/metadata", MetadataView.as_view(), name="wado-series-metadata"),
    path(f"{INSTANCE}/metadata", InstanceMetadataView.as_view(), name="wado-instance-metadata"),
    path("wado", UriView.as_view(), name="wado-uri"),
]
urlpatterns.append(path("", CapabilitiesView.as_view(), name="dicomweb"))
