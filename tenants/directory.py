"""The list of tables that stand outside the wall, each with its reason. A table that is neither here nor walled fails the suite."""

from django.db import connections

from journal.wall.operations import APP_ROLE

DIRECTORY = {
    "tenants_user": "people belong to several hospitals; read at sign-in, before a scope",
    "tenants_user_groups": "Django's own table of the user model; unused",
    "tenants_user_user_permissions": "Django's own table of the user model; unused",
    "tenants_tenant": "slug -> hospital, read by every door before a scope",
    "tenants_membership": "who may enter which hospital, read before a scope",
    "tenants_apitoken": "token hash -> hospital, read before a scope",
    "tenants_oauthclient": "client id -> hospital, its public keys and most scopes, read before a scope",
    "tenants_oauthassertion": "digests of assertions that were used, checked before a scope",
    "tenants_calledae": "called AE title -> hospital, read before a scope",
    "tenants_authority": "certificates that the TLS listener trusts, read before a scope; no private key",
    "tenants_devicecertificate": "client certificate -> hospital, read before a scope",
    "tenants_hl7source": "address, certificate and names of who sends HL7 -> hospital, read before a scope",
    "tenants_hook": "id of a hook -> hospital, read before a scope",
    "account_emailaddress": "allauth: addresses of people, read at sign-in",
    "account_emailconfirmation": "allauth: confirmation keys of addresses",
    "django_session": "sessions of people, keyed by a secret",
    "django_content_type": "Django's list of models",
    "auth_permission": "Django's list of permissions; unused, needed by the user model",
    "auth_group": "as above",
    "auth_group_permissions": "as above",
}
OWNER_ONLY = {"django_migrations": "written and read by the owner role while it migrates"}


def directory_grant() -> None:
    """Let the app role use the directory tables. Run by the owner after each migrate: default privileges give nothing."""
    with connections["owner"].cursor() as cursor:
        for table in DIRECTORY:
            cursor.execute(f'GRANT SELECT, INSERT, UPDATE, DELETE ON "{table}" TO {APP_ROLE}')
