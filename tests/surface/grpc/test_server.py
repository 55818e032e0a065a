"""The gRPC listener, asked by a real client over real sockets."""

import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest
import trio
import trio.testing
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_status import rpc_status

from nova.core import errors
from nova.core.log import correlation_id
from nova.core.offload import Offload
from nova.core.values import Address
from nova.surface.grpc.call import Call, Handler
from nova.surface.grpc.generated import auth_v1_pb2 as auth
from nova.surface.grpc.library import grpc
from nova.surface.grpc.server import Config, GrpcServer
from nova.surface.grpc.services import METHODS, SERVICES
from nova.surface.identity.principal import Principal, UserId

GET = "/nova.auth.v1.AuthService/GetUser"
LOCAL = Config(Address("127.0.0.1", 0), None, insecure=False, max_message=65536, threads=4)


async def admit(authorization: str) -> Principal | None:
    """`Bearer <user>[ <scope> …]`, as if it were a token."""
    if not authorization:
        return None
    kind, user, *scopes = authorization.split(" ")
    if kind != "Bearer" or user == "bad":
        raise errors.Unauthenticated("bad_token", "the token is not valid")
    return Principal(UserId(user), frozenset(scopes), "bearer", 2e9)


@asynccontextmanager
async def serving(handler: Handler | None = None, config: Config = LOCAL, **options: Any) -> AsyncIterator[tuple[GrpcServer, Any]]:
    server = GrpcServer(config, {} if handler is None else {GET: handler}, admit, Offload(), **options)
    async with trio.open_nursery() as nursery:
        address = await nursery.start(server.run)
        server.set_serving(True)
        with grpc.insecure_channel(str(address)) as channel:
            yield server, channel
        nursery.cancel_scope.cancel()


async def ask(channel: Any, *metadata: tuple[str, str], user: str = "ada", timeout: float | None = 10) -> tuple[Any, Any]:
    """The answer and the call, from a thread; raises grpc.RpcError."""
    stub = channel.unary_unary(GET, auth.GetUserRequest.SerializeToString, auth.GetUserResponse.FromString)
    with trio.fail_after(20):
        return await trio.to_thread.run_sync(lambda: stub.with_call(auth.GetUserRequest(user_id=user), timeout=timeout, metadata=metadata))


async def refused(channel: Any, *metadata: tuple[str, str], user: str = "ada", timeout: float | None = 10) -> Any:
    with pytest.raises(grpc.RpcError) as caught:
        await ask(channel, *metadata, user=user, timeout=timeout)
    return caught.value


def detail(error: Any, kind: Any) -> Any:
    """The detail of that type in the error's google.rpc.Status, read by grpc's own library."""
    status = rpc_status.from_call(error)
    assert status is not None and status.code == error.code().value[0] and status.message == error.details()
    for packed in status.details:
        message = kind()
        if packed.Unpack(message):
            return message
    return None


async def echo(request: Any, call: Call) -> Any:
    name = call.principal.user if call.principal else "nobody"
    return auth.GetUserResponse(user=auth.User(id=request.user_id, name=name))


async def test_call_reaches_trio_and_comes_back() -> None:
    seen: list[tuple[str, str]] = []
    async with serving(echo, observe=lambda method, code, seconds: seen.append((method, code))) as (_, channel):
        answer, _ = await ask(channel, user="ada")
        assert (answer.user.id, answer.user.name) == ("ada", "nobody")
        assert seen == [(GET, "OK")]


async def test_many_calls_at_once_are_all_answered() -> None:
    async with serving(echo) as (_, channel):
        stub = channel.unary_unary(GET, auth.GetUserRequest.SerializeToString, auth.GetUserResponse.FromString)
        futures = [stub.future(auth.GetUserRequest(user_id=str(number)), timeout=20) for number in range(60)]
        answers = await trio.to_thread.run_sync(lambda: [future.result().user.id for future in futures])
    assert answers == [str(number) for number in range(60)]


