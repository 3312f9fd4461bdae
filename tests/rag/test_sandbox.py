"""The wall between the service and untrusted files: what a child may not do, and what becomes of it when it does."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bascule.core.errors import IngestError
from bascule.rag import child_process
from bascule.rag.child_process import confinement
from bascule.rag.confine import Limits
from bascule.rag.sandbox import Sandbox, SandboxOptions, open_sandbox
from bascule.testing.documents import line, paragraph, pdf, raw_docx, run

CRAFTED = Path(__file__).parents[3] / "shared" / "data" / "security"
LINUX = sys.platform == "linux"

CONFINED = """
import ctypes, json, os, socket, sys
from bascule.rag.confine import Limits, confine
report = confine(Limits(memory_bytes=500_000_000))
libc = ctypes.CDLL(None, use_errno=True)
numbers = {"x86_64": (41, 42, 425, 56), "aarch64": (198, 203, 425, 220)}[os.uname().machine]
def call(*arguments):
    ctypes.set_errno(0)
    return libc.syscall(*arguments), ctypes.get_errno()
def outcome(action):
    try:
        action()
        return 0
    except OSError as error:
        return error.errno
    except MemoryError:
        return "memory"
address = bytes([2, 0, 0, 9, 127, 0, 0, 1]) + bytes(8)
found = {
    "socket": call(numbers[0], 2, 1, 0), "connect": call(numbers[1], int(sys.argv[1]), address, 16),
    "libc_connect": (libc.connect(int(sys.argv[1]), address, 16), ctypes.get_errno()), "io_uring": call(numbers[2], 1, 0),
    "python_socket": outcome(lambda: socket.socket()), "fork": outcome(os.fork),
    "exec": outcome(lambda: os.execv("/bin/true", ["x"])),
    "kill": outcome(lambda: os.kill(os.getppid(), 0)), "read": outcome(lambda: open("/etc/passwd").read()),
    "read_data": outcome(lambda: open(sys.argv[2]).read()), "write": outcome(lambda: open("/tmp/bascule-must-not-exist", "w")),
    "memory": outcome(lambda: bytearray(600_000_000)),
    "parsers": outcome(lambda: [__import__("bascule.plugins.parsers." + kind) for kind in "csv docx html md pdf txt".split()]),
}
sys.stdout.write(json.dumps([report, found]))
"""

# stands in for `bascule.child`: the same protocol and the same confinement, around a parser that does as the document says
UNRULY = """
import ctypes, os, signal, sys, time
from bascule import child
from bascule.core.parsing import Block, ParsedDocument
class Unruly:
    def parse(self, data, name):
        word = data.decode().split()[0]
        if word == "hang": time.sleep(600)
        if word == "spin":
            while True: pass
        if word == "toil":
            end = time.monotonic() + 1.5
            while time.monotonic() < end: pass
        if word == "crash": ctypes.string_at(0)
        if word == "exit": os._exit(3)
        if word == "abort": os.abort()
        if word == "memory": bytearray(10**10)
        if word == "raise": raise LookupError("SECRET " + data.decode())
        if word == "recurse": return self.parse(data, name)
        if word == "print":
            print("noise"); os.write(1, b"noise"); ctypes.CDLL(None).puts(b"noise")
        if word == "poison": self.poisoned = True
        if word == "fragile" and getattr(self, "poisoned", False): ctypes.string_at(0)
        if word == "big": data = data * 50_000
        if word == "pid": data = str(os.getpid()).encode()
        if word == "environment": data = repr(sorted(os.environ)).encode()
        return ParsedDocument(title="t", blocks=(Block(kind="paragraph", text=data.decode()),))
