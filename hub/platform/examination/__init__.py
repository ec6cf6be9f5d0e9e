"""What `digua-hub platform doctor` rebuilds: the record's chain, merchants, financings, grants, and documents."""
