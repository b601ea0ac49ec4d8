"""Request by request: status, headers and body, as Ollama 0.33.0 gives them."""

import json

import pytest
from raw_http import ask

from llamalab.standin.answers.recordings import FOLDER

JSON = "application/json; charset=utf-8"
BARE_JSON = "application/json"
TEXT = "text/plain"
POSTS = ["/api/generate", "/api/chat", "/api/show", "/api/pull"]
STRUCTS = dict(
    zip(POSTS, ["GenerateRequest", "ChatRequest", "ShowRequest", "PullRequest"], strict=True)
)


def error(text):
    return json.dumps({"error": text}, ensure_ascii=False, separators=(",", ":")).encode()


def test_the_front_page_says_what_clients_look_for(url):
    status, headers, body = ask(url, "GET", "/")
    assert (status, body) == (200, b"Ollama is running")
    assert headers["Content-Type"] == "text/plain; charset=utf-8"


def test_the_version_tells_the_stand_in_from_the_real_one(url):
    assert ask(url, "GET", "/api/version")[2] == b'{"version":"0.33.0+llamalab"}'


@pytest.mark.parametrize("path", ["/", "/api/version", "/api/tags"])
def test_head_is_get_without_a_body(url, path):
    (status, headers, body), (_, got, content) = ask(url, "HEAD", path), ask(url, "GET", path)
    assert (status, body) == (200, b"")
    assert headers["Content-Length"] == str(len(content))
    assert headers["Content-Type"] == got["Content-Type"]


def test_tags_lists_the_recorded_model_honestly(url):
    status, headers, body = ask(url, "GET", "/api/tags")
    (item,) = json.loads(body)["models"]
    assert (status, headers["Content-Type"]) == (200, JSON)
    assert list(item) == [
        "name",
        "model",
        "modified_at",
        "size",
        "digest",
        "details",
        "capabilities",
    ]
    assert item["name"] == item["model"] == "mistral:latest"
    assert len(item["digest"]) == 64
    assert item["size"] == sum(file.stat().st_size for file in FOLDER.glob("*.ndjson"))
    assert item["capabilities"] == ["completion"]
    assert item["details"] == {
        "parent_model": "",
        "format": "recording",
        "family": "mistral",
        "families": ["mistral"],
        "parameter_size": "7B",
        "quantization_level": "unknown",
        "context_length": 32768,
        "embedding_length": 4096,
    }


def test_no_model_is_ever_in_memory(url):
    assert ask(url, "GET", "/api/ps")[2] == b'{"models":[]}'


def test_show_says_that_there_are_only_recordings(url):
    status, headers, body = ask(url, "POST", "/api/show", {"model": "Mistral", "verbose": True})
    shown = json.loads(body)
    assert (status, headers["Content-Type"]) == (200, JSON)
    keys = ["modelfile", "details", "model_info", "capabilities", "modified_at"]
    assert list(shown) == keys
    assert "is here only as recordings" in shown["modelfile"]
    assert '/api/generate "Are you listening?"' in shown["modelfile"]


@pytest.mark.parametrize(
    ("method", "path", "status", "text", "more"),
    [
        ("GET", "/nothing", 404, b"404 page not found", {}),
        ("POST", "/api/nothing", 404, b"404 page not found", {}),
        ("GET", "/API/TAGS", 404, b"404 page not found", {}),
        ("GET", "/favicon.ico", 404, b"404 page not found", {}),
        ("GET", "/api/nothing/", 404, b"404 page not found", {}),
        ("GET", "/api/chat/", 404, b"404 page not found", {}),
        ("GET", "/v1/nothing", 404, b"404 page not found", {}),
        ("GET", "/api/generate", 405, b"405 method not allowed", {"Allow": "POST"}),
        ("GET", "/api/pull", 405, b"405 method not allowed", {"Allow": "POST"}),
        ("PUT", "/api/chat", 405, b"405 method not allowed", {"Allow": "POST"}),
        ("POST", "/api/tags", 405, b"405 method not allowed", {"Allow": "HEAD, GET"}),
        ("POST", "/api/ps", 405, b"405 method not allowed", {"Allow": "GET"}),
        ("POST", "/api/delete", 405, b"405 method not allowed", {"Allow": "DELETE"}),
        ("OPTIONS", "/api/chat", 405, b"405 method not allowed", {"Allow": "POST"}),
    ],
)
def test_wrong_paths_and_methods_are_plain_text(url, method, path, status, text, more):
    got, headers, body = ask(url, method, path)
    assert (got, body, headers["Content-Type"]) == (status, text, TEXT)
    assert headers["Allow"] == more.get("Allow")


