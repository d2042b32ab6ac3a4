"""Real servers that tests talk to, each a context manager around a process of its own."""
