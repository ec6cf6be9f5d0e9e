"""A party's agent: data sources, consent policy, ledger, training, scoring, gateway, witness."""
