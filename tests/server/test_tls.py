"""TLS on the API port, with a certificate that is replaced while connections are open."""

import asyncio
import signal
import ssl
import time
from pathlib import Path
from typing import Any

import pytest
import trustme
from tests.flow.waiting import PATIENCE_SECONDS, soon, until

from ai_gateway.server import CertificateFiles, ListenError
from ai_gateway.server.certificate import Certificate

GET = b"GET /a HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.fixture(scope="module")
def authority() -> Any:
    return trustme.CA()


@pytest.fixture
def files(tmp_path: Path, authority: Any) -> CertificateFiles:
    files = CertificateFiles(tmp_path / "now/tls.crt", tmp_path / "now/tls.key")
    write(authority.issue_cert("localhost"), files)
    return files


def write(issued: Any, files: CertificateFiles) -> None:
    """As Kubernetes does: both files change at one moment, with the link to their folder."""
    now = files.certificate.parent
    folder = now.with_name(f"{time.monotonic_ns()}")
    folder.mkdir()
    (folder / files.certificate.name).write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    (folder / files.key.name).write_bytes(issued.private_key_pem.bytes())
    link = folder / "link"
    link.symlink_to(folder)
    link.replace(now)


def write_at_once(path: Path, content: bytes) -> None:
    """Who reads it meanwhile finds the old or the new."""
    new = path.with_suffix(".new")
    new.write_bytes(content)
    new.replace(path)


def trusting(authority: Any) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


async def serial_and_answer(port: int, context: ssl.SSLContext) -> tuple[str, bytes]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname="localhost")
    serial = writer.get_extra_info("ssl_object").getpeercert()["serialNumber"]
    writer.write(GET)
    answer = await reader.readuntil(b"/a 0")
    writer.close()
    return serial, answer


async def test_the_api_is_served_over_tls_and_the_admin_port_in_plain(
    serving: Any, files: CertificateFiles, authority: Any
) -> None:
    async with serving(tls=files) as world:
        _, answer = await serial_and_answer(world.port, trusting(authority))
        _, writer = await asyncio.open_connection("127.0.0.1", world.admin_port)
        writer.close()
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert world.events[0].startswith("listening on https://127.0.0.1:")


async def test_tls_1_1_is_refused(serving: Any, files: CertificateFiles, authority: Any) -> None:
    old = trusting(authority)
    old.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        old.maximum_version = ssl.TLSVersion.TLSv1_1
    async with serving(tls=files) as world:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await serial_and_answer(world.port, old)


async def test_a_refusal_over_tls_can_be_read(serving: Any, files: CertificateFiles, authority: Any) -> None:
    async with serving(tls=files) as world:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", world.port, ssl=trusting(authority), server_hostname="localhost"
        )
        writer.write(b"TRACE /a HTTP/1.1\r\nHost: a\r\n\r\n")
        answer = await soon(reader.read())
        writer.close()
    assert answer.startswith(b"HTTP/1.1 405 ")


async def test_a_client_that_leaves_a_tls_stream_is_noticed(
    serving: Any, files: CertificateFiles, authority: Any
) -> None:
    async with serving(tls=files) as world:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", world.port, ssl=trusting(authority), server_hostname="localhost"
        )
        writer.write(GET.replace(b"/a", b"/stream"))
        await reader.readuntil(b"data")
        writer.close()
        await soon(world.app.left.wait())


async def test_changed_files_are_taken_over_without_a_restart(
    serving: Any, files: CertificateFiles, authority: Any
) -> None:
    async with serving(tls=files, tls_poll_seconds=0.02) as world:
        before, _ = await serial_and_answer(world.port, trusting(authority))
        write(authority.issue_cert("localhost"), files)
        async with asyncio.timeout(PATIENCE_SECONDS):
            # The reload has no event to wait for: that is the point of doing it in place.
            while (await serial_and_answer(world.port, trusting(authority)))[0] == before:
                pass
    assert world.reasons == []


