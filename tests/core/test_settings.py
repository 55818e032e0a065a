"""Settings: precedence and sources, what is refused and how it is said, and that the table is sound."""

from pathlib import Path

import pytest

from nova.core import settings as module
from nova.core.settings import SettingsError, effective, environment_name, load, table
from nova.core.settings_schema import Section
from nova.core.settings_table import Settings
from nova.core.values import Address


def problems(file: Path | None = None, environ: dict[str, str] | None = None, overrides: list[str] | None = None) -> list[str]:
    with pytest.raises(SettingsError) as raised:
        load(file, environ=environ or {}, overrides=overrides or [])
    return [str(problem) for problem in raised.value.problems]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "nova.toml"


def test_defaults_are_those_of_the_contract(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    settings, sources = load(environ={})
    assert settings.http.listen == Address("127.0.0.1", 8080)
    assert settings.https.listen == Address("127.0.0.1", 8443)
    assert settings.rtmp.listen == Address("127.0.0.1", 1935)
    assert settings.rtmps.listen is None
    assert settings.grpc.listen == Address("127.0.0.1", 50051)
    assert settings.data.dir == Path("nova-data")
    assert settings.shutdown.grace == 10
    assert (settings.live.part_target, settings.live.segment_target, settings.live.target_duration) == (0.2, 2, 4)
    assert [str(network) for network in settings.limits.exempt] == ["127.0.0.0/8", "::1/128"]
    assert settings.realtime.public is None
    assert {str(source) for source in sources.values()} == {"default"}


def test_flag_wins_over_environment_over_file(file: Path) -> None:
    file.write_text('[http]\nlisten = "127.0.0.1:1"\nkeep_alive = "5s"\nmax_body = "2MiB"\n')
    environ = {"NOVA_HTTP_LISTEN": "127.0.0.1:2", "NOVA_HTTP_KEEP_ALIVE": "6s"}
    settings, sources = load(file, environ=environ, overrides=["http.listen=127.0.0.1:3", "http.listen=127.0.0.1:4"])
    assert settings.http.listen == Address("127.0.0.1", 4)
    assert settings.http.keep_alive == 6
    assert settings.http.max_body == 2 * 2**20
    assert str(sources["http.listen"]) == "--set http.listen"
    assert str(sources["http.keep_alive"]) == "NOVA_HTTP_KEEP_ALIVE"
    assert str(sources["http.max_body"]) == f"{file} line 4"
    assert str(sources["http.head_timeout"]) == "default"


def test_file_of_the_working_directory_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "nova.toml").write_text("auth.guests = false\n")
    monkeypatch.chdir(tmp_path)
    assert load(environ={}).settings.auth.guests is False


def test_underscores_nest_and_lists_are_json_in_the_environment(tmp_path: Path) -> None:
    tls = {f"NOVA_GRPC_TLS__{name}": str(tmp_path / name) for name in ("CERT", "KEY", "CLIENT_CA")}
    settings, _ = load(environ={**tls, "NOVA_HTTP__HOSTS": '["a.example", "b.example"]', "NOVA_RTMP_LISTEN": "off"})
    assert settings.grpc.tls.client_ca == tmp_path / "CLIENT_CA"
    assert settings.http.hosts == ("a.example", "b.example")
    assert settings.rtmp.listen is None


def test_unknown_key_names_the_nearest(file: Path) -> None:
    file.write_text('[http]\n# a comment\nlistne = "127.0.0.1:1"\n')
    assert problems(file) == [f"http.listne ({file} line 3): there is no such setting; did you mean http.listen?"]
    assert "did you mean NOVA_HTTP_LISTEN?" in problems(environ={"NOVA_HTTP_LISTNE": "x"})[0]
    assert "did you mean shutdown.grace?" in problems(overrides=["shutdown.grcae=1s"])[0]
    assert "did you mean limits.exempt?" in problems(overrides=["exempt=[]"])[0]
    assert "nova config" in problems(overrides=["zzzzzz.qqqqq=1"])[0]


def test_unknown_section_is_an_error(file: Path) -> None:
    file.write_text('[htttp]\nlisten = "127.0.0.1:1"\n')
    assert "did you mean http.listen?" in problems(file)[0]


def test_every_problem_is_told_at_once(file: Path) -> None:
    file.write_text('[http]\nlisten = "nowhere"\nmax_body = true\n')
    found = problems(file, {"NOVA_LOG_LEVEL": "loud"}, ["shutdown.grace=10"])
    assert len(found) == 4
    assert "one of debug, info, warning, error is wanted" in found[2]
    assert "10s" in found[3]


def test_problem_is_one_line(file: Path) -> None:
    with pytest.raises(SettingsError) as raised:
        load(environ={}, overrides=["a=1", "b=2"])
    assert "\n" not in raised.value.detail
    assert "and 1 more" in raised.value.detail


def test_limits_hold() -> None:
    assert "at most 16MiB" in problems(overrides=["rtmp.max_message=1GiB"])[0]
    assert "at least 50ms" in problems(overrides=["live.part_target=1ms"])[0]


