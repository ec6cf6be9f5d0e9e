"""Campaigns on Flower's deployment engine: a SuperLink carries the messages, the nodes fetch them from there."""
