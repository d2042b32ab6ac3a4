from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("certificates", "0009_common_name_in_bytes"),
    ]

    operations = [
        migrations.AddField(
            model_name="certificate",
            name="renewal_warning",
            field=models.TextField(blank=True, db_default="", default=""),
        ),
    ]
