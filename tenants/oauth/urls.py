"""Addresses of the authorization server under /t/<slug>/oauth/."""

from django.urls import path

from tenants.oauth import views
from tenants.oauth.registering import RegisterView

urlpatterns = [
    path("token", views.token, name="oauth-token"),
    path("introspect", views.introspect, name="oauth-introspect"),
    path("register", RegisterView.as_view(), name="oauth-register"),
    path("revoke", views.revoke, name="oauth-revoke"),
]
