"""The stream to a coordinator, and the calls beside it: all of gRPC in the agent."""
