"""nginx from Debian as people tune it: static files, and nginx-rtmp with its media in RAM. One worker."""

import os
import re
import subprocess
from pathlib import Path

from bench.servers.process import Server, free_port

RTMP_MODULE = Path("/usr/lib/nginx/modules/ngx_rtmp_module.so")

BASE = """
daemon off;
{user}
worker_processes 1;
worker_rlimit_nofile 20000;
pid {folder}/pid;
error_log {folder}/error.log warn;
{modules}
events {{ worker_connections 8192; }}
"""

STATIC = """
http {{
  access_log off;
  sendfile on;
  tcp_nopush on;
  keepalive_requests 1000000;
  keepalive_timeout 300;
  open_file_cache max=1000 inactive=300s;
  open_file_cache_valid 300s;
  types {{ text/html html; video/mp4 mp4 m4s; }}
  default_type application/octet-stream;
  server {{
    listen 127.0.0.1:{port};
    {tls}
    root {folder}/www;
  }}
}}
"""

TLS = """listen 127.0.0.1:{port} ssl;
    ssl_certificate {cert};
    ssl_certificate_key {key};
    ssl_protocols TLSv1.2 TLSv1.3;
    ssl_session_cache shared:bench:1m;"""

RTMP = """
rtmp {{
  server {{
    listen 127.0.0.1:{port};
    chunk_size 4096;
    access_log off;
    application live {{
      live on;
      hls on;
      hls_path {folder}/hls;
      hls_fragment 2s;
      hls_playlist_length 14s;
    }}
  }}
}}
"""


def version() -> str:
    said = subprocess.run(["nginx", "-v"], capture_output=True, text=True, check=True).stderr
    found = re.search(r"nginx/(\S+)", said)
    return f"nginx {found[1] if found else '?'}"


class _Nginx(Server):
    def _write(self, rest: str, modules: str = "") -> None:
        user = "user root;" if os.geteuid() == 0 else ""
        self.folder.chmod(0o755)
        (self.folder / "nginx.conf").write_text(BASE.format(user=user, folder=self.folder, modules=modules) + rest)

    def command(self) -> list[str]:
        return ["nginx", "-p", str(self.folder), "-c", str(self.folder / "nginx.conf")]


class StaticFiles(_Nginx):
    """Serves `files` (path without the slash -> bytes) over HTTP, with `certificate` also over TLS."""

    def __init__(self, folder: Path, files: dict[str, bytes], certificate: tuple[Path, Path] | None = None) -> None:
        super().__init__(folder)
        self.name = version()
        self.port, self.tls_port = free_port(), free_port()
        self.ports = [self.port]
        tls = ""
        if certificate:
            self.ports = [self.port, self.tls_port]
            tls = TLS.format(port=self.tls_port, cert=certificate[0], key=certificate[1])
        for name, data in files.items():
            path = folder / "www" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        self._write(STATIC.format(port=self.port, folder=folder, tls=tls))


DAV = """
http {{
  access_log off;
  keepalive_timeout 300;
  client_max_body_size 1g;
  client_body_temp_path {folder}/body;
  server {{
    listen 127.0.0.1:{port};
    root {folder}/www;
    location / {{ dav_methods PUT; }}
  }}
}}
"""


class Uploads(_Nginx):
    """Takes files by PUT: into one of its own, then renamed."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.name = version()
        self.port = free_port()
        self.ports = [self.port]
        for name in ("www", "body"):
            (folder / name).mkdir()
            (folder / name).chmod(0o777)
        self._write(DAV.format(port=self.port, folder=folder))


PROXY = """
http {{
  access_log off;
  sendfile on;
  tcp_nopush on;
  keepalive_requests 1000000;
  keepalive_timeout 300;
  open_file_cache max=1000 inactive=300s;
  open_file_cache_valid 300s;
  proxy_cache_path {folder}/cache levels=1:2 keys_zone=bench:16m max_size=1g inactive=1h use_temp_path=off;
  upstream origin {{ server 127.0.0.1:{origin}; keepalive 64; }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://origin;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_cache bench;
      proxy_cache_valid 200 1h;
      proxy_cache_lock on;
      proxy_cache_lock_timeout 30s;
      proxy_cache_lock_age 30s;
      add_header X-Cache $upstream_cache_status;
    }}
  }}
}}
"""


class ProxyCache(_Nginx):
    """A caching reverse proxy in front of 127.0.0.1:`origin`, its cache on tmpfs, fetches collapsed by its lock."""

    def __init__(self, folder: Path, origin: int) -> None:
        super().__init__(folder)
        self.name = f"{version()} proxy_cache, tmpfs, open_file_cache"
        self.port = free_port()
        self.ports = [self.port]
        (folder / "cache").mkdir()
        (folder / "cache").chmod(0o777)
        self._write(PROXY.format(port=self.port, folder=folder, origin=origin))


class RtmpHls(_Nginx):
    """nginx-rtmp: RTMP in, HLS (MPEG-TS, 2 s) out to tmpfs."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        if not RTMP_MODULE.exists():
            raise SystemExit(f"{RTMP_MODULE} is missing: apt-get install libnginx-mod-rtmp")
        self.name = f"{version()} with nginx-rtmp, TS on tmpfs"
        self.port = free_port()
        self.ports = [self.port]
        (folder / "hls").mkdir()
        self.media = (folder / "hls",)
        self._write(RTMP.format(port=self.port, folder=folder), f"load_module {RTMP_MODULE};")