async def test_metadata_says_who_asks_and_the_id_comes_back() -> None:
    seen: list[tuple[str, str | None, str | None]] = []

    async def handler(request: Any, call: Call) -> Any:
        seen.append((call.correlation_id, correlation_id.get(), call.metadata.get("authorization")))
        return await echo(request, call)

    async with serving(handler) as (_, channel):
        answer, call = await ask(channel, ("authorization", "Bearer ada"), ("x-correlation-id", "abc-1"))
        assert answer.user.name == "ada"
        assert dict(call.trailing_metadata())["x-correlation-id"] == "abc-1"
        assert seen == [("abc-1", "abc-1", None)]
        _, call = await ask(channel, ("x-correlation-id", "not valid!"))
        made = dict(call.trailing_metadata())["x-correlation-id"]
        assert made != "not valid!" and seen[1][0] == made


async def test_service_token_acts_for_the_user_that_it_names() -> None:
    async with serving(echo) as (_, channel):
        answer, _ = await ask(channel, ("authorization", "Bearer feed service"), ("x-nova-user", "ada"))
        assert answer.user.name == "ada"
        error = await refused(channel, ("authorization", "Bearer bob"), ("x-nova-user", "ada"))
        assert error.code() is grpc.StatusCode.PERMISSION_DENIED
        error = await refused(channel, ("x-nova-user", "ada"))
        assert error.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_token_that_does_not_hold_is_refused_with_its_reason() -> None:
    async with serving(echo) as (_, channel):
        error = await refused(channel, ("authorization", "Bearer bad"), ("x-correlation-id", "abc-1"))
    assert error.code() is grpc.StatusCode.UNAUTHENTICATED
    info = detail(error, error_details_pb2.ErrorInfo)
    assert (info.reason, info.domain, dict(info.metadata)) == ("bad_token", "nova", {"correlation_id": "abc-1"})


async def test_errors_carry_their_code_details_and_when_to_come_back() -> None:
    fields = [errors.FieldError("/a/b", "invalid_field", "is wrong")]
    raised: list[errors.NovaError] = [
        errors.RateLimited("quota_exceeded", "too many", retry_after=2.5),
        errors.BadRequest(detail="no", fields=fields),
        errors.Internal("internal", "table users is broken"),
    ]

    async def handler(request: Any, call: Call) -> Any:
        raise raised[int(request.user_id)]

    async with serving(handler) as (_, channel):
        limited, bad, internal = [await refused(channel, user=str(number)) for number in range(3)]
    assert limited.code() is grpc.StatusCode.RESOURCE_EXHAUSTED and limited.details() == "too many"
    retry = detail(limited, error_details_pb2.RetryInfo).retry_delay
    assert (retry.seconds, retry.nanos) == (2, 500_000_000)
    violation = detail(bad, error_details_pb2.BadRequest).field_violations[0]
    assert (violation.field, violation.reason, violation.description) == ("a.b", "invalid_field", "is wrong")
    assert internal.code() is grpc.StatusCode.INTERNAL and "users" not in internal.details()


async def test_bug_in_a_handler_is_internal_and_the_server_goes_on(capfd: pytest.CaptureFixture[str]) -> None:
    async def handler(request: Any, call: Call) -> Any:
        if request.user_id == "bug":
            raise ZeroDivisionError
        return await echo(request, call)

    async with serving(handler) as (_, channel):
        error = await refused(channel, user="bug")
        assert error.code() is grpc.StatusCode.INTERNAL
        assert detail(error, error_details_pb2.ErrorInfo).reason == "internal"
        await ask(channel)


async def test_what_is_not_served_yet_says_so() -> None:
    async with serving(echo) as (_, channel):
        for method in METHODS:
            if method == GET:
                continue
            stub = channel.unary_unary(method)
            with pytest.raises(grpc.RpcError) as caught:
                await trio.to_thread.run_sync(partial(stub, b"", timeout=10))
            assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
            assert detail(caught.value, error_details_pb2.ErrorInfo).reason == "not_yet"
        with pytest.raises(grpc.RpcError) as unknown:
            await trio.to_thread.run_sync(lambda: channel.unary_unary("/nova.auth.v1.AuthService/Nothing")(b"", timeout=10))
        assert unknown.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_malformed_request_is_an_error_of_its_call_alone() -> None:
    async with serving(echo) as (_, channel):
        with pytest.raises(grpc.RpcError) as caught:
            await trio.to_thread.run_sync(lambda: channel.unary_unary(GET)(b"\xff\xff\xff", timeout=10))
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        with pytest.raises(grpc.RpcError) as large:
            await trio.to_thread.run_sync(lambda: channel.unary_unary(GET)(bytes(70_000), timeout=10))
        assert large.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        await ask(channel)