def test_a_slash_too_many_is_shown_the_way(url):
    status, headers, body = ask(url, "GET", "/api/tags/?a=1&b=2")
    assert (status, headers["Location"]) == (301, "/api/tags?a=1&b=2")
    assert headers["Content-Type"] == "text/html; charset=utf-8"
    assert body == b'<a href="/api/tags?a=1&amp;b=2">Moved Permanently</a>.\n\n'
    status, headers, body = ask(url, "POST", "/api/generate/", {})
    assert (status, headers["Location"], body) == (307, "/api/generate", b"")


@pytest.mark.parametrize("path", POSTS)
@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        (b"", "missing request body"),
        (b"{", "unexpected EOF"),
        (b"not json", "invalid character 'o' in literal null (expecting 'u')"),
        (b"model=tiny&prompt=hi", "invalid character 'm' looking for beginning of value"),
        (b"\xef\xbb\xbf{}", "invalid character 'ï' looking for beginning of value"),
        (b"[]", "json: cannot unmarshal array into Go value of type api.{struct}"),
        (b'"x"', "json: cannot unmarshal string into Go value of type api.{struct}"),
        (b"true", "json: cannot unmarshal bool into Go value of type api.{struct}"),
        (
            b'{"model":3}',
            "json: cannot unmarshal number into Go struct field {struct}.model of type string",
        ),
    ],
)
def test_a_body_that_is_no_request_is_refused_in_gos_words(url, path, body, complaint):
    status, headers, got = ask(url, "POST", path, body)
    assert (status, headers["Content-Type"]) == (400, JSON)
    assert got == error(complaint.replace("{struct}", STRUCTS[path]))


def wrong_type(value, where, kind):
    return f"json: cannot unmarshal {value} into Go struct field {where} of type {kind}"


@pytest.mark.parametrize(
    ("field", "complaint"),
    [
        ('"prompt":3', wrong_type("number", "GenerateRequest.prompt", "string")),
        ('"PROMPT":3', wrong_type("number", "GenerateRequest.prompt", "string")),
        ('"stream":"false"', wrong_type("string", "GenerateRequest.stream", "bool")),
        ('"raw":{}', wrong_type("object", "GenerateRequest.raw", "bool")),
        ('"context":"x"', wrong_type("string", "GenerateRequest.context", "[]int")),
        ('"context":["x"]', wrong_type("string", "GenerateRequest.context", "int")),
        ('"context":[1.5]', wrong_type("number 1.5", "GenerateRequest.context", "int")),
        (
            '"options":[1]',
            wrong_type("array", "GenerateRequest.options", "map[string]interface {}"),
        ),
        ('"images":"x"', wrong_type("string", "GenerateRequest.images", "[]api.ImageData")),
        ('"images":["cat.png"]', "illegal base64 data in images"),
        ('"images":["*"]', "illegal base64 data in images"),
        ('"images":["AAAAA"]', "illegal base64 data in images"),
        ('"keep_alive":"5 minutes"', 'time: unknown unit " minutes" in duration "5 minutes"'),
        ('"keep_alive":"-1"', 'time: missing unit in duration "-1"'),
        ('"keep_alive":""', 'time: invalid duration ""'),
        ('"keep_alive":true', "Unsupported type: 'bool'"),
        (
            '"think":"ultra"',
            'invalid think value: "ultra" (must be "high", "medium", "low", "max", true, or false)',
        ),
        ('"top_logprobs":21', "top_logprobs must be between 0 and 20"),
        ('"raw":true,"system":"x"', "raw mode does not support template, system, or context"),
        ('"raw":true,"context":[1]', "raw mode does not support template, system, or context"),
        ('"prompt":3,"stream":3', wrong_type("number", "GenerateRequest.prompt", "string")),
        ('"prompt":3,"keep_alive":true', "Unsupported type: 'bool'"),
    ],
)
def test_a_field_of_the_wrong_kind_is_refused_in_gos_words(url, field, complaint):
    status, headers, got = ask(url, "POST", "/api/generate", f'{{"model":"mistral",{field}}}')
    assert (status, headers["Content-Type"], got) == (400, JSON, error(complaint))


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"temperature": "hot"}, 'option "temperature" must be of type float32'),
        ({"num_predict": "3"}, 'option "num_predict" must be of type integer'),
        ({"seed": True}, 'option "seed" must be of type integer'),
        ({"use_mmap": 1}, 'option "use_mmap" must be of type boolean'),
        ({"stop": "x"}, 'option "stop" must be of type array'),
        ({"stop": [1]}, 'option "stop" must be of an array of strings'),
    ],
)
@pytest.mark.parametrize("path", ["/api/generate", "/api/chat"])
def test_an_option_of_the_wrong_type_is_a_500(url, path, options, complaint):
    status, headers, got = ask(url, "POST", path, {"model": "mistral", "options": options})
    assert (status, headers["Content-Type"], got) == (500, JSON, error(complaint))


