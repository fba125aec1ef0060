"""`platforms`, `connections`, `rules`, `insights`, `jobs` and `worklist` under /t/<slug>/api/v1/."""

from django.urls import path

from ai.api import connections, governance, insights, jobs, platforms, rules, worklist

urlpatterns = [
    path("platforms", platforms.PlatformsView.as_view(), name="api-platforms"),
    path("platforms/<slug:platform>", platforms.PlatformView.as_view(), name="api-platform"),
    path("connections", connections.ConnectionsView.as_view(), name="api-connections"),
    path("connections/<slug:platform>", connections.ConnectionView.as_view(), name="api-connection"),
    path("connections/<slug:platform>/check", connections.ConnectionCheckView.as_view(), name="api-connection-check"),
    path("connections/<slug:platform>/on", connections.ConnectionOnView.as_view(), name="api-connection-on"),
    path("connections/<slug:platform>/off", connections.ConnectionOffView.as_view(), name="api-connection-off"),
    path("connections/<slug:platform>/stage", connections.ConnectionStageView.as_view(), name="api-connection-stage"),
    path("connections/<slug:platform>/terms", connections.ConnectionTermsView.as_view(), name="api-connection-terms"),
    path("algorithms", governance.AlgorithmsView.as_view(), name="api-algorithms"),
    path("algorithms/<slug:platform>/<str:algorithm>/recall", governance.RecallView.as_view(), name="api-algorithm-recall"),
    path("recalls", governance.RecallsView.as_view(), name="api-recalls"),
    path("recalls/<uuid:recall>/lift", governance.RecallLiftView.as_view(), name="api-recall-lift"),
    path("disclosures", governance.DisclosuresView.as_view(), name="api-disclosures"),
    path("usage", governance.UsageView.as_view(), name="api-usage"),
    path("rules", rules.RulesView.as_view(), name="api-rules"),
    path("rules/draft", rules.DraftView.as_view(), name="api-rules-draft"),
    path("rules/draft/activate", rules.ActivateView.as_view(), name="api-rules-activate"),
    path("rules/versions", rules.VersionsView.as_view(), name="api-rules-versions"),
    path("rules/versions/<int:number>", rules.VersionView.as_view(), name="api-rules-version"),
    path("rules/versions/<int:number>/compare/<int:other>", rules.CompareView.as_view(), name="api-rules-compare"),
    path("rules/versions/<int:number>/revert", rules.RevertView.as_view(), name="api-rules-revert"),
    path("rules/vocabulary", rules.VocabularyView.as_view(), name="api-rules-vocabulary"),
    path("rules/dry-run", rules.DryRunView.as_view(), name="api-rules-dry-run"),
    path("rules/dry-run/file", rules.FileTrialView.as_view(), name="api-rules-dry-run-file"),
    path("worklist", worklist.WorklistView.as_view(), name="api-worklist"),
    path("worklist/filters", worklist.FiltersView.as_view(), name="api-worklist-filters"),
    path("worklist/filters/<int:filter_id>", worklist.FilterView.as_view(), name="api-worklist-filter"),
    path("studies/<uuid:uuid>/priority", worklist.PriorityView.as_view(), name="api-study-priority"),
    path("insights", insights.InsightsView.as_view(), name="api-insights"),
    path("insights/cases", insights.InsightsCasesView.as_view(), name="api-insights-cases"),
    path("jobs", jobs.JobsView.as_view(), name="api-jobs"),
    path("jobs/<uuid:job_uuid>", jobs.JobView.as_view(), name="api-job"),
    path("jobs/<uuid:job_uuid>/cancel", jobs.JobCancelView.as_view(), name="api-job-cancel"),
    path("jobs/<uuid:job_uuid>/resend", jobs.JobResendView.as_view(), name="api-job-resend"),
    path("jobs/<uuid:job_uuid>/requeue", jobs.JobRequeueView.as_view(), name="api-job-requeue"),
]
