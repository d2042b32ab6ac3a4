from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("certificates", "0007_drift"),
    ]

    operations = [
        migrations.AddField(
            model_name="maybeissued",
            name="refusals",
            field=models.PositiveIntegerField(db_default=0, default=0),
        ),
    ]
