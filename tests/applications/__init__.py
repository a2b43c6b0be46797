"""Applications as others write them; none of them knows of Flywheel but by an address and a key."""
