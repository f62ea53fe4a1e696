from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("labels", "0006_plain_field_texts")]

    operations = [
        migrations.AddField(
            model_name="labelchange",
            name="blind",
            field=models.BooleanField(default=False, help_text="Decided before the judge's answer was shown."),
        ),
    ]
