"""Runs on Celery workers of several machines, an option (`pip install '.[celery]'`): launcher, and the workers' apps.

Only `dagster.yaml` and the command of a worker name these modules; nothing else imports them. See docs/celery.md.
"""
