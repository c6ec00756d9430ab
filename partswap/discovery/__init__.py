"""Stage 1: discover parts by pulling shape and appearance apart (Braun, Esser, Ommer, GCPR 2020)."""
