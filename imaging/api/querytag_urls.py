"""`query-tags` under /t/<slug>/api/v1/."""

from django.urls import path

from imaging.api import querytags as views

urlpatterns = [
    path("query-tags", views.QueryTagsView.as_view(), name="api-query-tags"),
    path("query-tags/<int:tag_id>", views.QueryTagView.as_view(), name="api-query-tag"),
    path("query-tags/<int:tag_id>/reindex", views.QueryTagReindexView.as_view(), name="api-query-tag-reindex"),
]
