"""Side-by-side timings against the peers, one module per topic; ``make bench`` runs them."""
