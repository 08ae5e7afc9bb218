"""HTTP_PROXY, HTTPS_PROXY and NO_PROXY, as the field reads them."""

from __future__ import annotations

import pytest

from swapyard.errors import UpstreamError
from swapyard.proxy.proxies import ForwardProxy, is_loopback, proxy_for

PROXY = ForwardProxy("proxy.example", 3128, None)


def test_each_scheme_has_its_own_variable() -> None:
    environ = {"HTTP_PROXY": "http://proxy.example:3128", "HTTPS_PROXY": "http://tls.example"}
    assert proxy_for("http", "far.example", 80, environ) == PROXY
    assert proxy_for("https", "far.example", 443, environ) == ForwardProxy("tls.example", 80, None)
    assert proxy_for("https", "far.example", 443, {"HTTP_PROXY": "http://proxy.example:3128"}) is None


@pytest.mark.parametrize("value", ["proxy.example:3128", "http://proxy.example:3128/"])
def test_lower_case_names_and_bare_addresses_are_understood(value: str) -> None:
    assert proxy_for("http", "far.example", 80, {"http_proxy": value}) == PROXY


def test_a_user_in_the_address_becomes_a_header() -> None:
    environ = {"HTTP_PROXY": "http://Aladdin:open%20sesame@proxy.example"}
    proxy = proxy_for("http", "far.example", 80, environ)
    # "Aladdin:open sesame", the example of RFC 7617 section 2
    assert proxy is not None
    assert proxy.authorization == b"Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="


@pytest.mark.parametrize("host", ["localhost", "model.localhost", "127.0.0.1", "127.8.8.8", "::1"])
def test_loopback_is_never_proxied(host: str) -> None:
    assert is_loopback(host)
    assert proxy_for("http", host, 8080, {"HTTP_PROXY": "http://proxy.example:3128"}) is None


@pytest.mark.parametrize(
    ("no_proxy", "host"),
    [
        ("*", "far.example"),
        ("other, far.example", "far.example"),
        ("far.example", "gpu.far.example"),
        ("FAR.example", "far.EXAMPLE"),
        (".far.example", "gpu.far.example"),
        ("*.far.example", "gpu.far.example"),
        ("far.example:8080", "far.example"),
        ("10.0.0.0/8", "10.1.2.3"),
        ("10.1.2.3", "10.1.2.3"),
        ("10.1.2.3:8080", "10.1.2.3"),
        ("[fd00::1]:8080", "fd00::1"),
    ],
)
def test_excluded_hosts_are_reached_directly(no_proxy: str, host: str) -> None:
    environ = {"HTTP_PROXY": "http://proxy.example:3128", "NO_PROXY": no_proxy}
    assert proxy_for("http", host, 8080, environ) is None


@pytest.mark.parametrize(
    ("no_proxy", "host"),
    [
        ("", "far.example"),
        ("near.example", "far.example"),
        ("ar.example", "far.example"),
        (".far.example", "far.example"),
        ("far.example:81", "far.example"),
        ("11.0.0.0/8", "10.1.2.3"),
    ],
)
def test_other_hosts_are_not_excluded(no_proxy: str, host: str) -> None:
    environ = {"HTTP_PROXY": "http://proxy.example:3128", "NO_PROXY": no_proxy}
    assert proxy_for("http", host, 8080, environ) == PROXY


@pytest.mark.parametrize("url", ["socks5://proxy.example", "https://proxy.example", "http://", "http://p:x"])
def test_a_proxy_that_is_not_spoken_is_an_error_that_names_the_variable(url: str) -> None:
    with pytest.raises(UpstreamError, match="HTTP_PROXY"):
        proxy_for("http", "far.example", 80, {"HTTP_PROXY": url})
