"""The demo: two hospitals, one study through the whole house, told as it happens. Called by `manage.py demo`."""
