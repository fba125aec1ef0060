"""Keys of AI performers, bound to a connection or a job and short-lived; AE titles that results come back to."""

from django.db import migrations, models

ROLES = [
    ("owner", "Owner (CIO)"), ("admin", "Administrator"), ("radiologist", "Radiologist"), ("integrator", "Integrator"),
    ("auditor", "Auditor"), ("billing", "Billing"), ("performer", "AI performer (machines only)"),
]


class Migration(migrations.Migration):
    dependencies = [("tenants", "0006_hook")]
    operations = [
        migrations.AddField("apitoken", "expires_at", models.DateTimeField(null=True, blank=True)),
        migrations.AddField("apitoken", "connection_id", models.BigIntegerField(null=True, blank=True)),
        migrations.AddField("apitoken", "job", models.UUIDField(null=True, blank=True)),
        migrations.AlterField("apitoken", "role", models.CharField(max_length=16, choices=ROLES, default="integrator")),
        migrations.AlterField("membership", "role", models.CharField(max_length=16, choices=ROLES)),
        migrations.AddField("calledae", "connection_id", models.BigIntegerField(null=True, blank=True)),
        migrations.AddField("calledae", "calling_ae", models.CharField(max_length=16, default="", blank=True)),
    ]
