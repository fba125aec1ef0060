"""Under /t/<slug>/api/v1/."""

from django.urls import include, path

from imaging.api import views

urlpatterns = [
    path("", include("imaging.api.certificate_urls")),
    path("", include("imaging.api.querytag_urls")),
    path("nodes", views.NodesView.as_view(), name="api-nodes"),
    path("nodes/<int:node_id>", views.NodeView.as_view(), name="api-node"),
    path("nodes/<int:node_id>/check", views.NodeCheckView.as_view(), name="api-node-check"),
    path("nodes/<int:node_id>/query", views.NodeQueryView.as_view(), name="api-node-query"),
    path("transfers", views.TransfersView.as_view(), name="api-transfers"),
    path("transfers/<int:transfer_id>", views.TransferView.as_view(), name="api-transfer"),
    path("transfers/<int:transfer_id>/cancel", views.TransferCancelView.as_view(), name="api-transfer-cancel"),
    path("transfers/<int:transfer_id>/retry", views.TransferRetryView.as_view(), name="api-transfer-retry"),
]
