"""The least that a durable submission could cost: a grpc.aio server that asks Redis twice, in turn, per call.

`python -m bench.echo_server --port N --redis-url URL`
"""

from __future__ import annotations

import argparse
import asyncio

import grpc
from redis.asyncio import Redis

from qgjob_proto.v1 import jobs_pb2

SERVICE = "bench.Echo"
METHOD = "Echo"
_KEY = "echo"


async def serve(port: int, redis_url: str) -> None:
    """Answers each request with itself, until it is ended."""
    redis = Redis.from_url(redis_url, decode_responses=True)

    async def echo(request: jobs_pb2.SubmitJobRequest, context: object) -> jobs_pb2.SubmitJobRequest:
        del context
        await redis.get(_KEY)
        await redis.get(_KEY)
        return request

    handler = grpc.unary_unary_rpc_method_handler(
        echo,
        request_deserializer=jobs_pb2.SubmitJobRequest.FromString,
        response_serializer=jobs_pb2.SubmitJobRequest.SerializeToString,
    )
    server = grpc.aio.server()
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(SERVICE, {METHOD: handler})])
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--redis-url", required=True)
    options = parser.parse_args()
    asyncio.run(serve(options.port, options.redis_url))
