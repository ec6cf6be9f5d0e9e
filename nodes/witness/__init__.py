"""The regulator's side: approvals, the roster, checkpoints, pseudonyms, and the release of models."""
