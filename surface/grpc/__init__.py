"""gRPC: grpcio's threads at the edge, trio behind it, batches between them.

Nothing here loads grpc or protobuf on import: `server` loads grpc when the listener starts, protobuf comes with the first call.
"""
