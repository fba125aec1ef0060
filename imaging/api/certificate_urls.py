"""Under /t/<slug>/api/v1/certificates."""

from django.urls import path

from imaging.api import certificates as views

urlpatterns = [
    path("", views.CertificatesView.as_view(), name="api-certificates"),
    path("/keys", views.CertificateKeysView.as_view(), name="api-certificate-keys"),
    path("/trust", views.TrustView.as_view(), name="api-certificates-trust"),
    path("/revocations", views.RevocationsView.as_view(), name="api-certificates-revocations"),
    path("/<int:certificate_id>", views.CertificateView.as_view(), name="api-certificate"),
    path("/<int:certificate_id>/revoke", views.CertificateRevokeView.as_view(), name="api-certificate-revoke"),
]
