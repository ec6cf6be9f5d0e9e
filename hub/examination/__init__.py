"""What `digua-hub doctor` rebuilds beside the log: checkpoints, consents, campaigns and models."""
