"""The gRPC edge: the servicer, admission, security, metrics, and the processes that serve."""
