"""QIDO-RS, WADO-RS and STOW-RS of one job (PS3.18 10.4 to 10.6), for the performer whose connection the job belongs to.

Surrogate UIDs and de-identified bytes only: these doors know nothing of the archive. Whatever is not this performer's is 404.
"""

from collections import Counter
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson
from django.http import Http404, HttpResponse, HttpResponseBase
from rest_framework.request import Request

from ai.models import Job, Workitem
from ai.outgoing import job_files
from ai.performer.files import OutgoingObject, objects_of
from ai.workitems import dataset as ds
from ai.workitems.search import Search, search_read
from ai.workitems.selectors import Viewer
from ai.workitems.views import parameters_of, viewer_of
from imaging.dicomweb.accept import Offer, accept_choose
from imaging.dicomweb.bulk import value_find
from imaging.dicomweb.elements import object_open
from imaging.dicomweb.jsonmodel import object_json
from imaging.dicomweb.reading import ReadView, Unreadable, json_response
from imaging.dicomweb.streams import Part, Piece, parts_response, plain_response
from imaging.dicomweb.syntaxes import OCTETS
from imaging.dicomweb.wado import RetrieveView
from imaging.dicomweb.xmlmodel import object_xml
from imaging.header import HeaderError
from imaging.query.keys import QueryError
from journal.audit import audit_record
from journal.wall.scope import tenant_scope
from tenants.doors import HospitalAPIView, TokenAuthentication

JSON, XML = "application/dicom+json", "application/dicom+xml"
OFFERS = (Offer(JSON, is_plain=True), Offer("application/json", is_plain=True), Offer(XML))
OPEN_JOBS = (Job.State.QUEUED, Job.State.SENT)
OPEN_ITEMS = (Workitem.State.SCHEDULED, Workitem.State.IN_PROGRESS)


def job_of(viewer: Viewer, job: UUID) -> Job:
    """The open job of this address, if it is this performer's. In a scope. Raises Http404.

    A token of that one job opens it while it lasts; a connection's own token only with a workitem that is still open.
    """
    if not viewer.is_performer or viewer.job not in (None, job):
        raise Http404
    found: Job | None = Job.objects.filter(uuid=job, connection_id=viewer.connection_id, state__in=OPEN_JOBS).first()
    if found is None:
        raise Http404
    if viewer.job is None and not Workitem.objects.filter(job=found, state__in=OPEN_ITEMS).exists():
        raise Http404
    return found


class PerformerDoor(HospitalAPIView):
    """Who asks and for which job; audited before anything is answered."""

    authentication_classes = [TokenAuthentication]
    job: Job

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        viewer = viewer_of(request.auth)
        with tenant_scope(self.tenant_id):
            self.job = job_of(viewer, kwargs["job"])
            action = self.capabilities["GET" if request.method == "HEAD" else request.method or ""]
            audit_record(actor=self.actor, action=action, object_type="Job", object_id=str(kwargs["job"]))


class PerformerView(PerformerDoor, ReadView):
    """What the reading doors share."""

    capabilities = {"GET": "performer.read", "OPTIONS": "performer.read"}

    def files(self) -> list[Path]:
        return job_files(tenant_id=self.tenant_id, job_id=self.job.id)

    def base(self, request: Request) -> str:
        return request.build_absolute_uri(f"/t/{self.kwargs['slug']}/performer/{self.kwargs['job']}/dicomweb")

    def rows(  # type: ignore[override]
        self, *, action: str, study_uid: str, series_uid: str = "", instance_uid: str = ""
    ) -> list[OutgoingObject]:
        found = objects_of(self.files(), study_uid=study_uid, series_uid=series_uid, instance_uid=instance_uid)
        if not found:
            raise Http404
        return found

    def metadata(self, row: OutgoingObject) -> ds.Dataset:
        # without host and port, as everywhere in the house: behind a proxy they would be wrong
        place = f"/t/{self.kwargs['slug']}/performer/{self.kwargs['job']}/dicomweb/{row.place}/bulkdata"
        with object_open(row.path) as opened:
            return object_json(opened, bulk=lambda path: f"{place}/{path}")


class PerformerRetrieveView(PerformerView, RetrieveView):
    """GET of the study, a series or an instance."""

    capabilities = PerformerView.capabilities

    def get(self, request: Request, slug: str, job: UUID, **uids: str) -> HttpResponseBase:  # type: ignore[override]
        return RetrieveView.get(self, request, slug, **uids)


