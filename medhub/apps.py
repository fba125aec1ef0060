from importlib import import_module

from django.apps import AppConfig


class MedhubConfig(AppConfig):
    name = "medhub"

    def ready(self) -> None:
        # Makes our Celery app the current one in every process; earlier would be before the settings.
        import_module("medhub.celery")
        import_module("medhub.origins").origins_open()
