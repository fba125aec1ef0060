"""`certificates` under /t/<slug>/api/v1/."""

from django.urls import path

from imaging.api import certificates as views

urlpatterns = [
    path("certificates", views.CertificatesView.as_view(), name="api-certificates"),
    path("certificates/keys", views.CertificateKeysView.as_view(), name="api-certificate-keys"),
    path("certificates/trust", views.TrustView.as_view(), name="api-certificates-trust"),
    path("certificates/revocations", views.RevocationsView.as_view(), name="api-certificates-revocations"),
    path("certificates/<int:certificate_id>", views.CertificateView.as_view(), name="api-certificate"),
    path("certificates/<int:certificate_id>/revoke", views.CertificateRevokeView.as_view(), name="api-certificate-revoke"),
]
