"""The only edge: HTTP routes, gRPC servicers, auth, error mapping, the composition root and the command line."""
