"""Whether a hospital's FHIR resources name US Core's profiles. Nobody's do until somebody says so."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("tenants", "0004_access_changes_are_told")]
    operations = [
        migrations.AddField(model_name="tenant", name="has_us_core", field=models.BooleanField(default=False)),
    ]
