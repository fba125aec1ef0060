"""AI's wish that a study be read first: it raises a study in everybody's worklist, and only a person takes that back."""

from ai.findings import Answer
from ai.models import Job, Report, Result, Stage
from imaging.priorities import study_flag_set

TAKEN_BACK = (Report.Status.CANCELLED, Report.Status.ENTERED_IN_ERROR)


def flag_raise(*, job: Job, answer: Answer) -> None:
    """Of a platform that is live: what is in shadow or pilot moves nobody's list."""
    if answer.is_flagged and job.stage == Stage.LIVE:
        study_flag_set(study_id=job.study_id, is_flagged=True)


def flag_settle(*, study_id: int) -> None:
    """After a person decided about a report of it: raised as long as an undecided one still asks for that.

    A report asks with any of its versions: that of a draft of words, or of a late image, says nothing of the flag.
    """
    flagged = Result.objects.filter(job__study_id=study_id, job__stage=Stage.LIVE, job__state=Job.State.DONE, payload__is_flagged=True)
    asking = set(Report.objects.filter(result__in=flagged).values_list("uuid", flat=True))
    newest = dict(Report.objects.filter(uuid__in=asking).order_by("version").values_list("uuid", "status"))
    study_flag_set(study_id=study_id, is_flagged=Report.Status.PRELIMINARY in newest.values())
