"""The command line by its own processes: what it prints, and how it ends."""

import fcntl
import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from nova.media.rtmp import flv
from nova.media.rtmp.flv import Tag
from nova.surface import cli
from tests.serving import Served, serve

SECONDS = 60  # for one command; far above what it takes


def nova(*words: str, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "nova", *words]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("NOVA_")}
    root = Path(__file__).parents[3]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=SECONDS, cwd=cwd, env=clean | environment | {"PYTHONPATH": str(root)}, check=False
    )


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serve(tmp_path_factory.mktemp("server") / "data") as served:
        yield served


def here(*words: str) -> tuple[int, str, str]:
    """A command within this process: for what ends before there is anything to serve. Exit code, stdout, stderr."""
    out, err = StringIO(), StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        try:
            code = cli.main(words)
        except SystemExit as ended:
            code = int(ended.code or 0)
    return code, out.getvalue(), err.getvalue()


def get(served: Served, path: str, token: str = "") -> Any:
    host, port = served.address("http")
    request = urllib.request.Request(f"http://{host}:{port}{path}", headers={"Authorization": f"Bearer {token}"} if token else {})
    with urllib.request.urlopen(request, timeout=SECONDS) as answer:
        return json.load(answer)


def one_line(text: str) -> bool:
    return text.startswith("nova: ") and text.count("\n") == 1 and text.endswith("\n")


def test_every_command_has_help() -> None:
    code, top, _ = here("--help")
    assert code == 0
    for command in ("serve", "check", "config", "login", "token", "user", "stream", "publish", "bench"):
        assert f"  {command} " in top
        code, shown, _ = here(command, "--help")
        assert code == 0
        assert all(option in shown for option in ("--config", "--data", "--json", "--help"))


@pytest.mark.parametrize("words", [[], ["nope"], ["serve", "--nope"], ["user"], ["token"], ["publish"]])
def test_what_can_not_be_read_is_exit_2(words: list[str]) -> None:
    code, _, err = here(*words)
    assert code == 2
    assert not words or one_line(err)


def test_serve_tells_its_listeners_then_ready_then_the_sign_in_url(server: Served) -> None:
    server.wait_for("sign_in")
    told = [(event["event"], event.get("name")) for event in server.events]
    assert told == [
        ("listening", "http"), ("listening", "https"), ("listening", "h3"),
        ("listening", "rtmp"), ("listening", "grpc"), ("ready", None), ("sign_in", None),
    ]  # fmt: skip
    host, port = server.address("http")
    assert re.fullmatch(rf"http://{re.escape(host)}:{port}/#code=[A-Za-z0-9_-]{{20,}}", server.events[-1]["url"])
    code = server.events[-1]["url"].partition("=")[2]
    assert code not in (server.data.parent / "stderr").read_text()


def test_the_data_directory_is_private_and_says_where_the_server_is(server: Served) -> None:
    server.wait_for("sign_in")
    assert stat.S_IMODE(server.data.stat().st_mode) == 0o700
    path = server.data / "serve.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    facts = json.loads(path.read_text())
    assert facts["pid"] == server.process.pid
    host, port = server.address("rtmp")
    assert facts["addresses"]["rtmp"] == f"{host}:{port}"
    assert all(stat.S_IMODE(file.stat().st_mode) & 0o077 == 0 for file in server.data.rglob("*"))


def test_a_second_server_on_the_directory_is_refused(server: Served) -> None:
    second = nova("serve", "--data", str(server.data))
    assert second.returncode == 2
    assert one_line(second.stderr)
    assert "in use" in second.stderr
    assert second.stdout == ""


