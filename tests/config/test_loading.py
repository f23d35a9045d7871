"""Where a setting may come from, which wins, and what is said of one that cannot be used."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config import Config, ConfigError, load


def write(path: Path, text: str) -> Path:
    path.write_text(text, "utf-8")
    return path


def refusal(file: Path | None = None, *settings: str, **environ: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load(file, environ, settings)
    line = str(caught.value)
    assert line.isprintable()  # one line, whatever was in the value
    return line


def test_without_a_source_every_setting_has_its_default() -> None:
    assert load(environ={}) == Config()


def test_the_file_wins_over_the_default_the_environment_over_it_and_set_over_all(
    tmp_path: Path,
) -> None:
    file = write(tmp_path / "h.toml", "[http]\nport = 1\n[rtmp]\nport = 1\n[webrtc]\nport = 1\n")
    environ = {"HAWKER_RTMP__PORT": "2", "HAWKER_WEBRTC__PORT": "2"}
    config = load(file, environ, ["webrtc.port=4", "webrtc.port=3"])
    assert (config.http.port, config.rtmp.port, config.webrtc.port) == (1, 2, 3)
    assert config.http.https_port == Config().http.https_port


def test_text_is_taken_as_it_stands_and_other_values_are_toml() -> None:
    config = load(
        environ={"HAWKER_AUTH__ADMIN_TOKEN": "123456", "HAWKER_DEMO__ENABLED": "true"},
        settings=[
            'webrtc.public_addresses=["203.0.113.7", "198.51.100.9"]',
            'data.dir="/srv/with space"',
            "limits.publisher_grace_s=0.5",
            "auth.viewer_secret=a=b",
        ],
    )
    assert config.auth.admin_token.get_secret_value() == "123456"
    assert config.auth.viewer_secret.get_secret_value() == "a=b"
    assert config.demo.enabled is True
    assert config.webrtc.public_addresses == ("203.0.113.7", "198.51.100.9")
    assert config.data.dir == Path("/srv/with space")
    assert config.limits.publisher_grace_s == 0.5


def test_a_key_above_all_sections_is_set_like_any_other(tmp_path: Path) -> None:
    file = write(tmp_path / "h.toml", "workers = 2\n[http]\nport = 1\n")
    assert (load(file, {}).workers, load(file, {}).http.port) == (2, 1)
    assert load(file, {"HAWKER_WORKERS": "3"}).workers == 3
    assert load(file, {"HAWKER_WORKERS": "3"}, ["workers=4"]).workers == 4
    assert refusal(None, "workers=0") == "--set: workers = 0: allowed is an integer from 1 to 64"
    assert "did you mean workers?" in refusal(None, "worker=2")


def test_environment_variables_without_two_underscores_are_not_settings() -> None:
    assert load(environ={"HAWKER_PORT": "tcp://10.0.0.1:80", "HAWKER_HOME": "/"}) == Config()


def test_the_default_store_follows_the_data_directory() -> None:
    assert load(environ={}, settings=["data.dir=/srv/h"]).store.url == "sqlite:/srv/h/hawker.db"
    assert load(environ={}).store.sqlite_path == Path("data/hawker.db")
    elsewhere = load(environ={}, settings=["data.dir=/srv/h", "store.url=sqlite:/x.db"])
    assert elsewhere.store.sqlite_path == Path("/x.db")


def test_an_unknown_key_is_refused_with_the_nearest_one(tmp_path: Path) -> None:
    file = write(tmp_path / "h.toml", "[http]\nprot = 1\n")
    assert refusal(file) == f"{file}: http.prot: no such key; did you mean http.port?"
    assert "did you mean rtmp.port?" in refusal(None, "rtmp.prt=1")
    assert "environment HAWKER_HTP__PORT" in refusal(HAWKER_HTP__PORT="1")
    assert "allowed in [log] are level, format" in refusal(None, "log.zzzzzz=1")
    assert "allowed sections are http, rtmp" in refusal(None, "zzzzzz.qqqqqq=1")


def test_a_key_outside_a_section_is_refused(tmp_path: Path) -> None:
    assert "http: no such key" in refusal(write(tmp_path / "h.toml", "http = 3\n"))


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("http.port=eighty", 'http.port = "eighty": allowed is an integer from 0 to 65535'),
        ("http.port=" + "9" * 5000, f'"{"9" * 79}…: allowed is an integer from 0 to 65535'),
        ("http.port=65536", "http.port = 65536: allowed is an integer from 0 to 65535"),
        ("http.port=true", "http.port = true: allowed is an integer from 0 to 65535"),
        ("http.https_port=-2", "http.https_port = -2: allowed is an integer from -1 to 65535"),
        ("http.host=", 'http.host = "": allowed is a text in quotes, not empty'),
        ("demo.enabled=1", "demo.enabled = 1: allowed is true or false"),
        ("log.format=xml", 'log.format = "xml": allowed is "text" or "json"'),
        ("limits.posts_per_minute=0", "0: allowed is an integer of 1 or more"),
        ("limits.publisher_grace_s=-1", "-1: allowed is a number from 0 to 3600"),
        ("webrtc.public_addresses=[1]", "[1]: allowed is a list of texts in quotes"),
        ("webrtc.public_addresses=1.2.3.4", '"1.2.3.4": allowed is a list of texts in quotes'),
        ('webrtc.public_addresses=["me"]', '["me"]: allowed is a list of IPv4 and IPv6 addresses'),
        ("store.url=redis:h", '"redis:h": allowed is "sqlite:PATH" or "redis://HOST"'),
        ("store.url=sqlite:", '"sqlite:": allowed is "sqlite:PATH" or "redis://HOST"'),
        ("store.url=reddis://me:secret@h", '"reddis://***@h": allowed is "sqlite:PATH"'),
        ("hls.segment_ms=30000", "hls.window_s = 60: allowed is at least 3 segments of 30000 ms"),
        ("http.tls_cert=c.pem", "allowed is http.tls_cert and http.tls_key together, or neither"),
        ("http.tls_key=k.pem", "allowed is http.tls_cert and http.tls_key together, or neither"),
    ],
)
def test_a_value_that_is_not_allowed_is_refused_saying_what_is(setting: str, said: str) -> None:
    assert said in refusal(None, setting)


def test_a_refusal_names_where_the_value_was_given(tmp_path: Path) -> None:
    file = write(tmp_path / "h.toml", '[http]\nport = "80"\n')
    assert refusal(file).startswith(f'{file}: http.port = "80": ')
    assert refusal(HAWKER_HTTP__PORT="x").startswith("environment HAWKER_HTTP__PORT: http.port = ")
    assert refusal(None, "http.port=x").startswith("--set: http.port = ")


@pytest.mark.parametrize("content", [b"[http\n", b"\xff\xfe", b"http.port = 0\nhttp.port = 1\n"])
def test_a_file_that_is_not_toml_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "h.toml"
    file.write_bytes(content)
    assert refusal(file).startswith(f"{file}: ")


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "none.toml"
    assert refusal(file).startswith(f"{file}: No such file")
    assert refusal(tmp_path).startswith(f"{tmp_path}: Is a directory")


def test_a_refused_secret_is_not_shown() -> None:
    line = refusal(HAWKER_AUTH__ADMIN_TOKEN="hunter 2")
    assert "hunter" not in line
    assert line.endswith(
        'auth.admin_token = "***": allowed is printable ASCII without spaces, or empty'
    )


@given(
    setting=st.text()
    | st.sampled_from(["http.port=", "log.level="]).flatmap(
        lambda start: st.text().map(lambda text: start + text)
    )
)
def test_no_setting_raises_anything_but_a_config_error(setting: str) -> None:
    try:
        config = load(environ={}, settings=[setting])
    except ConfigError as error:
        assert str(error).isprintable()
    else:
        assert isinstance(config, Config)


def test_what_a_section_lacks_is_said_with_its_name() -> None:
    said = refusal(None, "payments.provider=stripe")
    assert said.startswith("[payments]: stripe wants stripe_api_key")


def test_a_loaded_config_cannot_be_changed() -> None:
    config = load(environ={})
    with pytest.raises(ValueError, match="frozen"):
        config.http.port = 1  # type: ignore[misc]
