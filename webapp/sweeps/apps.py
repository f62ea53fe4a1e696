from django.apps import AppConfig


class SweepsConfig(AppConfig):
    name = "webapp.sweeps"

    def ready(self) -> None:
        """Sweeps can be found by name."""
        from webapp.accounts.finding import make_searchable
        from webapp.sweeps.models import Sweep

        make_searchable(Sweep, place=2)
