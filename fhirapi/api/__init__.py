"""What of FHIR the JSON API shows: EHR servers, pushes, subscriptions."""
