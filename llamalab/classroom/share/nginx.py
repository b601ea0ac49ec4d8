"""The configuration of nginx for a class, as text.

Source of the facts about its directives: https://nginx.org/en/docs/dirindex.html
"""

import base64
import json
from collections.abc import Iterable, Sequence

from llamalab.classroom.share import lesson_site
from llamalab.classroom.share.addresses import Place
from llamalab.classroom.share.students import Student

# What the lesson asks for. Everything else is refused.
ANSWERS = ("/api/generate", "/api/chat", "/v1/chat/completions")  # a model works: one at a time
READ = ("/", "/api/tags", "/api/ps", "/api/version", "/v1/models")
POSTED = ("/api/show",)

BODY = "1m"  # a prompt, not a file

# For each student: 30 requests at once, and then 2 a second. All chapters in a row, with
# recordings that make no pauses, were at most 12 requests ahead of this rate.
RATE, BURST = "2r/s", 30

# nginx's own refusals, in Ollama's form. `llamalab.diagnosis` knows them by "class server".
ERRORS = {
    401: "the class server does not know this key",
    403: "the class server lets only the requests of the lesson through",
    411: "the class server wants to know how long a request is (Content-Length)",
    413: "the class server takes at most 1 MiB in one request",
    429: "$too_many",
    502: "the class server reaches no model server",
    503: "the class server is busy",
    504: "the class server has waited long enough: the model has not begun to answer",
}
ONE_AT_A_TIME = (
    "the class server gives each student one answer at a time, "
    "and another request of yours is still being answered"
)
TOO_FAST = "the class server takes two requests a second from each student, and you ask faster"

LOG = {  # one line of JSON for each request: who and when, but not what was asked
    "time": "$time_iso8601",
    "address": "$remote_addr",
    "student": "$student",
    "method": "$request_method",
    "path": "$logged_path",
    "status": "$status",
    "complete": "$request_completion",
    "upstream": "$upstream_addr",
    "seconds": "$request_time",
}

WHOLE = """\
# Written by `llamalab share`, again at each call: change it there, or copy it first.
# The keys are in students.map. To run it by hand, in this folder:
#     nginx -p . -c nginx.conf        -s reload: read the keys again; -s stop: the end

worker_processes 1;  # enough for a class; and a new request never overtakes the end of the last
worker_rlimit_nofile 16384;
pid nginx.pid;
error_log error.log warn;

events {{
    worker_connections 8192;  # more than one machine without a key opens in five seconds
}}

http {{
    default_type application/json;
    client_body_temp_path tmp/body;
    proxy_temp_path tmp/proxy;
    fastcgi_temp_path tmp/fastcgi;
    uwsgi_temp_path tmp/uwsgi;
    scgi_temp_path tmp/scgi;

    # ---- who asks: the key as requests sends it (Basic), or openai and ollama (Bearer)
    map_hash_bucket_size 256;
    map_hash_max_size 8192;
    map $http_authorization $student {{
        default "";
        include students.map;
    }}

    # ---- a browser with a key asks for its own page only, not for one from elsewhere
    map "$scheme://$http_host $http_origin" $foreign {{
        default 1;
        "~ $" "";
        "~^(\\S+) \\1$" "";
    }}

    # ---- one answer at a time for each student, and a fair rate
    limit_conn_zone $student zone=answers:1m;
    limit_req_zone $student zone=requests:1m rate={rate};
    limit_conn_status 429;
    limit_req_status 429;
    limit_conn_log_level info;
    limit_req_log_level info;
    map $limit_conn_status $too_many {{
        default "{too_fast}";
        REJECTED "{one_at_a_time}";
    }}

    map $uri $logged_path {{  # any other path may be as long as a book
        default "other";
        "~^/lesson/" "/lesson/";
{logged_paths}
    }}
    log_format class escape=json '{log}';
    access_log access.log class;

    # ---- the model servers; one that fails is left alone for a while
    upstream model {{
        least_conn;
{upstreams}
    }}

    server {{
        listen {listen};
{tls}        server_tokens off;
        tcp_nodelay on;
        keepalive_timeout 300s;  # a student thinks between two cells
        client_header_timeout 5s;  # a half-said request leaves its place to the others
        send_timeout 600s;
        client_max_body_size {body};
        client_body_buffer_size {body};  # a prompt is never written to the disk

        # ---- towards a model server
        proxy_http_version 1.1;
        proxy_set_header Host localhost:11434;  # Ollama refuses names that it does not know
        proxy_set_header Connection close;  # no idle connections: a server may have few
        proxy_set_header Authorization "";  # the key goes no further
        proxy_set_header Cookie "";
        proxy_set_header Origin "";
        proxy_set_header Referer "";
        proxy_buffering off;  # each record at once
        proxy_connect_timeout 3s;
        proxy_read_timeout 600s;  # longer than a model's load
        # Another server is asked where one fails before its answer has begun. Where one only
        # thinks for too long, none is: after 300 s no request is asked again.
        proxy_next_upstream error timeout non_idempotent;
        proxy_next_upstream_tries 3;
        proxy_next_upstream_timeout 300s;

{locations}

        # ---- nginx's own errors, in Ollama's form
        error_page 405 =403 @403;
        error_page 497 =400 @497;  # http where https is spoken
        error_page 500 =502 @502;
{errors}
        location @497 {{ return 400 '{{"error":"this is an HTTPS port: write https://"}}\\n'; }}
    }}
}}
"""


