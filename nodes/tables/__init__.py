"""Tables of the node's store. A module added here is found by `nodes.store` on its own."""
