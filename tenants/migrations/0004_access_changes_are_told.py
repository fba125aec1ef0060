"""Whoever remembers the holders of tokens (tenants/known.py) is told when tokens or hospitals change."""

from django.db import migrations

CHANGES = {"tenants_apitoken": "UPDATE OR DELETE OR TRUNCATE", "tenants_tenant": "UPDATE OR DELETE OR TRUNCATE"}


class Migration(migrations.Migration):
    dependencies = [("tenants", "0003_certificates")]
    operations = [
        migrations.RunSQL(
            sql=[
                "CREATE FUNCTION tenants_access_changed() RETURNS trigger LANGUAGE plpgsql AS "
                "$$ BEGIN PERFORM pg_notify('tenants_access', ''); RETURN NULL; END $$",
                *(
                    f"CREATE TRIGGER tenants_access AFTER {changes} ON {table} FOR EACH STATEMENT EXECUTE FUNCTION tenants_access_changed()"
                    for table, changes in CHANGES.items()
                ),
            ],
            reverse_sql=[*(f"DROP TRIGGER tenants_access ON {table}" for table in CHANGES), "DROP FUNCTION tenants_access_changed()"],
        )
    ]
