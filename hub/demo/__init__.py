"""`make demo`: the main job on real data, every party a process of its own on loopback."""
