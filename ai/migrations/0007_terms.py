"""Terms of platforms and who accepted them. Nobody is taken to have accepted: connections of before ask once."""

from django.db import migrations, models

import journal.wall.ids
import journal.wall.scope
from journal.wall.operations import WallTable


class Migration(migrations.Migration):
    dependencies = [("ai", "0006_routing")]

    operations = [
        migrations.AddField("connection", "terms", models.CharField(blank=True, default="", max_length=16)),
        migrations.CreateModel(
            name="TermsAcceptance",
            fields=[
                ("id", models.BigIntegerField(default=journal.wall.ids.id_new, editable=False, primary_key=True, serialize=False)),
                ("tenant_id", models.BigIntegerField(default=journal.wall.scope.tenant_id_current, editable=False)),
                ("platform", models.SlugField(db_index=False, max_length=40)),
                ("version", models.CharField(max_length=16)),
                ("text", models.TextField()),
                ("by", models.CharField(max_length=64)),
                ("at", models.DateTimeField()),
            ],
        ),
        migrations.AddIndex("termsacceptance", models.Index(fields=["tenant_id", "platform", "-id"], name="terms_by_platform")),
        WallTable("TermsAcceptance", is_append_only=True),
    ]
