"""The same vertical task on other systems, on the same rows and machine."""
