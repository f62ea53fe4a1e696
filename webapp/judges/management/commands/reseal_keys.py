"""manage.py reseal_keys: encrypt all judges' keys again with the newest CONCORD_FIELD_KEY."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from webapp.judges.services import keys_reseal


class Command(BaseCommand):
    help = "Seal the keys of all saved judges with the first key of CONCORD_FIELD_KEY."

    def handle(self, *args: Any, **options: Any) -> None:
        done, lost = keys_reseal()
        self.stdout.write(f"{done} keys are sealed with the newest key.")
        if lost:
            self.stderr.write(f"{lost} keys cannot be decrypted with any key of this site: enter them again under "
                              "Judges.")
