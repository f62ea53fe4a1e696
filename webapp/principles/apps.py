from django.apps import AppConfig


class PrinciplesConfig(AppConfig):
    name = "webapp.principles"

    def ready(self) -> None:
        """Principles can be found by name, and `services` hears of each new team."""
        from webapp.accounts.finding import make_searchable
        from webapp.principles import services  # noqa: F401
        from webapp.principles.models import Principle

        make_searchable(Principle, place=2)
