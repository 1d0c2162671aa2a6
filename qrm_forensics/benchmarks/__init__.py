"""Problem sets: reading them, matching responses to them, and which part of them was answered."""
