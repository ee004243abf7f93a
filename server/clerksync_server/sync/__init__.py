"""The use cases: applying deliveries, redriving them, Ensure. The only place where transactions begin."""
