"""What hub and nodes share in operation: logs without personal data, traces, metrics."""
