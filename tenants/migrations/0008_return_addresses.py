"""Where results of an AI connection may come from: an AE title that names neither addresses nor TLS takes them over TLS alone."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("tenants", "0007_performers")]
    operations = [
        migrations.AddField("calledae", "addresses", models.JSONField(default=list, blank=True)),
        migrations.AddField("calledae", "needs_tls", models.BooleanField(default=False)),
    ]
