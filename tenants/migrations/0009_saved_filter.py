"""Filters of the worklist that a person keeps under a name."""

from django.db import migrations, models

import journal.wall.ids
import journal.wall.scope
from journal.wall.operations import WallTable


class Migration(migrations.Migration):
    dependencies = [("tenants", "0008_return_addresses")]
    operations = [
        migrations.CreateModel(
            name="SavedFilter",
            fields=[
                ("id", models.BigIntegerField(default=journal.wall.ids.id_new, editable=False, primary_key=True, serialize=False)),
                ("tenant_id", models.BigIntegerField(default=journal.wall.scope.tenant_id_current, editable=False)),
                ("owner", models.CharField(max_length=64)),
                ("name", models.CharField(max_length=60)),
                ("wish", models.JSONField(default=dict)),
                ("created_at", models.DateTimeField()),
            ],
            options={
                "constraints": [models.UniqueConstraint(fields=("tenant_id", "owner", "name"), name="saved_filter_once")],
            },
        ),
        WallTable("SavedFilter"),
    ]
