"""`manage.py seed_demo`: the demo team and its login. Changes nothing that is there already."""

from __future__ import annotations

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from webapp.accounts.services import demo_seed


class Command(BaseCommand):
    help = "Create the demo user and the demo team with the library's twelve principles."

    def handle(self, *args: object, **options: object) -> None:
        if settings.PRODUCTION:
            raise CommandError("The demo login has a public password, so it is not created in production.")
        team = demo_seed()
        self.stdout.write(f"{team}: log in as {settings.DEMO_USER} / {settings.DEMO_PASSWORD}")
