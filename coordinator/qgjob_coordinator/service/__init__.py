"""What a caller may ask for, with the caller's principal: the rules that gRPC and REST share."""
