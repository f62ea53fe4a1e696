"""The Django project: small apps of one shape. Never imports torch (an import contract and a test hold it)."""

from webapp.celery import app as celery_app

__all__ = ["celery_app"]