async def test_sighup_reloads_the_certificate_at_once(serving: Any, files: CertificateFiles, authority: Any) -> None:
    async with serving(tls=files, tls_poll_seconds=1000) as world:
        before, _ = await serial_and_answer(world.port, trusting(authority))
        write(authority.issue_cert("localhost"), files)
        signal.raise_signal(signal.SIGHUP)
        await until(lambda: "read again" in world.events)
        assert (await serial_and_answer(world.port, trusting(authority)))[0] != before
        assert not world.shutdown.requested.is_set()


async def test_a_broken_pair_keeps_the_last_good_one_and_is_reported_once(
    serving: Any, files: CertificateFiles, authority: Any
) -> None:
    async with serving(tls=files, tls_poll_seconds=0.02) as world:
        before, _ = await serial_and_answer(world.port, trusting(authority))
        other = authority.issue_cert("localhost")
        write_at_once(files.certificate, b"".join(blob.bytes() for blob in other.cert_chain_pems))
        await soon(world.refused_files.wait())
        await asyncio.sleep(0.1)  # several more checks of the same broken pair
        after, _ = await serial_and_answer(world.port, trusting(authority))
    assert after == before
    assert len(world.reasons) == 1
    assert "PRIVATE" not in world.reasons[0]


def test_restored_files_are_reported_again_only_if_they_break_again(files: CertificateFiles, authority: Any) -> None:
    certificate = Certificate(files)
    files.key.unlink()
    assert certificate.reload() is not None
    assert certificate.reload() is None
    write(authority.issue_cert("localhost"), files)
    assert certificate.reload() is None
    files.key.unlink()
    assert certificate.reload() is not None


def test_a_certificate_that_cannot_be_used_at_the_start_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ListenError) as refused:
        Certificate(CertificateFiles(tmp_path / "no.crt", tmp_path / "no.key"))
    assert "\n" not in str(refused.value)


def _asked_for_certificates(files: CertificateFiles, authority: Any) -> CertificateFiles:
    path = files.certificate.with_name("client-ca.crt")
    path.write_bytes(authority.cert_pem.bytes())
    return CertificateFiles(files.certificate, files.key, path)


def _showing(authority: Any, client_authority: Any) -> ssl.SSLContext:
    context = trusting(authority)
    client_authority.issue_cert("client.example").configure_cert(context)
    return context


async def _is_let_in(port: int, context: ssl.SSLContext, name: str = "localhost") -> bool:
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname=name)
        writer.write(GET)
        answer = await reader.read(12)
        writer.close()
    except (ssl.SSLError, ConnectionError):
        return False
    return answer == b"HTTP/1.1 200"


async def test_clients_must_show_a_certificate_of_the_ca_where_one_is_named(
    serving: Any, files: CertificateFiles, authority: Any
) -> None:
    clients, others = trustme.CA(), trustme.CA()
    async with serving(tls=_asked_for_certificates(files, clients)) as world:
        assert await _is_let_in(world.port, _showing(authority, clients))
        assert not await _is_let_in(world.port, _showing(authority, others))
        assert not await _is_let_in(world.port, trusting(authority))
        old = _showing(authority, clients)
        old.maximum_version = ssl.TLSVersion.TLSv1_2
        assert not await _is_let_in(world.port, old)


async def test_a_ca_of_clients_that_is_exchanged_holds_for_the_next_connection_and_cuts_no_stream(
    serving: Any, files: CertificateFiles, authority: Any
) -> None:
    first, second = trustme.CA(), trustme.CA()
    asked = _asked_for_certificates(files, first)
    authority_for_addresses = trusting(authority)
    authority_for_addresses.check_hostname = False
    first.issue_cert("client.example").configure_cert(authority_for_addresses)
    async with serving(tls=asked, tls_poll_seconds=0.02) as world:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", world.port, ssl=_showing(authority, first), server_hostname="localhost"
        )
        writer.write(GET.replace(b"/a", b"/stream"))
        await reader.readuntil(b"data")
        assert asked.client_ca is not None
        write_at_once(asked.client_ca, second.cert_pem.bytes())
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not await _is_let_in(world.port, _showing(authority, second)):
                pass
        assert not await _is_let_in(world.port, _showing(authority, first))
        assert not await _is_let_in(world.port, authority_for_addresses, "127.0.0.1")  # which names no server
        await soon(reader.readuntil(b"data"))
        writer.close()
    assert world.reasons == []