@pytest.mark.parametrize(
    ("asked", "shown"), [("yaml", r"\"yaml\""), (3, "3"), (True, "true"), ([1], "[1]")]
)
def test_an_unknown_format_is_a_500_without_charset_in_a_stream(url, asked, shown):
    request = {"model": "mistral", "prompt": "hi", "format": asked}
    complaint = f'invalid format: "{shown}"; expected "json" or a valid JSON Schema object'
    status, headers, got = ask(url, "POST", "/api/generate", request)
    assert (status, headers["Content-Type"], got) == (500, BARE_JSON, error(complaint))
    status, headers, got = ask(url, "POST", "/api/generate", {**request, "stream": False})
    assert (status, headers["Content-Type"], got) == (500, JSON, error(complaint))


NO_MODEL = [{}, None, {"model": None}, {"model": ""}]


@pytest.mark.parametrize("body", NO_MODEL)
@pytest.mark.parametrize(
    ("path", "status", "complaint"),
    [
        ("/api/generate", 404, "model '' not found"),
        ("/api/chat", 400, "model is required"),
        ("/api/show", 400, "model is required"),
        ("/api/pull", 400, "invalid model name"),
    ],
)
def test_a_request_without_a_model_is_refused(url, path, status, complaint, body):
    assert ask(url, "POST", path, json.dumps(body))[::2] == (status, error(complaint))


@pytest.mark.parametrize("name", ["b@d name", "mistral:", "mistral/", "mistral@sha256:ab"])
@pytest.mark.parametrize("path", POSTS)
def test_what_is_no_name_is_a_400(url, path, name):
    assert ask(url, "POST", path, {"model": name})[::2] == (400, error("invalid model name"))


@pytest.mark.parametrize(
    ("path", "body", "status", "complaint"),
    [
        ("/api/generate", {"model": "nosuch"}, 404, "model 'nosuch' not found"),
        ("/api/generate", {"model": "nosuch", "prompt": "x"}, 404, "model 'nosuch' not found"),
        ("/api/chat", {"model": "nosuch"}, 404, "model 'nosuch' not found"),
        ("/api/show", {"model": "nosuch"}, 404, "model 'nosuch:latest' not found"),
        ("/api/show", {"name": "nosuch"}, 404, "model 'nosuch:latest' not found"),
        (
            "/api/generate",
            {"model": "x:cloud", "prompt": "x"},
            403,
            "ollama cloud is disabled: remote model is unavailable",
        ),
    ],
)
def test_an_unknown_model_is_json_with_a_status(url, path, body, status, complaint):
    got, headers, content = ask(url, "POST", path, body)
    assert (got, headers["Content-Type"], content) == (status, JSON, error(complaint))


