"""How good something is, with its uncertainty: calibration, quality cards, fitted weights, win rates. Torch-free."""
