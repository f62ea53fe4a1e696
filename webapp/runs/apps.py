from django.apps import AppConfig


class RunsConfig(AppConfig):
    name = "webapp.runs"

    def ready(self) -> None:
        """Runs can be found by name, labels be filtered by them, and a label's page names those it trained."""
        from webapp.accounts.finding import make_searchable
        from webapp.labels.filtering import add_filter
        from webapp.labels.uses import tell_uses
        from webapp.runs.labels_of_run import labels_of_run, uses_of_label
        from webapp.runs.models import Run

        make_searchable(Run, place=1)
        add_filter("run", Run, labels_of_run)
        tell_uses(uses_of_label)
