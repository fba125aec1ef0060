"""An algorithm that compares waits until the earlier study has come, by whatever way, and is then asked."""

import pytest

from ai.models import Decision, Job
from ai.services import connection_create, rule_set
from imaging.models import Study
from tests import house
from tests.dicom_files import series_of

pytestmark = pytest.mark.database


def take(hospital, **values) -> Study:
    slices = series_of(24, SliceThickness=1.0, **values)
    house.store(hospital, slices)
    house.index(hospital)
    house.complete(hospital)
    house.deliver(hospital)
    with hospital.scope():
        return Study.objects.get(study_uid=slices[0].StudyInstanceUID)


def test_it_waits_for_the_earlier_study_and_gets_it(mercy) -> None:
    """"Priors ... for algorithms that need them": no job before the earlier study is here, one job after, and never a second."""
    with mercy.scope():
        link = connection_create(platform="medhub-quantify")
        rule_set(name="Compare", connection=link, algorithm="lung-density-mask", conditions=[{"fact": "priors", "at_least": 1}])
    now = take(mercy, StudyDate="20260301")
    with mercy.scope():
        assert not Job.objects.filter(study=now).exists()
        assert Decision.objects.get(study=now).matched == 0
    take(mercy, StudyDate="20260101", PatientID="ANOTHER")
    take(mercy, StudyDate="20260401")  # a later one is no earlier one; it has one itself
    with mercy.scope():
        assert not Job.objects.filter(study=now).exists()
    take(mercy, StudyDate="20240105")
    with mercy.scope():
        assert Job.objects.get(study=now).algorithm == "lung-density-mask"
        decision = Decision.objects.get(study=now)
        assert (decision.matched, decision.facts["priors"]) == (1, 1)
        jobs = Job.objects.count()
    take(mercy, StudyDate="20230105")
    with mercy.scope():
        assert Job.objects.filter(study=now).count() == 1
        assert Job.objects.count() == jobs + 1, "the study of 2024 has an earlier one now"
