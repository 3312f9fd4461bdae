"""A collection that follows its source: on a real catalogue, from a real site on loopback."""

import asyncio

import pytest

from bascule.bootstrap import init, open_app
from bascule.core.connectors import Partial, SkippedItem, SourceItem, UnchangedItem
from bascule.core.errors import ConfigError, NotFound, StorageError
from bascule.core.principals import system_principal
from bascule.core.rights import Rights
from bascule.rag.sync import SourceRules, Sync
from bascule.testing.running import settings_for
from bascule.testing.site import Page, running_site, table_of

OPERATOR = system_principal("default")
PAGES = [f"/p{n}" for n in range(10)]


class Whole:
    """A connector that tells what it is told to."""

    kind = "told"

    def __init__(self, *changes):
        self.told = list(changes)

    async def items(self):
        for change in self.told:
            if isinstance(change, StorageError):
                raise change
            yield change


class Source(Whole):
    """One that also tells what has not changed."""

    async def changes(self, known):
        async for change in self.items():
            yield change


def doc(name, text="text", **more):
    return SourceItem(
        external_id=name, name=name + ".txt", data=f"{name}: {text}".encode(), media_type="text/plain", **more
    )


def docs(count):
    return [doc(f"d{n}") for n in range(count)]


@pytest.fixture
async def app(tmp_path):
    settings = settings_for(tmp_path / "data")
    await init(settings)
    async with open_app(settings, work=False) as app:
        yield app


async def sync(app, *changes, rules=None, confirm=False, plain=False):
    source = Whole(*changes) if plain else Source(*changes)
    rules = rules or SourceRules(name="s", collection="c", rights=Rights.of(["public"]))
    return await Sync(app.catalogue, app.ingest).run(OPERATOR, rules, source, confirm_deletions=confirm)


async def held(app):
    return {d.external_id: d for d in await app.catalogue.documents(OPERATOR, None, 100, None)}


async def test_what_is_gone_is_deleted_and_the_rest_is_left_alone(app):
    report = await sync(app, *docs(10))
    assert (report.taken, len(report.jobs), report.deleted) == (10, 1, 0)
    report = await sync(app, *(UnchangedItem(external_id=f"d{n}") for n in range(9)))
    assert (report.taken, report.unchanged, report.deleted, report.held_back) == (0, 9, 1, 0)
    assert sorted(await held(app)) == [f"d{n}" for n in range(9)]


async def test_too_many_deletions_wait_for_a_persons_word(app):
    await sync(app, *docs(10))
    report = await sync(app, *docs(7))
    assert (
        (report.deleted, report.held_back) == (0, 3)
        and "3 of 10" in report.reason
        and "--confirm-deletions" in report.reason
    )
    assert len(await held(app)) == 10
    assert (await sync(app)).held_back == 10, "an empty listing is believed least of all"
    assert (await sync(app, *docs(7), confirm=True)).deleted == 3 and len(await held(app)) == 7
    rules = SourceRules(name="s", collection="c", max_deleted_share=0.5)
    assert (await sync(app, *docs(4), rules=rules)).deleted == 3


async def test_a_source_that_fails_deletes_nothing_and_what_came_is_kept(app):
    await sync(app, *docs(10))
    gone = SkippedItem(external_id="d9", reason="not there any more", gone=True)
    report = await sync(app, doc("new"), gone, StorageError("The site does not answer."), confirm=True)
    assert (report.taken, report.deleted, report.held_back, report.stopped) == (1, 0, 1, "The site does not answer.")
    assert len(await held(app)) == 11


async def test_a_source_not_seen_whole_deletes_only_what_it_says_is_gone(app):
    await sync(app, *docs(10))
    gone = SkippedItem(external_id="d9", reason="not there any more", gone=True)
    report = await sync(app, doc("d0"), gone, Partial(reason="one page of the list is missing"), confirm=True)
    assert (report.deleted, report.partial) == (1, ("one page of the list is missing",)) and "d9" not in await held(app)


async def test_what_could_not_be_read_today_stays(app):
    await sync(app, *docs(10))
    report = await sync(app, *docs(9), SkippedItem(external_id="d9", reason="the site answered 500"))
    assert (report.deleted, len(report.skipped)) == (0, 1)


async def test_a_folder_that_cannot_be_listed_keeps_what_is_in_it(app):
    rules = SourceRules(name="s", collection="c", max_deleted_share=1.0)
    await sync(app, doc("a"), doc("shut/b"), doc("shut/c/d"), doc("shutter"), rules=rules, plain=True)
    report = await sync(
        app, doc("a"), SkippedItem(external_id="shut", reason="cannot be listed"), rules=rules, plain=True
    )
    assert report.deleted == 1 and sorted(await held(app)) == ["a", "shut/b", "shut/c/d"]


async def test_a_source_never_touches_what_others_brought(app):
    await app.ingest.take(OPERATOR, "c", [doc("upload")], Rights.of(["public"]))
    await sync(app, doc("x"), rules=SourceRules(name="other", collection="c"))
    await sync(app, *docs(5))
    assert (await sync(app, *docs(4), confirm=True)).deleted == 1
    assert {"upload", "x"} <= set(await held(app)) and (await held(app))["d0"].source == "source:s"
    await app.ingest.take(OPERATOR, "c", [doc("d0", "mine now")], None, source="upload")
    assert (await sync(app, *docs(4)[1:], confirm=True)).deleted == 0, "it was taken over by an upload"


