"""Commands, one file a group; no logic of their own."""
