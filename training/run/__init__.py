"""What a run is made of before anything is computed: plan, folders, jobs, report stream. Torch-free."""