unruly = Unruly()
child.parser_of = lambda kind: unruly
child.main()
"""


@pytest.fixture
def unruly(monkeypatch):
    monkeypatch.setattr(child_process, "_command", lambda: (sys.executable, "-P", "-c", UNRULY))


def options(**limits):
    fields = {
        name: limits.pop(name)
        for name in ("processes", "recycle_after", "recycle_bytes", "max_result_bytes", "idle_s")
        if name in limits
    }
    return SandboxOptions(limits=Limits(**limits), **fields)


async def refusal(box, data, name="x.txt"):
    with pytest.raises(IngestError) as caught:
        await box.prepare(data, name, "")
    return caught.value


async def text_of(box, data):
    return (await box.prepare(data, "x.txt", "")).chunks[0].text


def is_gone(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


async def eventually(condition, within_s=10.0):
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come true in time"
        await asyncio.sleep(0.02)


@pytest.mark.skipif(not LINUX, reason="the kernel's filters are Linux's")
def test_a_confined_process_reaches_no_network_no_file_no_other_process(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("SECRET")
    with contextlib.closing(__import__("socket").socket()) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        with contextlib.closing(__import__("socket").socket()) as inherited:
            done = subprocess.run(
                [sys.executable, "-P", "-c", CONFINED, str(inherited.fileno()), str(secret)],
                capture_output=True, pass_fds=[inherited.fileno()], timeout=60,
            )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()[-500:]
    report, found = json.loads(done.stdout)
    if report["network"] != "applied":
        pytest.skip(f"this kernel offers no filter: {report['network']}")
    for name in ("socket", "connect", "libc_connect", "io_uring"):
        assert found[name] == [-1, 1], name  # EPERM
    assert found["python_socket"] == found["fork"] == found["exec"] == found["kill"] == 1
    assert found["memory"] == "memory" and found["parsers"] == 0
    assert found["write"] != 0
    if report["files"] == "applied":
        assert found["read"] == found["read_data"] == found["write"] == 13  # EACCES


def test_doctor_is_told_what_was_applied():
    report = confinement()
    assert {"memory", "cpu", "file_writes", "core_dumps", "network", "files", "no_new_privileges"} <= set(report)
    assert report["cpu"] == report["file_writes"] == "applied"


async def test_documents_of_every_kind_come_back_and_one_child_serves_them_all():
    async with open_sandbox(SandboxOptions()) as box:
        for data, name in [
            (b"plain text", "a.txt"),
            (b"# Head\n\ntext", "a.md"),
            (b"<!doctype html><p>text", "a.html"),
            (b"a,b\ntext,2\n", "a.csv"),
            (pdf([line("text")]), "a.pdf"),
            (raw_docx(paragraph(run("text"))), "a.docx"),
        ]:
            made = await box.prepare(data, name, "")
            assert "text" in made.chunks[0].text and made.report["kind"] == name[2:]
        assert len(box._children) == 1 and box.confinement["cpu"] == "applied"


async def test_a_reason_from_the_parser_reaches_the_caller_and_keeps_the_child(unruly):
    async with open_sandbox(SandboxOptions()) as box:
        first = await text_of(box, b"pid")
        assert (await refusal(box, b"", "x.pdf")).reason == "empty"
        assert "nested too deeply" in str(await refusal(box, b"recurse"))
        assert await text_of(box, b"pid") == first


@pytest.mark.parametrize(
    ("word", "limits", "message", "reason"),
    [
        ("hang", {"wall_s": 0.5}, "did nothing for 0.5 s", "too_slow"),
        ("spin", {"cpu_s": 1}, "took more than 1 s of processor time", "too_slow"),
        ("memory", {"memory_bytes": 700_000_000}, "needed more than 0.7 GB", "too_large"),
        ("crash", {}, "the parser crashed", "crashed"),
        ("abort", {}, "the parser crashed", "crashed"),
        ("exit", {}, "the parser crashed", "crashed"),
        ("raise", {}, "the parser crashed", "crashed"),
    ],
)
async def test_only_the_document_fails_and_the_reason_names_what_happened(unruly, word, limits, message, reason):
    async with open_sandbox(options(**limits)) as box:
        assert await text_of(box, b"good before") == "good before"
        error = await refusal(box, word.encode())
        assert message in str(error).lower().replace("gb", "GB") and error.reason == reason and not error.transient
        assert "SECRET" not in str(error)
        assert await text_of(box, b"good after") == "good after"


async def test_a_document_is_given_its_processor_time_however_long_a_busy_machine_takes_over_it(unruly):
    async with open_sandbox(options(wall_s=1)) as box:
        assert await text_of(box, b"toil for longer than that") == "toil for longer than that"


async def test_a_child_at_work_ends_all_the_same_when_it_is_far_beyond_its_time(unruly):
    async with open_sandbox(options(wall_s=0.1, cpu_s=600)) as box:
        assert (await refusal(box, b"spin")).reason == "too_slow"
        assert await text_of(box, b"next") == "next"


async def test_a_crash_is_blamed_on_a_document_only_when_a_fresh_child_crashes_too(unruly):
    async with open_sandbox(SandboxOptions()) as box:
        await box.prepare(b"poison", "x.txt", "")
        assert await text_of(box, b"fragile") == "fragile"


async def test_what_libraries_print_does_not_reach_the_protocol(unruly):
    async with open_sandbox(SandboxOptions()) as box:
        assert await text_of(box, b"print") == "print"
        assert await text_of(box, b"next") == "next"


async def test_an_answer_too_large_is_refused_unread(unruly):
    async with open_sandbox(options(max_result_bytes=100_000)) as box:
        assert (await refusal(box, b"big words here. ")).reason == "too_large"
        assert await text_of(box, b"small") == "small"


async def test_a_child_is_replaced_after_so_many_documents_or_so_much_memory(unruly):
    async with open_sandbox(options(recycle_after=2)) as box:
        pids = [await text_of(box, b"pid") for _ in range(4)]
        assert pids[0] == pids[1] != pids[2] == pids[3]
    async with open_sandbox(options(recycle_bytes=1)) as box:
        assert await text_of(box, b"pid") != await text_of(box, b"pid")


async def test_a_child_without_work_ends_and_another_takes_the_next_document(unruly):
    async with open_sandbox(options(idle_s=0.05)) as box:
        pid = int(await text_of(box, b"pid"))
        await eventually(lambda: is_gone(pid))
        assert await text_of(box, b"next") == "next"


@pytest.mark.skipif(not LINUX, reason="reads Linux's account of memory")
async def test_a_large_service_does_not_make_its_children_look_large(unruly):
    ballast = bytearray(450_000_000)
    ballast[::4096] = b"x" * len(ballast[::4096])  # resident, above what a child may reach before it is replaced
    async with open_sandbox(SandboxOptions()) as box:
        pids = {await text_of(box, b"pid") for _ in range(3)}
    assert len(pids) == 1 and len(ballast) > SandboxOptions().recycle_bytes


async def test_the_child_knows_nothing_of_the_services_environment(unruly, monkeypatch):
    monkeypatch.setenv("BASCULE_TEST_SECRET", "SECRET")
    async with open_sandbox(SandboxOptions()) as box:
        known = await text_of(box, b"environment")
    assert "BASCULE" not in known and "HOME" not in known


async def test_a_cancelled_document_frees_its_place_and_its_child(unruly):
    async with open_sandbox(SandboxOptions()) as box:
        pid = int(await text_of(box, b"pid"))
        task = asyncio.create_task(box.prepare(b"hang", "x.txt", ""))
        await eventually(lambda: not box._slots.qsize())
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await eventually(lambda: is_gone(pid))
        assert await text_of(box, b"next") == "next"


async def test_closing_ends_children_at_work_and_leaks_nothing(unruly):
    before = len(os.listdir("/proc/self/fd")) if LINUX else 0
    async with open_sandbox(options(processes=2)) as box:
        pids = [int(await text_of(box, b"pid")), int(await text_of(box, b"pid"))]
        running = asyncio.create_task(box.prepare(b"hang", "x.txt", ""))
        await eventually(lambda: box._slots.qsize() == 1)
    with pytest.raises(IngestError):
        await running
    await eventually(lambda: all(map(is_gone, pids)))
    if LINUX:
        await eventually(lambda: len(os.listdir("/proc/self/fd")) <= before + 1)


async def test_a_closed_sandbox_starts_nothing():
    async with open_sandbox(SandboxOptions()) as box:
        pass
    assert (await refusal(box, b"x")).transient


async def test_processes_work_side_by_side(unruly):
    async with open_sandbox(options(processes=2)) as box:
        hanging = asyncio.create_task(box.prepare(b"hang", "x.txt", ""))
        await eventually(lambda: box._slots.qsize() == 1)
        assert await text_of(box, b"other") == "other"
        hanging.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await hanging


async def test_a_child_that_cannot_start_is_a_passing_trouble(monkeypatch):
    monkeypatch.setattr(child_process, "_command", lambda: (sys.executable, "-c", "raise SystemExit(1)"))
    async with open_sandbox(SandboxOptions()) as box:
        error = await refusal(box, b"x")
        assert error.transient and "did not start" in str(error)


async def test_a_child_ended_between_documents_is_replaced_unnoticed(unruly):
    async with open_sandbox(SandboxOptions()) as box:
        pid = int(await text_of(box, b"pid"))
        os.kill(pid, signal.SIGKILL)
        assert await text_of(box, b"next") == "next"


def test_children_end_when_the_service_is_killed(tmp_path):
    script = f"""
