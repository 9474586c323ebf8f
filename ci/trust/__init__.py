"""What somebody runs to trust a release: its sums, its own statements, and a build of one's own."""
