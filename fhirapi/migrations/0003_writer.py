"""Who wrote a version (0 the hub, 1 REST), and histories of one type by time."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("fhirapi", "0002_search")]
    operations = [
        migrations.RunSQL(
            sql=[
                "ALTER TABLE fhir_resource ADD COLUMN writer smallint NOT NULL DEFAULT 0",
                "ALTER TABLE fhir_history ADD COLUMN writer smallint NOT NULL DEFAULT 0",
                "DROP INDEX fhir_history_by_time",
                "CREATE INDEX fhir_history_by_time ON fhir_history (tenant_id, rtype, at)",
            ],
            reverse_sql=[
                "DROP INDEX fhir_history_by_time",
                "CREATE INDEX fhir_history_by_time ON fhir_history (tenant_id, at)",
                "ALTER TABLE fhir_history DROP COLUMN writer",
                "ALTER TABLE fhir_resource DROP COLUMN writer",
            ],
        )
    ]
