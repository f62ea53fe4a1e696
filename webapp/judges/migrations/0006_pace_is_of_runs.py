from django.db import migrations


class Migration(migrations.Migration):
    """The model is of `webapp.runs` from now on; its table stays as it is (see runs 0005)."""

    dependencies = [
        ('judges', '0005_how_it_answers'),
    ]

    operations = [
        migrations.SeparateDatabaseAndState(state_operations=[migrations.DeleteModel(name='Pace')]),
    ]