class Slow:
    """A handler that hangs, and tells when it began and how it ended."""

    def __init__(self) -> None:
        self.began, self.cancelled = trio.Event(), trio.Event()

    async def __call__(self, request: Any, call: Call) -> Any:
        self.began.set()
        try:
            await trio.sleep_forever()
        finally:
            self.cancelled.set()


async def test_deadline_of_the_client_cancels_the_handler() -> None:
    slow = Slow()
    async with serving(slow) as (_, channel):
        error = await refused(channel, timeout=0.2)
        assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        with trio.fail_after(10):
            await slow.cancelled.wait()


async def test_client_that_cancels_cancels_the_handler() -> None:
    slow = Slow()
    async with serving(slow) as (_, channel):
        stub = channel.unary_unary(GET, auth.GetUserRequest.SerializeToString, auth.GetUserResponse.FromString)
        future = stub.future(auth.GetUserRequest(), timeout=60)
        with trio.fail_after(10):
            await slow.began.wait()
            future.cancel()
            await slow.cancelled.wait()


async def test_more_calls_than_threads_and_places_are_refused() -> None:
    slow = Slow()
    config = Config(Address("127.0.0.1", 0), None, insecure=False, max_message=65536, threads=1)
    async with serving(slow, config) as (_, channel):
        stub = channel.unary_unary(GET, auth.GetUserRequest.SerializeToString, auth.GetUserResponse.FromString)
        futures = [stub.future(auth.GetUserRequest(), timeout=60) for _ in range(40)]
        with trio.fail_after(10):
            await slow.began.wait()
            while sum(future.done() for future in futures) < 40 - 17:
                await trio.sleep(0.005)
        codes = {future.code() for future in futures if future.done()}
        for future in futures:
            future.cancel()
        assert codes == {grpc.StatusCode.RESOURCE_EXHAUSTED}


async def test_drain_refuses_new_calls_and_waits_for_those_under_way() -> None:
    began, go = trio.Event(), trio.Event()

    async def handler(request: Any, call: Call) -> Any:
        began.set()
        await go.wait()
        return await echo(request, call)

    async with serving(handler) as (server, channel):
        stub = channel.unary_unary(GET, auth.GetUserRequest.SerializeToString, auth.GetUserResponse.FromString)
        future = stub.future(auth.GetUserRequest(user_id="last"), timeout=20)
        drained = []

        async def drain() -> None:
            await server.drain()
            drained.append(True)

        with trio.fail_after(15):
            await began.wait()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(drain)
                await trio.testing.wait_all_tasks_blocked(0.05)
                assert not drained
                with grpc.insecure_channel(str(server.address)) as another:
                    error = await refused(another, timeout=2)
                assert error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
                go.set()
        assert drained
        assert (await trio.to_thread.run_sync(future.result)).user.id == "last"


async def test_stopping_ends_calls_under_way_as_unavailable() -> None:
    slow = Slow()
    server = GrpcServer(LOCAL, {GET: slow}, admit, Offload())
    async with trio.open_nursery() as nursery:
        address = await nursery.start(server.run)
        with grpc.insecure_channel(str(address)) as channel:
            stub = channel.unary_unary(GET, auth.GetUserRequest.SerializeToString, auth.GetUserResponse.FromString)
            future = stub.future(auth.GetUserRequest(), timeout=60)
            with trio.fail_after(10):
                await slow.began.wait()
                nursery.cancel_scope.cancel()
                with trio.CancelScope(shield=True):
                    error = await trio.to_thread.run_sync(lambda: future.exception(timeout=10))
            assert error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)