@pytest.mark.parametrize(
    ("overrides", "key"),
    [
        (["live.part_target=2s", "live.segment_target=1s", "live.window_segments=40"], "live.part_target"),
        (["live.segment_target=8s"], "live.segment_target"),
        (["live.window_segments=5"], "live.window_segments"),
        (["grpc.listen=0.0.0.0:50051"], "grpc.listen"),
        (["grpc.tls.cert=x.pem"], "grpc.tls.cert"),
        (["https.cert=x.pem"], "https.cert"),
        (["rtmps.key=x.pem"], "rtmps.cert"),
        (["http.proxy_protocol=true"], "http.proxy_protocol"),
    ],
)
def test_contradictions_are_refused(overrides: list[str], key: str) -> None:
    assert [problem.split(" ")[0].rstrip(":") for problem in problems(overrides=overrides)] == [key]


def test_grpc_off_loopback_is_possible_when_asked_for() -> None:
    assert load(environ={}, overrides=["grpc.listen=0.0.0.0:1", "grpc.insecure=true"]).settings.grpc.listen == Address("0.0.0.0", 1)


def test_missing_and_broken_files_are_told(file: Path) -> None:
    assert "no such settings file" in problems(file)[0]
    file.write_text("[http\n")
    assert "cannot be read" in problems(file)[0]
    file.write_bytes(b"\xff\xfe")
    assert "cannot be read" in problems(file)[0]


def test_variables_of_the_build_and_of_kubernetes_are_not_settings() -> None:
    load(environ={
        "NOVA_EXT": "a", "NOVA_SANITIZE": "address", "NOVA_VARIANT": "debug",
        "NOVA_SERVICE_HOST": "10.0.0.1", "NOVA_SERVICE_PORT_HTTP": "80",
        "NOVA_PORT": "tcp://10.0.0.1:80", "NOVA_PORT_80_TCP_ADDR": "10.0.0.1",
    })  # fmt: skip


def test_secrets_are_masked_in_the_listing() -> None:
    loaded = load(environ={}, overrides=["rtmp.hook_secret=hunter2", "bus.url=redis://:hunter2@host/0"])
    lines = {line.key: line.value for line in effective(loaded)}
    assert lines["rtmp.hook_secret"] == "***"
    assert lines["bus.url"] == "redis://:***@host/0"
    assert loaded.settings.rtmp.hook_secret == "hunter2"


def test_settings_do_not_change() -> None:
    settings = load(environ={}).settings
    with pytest.raises(AttributeError):
        settings.http.listen = None


@pytest.mark.parametrize("key", table())
def test_row_is_sound(key: str) -> None:
    setting = table()[key]
    assert setting.row.doc.strip().endswith((".", "`", ")")), "a row says what it does"
    shown = setting.kind.show(setting.default())
    assert setting.read(shown, text=True) == setting.default(), "what is shown can be set"
    if setting.row.least is not None or setting.row.most is not None:
        assert setting.row.why, "a limit says why it exists"


def test_sections_and_rows_are_sorted() -> None:
    todo: list[type[Section]] = [Settings]
    while todo:
        section = todo.pop()
        assert list(section.__annotations__) == sorted(section.__annotations__), section.__name__
        todo.extend(section._sections.values())


def test_every_key_has_its_own_variable() -> None:
    names = [environment_name(key) for key in table()]
    assert len(set(names)) == len(names)
    assert not any(module._FOREIGN.fullmatch(name) for name in names)


SITE = '[[cdn.sites]]\nname = "one"\nlisten = "127.0.0.1:0"\norigins = [{url = "http://127.0.0.1:1", backup = true}]\n'


def test_tables_of_a_list_are_sections_with_their_defaults(file: Path) -> None:
    file.write_text(SITE)
    settings, sources = load(file, environ={})
    (site,) = settings.cdn.sites
    assert (site.name, site.listen, site.host, site.prefix) == ("one", Address("127.0.0.1", 0), "client", None)
    assert (site.origins[0].url, site.origins[0].backup, site.origins[0].weight) == ("http://127.0.0.1:1", True, 1)
    assert str(sources["cdn.sites"]) == f"{file} line 1"


def test_lists_of_tables_are_shown_as_they_are_read(file: Path) -> None:
    file.write_text(SITE + "retry_statuses = [500, 503]\nsigning_keys = []\n")
    loaded = load(file, environ={})
    (shown,) = [line.value for line in effective(loaded) if line.key == "cdn.sites"]
    assert load(environ={}, overrides=[f"cdn.sites={shown}"]).settings.cdn.sites == loaded.settings.cdn.sites
    assert "[500, 503]" in shown  # numbers as they are, not as texts


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('orgins = []', "did you mean origins?"),
        ('fetch_slots = 0', "table 1: fetch_slots: 0 is too little"),
        ('host = "mine"', "one of client, origin is wanted"),
        ('prefix = "/elsewhere/"', "can only be"),
    ],
)
def test_what_is_wrong_in_a_table_is_named(file: Path, line: str, said: str) -> None:
    file.write_text(SITE + line + "\n")
    assert said in problems(file)[0]


def test_a_row_that_must_be_given_is_missed(file: Path) -> None:
    file.write_text('[[cdn.sites]]\nname = "one"\n')
    assert "origins: it must be given" in problems(file)[0]
