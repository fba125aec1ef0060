from django.apps import AppConfig

from journal.wall.arrays import arrays_register


class JournalConfig(AppConfig):
    name = "journal"

    def ready(self) -> None:
        arrays_register()
