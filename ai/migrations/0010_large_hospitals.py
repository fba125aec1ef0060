
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('ai', '0009_reviews'),
        ('imaging', '0012_priority'),
    ]

    operations = [
        migrations.AddIndex(
            model_name='job',
            index=models.Index(fields=['tenant_id', 'created_at'], name='job_by_creation'),
        ),
        migrations.AddIndex(
            model_name='job',
            index=models.Index(condition=models.Q(('study_version__gt', 1)), fields=['tenant_id', 'study'], name='job_of_later_version'),
        ),
    ]
