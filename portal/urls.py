"""Addresses of the pages. A hospital's are under /t/<slug>/; nothing in them says anything about a patient."""

from django.urls import path

from portal.views import attention, certificates, home, hospital, nodes, study, transfers, viewer, workitems, worklist

urlpatterns = [
    path("", home.home, name="home"),
    path("t/<slug:slug>/", hospital.hospital, name="hospital"),
    path("t/<slug:slug>/worklist", worklist.worklist, name="worklist"),
    path("t/<slug:slug>/worklist/rows", worklist.worklist_rows, name="worklist-rows"),
    path("t/<slug:slug>/studies/<uuid:uuid>", study.study, name="study"),
    path("t/<slug:slug>/studies/<uuid:uuid>/complete", study.study_force, name="study-complete"),
    path(
        "t/<slug:slug>/studies/<uuid:uuid>/series/<int:series_id>/<int:number>.png", study.study_slice, name="study-slice"
    ),
    path("t/<slug:slug>/studies/<uuid:uuid>/send", transfers.study_send, name="study-send"),
    path("t/<slug:slug>/studies/<uuid:uuid>/viewer", viewer.study_viewer, name="study-viewer"),
    path("t/<slug:slug>/viewer/app-config.js", viewer.viewer_config, name="viewer-config"),
    path("t/<slug:slug>/viewer/", viewer.viewer, name="viewer-home"),
    path("t/<slug:slug>/viewer/<path:rest>", viewer.viewer, name="viewer"),
    path("t/<slug:slug>/nodes", nodes.nodes_page, name="nodes"),
    path("t/<slug:slug>/nodes/new", nodes.node_new, name="node-new"),
    path("t/<slug:slug>/nodes/<int:node_id>", nodes.node_page, name="node"),
    path("t/<slug:slug>/nodes/<int:node_id>/edit", nodes.node_edit, name="node-edit"),
    path("t/<slug:slug>/nodes/<int:node_id>/check", nodes.node_call, name="node-check"),
    path("t/<slug:slug>/nodes/<int:node_id>/query", nodes.node_search, name="node-query"),
    path("t/<slug:slug>/nodes/<int:node_id>/pull", nodes.node_pull, name="node-pull"),
    path("t/<slug:slug>/nodes/<int:node_id>/migrate", nodes.node_migrate, name="node-migrate"),
    path("t/<slug:slug>/nodes/<int:node_id>/delete", nodes.node_remove, name="node-delete"),
    path("t/<slug:slug>/transfers/panel", transfers.panel, name="transfers-panel"),
    path("t/<slug:slug>/transfers/<int:transfer_id>/cancel", transfers.cancel, name="transfer-cancel"),
    path("t/<slug:slug>/transfers/<int:transfer_id>/retry", transfers.retry, name="transfer-retry"),
    path("t/<slug:slug>/certificates", certificates.certificates_page, name="certificates"),
    path("t/<slug:slug>/certificates/sign", certificates.sign, name="certificate-sign"),
    path("t/<slug:slug>/certificates/make", certificates.make, name="certificate-make"),
    path("t/<slug:slug>/certificates/trust.pem", certificates.trust, name="certificates-trust"),
    path("t/<slug:slug>/certificates/revoked.pem", certificates.revoked, name="certificates-revoked"),
    path("t/<slug:slug>/certificates/<int:certificate_id>.pem", certificates.certificate_file, name="certificate-file"),
    path("t/<slug:slug>/certificates/<int:certificate_id>/revoke", certificates.revoke, name="certificate-revoke"),
    path("t/<slug:slug>/attention", attention.attention, name="attention"),
    path("t/<slug:slug>/attention/deliveries/<int:delivery_id>", attention.letter_resend, name="letter-resend"),
    path("t/<slug:slug>/attention/items/<int:item_id>", workitems.workitem, name="workitem"),
    path("t/<slug:slug>/attention/items/<int:item_id>/decide", workitems.workitem_decide, name="workitem-decide"),
    path("t/<slug:slug>/attention/uploads", attention.uploads_again, name="uploads-retry"),
    path("t/<slug:slug>/duplicates", hospital.duplicate_policy, name="duplicate-policy"),
    path("t/<slug:slug>/attention/jobs/<int:job_id>", attention.job_again, name="job-resend"),
    path("t/<slug:slug>/attention/commitments/<int:request_id>", attention.commitment_again, name="commitment-resend"),
]
