"""Priors: when a study is complete, its patient's earlier studies come from the nodes that are asked for them."""

from imaging.models import Node, Study, Transfer
from imaging.selectors import study_origin
from imaging.transfers.rows import transfer_create
from journal.audit import Actor
from journal.types import Event


def priors_pull(*, event: Event) -> None:
    """Subscriber of study.completed. Once per study and node, and never for a study that came as a prior or by a migration."""
    study = Study.objects.select_related("patient").filter(id=event.ids["study_id"]).first()
    if study is None or study.is_from_ai or not study.patient.patient_id or study_origin(study=study):
        return
    for node in Node.objects.filter(is_asked_for_priors=True, port__isnull=False).exclude(host="").order_by("id"):
        transfer_create(
            actor=Actor(name="system:priors"), node=node, kind=Transfer.Kind.PRIORS, unique_on=f"priors:{study.id}:{node.id}",
            query={"study": study.id, "years": node.priors_years, "count": node.priors_count},
        )  # fmt: skip
