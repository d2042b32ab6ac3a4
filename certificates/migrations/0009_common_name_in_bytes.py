from django.db import migrations, models

import certificates.validators


class Migration(migrations.Migration):
    dependencies = [
        ("certificates", "0008_unproven_refusals"),
    ]

    operations = [
        migrations.AlterField(
            model_name="certificate",
            name="common_name",
            field=models.CharField(max_length=64, validators=[certificates.validators.common_name]),
        ),
    ]
