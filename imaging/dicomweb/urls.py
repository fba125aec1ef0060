"""Addresses under /t/<slug>/dicomweb/."""

from django.urls import path

from imaging.dicomweb.stow import StowView

urlpatterns = [
    path("studies", StowView.as_view(), name="stow"),
    path("studies/<str:study_uid>", StowView.as_view(), name="stow-study"),
]