def configuration(
    listen: Place,
    upstreams: Sequence[str],
    certificate: tuple[str, str] | None = None,
    site: str = "",
) -> str:
    """The text of nginx.conf; it needs `students.map` beside it.

    `upstreams` are HOST:PORT of the model servers; `certificate` has the files (PEM) of the
    certificate and its private key; `site` is the folder of the lesson in the browser.
    """
    # Not at the first failure: one request that a server cannot bear would stop all of them.
    failing = "max_fails=3 fail_timeout=10s"
    return WHOLE.format(
        rate=RATE,
        too_fast=TOO_FAST,
        one_at_a_time=ONE_AT_A_TIME,
        log=log_line(),
        logged_paths="\n".join(f"        {path} {path};" for path in (*ANSWERS, *READ, *POSTED)),
        upstreams="\n".join(f"        server {address} {failing};" for address in upstreams),
        listen=f"{listen} ssl" if certificate else listen,
        tls=tls(*certificate) if certificate else "",
        body=BODY,
        locations="\n".join(
            [
                *(location(path, "POST", "limit_conn answers 1;") for path in ANSWERS),
                *(location(path, "POST") for path in POSTED),
                *(location(path, "GET") for path in READ),
                closed("/"),
                *([lesson_site.locations(site, KEY_FIRST)] if site else []),
            ]
        ),
        errors="\n".join(error(status, words) for status, words in ERRORS.items()),
    )


def log_line() -> str:
    return "{" + ",".join(f'"{name}":"{value}"' for name, value in LOG.items()) + "}"


def tls(certificate: str, key: str) -> str:
    return f"""\
        ssl_certificate "{certificate}";
        ssl_certificate_key "{key}";
        ssl_protocols TLSv1.2 TLSv1.3;
"""


KEY_FIRST = 'if ($student = "") { return 401; }'
FAIR = f"limit_req zone=requests burst={BURST} nodelay;"


def location(path: str, method: str, *more: str) -> str:
    """One endpoint. The model server gets exactly this path, whatever form it was asked in.

    nginx allows HEAD where GET is allowed.
    """
    lines = [
        KEY_FIRST,
        "if ($http_transfer_encoding) { return 411; }",  # else a long body goes to the disk
        "if ($foreign) { return 403; }",
        FAIR,
        f"limit_except {method} {{ deny all; }}",
        *more,
        f"proxy_pass http://model{path};",
    ]
    return (
        f"        location = {path} {{\n"
        + "".join(f"{' ' * 12}{x}\n" for x in lines)
        + " " * 8
        + "}"
    )


def closed(path: str) -> str:
    """All that no other location is for."""
    lines = "".join(f"{' ' * 12}{line}\n" for line in (KEY_FIRST, FAIR, "return 403;"))
    return f"        location {path} {{\n{lines}{' ' * 8}}}"


def error(status: int, words: str) -> str:
    headers = {
        401: "add_header WWW-Authenticate 'Basic realm=\"llamalab\"' always; ",
        429: "add_header Retry-After 5 always; ",
        503: "add_header Retry-After 5 always; ",
    }.get(status, "")
    body = json.dumps({"error": words}, separators=(",", ":"))
    return (
        f"        error_page {status} @{status};\n"
        f"        location @{status} {{ {headers}return {status} '{body}\\n'; }}"
    )


def key_map(students: Iterable[Student]) -> str:
    """The lines of `students.map`: what a request may bring along -> whose it is.

    nginx compares without regard to capitals; the keys have none.
    """
    lines = []
    for _, login, key in students:
        if key:
            basic = base64.b64encode(f"{login}:{key}".encode()).decode()
            lines += [f'"Basic {basic}" {login};', f'"Bearer {key}" {login};']
    return "\n".join(lines) + "\n"
