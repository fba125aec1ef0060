"""The tenant scope and the wall behind it, as the app role."""

import pytest
from django.db import connection, transaction

from imaging.models import Node
from journal.wall.scope import ScopeError, tenant_scope


def test_a_query_outside_a_scope_raises() -> None:
    """"An ORM manager that raises outside a scope" (DESIGN section 4)."""
    with pytest.raises(ScopeError):
        Node.objects.count()


def test_scopes_of_two_hospitals_never_meet(mercy, olaf) -> None:
    """A scope joins its own hospital's and refuses another's."""
    with mercy.scope(), mercy.scope():
        assert Node.objects.get().ae_title == mercy.calling_ae
        with pytest.raises(ScopeError), olaf.scope():
            pass
    with transaction.atomic(), pytest.raises(ScopeError), tenant_scope(mercy.tenant.id):
        pass


def test_unset_raises_and_leaves_nothing_behind(mercy) -> None:
    """"unset (or left empty after a transaction) raises" (DESIGN section 4)."""
    with mercy.scope(), connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM imaging_node")
        assert cursor.fetchone() == (1,)
    from django.db.utils import DatabaseError

    with pytest.raises(DatabaseError), connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM imaging_node")
