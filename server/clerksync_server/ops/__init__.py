"""What operators look at: logs, metrics, liveness and readiness."""
