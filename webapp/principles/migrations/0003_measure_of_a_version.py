from django.db import migrations, models


class Migration(migrations.Migration):
    """A version may have a measure in place of a wording that is judged."""

    dependencies = [
        ("principles", "0002_plain_field_texts"),
    ]

    operations = [
        migrations.AddField(
            model_name="principleversion",
            name="measure",
            field=models.JSONField(blank=True, help_text="The measure as in a recipe; null: it is judged.", null=True),
        ),
    ]
