"""A rehearsal at a venue: the way of one smallest order and back, and what a person should compare."""
