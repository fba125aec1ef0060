"""Fixtures for every test: two fresh hospitals on a real database. Tests commit for real; isolation is the wall's own job."""

import functools
import secrets
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import pytest

PASSWORD = "correct horse battery 1"  # noqa: S105 test people only


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whole loops through the vendors' stand-ins say so themselves: they ask nothing of the database that others don't."""
    for item in items:
        if "vendors_process" in getattr(item, "fixturenames", ()):
            item.add_marker("doubles")


@pytest.fixture(scope="session")
def django_db_setup(
    django_test_environment: None, django_db_blocker: Any, django_db_modify_db_settings: None
) -> Iterator[None]:
    """One database a pytest process: made and migrated by the owner, used by the app and sweep roles."""
    from django.db import connections
    from django.test.utils import setup_databases

    from tenants.directory import directory_grant

    with django_db_blocker.unblock():
        # Not torn down: threads may still hold connections, and the next run makes it anew.
        setup_databases(verbosity=0, interactive=False, serialized_aliases=[])
        directory_grant()
    yield
    connections.close_all()


@pytest.fixture(scope="session", autouse=True)
def _database(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    """The whole session may use the database: every test works in hospitals of its own and needs no rollback."""
    with django_db_blocker.unblock():
        yield


@pytest.fixture(autouse=True, scope="session")
def _own_cache() -> None:
    """Several pytest processes share a home; none may count or forget the sign-ins of another."""
    from django.conf import settings
    from django.core.signals import setting_changed

    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
    setting_changed.send(sender=None, setting="CACHES", value=settings.CACHES, enter=True)


@pytest.fixture(autouse=True)
def _fresh_cache() -> None:
    """allauth counts sign-ins per address in the cache; all tests come from one address."""
    from django.core.cache import cache

    cache.clear()


@pytest.fixture(autouse=True, scope="session")
def _cheap_passwords() -> None:
    """Scrypt is meant to cost a quarter of a second; test people sign in hundreds of times. One test looks at the real hasher."""
    from django.conf import settings
    from django.core.signals import setting_changed

    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher", *settings.PASSWORD_HASHERS]
    setting_changed.send(sender=None, setting="PASSWORD_HASHERS", value=settings.PASSWORD_HASHERS, enter=True)


@pytest.fixture(autouse=True, scope="session")
def _short_keys() -> None:
    """Keys of 2048 bits: made in a third of the time, and still what devices have. One test looks at the real size."""
    from imaging.certificates import authority

    authority.RSA_BITS = 2048


@pytest.fixture(autouse=True, scope="session")
def _still_peers() -> None:
    """Peers of ours in tests ask as the product does: when pynetdicom's own thread is at rest, or it may swallow their answer."""
    from pynetdicom.association import Association

    from imaging.scu.association import reactor_still

    def stilled(send: Any) -> Any:
        @functools.wraps(send)
        def call(association: Any, *args: Any, **kwargs: Any) -> Any:
            if sys._getframe(1).f_globals.get("__name__", "").startswith("tests."):  # the product waits for itself
                reactor_still(association)
            return send(association, *args, **kwargs)

        return call

    for name in ("send_c_find", "send_c_get", "send_c_move", "send_n_action", "send_n_create", "send_n_set", "send_n_get"):
        setattr(Association, name, stilled(getattr(Association, name)))


@dataclass
class Hospital:
    tenant: Any
    slug: str
    token: str
    called_ae: str
    calling_ae: str
    members: dict[str, Any] = field(default_factory=dict)

    def scope(self) -> AbstractContextManager[None]:
        from journal.wall.scope import tenant_scope

        return tenant_scope(self.tenant.id)

    def member(self, role: str) -> Any:
        """A person of this role, made when first asked for."""
        from tenants import services

        if role not in self.members:
            self.members[role] = services.member_create(
                tenant=self.tenant, email=f"{role}@{self.slug}.example", password=PASSWORD, role=role
            )
        return self.members[role]

    @property
    def auth(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.token}"}


def hospital_make(name: str) -> Hospital:
    from imaging.models import Node
    from journal.wall.scope import tenant_scope
    from tenants import services

    mark = secrets.token_hex(4)
    tenant = services.tenant_create(slug=f"{name}-{mark}", name=name.title(), time_zone="America/Chicago", quiet_seconds=0)
    called, calling = f"{name[:6].upper()}{mark}", f"CT{mark}"
    services.called_ae_set(tenant=tenant, ae_title=called)
    with tenant_scope(tenant.id):
        Node.objects.create(ae_title=calling)
    token = services.token_create(tenant=tenant, name="test", role="integrator")
    return Hospital(tenant=tenant, slug=tenant.slug, token=token, called_ae=called, calling_ae=calling)


@pytest.fixture
def mercy() -> Hospital:
    """The hospital under test."""
    return hospital_make("mercy")


@pytest.fixture
def olaf() -> Hospital:
    """The other hospital, whose rows nobody of mercy may see."""
    return hospital_make("olaf")
