"""Deliveries know whether their receiver was asked for storage commitment, and what it answered."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('ai', '0004_delivery'),
    ]

    operations = [
        migrations.AddField(
            model_name='reportdelivery',
            name='asked_at',
            field=models.DateTimeField(null=True),
        ),
        migrations.AddField(
            model_name='reportdelivery',
            name='failures',
            field=models.JSONField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name='reportdelivery',
            name='references',
            field=models.JSONField(blank=True, default=dict),
        ),
        migrations.AddField(
            model_name='reportdelivery',
            name='transaction_uid',
            field=models.CharField(blank=True, default='', max_length=64),
        ),
        migrations.AlterField(
            model_name='reportdelivery',
            name='state',
            field=models.CharField(choices=[('pending', 'Pending'), ('sent', 'Sent'), ('stored', 'Stored'), ('confirmed', 'Confirmed'), ('overdue', 'Overdue'), ('failed', 'Failed')], default='pending', max_length=10),
        ),
        migrations.AddConstraint(
            model_name='reportdelivery',
            constraint=models.UniqueConstraint(condition=models.Q(('transaction_uid', ''), _negated=True), fields=('tenant_id', 'transaction_uid'), name='reportdelivery_transaction'),
        ),
    ]
