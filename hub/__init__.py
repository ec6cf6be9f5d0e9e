"""The hub: enrolment, consents, campaigns, model registry, relay of queries, audit log."""
