"""Trade-offs between objectives: which policies no other one beats in everything, and how much a set of them covers."""
