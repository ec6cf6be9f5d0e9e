"""The pages of a node: a bank's on its own agent, the regulator's at the witness."""
