"""What a report leaves beside its pages: its context as JSON, its tables as JSON and LaTeX, its charts as pictures."""
