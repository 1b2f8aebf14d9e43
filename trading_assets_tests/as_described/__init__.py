"""The three strategies and their trades in plain Python, written from the description, against the kernel."""