def test_commands_reach_the_running_server(server: Served) -> None:
    data = str(server.data)
    token = nova("token", "--user", "alice", "--data", data)
    assert token.returncode == 0
    made = nova("stream", "create", "--title", "From the shell", "--user", "alice", "--data", data, "--json")
    stream = json.loads(made.stdout)
    assert set(stream) == {"id", "title", "key", "key_id", "rtmp_server", "rtmp_url", "watch_url", "hls_url"}
    seen = get(server, f"/v1/streams/{stream['id']}", token.stdout.strip())
    assert (seen["title"], seen["owner"]) == ("From the shell", "alice")
    assert stream["rtmp_url"].startswith("rtmp://{}:{}/live/sk_".format(*server.address("rtmp")))
    unnamed = nova("stream", "create", "--title", "", "--data", data)
    assert (unnamed.returncode, unnamed.stderr) == (2, "nova: title must have 1 to 200 characters\n")
    many = nova("stream", "create", "--title", "Many", "--count", "3", "--data", data, "--json")
    assert [json.loads(line)["title"] for line in many.stdout.splitlines()] == ["Many 1", "Many 2", "Many 3"]
    url = nova("login", "--data", data).stdout.strip()
    assert url.startswith("http://{}:{}/#code=".format(*server.address("http")))


def test_users_come_and_go(server: Served) -> None:
    data = ["--data", str(server.data)]
    added = nova("user", "add", "zoe", "--name", "Zoë", *data)
    assert (added.returncode, added.stdout) == (0, "zoe\n")
    listed = [json.loads(line) for line in nova("user", "list", "--json", *data).stdout.splitlines()]
    assert [user["name"] for user in listed if user["id"] == "zoe"] == ["Zoë"]
    token = nova("token", "--user", "zoe", "--scope", "admin", "--ttl", "1m", *data).stdout.strip()
    assert get(server, "/v1/session", token)["scopes"] == ["admin"]
    assert nova("user", "delete", "zoe", *data).returncode == 0
    gone = nova("user", "delete", "zoe", *data)
    assert gone.returncode == 1
    assert one_line(gone.stderr)


def test_nodes_are_those_of_a_bus(server: Served) -> None:
    for words in (("list",), ("forget", "1f0c2a9b")):
        alone = nova("node", *words, "--data", str(server.data))
        assert (alone.returncode, alone.stdout) == (1, "") and one_line(alone.stderr) and "bus.url" in alone.stderr


def test_a_token_of_the_shell_has_the_scopes_of_a_user(server: Served) -> None:
    made = json.loads(nova("token", "--user", "bob", "--json", "--data", str(server.data)).stdout)
    assert sorted(made["scopes"]) == ["chat", "media:write", "message", "notify", "stream:write"]
    wrong = nova("token", "--user", "bob", "--scope", "everything", "--data", str(server.data))
    assert wrong.returncode == 2
    assert one_line(wrong.stderr)
    assert "stream:write" in wrong.stderr


def test_the_same_commands_work_without_a_server(tmp_path: Path) -> None:
    data = tmp_path / "data"
    missing = nova("user", "list", "--data", str(data))
    assert missing.returncode == 2
    assert one_line(missing.stderr)
    assert not data.exists()
    with serve(data):
        pass
    assert nova("user", "add", "carol", "--data", str(data)).stdout == "carol\n"
    stream = json.loads(nova("stream", "create", "--title", "Later", "--data", str(data), "--json").stdout)
    with serve(data) as served:
        assert get(served, f"/v1/streams/{stream['id']}")["title"] == "Later"


