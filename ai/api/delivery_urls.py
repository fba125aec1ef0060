"""`reports` and `deliveries` under /t/<slug>/api/v1/."""

from django.urls import path

from ai.api import deliveries as views
from ai.api import reviews

urlpatterns = [
    path("reports", views.ReportsView.as_view(), name="api-reports"),
    path("reports/<uuid:uuid>", views.ReportView.as_view(), name="api-report"),
    path("reports/<uuid:uuid>.pdf", views.ReportPdfView.as_view(), name="api-report-pdf"),
    path("reports/<uuid:uuid>/verdicts", reviews.VerdictsView.as_view(), name="api-verdicts"),
    path("deliveries", views.DeliveriesView.as_view(), name="api-deliveries"),
    path("deliveries/<int:delivery_id>", views.DeliveryView.as_view(), name="api-delivery"),
    path("deliveries/<int:delivery_id>/resend", views.DeliveryResendView.as_view(), name="api-delivery-resend"),
]
