from django.apps import AppConfig


class FhirApiConfig(AppConfig):
    name = "fhirapi"
