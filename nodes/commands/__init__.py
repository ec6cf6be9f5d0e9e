"""Sub-commands of `digua-node`, one module a topic."""
