"""A finished delivery kept the time of its lease: the sweep reads the oldest 500, so finished ones stood before the waiting."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("journal", "0001_initial")]

    operations = [
        # The rows of all hospitals, by their owner: the wall binds it too, so it is lifted within this transaction.
        migrations.RunSQL(
            [
                "ALTER TABLE journal_delivery NO FORCE ROW LEVEL SECURITY",
                "UPDATE journal_delivery SET due_at = NULL WHERE state <> 'pending' AND due_at IS NOT NULL",
                "ALTER TABLE journal_delivery FORCE ROW LEVEL SECURITY",
            ],
            migrations.RunSQL.noop,
        ),
        migrations.RemoveIndex(model_name="delivery", name="delivery_due"),
        migrations.AddIndex(
            model_name="delivery",
            index=models.Index(fields=["due_at"], name="delivery_due", condition=models.Q(due_at__isnull=False)),
        ),
        migrations.AddConstraint(
            model_name="delivery",
            constraint=models.CheckConstraint(
                condition=models.Q(("state", "pending"), ("due_at", None), _connector="OR"), name="delivery_due_is_pending"
            ),
        ),
    ]
