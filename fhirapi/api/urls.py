"""`ehr` and `subscriptions` under /t/<slug>/api/v1/."""

from django.urls import path

from fhirapi.api import ehr as views

urlpatterns = [
    path("ehr/servers", views.EhrServersView.as_view(), name="api-ehr-servers"),
    path("ehr/servers/<uuid:server>", views.EhrServerView.as_view(), name="api-ehr-server"),
    path("ehr/servers/<uuid:server>/check", views.EhrServerCheckView.as_view(), name="api-ehr-server-check"),
    path("ehr/servers/<uuid:server>/key", views.EhrServerKeyView.as_view(), name="api-ehr-server-key"),
    path("ehr/deliveries", views.EhrPushesView.as_view(), name="api-ehr-deliveries"),
    path("ehr/deliveries/<int:push_id>", views.EhrPushView.as_view(), name="api-ehr-delivery"),
    path("ehr/deliveries/<int:push_id>/resend", views.EhrPushResendView.as_view(), name="api-ehr-delivery-resend"),
    path("subscriptions", views.SubscriptionsView.as_view(), name="api-subscriptions"),
    path("subscriptions/<str:subscription>/resume", views.SubscriptionResumeView.as_view(), name="api-subscription-resume"),
]
