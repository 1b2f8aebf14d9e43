"""The revisions, one a file, oldest first: each is history and never changed after its release."""
