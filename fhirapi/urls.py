"""Everything under /t/<slug>/fhir/r4/; mounted by medhub.urls. The last line keeps unknown paths from Django's HTML page."""

from django.urls import path, re_path

from fhirapi.views.bulk import BulkFileView, BulkStatusView, ExportView, GroupExportView, PatientExportView
from fhirapi.views.bundle import SystemView
from fhirapi.views.everything import EverythingView
from fhirapi.views.history import HistoryView
from fhirapi.views.keys import jwks
from fhirapi.views.metadata import MetadataView, OpenApiView, SmartView
from fhirapi.views.operations import MatchView, MetaChangeView, MetaView, ValidateView
from fhirapi.views.parameter import SearchParameterView
from fhirapi.views.read import UnknownView, VersionView
from fhirapi.views.search import CompartmentView, SearchFormView, SystemFormView
from fhirapi.views.subscriptions import EventsView, StatusesView, StatusView
from fhirapi.views.write import ResourceView, TypeView

urlpatterns = [
    path("", SystemView.as_view(), name="fhir-system"),
    path("metadata", MetadataView.as_view(), name="fhir-metadata"),
    path(".well-known/smart-configuration", SmartView.as_view(), name="fhir-smart"),
    path("openapi.json", OpenApiView.as_view(), name="fhir-openapi"),
    path("_history", HistoryView.as_view(), name="fhir-history"),
    path("_search", SystemFormView.as_view(), name="fhir-system-form"),
    path("SearchParameter/<str:name>", SearchParameterView.as_view(), name="fhir-search-parameter"),
    path("$meta", MetaView.as_view(), name="fhir-meta-system"),
    path("$export", ExportView.as_view(http_method_names=["get", "post"]), name="fhir-export"),
    path("Patient/$export", PatientExportView.as_view(http_method_names=["get", "post"]), name="fhir-export-patient"),
    path("Group/<str:group>/$export", GroupExportView.as_view(http_method_names=["get", "post"]), name="fhir-export-group"),
    path("bulk/<uuid:export>", BulkStatusView.as_view(), name="fhir-bulk"),
    path("bulk/<uuid:export>/<str:name>.ndjson", BulkFileView.as_view(), name="fhir-bulk-file"),
    path("ehr/<uuid:server>/jwks.json", jwks, name="fhir-ehr-jwks"),
    path("Patient/$match", MatchView.as_view(), name="fhir-match"),
    path("Patient/<str:patient>/$everything", EverythingView.as_view(), name="fhir-everything"),
    path("Subscription/$status", StatusesView.as_view(), name="fhir-subscriptions-status"),
    path("Subscription/<str:subscription>/$status", StatusView.as_view(), name="fhir-subscription-status"),
    path("Subscription/<str:subscription>/$events", EventsView.as_view(), name="fhir-subscription-events"),
    path("<str:rtype>/$meta", MetaView.as_view(), name="fhir-meta-type"),
    path(
        "<str:rtype>/$validate",
        ValidateView.as_view(http_method_names=["post"], is_guarded=False),
        name="fhir-validate-type",
    ),
    path("<str:rtype>/<str:fhir_id>/$meta", MetaView.as_view(), name="fhir-meta"),
    path("<str:rtype>/<str:fhir_id>/$meta-add", MetaChangeView.as_view(), name="fhir-meta-add"),
    path("<str:rtype>/<str:fhir_id>/$meta-delete", MetaChangeView.as_view(is_deletion=True), name="fhir-meta-delete"),
    path("<str:rtype>/<str:fhir_id>/$validate", ValidateView.as_view(), name="fhir-validate"),
    path("<str:rtype>/_search", SearchFormView.as_view(), name="fhir-search-form"),
    path("<str:rtype>/_history", HistoryView.as_view(), name="fhir-history-type"),
    path("<str:rtype>/<str:fhir_id>", ResourceView.as_view(), name="fhir-read"),
    path("<str:rtype>/<str:fhir_id>/_history", HistoryView.as_view(), name="fhir-history-instance"),
    path("<str:rtype>/<str:fhir_id>/_history/<str:version>", VersionView.as_view(), name="fhir-vread"),
    path("Patient/<str:patient>/<str:rtype>", CompartmentView.as_view(), name="fhir-compartment"),
    path("<str:rtype>", TypeView.as_view(), name="fhir-search"),
    re_path(r"^(?P<rest>.*)$", UnknownView.as_view(), name="fhir-unknown"),
]
