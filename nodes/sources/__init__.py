"""Where a node's rows come from."""
