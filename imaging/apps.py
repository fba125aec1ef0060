from django.apps import AppConfig

from imaging.decoding import decoders_choose


class ImagingConfig(AppConfig):
    name = "imaging"

    def ready(self) -> None:
        decoders_choose()
