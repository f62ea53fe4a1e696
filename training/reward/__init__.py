"""One reward out of many principles: standardised scores, scalarization, constraints. Needs torch."""
