"""Programme statistics: what is counted, and what follows from the opened counts."""
