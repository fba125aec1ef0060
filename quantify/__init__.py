"""MedHub Quantify: our built-in AI process, numbers from pixels, served by `gunicorn quantify.server:app`.

Not part of the Django project: it imports nothing of it, and is reached only over HTTP.
"""