async def test_health_follows_the_life_of_the_server() -> None:
    async with serving() as (server, channel):
        stub = health_pb2_grpc.HealthStub(channel)

        async def check(service: str) -> int:
            request = health_pb2.HealthCheckRequest(service=service)
            status: int = (await trio.to_thread.run_sync(lambda: stub.Check(request, timeout=10))).status
            return status

        assert await check("") == await check("nova.streaming.v1.StreamingService") == health_pb2.HealthCheckResponse.SERVING
        watch = stub.Watch(health_pb2.HealthCheckRequest(), timeout=10)

        def changes() -> int:
            status: int = next(watch).status
            return status

        assert await trio.to_thread.run_sync(changes) == health_pb2.HealthCheckResponse.SERVING
        server.set_serving(False)
        assert await trio.to_thread.run_sync(changes) == health_pb2.HealthCheckResponse.NOT_SERVING
        assert await check("") == health_pb2.HealthCheckResponse.NOT_SERVING
        watch.cancel()
        with pytest.raises(grpc.RpcError) as unknown:
            await check("no.such.Service")
        assert unknown.value.code() is grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
async def test_reflection_lists_and_describes_every_service(version: str) -> None:
    async with serving() as (_, channel):
        stub = channel.stream_stream(
            f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
            reflection_pb2.ServerReflectionRequest.SerializeToString,
            reflection_pb2.ServerReflectionResponse.FromString,
        )
        requests = [reflection_pb2.ServerReflectionRequest(list_services="")]
        requests += [reflection_pb2.ServerReflectionRequest(file_containing_symbol=service.full_name) for service in SERVICES]
        answers = await trio.to_thread.run_sync(lambda: list(stub(iter(requests), timeout=10)))
    listed = {service.name for service in answers[0].list_services_response.service}
    assert {service.full_name for service in SERVICES} | {"grpc.health.v1.Health"} <= listed
    assert all(answer.file_descriptor_response.file_descriptor_proto for answer in answers[1:])


async def test_reflection_cannot_take_all_threads() -> None:
    async with serving(echo) as (_, channel):
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        ends = [threading.Event() for _ in range(3)]

        def hanging(end: threading.Event) -> Any:
            yield reflection_pb2.ServerReflectionRequest(list_services="")
            end.wait(10)

        streams = [stub.ServerReflectionInfo(hanging(end), timeout=20) for end in ends]

        def first(stream: Any) -> Any:
            try:
                return next(stream)
            except grpc.RpcError as error:
                return error.code()

        answers = [await trio.to_thread.run_sync(first, stream) for stream in streams]
        assert answers.count(grpc.StatusCode.RESOURCE_EXHAUSTED) == 2
        await ask(channel)
        for end, stream in zip(ends, streams, strict=True):
            end.set()
            stream.cancel()


async def test_port_in_use_is_refused_with_the_remedy() -> None:
    async with serving() as (server, _):
        assert server.address is not None
        second = GrpcServer(Config(server.address, None, insecure=False, max_message=65536, threads=1), {}, admit, Offload())
        async with trio.open_nursery() as nursery:
            with pytest.raises(BaseExceptionGroup) as failed:
                await nursery.start(second.run)
        error: BaseException = failed.value
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        assert isinstance(error, errors.Unavailable) and "in use" in error.detail and "grpc.listen" in error.detail


async def test_listener_off_loopback_needs_mtls_or_the_word() -> None:
    bare = Config(Address("0.0.0.0", 0), None, insecure=False, max_message=65536, threads=1)
    with pytest.raises(BaseExceptionGroup):
        async with serving(config=bare):
            pass
    told = Config(Address("0.0.0.0", 0), None, insecure=True, max_message=65536, threads=1)
    async with serving(echo, told) as (server, _):
        assert server.address is not None
        with grpc.insecure_channel(f"127.0.0.1:{server.address.port}") as channel:
            await ask(channel)


def test_handlers_are_for_calls_of_the_table() -> None:
    with pytest.raises(ValueError, match="not in the table"):
        GrpcServer(LOCAL, {"/nova.auth.v1.AuthService/Nothing": echo}, admit, Offload())
