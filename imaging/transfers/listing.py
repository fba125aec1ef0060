"""Which studies a transfer is about, asked of the node: a migration by days, priors by the patient. `run` calls it."""

from collections.abc import Iterable
from datetime import date, timedelta

from django.utils import timezone
from pynetdicom.association import Association

from imaging.models import Patient, Study, Transfer, TransferStudy
from imaging.scu.association import STUDY_FIND, NotPossibleError, Peer, associated, contexts_of
from imaging.scu.pull import Go
from imaging.scu.query import Match, matches_of
from imaging.transfers.rows import date_read, transfer_renew
from journal.audit import Actor, audit_record
from journal.wall.scope import tenant_scope

LISTED = "listed"
LIST_LIMIT = 5_000
LIST_SECONDS = 120.0
SPAN_DAYS = 31  # asked for at once, until an archive has too many
SPANS_AT_ONCE = 12


def studies_list(*, transfer: Transfer, peer: Peer, go: Go) -> None:
    """Add studies until there is something to do, and remember where to go on. Raises NotReachedError, NotPossibleError."""
    with associated(peer, contexts_of(STUDY_FIND), answer_seconds=LIST_SECONDS) as association:
        if transfer.kind == Transfer.Kind.PRIORS:
            _priors_list(transfer, association)
        else:
            _days_list(transfer, association, go)


def _days_list(transfer: Transfer, association: Association, go: Go) -> None:
    """Some days' studies and the cursor behind them are one commit: a restart neither loses a day nor adds a study twice."""
    day, last = date_read(transfer.cursor or transfer.query["from"]), date_read(transfer.query["to"])
    for _ in range(SPANS_AT_ONCE):
        if not go():
            return
        end = min(day + timedelta(days=transfer.query.get("span", SPAN_DAYS) - 1), last)
        uids = _uids_of(association, _span(day, end), transfer.query["modalities"])
        if uids is None and end > day:
            transfer.query["span"] = 1  # a busy archive: from now on day by day
            continue
        if uids is None:
            uids = _uids_by_hour(association, day, transfer.query["modalities"])
        day = end + timedelta(days=1)
        cursor = f"{day:%Y%m%d}" if day <= last else LISTED
        if not _studies_add(transfer, uids, cursor) or uids or cursor == LISTED:
            return


def _span(first: date, last: date) -> str:
    return f"{first:%Y%m%d}" if first == last else f"{first:%Y%m%d}-{last:%Y%m%d}"


def _uids_of(association: Association, days: str, modalities: list[str], hours: str = "") -> list[str] | None:
    """Each modality is asked for on its own: not every node takes a list. None when there are more than it is asked for."""
    found: dict[str, None] = {}
    for modality in modalities or [""]:
        keys = {"StudyDate": days, "StudyTime": hours, "ModalitiesInStudy": modality}
        matches = matches_of(association, level="STUDY", limit=LIST_LIMIT, seconds=LIST_SECONDS, **keys)
        if matches.is_cut:
            return None
        found |= dict.fromkeys(match["StudyInstanceUID"] for match in matches.found)
    return list(found)


def _uids_by_hour(association: Association, day: date, modalities: list[str]) -> list[str]:
    found: list[str] = []
    for hour in range(24):
        uids = _uids_of(association, _span(day, day), modalities, f"{hour:02}0000-{hour:02}5959")
        if uids is None:
            raise NotPossibleError(f"more than {LIST_LIMIT} studies in one hour of {day:%d %b %Y}")
        found += uids
    return found


def _priors_list(transfer: Transfer, association: Association) -> None:
    query = transfer.query
    with tenant_scope(transfer.tenant_id):
        study = Study.objects.select_related("patient").filter(id=query["study"]).first()
        audit_record(actor=Actor(name="system:priors"), action="node.query", object_type="Node", object_id=str(transfer.node_id))
    uids: list[str] = []
    if study is not None and study.patient.patient_id:
        keys = {"PatientID": study.patient.patient_id, "StudyDate": _before(study, query["years"])}
        if study.patient.issuer:
            keys["IssuerOfPatientID"] = study.patient.issuer
        matches = matches_of(association, level="STUDY", **keys)
        own = [m for m in matches.found if m["StudyInstanceUID"] != study.study_uid and is_patient(m, study.patient)]
        own.sort(key=lambda m: (m["StudyDate"], m["StudyTime"]), reverse=True)
        uids = [m["StudyInstanceUID"] for m in own[: query["count"]]]
    _studies_add(transfer, uids, LISTED)


def _before(study: Study, years: int) -> str:
    """From so many years before the study up to its day; today where it has no date."""
    try:
        day = date_read(study.study_date)
    except ValueError:
        day = timezone.now().date()
    first = day - timedelta(days=round(365.25 * years))
    return f"{first:%Y%m%d}-{day:%Y%m%d}"


def is_patient(match: Match, patient: Patient) -> bool:
    """The same number, and neither issuer, birth date nor sex says otherwise: a number that two people share brings nothing."""
    if match["PatientID"].strip() != patient.patient_id.strip():
        return False
    pairs = (
        (match["IssuerOfPatientID"], patient.issuer), (match["PatientBirthDate"], patient.birth_date),
        (match["PatientSex"], patient.sex),
    )  # fmt: skip
    return all(theirs.strip() == ours.strip() for theirs, ours in pairs if theirs.strip() and ours.strip())


def _studies_add(transfer: Transfer, uids: Iterable[str], cursor: str) -> bool:
    """False when the transfer is no longer ours."""
    with tenant_scope(transfer.tenant_id):
        there = set(TransferStudy.objects.filter(transfer=transfer, study_uid__in=list(uids)).values_list("study_uid", flat=True))
        new = [uid for uid in uids if uid not in there]
        if not transfer_renew(transfer, cursor=cursor, query=transfer.query, studies=transfer.studies + len(new)):
            return False
        transfer.studies += len(new)
        now = timezone.now()
        TransferStudy.objects.bulk_create([TransferStudy(transfer=transfer, study_uid=uid, created_at=now) for uid in new])
    return True
