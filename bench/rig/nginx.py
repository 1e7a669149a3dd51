"""nginx, twice: as the upstream that answers at once, and as the plain reverse proxy to compare with."""

import os
from pathlib import Path

from rig.payloads import CHAT, LARGE_ANSWER, SMALL_ANSWER

# Every buffer is large enough that nothing touches a disk, and no connection is given up for its age.
_COMMON = """
worker_processes 1;
daemon off;
pid {directory}/nginx.pid;
error_log {directory}/error.log warn;
{user}
events {{ worker_connections 4096; }}
http {{
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    client_max_body_size 0;
    client_body_buffer_size 512k;
    keepalive_requests 1000000000;
    keepalive_timeout 600s;
    tcp_nodelay on;
    server_tokens off;
    {http}
}}
"""

_UPSTREAM = """
    open_file_cache max=16;
    default_type application/json;
    server {{
        listen 127.0.0.1:{port} backlog=1024;
        root {directory}/answers;
        location = /status {{ stub_status; }}
        location = /ready {{ return 200 ready; }}
        location / {{
            # A POST to a file is an error to nginx; this makes the file its answer.
            error_page 405 =200 $uri;
        }}
    }}
"""

_PROXY = """
    proxy_buffers 16 16k;
    proxy_busy_buffers_size 64k;
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    upstream answers {{
        server 127.0.0.1:{upstream_port};
        keepalive 256;
        keepalive_requests 1000000000;
    }}
    upstream streams {{
        server 127.0.0.1:{stream_port};
        keepalive 256;
        keepalive_requests 1000000000;
    }}
    server {{
        listen 127.0.0.1:{port} backlog=1024;
        location = /ready {{ return 200 ready; }}
        location / {{ proxy_pass http://answers; }}
        location /stream/ {{
            proxy_pass http://streams;
            proxy_buffering off;
        }}
    }}
"""


def _command(nginx: str, directory: Path, http: str) -> list[str]:
    directory.mkdir()
    user = "user root;" if os.geteuid() == 0 else ""
    text = _COMMON.format(directory=directory, user=user, http=http)
    configuration = directory / "nginx.conf"
    configuration.write_text(text, encoding="utf-8")
    return [nginx, "-e", str(directory / "error.log"), "-p", str(directory), "-c", str(configuration)]


def upstream_command(nginx: str, directory: Path, *, port: int) -> list[str]:
    """Command of an nginx that answers /1k/… and /100k/… with files made here."""
    command = _command(nginx, directory, _UPSTREAM.format(port=port, directory=directory))
    for name, answer in (("1k", SMALL_ANSWER), ("100k", LARGE_ANSWER)):
        file = directory / "answers" / (name + CHAT)
        file.parent.mkdir(parents=True)
        file.write_bytes(answer)
    return command


def proxy_command(nginx: str, directory: Path, *, port: int, upstream_port: int, stream_port: int) -> list[str]:
    """Command of an nginx that passes everything on, /stream/… unbuffered."""
    http = _PROXY.format(port=port, upstream_port=upstream_port, stream_port=stream_port)
    return _command(nginx, directory, http)
