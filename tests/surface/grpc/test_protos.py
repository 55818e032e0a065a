"""`proto/`, what was generated from it, and the table of services say the same."""

import importlib.util
from pathlib import Path

import pytest
from google.protobuf.descriptor import ServiceDescriptor

from nova.core.errors import BadRequest
from nova.surface.grpc.services import SERVICES

ROOT = Path(__file__).parents[3]
NEXT = "run `python tools/protos.py`"


def test_generated_code_is_that_of_the_protos() -> None:
    spec = importlib.util.spec_from_file_location("protos", ROOT / "tools" / "protos.py")
    assert spec is not None and spec.loader is not None
    protos = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(protos)
    present = {path.name: path.read_bytes() for path in protos.TARGET.glob("*_pb2.py*")}
    wanted = protos.generate()
    assert sorted(present) == sorted(wanted), NEXT
    for name, content in wanted.items():
        assert present[name] == content, f"{name}: {NEXT}"


@pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.name)
def test_table_has_the_calls_of_the_protos(service: object) -> None:
    from nova.surface.grpc.services import Service

    assert isinstance(service, Service)
    found = service.module.DESCRIPTOR.services_by_name
    assert list(found) == [service.name]
    described: ServiceDescriptor = found[service.name]
    assert described.full_name == service.full_name
    assert tuple(method.name for method in described.methods) == service.calls
    for method in described.methods:
        assert (method.input_type.name, method.output_type.name) == (f"{method.name}Request", f"{method.name}Response")
        assert not method.client_streaming and not method.server_streaming


def test_every_proto_has_its_service_in_the_table() -> None:
    files = {path.stem for path in (ROOT / "proto").rglob("*.proto")}
    assert files == {service.domain for service in SERVICES}


@pytest.mark.parametrize(("seconds", "nanos"), [(-62_135_596_801, 0), (253_402_300_800, 0), (2**63 - 1, 0), (0, -1), (0, 10**9)])
def test_times_that_none_can_be_are_refused_before_any_handler(seconds: int, nanos: int) -> None:
    service = next(each for each in SERVICES if each.name == "CdnService")
    request = service.module.GetCdnUsageStatsRequest()
    request.since.seconds, request.since.nanos = seconds, nanos
    with pytest.raises(BadRequest) as caught:
        service.request("GetCdnUsageStats", request.SerializeToString())
    assert (caught.value.code, caught.value.fields[0].pointer) == ("invalid_field", "/since")
    request.since.seconds, request.since.nanos = 253_402_300_799, 999_999_999
    assert service.request("GetCdnUsageStats", request.SerializeToString()) == request
