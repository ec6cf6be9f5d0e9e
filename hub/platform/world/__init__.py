"""A full-size synthetic world: merchants, banks, three years of financings, and the truth of its statistics."""
