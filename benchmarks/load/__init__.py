"""Consented scores under load: a whole federation of processes, open-loop arrivals, a bare echo beside it."""
