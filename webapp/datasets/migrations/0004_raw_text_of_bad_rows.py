from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("datasets", "0003_plain_field_texts")]

    operations = [
        migrations.AddField(
            model_name="rejectedrow",
            name="raw",
            field=models.CharField(blank=True, default="", help_text="The beginning of the row, as JSON.",
                                   max_length=500),
        ),
    ]