def test_settings_are_printed_with_their_sources(tmp_path: Path) -> None:
    (tmp_path / "nova.toml").write_text('[http]\nlisten = "127.0.0.1:9000"\n[rtmp]\nhook_secret = "sesame"\n')
    shown = nova("config", "--json", "--set", "live.part_target=500ms", cwd=tmp_path, NOVA_GRPC_LISTEN="127.0.0.1:9001")
    lines = {line["key"]: line for line in map(json.loads, shown.stdout.splitlines())}
    assert (lines["http.listen"]["value"], lines["http.listen"]["source"]) == ("127.0.0.1:9000", "nova.toml line 2")
    assert (lines["grpc.listen"]["value"], lines["grpc.listen"]["source"]) == ("127.0.0.1:9001", "NOVA_GRPC_LISTEN")
    assert lines["live.part_target"]["value"] == "500ms"
    assert lines["rtmp.hook_secret"]["value"] == "***"
    assert "sesame" not in shown.stdout + nova("config", cwd=tmp_path).stdout


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--set", "htp.listen=127.0.0.1:0"], "http.listen"),
        (["--set", "http.listen=nowhere"], "http.listen"),
        (["--set", "live.part_target=10s"], "live.part_target"),
        (["--set", "grpc.listen=0.0.0.0:50051"], "grpc.tls.cert"),
        (["--config", "missing.toml"], "missing.toml"),
        (["--set", "bus.url=ftp://127.0.0.1"], "bus.url"),
        (["--set", "bus.url=redis://127.0.0.1:1"], "bus.url"),
        (["--set", "blobs.url=ftp://bucket/prefix"], "blobs.url"),
        (["--bind", "1.2.3.4:80"], "--bind"),
    ],
)
def test_settings_that_make_no_sense_are_one_line_and_exit_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], named: str
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = here("serve", "--data", str(tmp_path / "data"), *words)
    assert (code, out) == (2, "")
    assert one_line(err)
    assert named in err


