"""How close generated samples are to real ones, and whether a generator has collapsed."""
