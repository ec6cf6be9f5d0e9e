"""Sub-commands of `digua-hub`, one module each."""