def test_a_port_in_use_is_one_line_and_exit_2(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        for name in ("http", "https", "rtmp", "grpc"):
            free = [word for other in ("http", "https", "rtmp", "grpc") for word in ("--set", f"{other}.listen=127.0.0.1:0")]
            refused = nova("serve", "--data", str(tmp_path / "data"), *free, "--set", f"{name}.listen={address}")
            assert refused.returncode == 2, refused.stderr
            assert one_line(refused.stderr.splitlines(keepends=True)[-1]), refused.stderr
            assert address in refused.stderr
            assert f"{name}.listen" in refused.stderr
            assert '"ready"' not in refused.stdout


def test_a_certificate_that_is_not_there_is_one_line_and_exit_2(tmp_path: Path) -> None:
    pair = ["--set", f"https.cert={tmp_path}/a.pem", "--set", f"https.key={tmp_path}/b.pem", "--set", "http.listen=127.0.0.1:0"]
    refused = nova("serve", "--data", str(tmp_path / "data"), *pair)
    assert refused.returncode == 2
    assert one_line(refused.stderr)
    assert "https.cert" in refused.stderr


def test_a_data_directory_that_is_none_is_one_line_and_exit_2(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    for path in (file, file / "below"):
        code, _, err = here("serve", "--data", str(path))
        assert code == 2
        assert one_line(err)
        assert "--data" in err


def test_a_directory_open_to_others_is_closed(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir(mode=0o755)
    with serve(data):
        assert stat.S_IMODE(data.stat().st_mode) == 0o700


def test_a_server_waits_for_a_command_that_works_in_the_directory(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with serve(data):
        pass
    with open(data / "lock", "r+b") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.write(b"command 1")
        lock.flush()
        refused = nova("user", "list", "--data", str(data))
        assert refused.returncode == 2
        assert "command (process 1)" in refused.stderr
        fcntl.flock(lock, fcntl.LOCK_UN)
    with serve(data):
        pass


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_server_gracefully(tmp_path: Path, number: signal.Signals) -> None:
    data = tmp_path / "data"
    with serve(data) as served:
        served.wait_for("sign_in")
        served.process.send_signal(number)
        assert served.process.wait(SECONDS) == 0
    assert "Shutting down gracefully..." in (tmp_path / "stderr").read_text()
    assert not (data / "serve.json").exists()
    assert not (data / "control.sock").exists()


def test_after_a_kill_the_server_starts_again(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with pytest.raises(AssertionError), serve(data) as served:
        served.wait_for("sign_in")
        stream = json.loads(nova("stream", "create", "--title", "Kept", "--data", str(data), "--json").stdout)
        served.process.kill()
        served.process.wait()
    assert (data / "serve.json").exists()
    with serve(data) as served:
        assert get(served, f"/v1/streams/{stream['id']}")["title"] == "Kept"


def test_a_path_longer_than_a_socket_address_works(tmp_path: Path) -> None:
    data = tmp_path / ("d" * 100) / ("e" * 60)
    data.parent.mkdir()
    with serve(data):
        assert nova("login", "--data", str(data)).returncode == 0


def test_bind_moves_the_listeners_and_not_grpc(tmp_path: Path) -> None:
    with serve(tmp_path / "data", "--bind", "0.0.0.0") as served:
        assert served.address("http")[0] == served.address("rtmp")[0] == "0.0.0.0"
        assert served.address("grpc")[0] == "127.0.0.1"
        assert served.wait_for("sign_in")["url"].startswith("http://127.0.0.1:")


def test_without_json_lines_are_for_people(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "nova", "serve", "--data", str(tmp_path / "data")]
    command += [word for name in ("http", "https", "rtmp", "grpc") for word in ("--set", f"{name}.listen=127.0.0.1:0")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(7)]
        process.terminate()
        assert process.wait(SECONDS) == 0
    assert [re.sub(r"\d{4,5}$|code=.*|\d+/#", "", line.strip()) for line in lines] == [
        "listening: http 127.0.0.1:", "listening: https 127.0.0.1:", "listening: h3 127.0.0.1:",
            "listening: rtmp 127.0.0.1:", "listening: grpc 127.0.0.1:", "ready",
        "sign in: http://127.0.0.1:",
    ]  # fmt: skip


def test_check_finds_nothing_wrong_beside_a_running_server(server: Served) -> None:
    checked = nova("check", "--data", str(server.data), "--json")
    found = [json.loads(line) for line in checked.stdout.splitlines()]
    assert checked.returncode == 0, found
    assert {"level", "name", "detail", "remedy"} == set(found[0])
    assert any(each["name"] == "server" and str(server.process.pid) in each["detail"] for each in found)


def test_check_gives_every_problem_with_its_remedy(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        checked = nova("check", "--json", "--data", str(tmp_path / "data"), "--set", f"http.listen={address}")
    problems = [each for each in map(json.loads, checked.stdout.splitlines()) if each["level"] == "problem"]
    assert checked.returncode == 1
    assert [each["name"] for each in problems] == ["http"]
    assert "http.listen" in problems[0]["remedy"]
    wrong = nova("check", "--set", "http.lisen=1")
    assert wrong.returncode == 1
    assert "http.listen" in wrong.stdout
    assert not (tmp_path / "data").exists()


def test_check_looks_at_the_ports_of_sites_and_asks_redis(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # and does not listen
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        config = tmp_path / "nova.toml"
        config.write_text(
            f'[bus]\nurl = "redis://127.0.0.1:{nobody.getsockname()[1]}"\n'
            f'[[cdn.sites]]\nname = "shop"\nlisten = "{address}"\norigins = [{{url = "http://127.0.0.1:1"}}]\n'
        )
        free = [word for name in ("http", "https", "rtmp", "grpc") for word in ("--set", f"{name}.listen=127.0.0.1:0")]
        checked = nova("check", "--json", "--data", str(tmp_path / "data"), "--config", str(config), *free)
    problems = {each["name"]: each for each in map(json.loads, checked.stdout.splitlines()) if each["level"] == "problem"}
    assert checked.returncode == 1 and set(problems) == {"site:shop", "bus"}
    assert address in problems["site:shop"]["detail"] and "[[cdn.sites]]" in problems["site:shop"]["remedy"]
    assert problems["bus"]["remedy"] == "start Redis or correct bus.url, or leave it unset"


@pytest.mark.parametrize(
    ("setting", "why"),
    [
        ('realtime.hook_asks=["publish"]', "realtime.hook_url"),  # a gate without a guard, which would be open
        ('realtime.hook_asks=["nonsense"]', "none of connect, publish, subscribe"),
        ("realtime.hook_url=http://127.0.0.1:1/", ""),  # asked about nothing
        ('realtime.namespaces=["room subscribe=nobody"]', "room: subscribe"),
        ("realtime.ping=2m", "realtime.silence"),
    ],
)
def test_check_finds_what_a_server_would_not_start_with(setting: str, why: str, tmp_path: Path) -> None:
    free = [word for name in ("http", "https", "rtmp", "grpc") for word in ("--set", f"{name}.listen=127.0.0.1:0")]
    code, out, err = here("check", "--json", "--data", str(tmp_path / "data"), *free, "--set", setting)
    problems = [each for each in map(json.loads, out.splitlines()) if each["level"] == "problem"]
    assert (code, err) == (bool(why), "")
    assert [each["name"] for each in problems] == ["realtime"] * bool(why)
    assert all(why in each["detail"] for each in problems)


def test_check_names_the_library_that_a_kernel_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    def lacking(name: str) -> None:
        if name == "nova.ext.token":
            raise ImportError("libsodium.so.23: cannot open shared object file: No such file or directory")

    monkeypatch.setattr("nova.surface.cli.check.import_module", lacking)
    monkeypatch.setitem(sys.modules, "nova.surface.listeners", None)  # nor what stands on it
    code, out, err = here("check", "--json")
    found = {each["name"]: each for each in map(json.loads, out.splitlines())}
    assert (code, err) == (1, "")
    assert found["compiled core"]["level"] == "problem"
    assert "nova.ext.token" in found["compiled core"]["detail"]
    assert "libsodium.so.23" in found["compiled core"]["detail"]
    assert "libsodium23" in found["compiled core"]["remedy"]
    assert found["settings"]["level"] == "ok"


def test_check_loads_what_decodes_pictures(tmp_path: Path) -> None:
    (tmp_path / "isal.py").touch()  # what is found in the place of the real one
    checked = nova("check", "--json", "--data", str(tmp_path / "data"), "--set", "http.listen=127.0.0.1:0", cwd=tmp_path)
    problems = [each for each in map(json.loads, checked.stdout.splitlines()) if each["level"] == "problem"]
    assert [each["name"] for each in problems] == ["pictures"], checked.stderr
    assert "isal" in problems[0]["detail"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_publish_over_and_over_ends_its_stream_when_it_is_stopped(server: Served, tmp_path: Path, number: signal.Signals) -> None:
    film = tmp_path / "film.flv"
    pictures = (Tag(flv.VIDEO, at, flv.avc_picture(bytes(100), key=at == 0)) for at in (0, 33))
    film.write_bytes(flv.file_header(audio=False, video=True) + b"".join(map(flv.tag_bytes, pictures)))
    command = [sys.executable, "-m", "nova", "publish", str(film), "--loop", "--data", str(server.data), "--json"]
    root = Path(__file__).parents[3]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=root) as publisher:
        assert publisher.stdout is not None and publisher.stderr is not None
        stream = json.loads(publisher.stdout.readline())["id"]
        while get(server, f"/v1/streams/{stream}")["status"] != "live":
            assert publisher.poll() is None, publisher.stderr.read()
        publisher.send_signal(number)
        assert publisher.wait(SECONDS) == 0
        assert b"Traceback" not in publisher.stderr.read()
    assert get(server, f"/v1/streams/{stream}")["status"] == "ended"  # at once, not after the grace time


def test_publish_needs_a_file_and_a_server(tmp_path: Path) -> None:
    code, _, err = here("publish", str(tmp_path / "nothing.mp4"))
    assert code == 2
    assert one_line(err)
    (tmp_path / "some.flv").write_bytes(b"FLV")
    (tmp_path / "nova-data").mkdir()
    alone = nova("publish", "some.flv", cwd=tmp_path)
    assert alone.returncode == 1
    assert "nova serve" in alone.stderr
