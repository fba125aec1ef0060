"""STOW-RS of a performer: results of one job, kept durably for the gate (`ai.returned`). Anything but results is refused."""

from uuid import UUID

from django.http import HttpResponse
from rest_framework.request import Request

from ai.performer.views import PerformerDoor, PerformerRetrieveView, PerformerSearchView
from ai.returned.keeping import Origin, result_check, returned_draft, returned_keep
from imaging.dicomweb.reading import json_response
from imaging.dicomweb.related import BodyError
from imaging.dicomweb.stow import DICOM_JSON, Outcome, Pieces, StowView, answer_json
from imaging.header import HeaderError, part10_read
from imaging.inbox import Draft
from imaging.ingest import NO_MATCH, NOT_UNDERSTOOD, ObjectFacts, Refused, disk_status, header_check, quota_take
from journal.trace import trace_id_current


class PerformerStowView(PerformerDoor, StowView):
    """POST /studies and /studies/{uid}."""

    capabilities = {"POST": "performer.store"}

    def post(self, request: Request, slug: str, job: UUID, study_uid: str = "") -> HttpResponse:  # type: ignore[override]
        outcome = Outcome()
        try:
            self._receive(request, study_uid, outcome)
        except BodyError as error:
            return json_response({"error": error.text}, status=error.status)
        base = request.build_absolute_uri(f"/t/{slug}/performer/{job}/dicomweb")
        return HttpResponse(answer_json(outcome, base), status=outcome.status, content_type=DICOM_JSON)

    def _part(self, pieces: Pieces, study_uid: str, outcome: Outcome) -> None:
        """Take one part. A part that is refused is read to its end, so the next one begins where it should."""
        facts: ObjectFacts | None = None
        draft: Draft | None = None
        unread = iter(lambda: next(pieces, None), None)
        try:
            draft = returned_draft(tenant_id=self.tenant_id, association_id=0, trace_id=trace_id_current())
            for piece in unread:
                draft.write([piece])
            facts = _facts(draft)
            self._keep_one(draft, facts, study_uid)
            outcome.stored.append(facts)
        except Refused as refused:
            outcome.failed.append((facts, refused))
        except OSError as error:
            outcome.failed.append((facts, Refused(disk_status(error), "no room: nothing of this object was kept")))
        finally:
            for _ in unread:  # nothing, once it has come to its end
                pass
            if draft is not None:
                draft.close()

    def _keep_one(self, draft: Draft, facts: ObjectFacts, study_uid: str) -> None:
        if study_uid and facts.study_uid != study_uid:
            raise Refused(NO_MATCH, "the instance belongs to another study than the address")
        result_check(facts)
        quota_take(tenant_id=self.tenant_id, size=draft.size)
        origin = Origin(self.tenant_id, int(self.job.connection_id), self.actor, job_id=self.job.id)
        returned_keep(draft, facts=facts, origin=origin)


def _facts(draft: Draft) -> ObjectFacts:
    """Raises Refused."""
    try:
        return header_check(part10_read(draft.path).header)
    except HeaderError as error:
        raise Refused(NOT_UNDERSTOOD, f"cannot understand: {error}") from error


class PerformerStudiesView(PerformerSearchView, PerformerStowView):
    """GET and POST of /studies."""

    capabilities = {**PerformerSearchView.capabilities, **PerformerStowView.capabilities}


class PerformerStudyView(PerformerRetrieveView, PerformerStowView):
    """GET and POST of /studies/{uid}."""

    capabilities = {**PerformerRetrieveView.capabilities, **PerformerStowView.capabilities}