@pytest.mark.parametrize(
    ("path", "body", "reason"),
    [
        ("/api/generate", {}, "load"),
        ("/api/generate", {"stream": True}, "load"),
        ("/api/generate", {"prompt": ""}, "load"),
        ("/api/generate", {"keep_alive": "5m"}, "load"),
        ("/api/generate", {"keep_alive": 0}, "unload"),
        ("/api/generate", {"keep_alive": "0s"}, "unload"),
        ("/api/chat", {"messages": []}, "load"),
        ("/api/chat", {"messages": None}, "load"),
        ("/api/chat", {"messages": [], "keep_alive": 0}, "unload"),
    ],
)
def test_to_ask_nothing_loads_or_unloads(url, path, body, reason):
    status, headers, content = ask(url, "POST", path, {"model": "MISTRAL", **body})
    record = json.loads(content)
    text = {"message": {"role": "assistant", "content": ""}}
    text = {"response": ""} if path == "/api/generate" else text
    assert (status, headers["Content-Type"]) == (200, JSON)
    assert list(record) == ["model", "created_at", *text, "done", "done_reason"]
    expected = {"model": "MISTRAL", **text, "done": True, "done_reason": reason}
    assert expected.items() <= record.items()
    assert not content.endswith(b"\n")


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        ('{"model":"mistral"} trailing', {}),
        ('{"MODEL":"mistral","nonsense":[1]}', {}),
        ('{"model":"mistral","prompt":null,"options":null}', {}),
        ('{"model":"mistral","options":{"nonsense":"x","temperature":null}}', {}),
        ('{"model":"mistral","options":{"num_predict":1.9}}', {}),
        ('{"model":"mistral","images":["","QQ==","QUE=","QU\\nFB"]}', {}),
        ('{"model":"mistral"}', {"Content-Type": "text/plain"}),
        ('{"model":"mistral"}', {"Content-Type": "application/x-www-form-urlencoded"}),
    ],
)
def test_what_ollama_overlooks_is_overlooked(url, body, headers):
    assert ask(url, "POST", "/api/generate?x=y", body, headers)[0] == 200


def test_pulling_a_model_that_is_here_succeeds_without_inventing_layers(url):
    status, headers, content = ask(url, "POST", "/api/pull", {"model": "mistral"})
    assert (status, headers["Content-Type"]) == (200, "application/x-ndjson")
    assert content == b'{"status":"pulling manifest"}\n{"status":"success"}\n'
    status, headers, content = ask(url, "POST", "/api/pull", {"name": "mistral", "stream": False})
    assert (status, headers["Content-Type"]) == (200, BARE_JSON)
    assert content == b'{"status":"success"}'


def test_pulling_another_model_ends_in_an_error_record(url):
    missing = error("pull model manifest: file does not exist")
    status, _, content = ask(url, "POST", "/api/pull", {"model": "nosuch"})
    assert (status, content) == (200, b'{"status":"pulling manifest"}\n' + missing + b"\n")
    status, headers, content = ask(url, "POST", "/api/pull", {"model": "nosuch", "stream": False})
    assert (status, headers["Content-Type"], content) == (500, BARE_JSON, missing)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/api/embed"),
        ("POST", "/api/create"),
        ("POST", "/api/blobs/sha256:ab"),
        ("POST", "/v1/embeddings"),
    ],
)
def test_what_the_server_does_not_do_it_says(url, method, path):
    status, headers, content = ask(url, method, path, {} if method == "POST" else None)
    assert (status, headers["Content-Type"]) == (501, JSON)
    assert json.loads(content)["error"] == f"llamalab's built-in server does not do {path}"


@pytest.mark.parametrize(
    ("method", "path", "name"),
    [("DELETE", "/api/delete", "model"), ("POST", "/api/copy", "source")],
)
def test_a_model_that_is_not_here_is_neither_deleted_nor_copied(url, method, path, name):
    status, _, content = ask(url, method, path, {name: "nosuch"})
    assert (status, content) == (404, error("model 'nosuch' not found"))
    assert ask(url, method, path, {name: "mistral"})[0] == 501


def test_header_names_are_written_as_ollama_writes_them(url):
    headers = ask(url, "GET", "/api/version")[1]
    assert [name for name, _ in headers.items()] == ["Date", "Content-Length", "Content-Type"]