import asyncio, sys
from bascule.rag import child_process, sandbox
child_process._command = lambda: (sys.executable, "-P", "-c", {UNRULY!r})
async def main():
    async with sandbox.open_sandbox(sandbox.SandboxOptions()) as box:
        print((await box.prepare(b"pid", "x", "")).chunks[0].text, flush=True)
        await asyncio.sleep(600)
asyncio.run(main())
"""
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as service:
        pid = int(service.stdout.readline())
        service.kill()
        service.wait()
    deadline = time.monotonic() + 10
    while not is_gone(pid):
        assert time.monotonic() < deadline, "the child outlived the service"
        time.sleep(0.02)


# Our reading of a crafted file where it is kinder than the manifest's: taken in, and why that is safe.
TAKEN_IN = {"billion_laughs.yaml": "as plain text: no YAML is ever loaded, so its aliases expand into nothing"}
FORBIDDEN = (
    "CANARY-HIDDEN", "CANARY-WHITE", "CANARY-INVISIBLE", "CANARY-TINY", "CANARY-OFF", "CANARY-DISPLAYNONE", "CANARY-FONT0",
    "CANARY-COMMENT", "CANARY-TEMPLATE", "CANARY-META", "CANARY-ARIA", "CANARY-NOSCRIPT", "CANARY-ALT", "root:x:0:0",
    "\u202e", "\u2066", "\u200b", "\ufeff",
)  # fmt: skip
MUST_HAVE = {
    "enc_utf-8.txt": "Größe: naïve café – “quotes” €5 日本語",
    "enc_utf-16-le.txt": "Größe: naïve café – “quotes” €5 日本語",
    "enc_utf-32.txt": "Größe: naïve café – “quotes” €5 日本語",
    "enc_latin-1.txt": "Größe naïve café",
    "enc_shift_jis.txt": "日本語テキストです。検索できますか。",
    "invalid_utf8.txt": "CANARY-END",
    "ok_minimal.pdf": "CANARY-OK-PDF",
    "hidden_text.docx": "The refund period is 30 days.",
    "hidden_text.pdf": "Warranty is two years.",
    "hidden_injection.html": "Returns within 30 days.",
}


async def test_every_crafted_file_ends_as_a_document_or_a_reason():
    if not (CRAFTED / "crafted_manifest.jsonl").is_file():
        pytest.skip("shared/data/security is not here: the crafted files are not tried")
    rows = [json.loads(row) for row in (CRAFTED / "crafted_manifest.jsonl").read_text().splitlines()]
    async with open_sandbox(SandboxOptions()) as box:
        for row in rows:
            name, began = row["file"], time.monotonic()
            try:
                made = await box.prepare((CRAFTED / "crafted" / name).read_bytes(), name, "")
            except IngestError as error:
                assert row["expect"] != "ok", f"{name}: {error}"
                assert error.reason not in ("crashed", "too_slow", "no_parser"), f"{name}: {error}"
            else:
                text = made.title + "".join(c.text + "".join(c.heading_path) for c in made.chunks)
                assert row["expect"] != "reject" or name in TAKEN_IN, f"{name} was taken in"
                assert not [word for word in FORBIDDEN if word in text], name
                assert MUST_HAVE.get(name, "") in text, name
                assert "hidden" not in row["attack"] or made.report["hidden_content"], name
            assert time.monotonic() - began < 10, f"{name} took too long"
        assert all(child.peak_bytes < 500_000_000 for child in box._children)
    assert not Path("/var/CANARY-PICKLE").exists()


async def test_hostile_files_of_our_own_end_as_reasons():
    deep = b"<!doctype html>" + b"<div>" * 200_000 + b"x"
    cases = [
        (raw_docx(paragraph(run("x")), parts={"word/media/a.bin": b"\0" * 60_000_000}), "bomb.docx", "too_large"),
        (
            raw_docx(paragraph(run("x")), prolog='<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>'),
            "xxe.docx",
            "hostile",
        ),
        (b"<html><script>alert(1)</script></html>", "page.pdf", "empty"),
        (b"", "empty.txt", "empty"),
        (b"%PDF-1.7\n", "head.pdf", "damaged"),
        (deep, "deep.html", "too_slow"),
    ]
    async with open_sandbox(options(cpu_s=3, wall_s=20)) as box:
        for data, name, reason in cases:
            error = await refusal(box, data, name)
            assert error.reason == reason, f"{name}: {error}"
            assert str(error)[0].isupper() and str(error).endswith((".", "done"))


def test_a_sandbox_needs_no_loop_to_be_made():
    assert Sandbox(SandboxOptions()).confinement == {}


async def test_missing_protection_is_said_in_the_log(monkeypatch, caplog):
    weak = UNRULY.replace(
        "child.main()", 'child.confine = lambda limits, ocr: {"cpu": "applied", "network": "not offered"}\nchild.main()'
    )
    monkeypatch.setattr(child_process, "_command", lambda: (sys.executable, "-P", "-c", weak))
    async with open_sandbox(options(recycle_after=1)) as box:
        assert await text_of(box, b"one") == "one" and await text_of(box, b"two") == "two"
    assert [r.message for r in caplog.records] == [
        "Untrusted files are parsed with less protection than intended, without: network (not offered)"
    ]