class PerformerMetadataView(PerformerView):
    """GET .../metadata."""

    def get(self, request: Request, slug: str, job: UUID, **uids: str) -> HttpResponseBase:
        form = accept_choose(accepted=self.accepted(request), offers=OFFERS)
        return shown([self.metadata(row) for row in self.rows(action="", **uids)], form)


class PerformerBulkView(PerformerView):
    """GET .../bulkdata/{path}: native values. Compressed pixels are had with the instance, as the answer says."""

    def get(self, request: Request, slug: str, job: UUID, path: str, **uids: str) -> HttpResponseBase:
        row = self.rows(action="", **uids)[0]
        form = accept_choose(accepted=self.accepted(request), offers=[Offer(OCTETS, is_plain=True), Offer(OCTETS)])
        try:
            found = value_find(row.path, path)
        except HeaderError as error:
            raise Unreadable(404, error.reason) from None
        if found is None:
            raise Unreadable(406, "these pixels are compressed: retrieve the instance")
        part = Part(OCTETS, found.pieces, f"{self.base(request)}/{row.place}/bulkdata/{path}")
        return plain_response(part) if form.is_plain else parts_response([part], media_type=OCTETS)


# What a search answers besides what it was asked for (PS3.18 tables 10.6.3-3 to -5).
OF_STUDY = (
    "00080020", "00080030", "00080050", "00080061", "00100010", "00100020", "00100030", "00100040", "0020000D", "00200010",
    "00201206", "00201208", "00081190",
)  # fmt: skip
OF_SERIES = ("00080060", "0008103E", "0020000D", "0020000E", "00200011", "00201209", "00081190")
OF_INSTANCE = (
    "00080016", "00080018", "0020000D", "0020000E", "00200013", "00280008", "00280010", "00280011", "00280100", "00081190",
)  # fmt: skip


class PerformerSearchView(PerformerView):
    """GET /studies, /studies/{s}/series, /studies/{s}/series/{e}/instances and what lies between: of this job alone."""

    level = "study"

    def get(self, request: Request, slug: str, job: UUID, study_uid: str = "", series_uid: str = "") -> HttpResponseBase:
        form = accept_choose(accepted=self.accepted(request), offers=OFFERS)
        try:
            search = search_read([(name, value) for name, value in parameters_of(request) if name != "accept"])
        except QueryError as error:
            return json_response({"error": error.comment}, status=400)
        rows = objects_of(self.files(), study_uid=study_uid, series_uid=series_uid)
        if study_uid and not rows:
            raise Http404
        found = [one for one in self._matches(request, rows) if search.matches(one)]
        page = found[search.offset : search.offset + search.limit]
        return shown([_answer(search, one, self.level) for one in page], form)

    def _matches(self, request: Request, rows: list[OutgoingObject]) -> list[ds.Dataset]:
        """One data set a study, series or instance: of the first object of it."""
        series = Counter(row.series_uid for row in rows)
        found: dict[str, ds.Dataset] = {}
        for row in rows:
            uid = {"study": row.study_uid, "series": row.series_uid, "instance": row.sop_instance_uid}[self.level]
            if uid in found:
                continue
            one = self.metadata(row)
            one["00201206"], one["00201208"] = ds.element("IS", len(series)), ds.element("IS", len(rows))
            one["00201209"] = ds.element("IS", series[row.series_uid])
            one["00080061"] = ds.element("CS", *([ds.text_of(one, "00080060")] if ds.text_of(one, "00080060") else []))
            place = row.place.split("/")
            one["00081190"] = ds.element("UR", f"{self.base(request)}/{'/'.join(place[: PLACES[self.level]])}")
            found[uid] = one
        return list(found.values())


PLACES = {"study": 2, "series": 4, "instance": 6}


def _answer(search: Search, found: ds.Dataset, level: str) -> ds.Dataset:
    always = {"study": OF_STUDY, "series": OF_SERIES, "instance": OF_INSTANCE}[level]
    if search.include is None:
        return found
    wanted = {*always, *search.include, *(key.path[0] for key in search.keys)}
    return {tag: found[tag] for tag in sorted(wanted) if tag in found}


def shown(found: list[ds.Dataset], form: Offer) -> HttpResponseBase:
    if form.media_type != XML:
        return HttpResponse(orjson.dumps(found), content_type=form.media_type)
    return parts_response([Part(XML, (Piece(object_xml(one)),)) for one in found], media_type=XML)
