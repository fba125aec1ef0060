"""Reading subscribers, for the operations, the page and the API: a constant number of queries."""

from collections.abc import Sequence

from fhirapi.models import Subscriber, SubscriptionEvent


def subscriber_get(*, fhir_id: str) -> Subscriber | None:
    found: Subscriber | None = Subscriber.objects.filter(fhir_id=fhir_id).first()
    return found


def subscriber_by_id(*, subscriber_id: int) -> Subscriber | None:
    found: Subscriber | None = Subscriber.objects.filter(id=subscriber_id).first()
    return found


def subscribers(*, fhir_ids: Sequence[str] = (), states: Sequence[str] = (), limit: int = 200) -> list[Subscriber]:
    """Newest first, of all ids and states or of these. A hospital has few hundred (`rows.SUBSCRIBERS_MAX`)."""
    rows = Subscriber.objects.order_by("-id")
    if fhir_ids:
        rows = rows.filter(fhir_id__in=list(fhir_ids))
    return list((rows.filter(state__in=list(states)) if states else rows)[:limit])


def subscriptions_failing() -> int:
    """How many a person must look at."""
    return int(Subscriber.objects.filter(state=Subscriber.State.ERROR).count())


def first_number(*, row: Subscriber) -> int:
    """The oldest event that is still kept; one more than the last where none is."""
    found = SubscriptionEvent.objects.filter(subscriber_id=row.id, number__isnull=False).order_by("number")
    return found.values_list("number", flat=True).first() or row.last_number + 1
