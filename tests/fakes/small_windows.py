"""A gRPC client that keeps little of what nobody reads; else it would take the whole load for its watchers."""

SMALL_WINDOWS = (
    ("grpc.http2.lookahead_bytes", 1024),
    ("grpc.http2.bdp_probe", 0),
    ("grpc.use_local_subchannel_pool", 1),
)
"""Options of a channel."""
