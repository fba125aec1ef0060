"""`tenant_rows`: one statement, one round trip, the same wall."""

import pytest
from django.db import DatabaseError, connection

from imaging.models import Study
from journal.wall.reads import tenant_rows
from journal.wall.scope import ScopeError, tenant_scope
from tests import house
from tests.dicom_files import ct_slice

pytestmark = pytest.mark.database
EVERYTHING = "SELECT tenant_id FROM imaging_study WHERE 1 = %s"


def test_rows_of_one_hospital_only(mercy, olaf) -> None:
    """A statement that forgets its hospital sees that hospital's rows and no others; the setting is gone after it."""
    for hospital in (mercy, olaf):
        house.store(hospital, [ct_slice()])
        house.index(hospital)
    assert tenant_rows(tenant_id=mercy.tenant.id, sql=EVERYTHING, values=[1]) == [(mercy.tenant.id,)]
    with pytest.raises(DatabaseError), connection.cursor() as cursor:
        cursor.execute(EVERYTHING, [1])


def test_scopes_do_not_meet(mercy, olaf) -> None:
    with tenant_scope(mercy.tenant.id):
        assert tenant_rows(tenant_id=mercy.tenant.id, sql=EVERYTHING, values=[1]) == []
        with pytest.raises(ScopeError):
            tenant_rows(tenant_id=olaf.tenant.id, sql=EVERYTHING, values=[1])


def test_an_error_leaves_nothing_open(mercy) -> None:
    with pytest.raises(DatabaseError):
        tenant_rows(tenant_id=mercy.tenant.id, sql="SELECT 1 / (1 - %s)", values=[1])
    with mercy.scope():
        assert Study.objects.count() == 0