async def test_rights_go_by_pattern_and_change_without_the_document(app):
    rules = SourceRules(
        name="s", collection="c", rights=Rights.of(["public"]), deny=frozenset({"group:interns"}),
        patterns=(("hr/*", Rights.of(["group:hr"])), ("hr/open/*", Rights.of(["public"], ["user:eve"]))),
    )  # fmt: skip
    await sync(app, doc("a"), doc("hr/b"), doc("hr/open/c"), doc("hr/d", rights=Rights.of(["user:dan"])), rules=rules)
    found = {name: (sorted(d.rights.allow), sorted(d.rights.deny)) for name, d in (await held(app)).items()}
    assert found == {
        "a": (["public"], ["group:interns"]), "hr/b": (["group:hr"], ["group:interns"]),
        "hr/open/c": (["public"], ["group:interns", "user:eve"]), "hr/d": (["user:dan"], []),
    }  # fmt: skip
    same = [UnchangedItem(external_id=name) for name in found if name != "hr/d"]
    closed = SourceRules(name="s", collection="c", rights=Rights.of(["group:staff"]))
    report = await sync(app, *same, rules=closed)
    assert report.rights_changed == 3 and (await held(app))["hr/b"].rights.allow == {"group:staff"}
    assert (await sync(app, *same, rules=closed)).rights_changed == 0


async def test_a_page_with_two_urls_has_the_rights_that_both_have(app):
    rules = SourceRules(
        name="s", collection="c", rights=Rights.of(["public"]), patterns=(("*/hr/*", Rights.of(["group:hr"])),)
    )
    await sync(app, doc("http://x/a", metadata={"url": "http://x/hr/b"}), rules=rules)
    assert (await held(app))["http://x/a"].rights.allow == frozenset()


async def test_large_sources_become_several_jobs(app):
    report = await sync(app, *docs(150))
    assert (report.taken, len(report.jobs)) == (150, 3)
    report = await sync(app, *(doc(f"d{n}", "x" * 20_000_000) for n in range(2)), Partial(reason="more is left"))
    assert len(report.jobs) == 1


@pytest.fixture
async def site():
    async with running_site(table_of(PAGES)) as site:
        links = "".join(f'<a href="{path}">x</a>' for path in PAGES)
        site.pages["/"] = f"<p>The start page of the site.</p>{links}"
        yield site


def configured(tmp_path, site, **source):
    sources = {
        "docs": {"kind": "crawl", "start": [site.url + "/"], "collection": "docs", "allow": ["public"], **source}
    }
    return settings_for(
        tmp_path / "data", rag={"embedding_model": None}, sources=sources, fetcher={"allow": [site.authority]}
    )


async def test_a_site_is_followed_through_changes_losses_and_failure(tmp_path, site):
    settings = configured(tmp_path, site)
    await init(settings)
    async with open_app(settings, work=False) as app:
        assert (await app.sources.run("docs")).taken == 11
        (job,) = (await app.sources.run("docs")).jobs
        assert (await app.catalogue.job(OPERATOR, job)).counts == {"unchanged": 11}, (
            "sent again, the same is not made again"
        )
        site.all_fail = 500
        report = await app.sources.run("docs", confirm_deletions=True)
        assert report.stopped and report.deleted == 0
        site.all_fail = None
        for path in PAGES[:5]:
            del site.pages[path]
        report = await app.sources.run("docs")
        assert (
            (report.deleted, report.held_back) == (0, 5) and "5 of 11" in report.reason and len(await held(app)) == 11
        )
        assert (await app.sources.run("docs", confirm_deletions=True)).deleted == 5 and len(await held(app)) == 6
        site.pages["/p9"] = Page(status=302, headers={"location": "http://169.254.169.254/"})
        report = await app.sources.run("docs")
        assert [s.external_id for s in report.skipped if "refused" in s.reason] == [
            site.url + "/p9"
        ] and report.deleted == 0
        with pytest.raises(NotFound, match="docs"):
            await app.sources.run("nothing")


async def test_a_source_with_a_schedule_runs_by_itself_in_the_worker(tmp_path, site):
    settings = configured(tmp_path, site, every_s=3600)
    await init(settings)
    async with open_app(settings, work=True) as app:
        async with app.sources.kept(), asyncio.timeout(20):
            while "indexed" not in {d.state for d in (await held(app)).values()}:
                await asyncio.sleep(0.05)
        assert site.times()["/"] == 1


@pytest.mark.parametrize(
    ("source", "fetcher", "named"),
    [
        ({"kind": "upload"}, {}, "sources.docs.kind"),
        ({"kind": "ftp"}, {}, "Known kinds"),
        ({"start": []}, {}, "sources.docs.start"),
        ({"start": ["file:///etc"]}, {}, "file:///etc"),
        ({"nonsense": 1}, {}, "sources.docs.nonsense"),
        ({"allow": ["everyone"]}, {}, "sources.docs"),
        ({}, {"allow": ["a b"]}, "fetcher.allow"),
        ({}, {"proxy": "x"}, "fetcher.proxy"),
    ],
)
async def test_what_is_wrong_in_the_file_is_named(tmp_path, source, fetcher, named):
    given = {"kind": "crawl", "start": ["https://example.com/"], "collection": "c", **source}
    if given["kind"] != "crawl":
        del given["start"]
    settings = settings_for(tmp_path / "data", rag={"embedding_model": None}, sources={"docs": given}, fetcher=fetcher)
    await init(settings)
    with pytest.raises(ConfigError, match=named):
        async with open_app(settings, work=False):
            pass
