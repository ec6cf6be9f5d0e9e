"""What `digua-node doctor` rebuilds from a node's store, and compares: journal, ledger, consents, models, mirror."""
