"""`digua-hub demo --platform`: the Two Small platform beside a hub, and statistics of synthetic worlds."""
