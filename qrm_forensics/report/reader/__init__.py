"""Every response of a run, packed so that a page can list them all and show any of them in full."""
