"""The gRPC face: servicers, the wire, errors as codes."""
