"""All sites of this node: opened, changed and closed by the settings; what they keep, forgotten by key, pattern and tag."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from itertools import islice
from typing import Any, Final

import trio

from nova.cdn.cache.disk import DiskTier
from nova.cdn.cache.keeper import MAX_STARS, Keeper, Name, glob, literal_prefix, primary
from nova.cdn.ports import Admission, Fetcher, Purge, Usage, Warmed
from nova.cdn.shield.compress import Compressor
from nova.cdn.shield.site import Site
from nova.cdn.shield.sliced import Match
from nova.core.clock import Clock
from nova.core.errors import NotFound, NovaError, Unavailable, Unprocessable
from nova.core.log import Log
from nova.core.offload import Offload
from nova.core.reactor import Feed, Reactor
from nova.core.settings_table import Cdn, CdnSite
from nova.ext import kept as k

_log = Log("nova.cdn")
MAX_PATTERN: Final = 1024  # bytes
LEAVE: Final = 30.0  # seconds that fetches of a site that is gone may take; those of one that has changed end when they are done
_STRETCH: Final = 500  # answers forgotten between two looks at the loop

App = Callable[[Any, Any, Any], Awaitable[None]]


class _Running:
    """A site with the scope of its tasks."""

    def __init__(self, site: Site, scope: trio.CancelScope) -> None:
        self.site, self.scope = site, scope


class Sites:
    """`Store` of this node.

    fetcher: makes a site's origins. admission: makes its gate, None: it has none. listen: opens a site's listener; close: closes it.
    via: names this node in Via. counted_by: see Site. called: the Host under which viewers know a site, None: nobody knows.
    before: awaited once purges are possible and before the first listener opens: what was told meanwhile.
    """

    def __init__(
        self,
        reactor: Reactor,
        config: Cdn,
        clock: Clock,
        offload: Offload,
        *,
        via: bytes,
        fetcher: Callable[[CdnSite], Fetcher],
        listen: Callable[[CdnSite, int], None],
        close: Callable[[CdnSite], None],
        admission: Callable[[CdnSite], Admission | None] = lambda site: None,
        counted_by: Callable[[str], Hashable | None] = lambda peer: peer,
        called: Callable[[CdnSite], bytes | None] = lambda site: None,
        disk: DiskTier | None = None,
        before: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._reactor, self._clock, self._via = reactor, clock, via
        self._fetcher, self._admission, self._listen, self._close = fetcher, admission, listen, close
        self.config, self._before, self._counted_by, self._called = config, before, counted_by, called
        self.keeper = Keeper(reactor.objects, policy=config.policy, capacity=config.memory)
        self.disk = disk
        self._compressor = Compressor(self.keeper, offload)
        self._sites: dict[str, _Running] = {}
        self._leaving: list[_Running] = []  # sites as they were before a change, while they fetch
        self._numbers: dict[str, int] = {}
        self._nursery: trio.Nursery | None = None

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve the sites of the settings; until cancelled."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            await nursery.start(self._compressor.run)
            if self.disk is not None:
                await nursery.start(self.disk.run)
            for number, config in enumerate(self.config.sites, 1):
                self._numbers[config.name] = number
            if self._before is not None:
                await self._before()
            await self.apply(self.config.sites)
            task_status.started()

    async def apply(self, wanted: Sequence[CdnSite]) -> None:
        """Make the sites those of `wanted`: who is new opens, who has changed gets its new rules for requests from now on, who is gone
        closes when its fetches are done. What is kept stays, unless the names of objects have changed.

        Raises NovaError: a site cannot be made, or cannot listen; then every site stays as it was.
        """
        names = {site.name for site in wanted}
        gone = [running for name, running in self._sites.items() if name not in names]
        made: list[_Running] = []
        numbers = dict(self._numbers)
        try:
            for config in wanted:
                running = self._sites.get(config.name)
                if running is None or running.site.config != config:
                    made.append(await self._make(config))
            self._relisten(gone, made)
        except BaseException:
            self._numbers = numbers
            for new in made:
                new.scope.cancel()
            raise
        renamed = [self._install(new) for new in made]
        for name in filter(None, renamed):
            await self.purge(Purge("all", site=name))
        for running in gone:
            await self._end(running)

    async def _make(self, config: CdnSite) -> _Running:
        """A site that runs, and that nobody can ask yet."""
        assert self._nursery is not None
        number = self._numbers.get(config.name)
        if number is None:
            number = next((free for free in range(1, k.PICTURES) if free not in self._numbers.values()), None)
            if number is None:  # those that go have theirs until the others are there
                raise Unprocessable("bad_settings", f"old and new sites together are more than {k.PICTURES - 1}: change fewer at once")
            self._numbers[config.name] = number
        site = Site(
            number,
            config,
            self._fetcher(config),
            self.keeper,
            self._clock,
            via=self._via,
            feed=self._feed,
            compressor=self._compressor,
            disk=self.disk,
            admission=self._admission(config),
            counted_by=self._counted_by,
        )
        if config.compress:
            self._nursery.start_soon(self._compressor.load)
        scope = trio.CancelScope()
        await self._nursery.start(self._run_site, site, scope)
        return _Running(site, scope)

    def _relisten(self, gone: Sequence[_Running], made: Sequence[_Running]) -> None:
        """The listeners of those that are gone close, and those of `made` open: two sites may change places. When one cannot be had, the
        old ones are there again."""
        moved = [(self._sites.get(new.site.config.name), new) for new in made]
        moved = [(old, new) for old, new in moved if old is None or old.site.config.listen != new.site.config.listen]
        closed = [old.site for old in (*gone, *(old for old, _ in moved if old is not None)) if old.site.config.listen is not None]
        for site in closed:
            self._close(site.config)
        opened: list[Site] = []
        try:
            for _, new in moved:
                if new.site.config.listen is not None:
                    self._listen(new.site.config, new.site.number)
                    opened.append(new.site)
        except NovaError:
            for site in opened:
                self._close(site.config)
            for site in closed:
                self._listen(site.config, site.number)
            raise

    def _install(self, new: _Running) -> str | None:
        """Requests go to this site from now on. Its name when it calls its objects otherwise than before: what it has kept is to go."""
        assert self._nursery is not None
        site, config = new.site, new.site.config
        old = self._sites.get(config.name)
        self._sites[config.name] = new
        self._reactor.serve_site(
            site.number,
            config.name if config.prefix else "",
            site,
            host_in_key=site.host_in_key,
            directives=config.request_directives,
            always_up=config.signing != "off",
        )
        _log.info("site_opened" if old is None else "site_changed", site=config.name)
        if old is None:
            return None
        self._leaving.append(old)
        self._nursery.start_soon(self._retire, old, float("inf"))
        return config.name if old.site.host_in_key != site.host_in_key else None

    async def _run_site(self, site: Site, scope: trio.CancelScope, *, task_status: trio.TaskStatus[None]) -> None:
        with scope:
            await site.run(task_status=task_status)

    async def _end(self, running: _Running) -> None:
        """Of a site whose listener is closed."""
        assert self._nursery is not None
        name = running.site.config.name
        del self._sites[name]
        self._reactor.end_site(running.site.number)
        self._leaving.append(running)  # first: the purge is for its fetches under way, too
        await self.purge(Purge("all", site=name))
        self._nursery.start_soon(self._retire, running, LEAVE)
        del self._numbers[name]
        _log.info("site_closed", site=name)

    async def _retire(self, running: _Running, patience: float) -> None:
        try:
            with trio.move_on_after(patience):
                await running.site.idle()
            running.scope.cancel()
        finally:
            self._leaving.remove(running)

    async def drain(self) -> None:
        """Accept nothing new on the sites' listeners, and wait for the fetches under way. The caller bounds the time."""
        for running in self._sites.values():
            if running.site.config.listen is not None:
                self._close(running.site.config)
        for running in [*self._sites.values(), *self._leaving]:
            await running.site.idle()

    def _feed(self) -> Feed:
        return self._reactor.feed(window_items=0, window_bytes=0)

    # -- for other protocols ---------------------------------------------------------------------------------------------

    def before(self, app: App) -> App:
        """`app` with the prefixes of sites in front of it: HTTP/2 and HTTP/3."""

        async def serve(scope: Any, receive: Any, send: Any) -> None:
            path = scope.get("raw_path") or scope.get("path", "").encode()
            if scope["type"] == "http" and path.startswith(b"/cdn/s/"):
                name = path[7:].partition(b"/")[0].decode("latin-1")
                running = self._sites.get(name)
                if running is not None and running.site.config.prefix:
                    await running.site.app(scope, receive, send)
                    return
            await app(scope, receive, send)

        return serve

    def sites(self) -> Mapping[str, Site]:
        return {name: running.site for name, running in self._sites.items()}

    def site(self, name: str) -> Site:
        """Raises NotFound."""
        if name not in self._sites:
            raise NotFound(detail=f"there is no site {name!r}")
        return self._sites[name].site

    # -- Store -----------------------------------------------------------------------------------------------------------

    async def purge(self, *what: Purge) -> int:
        count = 0
        unknown: dict[tuple[str | None, bytes | None, bool], list[Purge]] = {}  # under which hosts, that is
        for each in what:
            if each.site is not None and each.site not in self._numbers:
                continue
            keys = self._keys(each)
            if each.kind == "key" and keys is None:
                unknown.setdefault((each.site, each.host, each.soft), []).append(each)
            else:
                count += await self._forget(each, self._match(each), keys)
        for alike in unknown.values():
            targets, host = {each.value for each in alike}, alike[0].host
            count += await self._forget(alike[0], partial(_is_one_of, targets, host), None)
        return count

    async def _forget(self, what: Purge, match: Match, keys: list[tuple[int, bytes]] | None) -> int:
        """What matches, of the kind of `what`. keys: the objects, None: all are to be looked at."""
        site = None if what.site is None else self._numbers[what.site]
        count = 0
        now = self._clock.wall()
        for running in [*self._sites.values(), *self._leaving]:
            if what.site is None or running.site.config.name == what.site:
                count += running.site.doom(match, soft=what.soft)
        # The disk first: what comes up from there while this goes on is in memory before it is looked for in memory.
        stuck = 0 if self.disk is None else self.disk.stuck
        on_disk = set[tuple[str, bytes]]() if self.disk is None else await self._purge_disk(self.disk, what, match, keys)
        names = await self._names(what, site, match, keys)
        for at in range(0, len(names), _STRETCH):
            count += self.keeper.purge_names(names[at : at + _STRETCH], soft=what.soft, now=now)
            await trio.lowlevel.checkpoint()
        if self.disk is not None and self.disk.stuck > stuck:
            raise Unavailable("storage_failed", "what was forgotten still lies on the disk: a restart would bring it back")
        return count + len(on_disk.difference((self._name_of(number), key) for number, key in names))

    def _keys(self, what: Purge) -> list[tuple[int, bytes]] | None:
        """The keys that a purge by target means, on the sites that it is for; None: it is another one, or there are too many hosts."""
        if what.kind != "key":
            return None
        found = [(k.PICTURES, what.value)] if what.site is None else []
        for name, number in self._numbers.items():
            if what.site not in (None, name):
                continue
            if what.host is not None:
                hosts: set[bytes] | None = {*_called(what.host), b""}
            else:
                memory, disk = self.keeper.hosts.of(number), set() if self.disk is None else self.disk.hosts.of(name)
                hosts = None if memory is None or disk is None else memory | disk
            if hosts is None:
                return None
            found += [(number, host + what.value) for host in hosts]
        return found

    def _match(self, what: Purge) -> Match:
        """Whether an object of that key (without its variant) and these tags is meant."""
        if what.kind == "tag":
            return lambda key, tags: what.value in tags and _host_is(key, what.host)
        if what.kind == "all":
            return lambda key, tags: _host_is(key, what.host)
        if what.kind == "key":
            return lambda key, tags: target_of(key) == what.value and _host_is(key, what.host)
        if what.kind == "prefix":
            return lambda key, tags: target_of(key).startswith(what.value) and _host_is(key, what.host)
        if len(what.value) > MAX_PATTERN or what.value.count(b"*") > MAX_STARS * 2 or len(re.findall(rb"\*+", what.value)) > MAX_STARS:
            raise Unprocessable(detail=f"a pattern has at most {MAX_PATTERN} bytes and {MAX_STARS} stars")
        pattern, begin = glob(what.value), literal_prefix(what.value)
        return lambda key, tags: (
            (target := target_of(key)).startswith(begin)
            and (pattern.fullmatch(target) or pattern.fullmatch(target.partition(b"?")[0])) is not None
            and _host_is(key, what.host)
        )

    async def _names(self, what: Purge, site: int | None, match: Match, keys: list[tuple[int, bytes]] | None) -> list[Name]:
        """Those in memory."""
        if keys is not None:
            return [name for number, key in keys for name in self.keeper.names_of(number, key)]
        if what.kind == "tag":
            names = self.keeper.tagged(what.value, site)
            return names if what.host is None else [name for name in names if _host_is(primary(name[1]), what.host)]
        found = []
        for stretch in self.keeper.names(site):
            found += [(number, key) for number, key, _ in stretch if match(primary(key), ())]
            stretch.clear()  # what is looked at cannot go
            await trio.lowlevel.checkpoint()
        return found

    async def _purge_disk(self, disk: DiskTier, what: Purge, match: Match, keys: list[tuple[int, bytes]] | None) -> set[tuple[str, bytes]]:
        """Those that were there, or on their way. keys: the objects, where they are known."""
        if keys is not None:
            names = iter([name for number, key in keys for name in disk.names_of(self._name_of(number), key)])
        else:
            names = iter(disk.tagged(what.value, what.site)) if what.kind == "tag" else disk.names(what.site)
        found, tags = set[tuple[str, bytes]](), (what.value,) if what.kind == "tag" else ()
        while stretch := list(islice(names, _STRETCH)):
            if some := [name for name in stretch if match(primary(name[1]), tags)]:
                found |= await disk.purge(some, soft=what.soft, now=self._clock.wall())
            await trio.lowlevel.checkpoint()
        return found

    async def prewarm(self, site: str, target: bytes, *, host: bytes | None = None) -> Warmed:
        found = self.site(site)
        if not target.startswith(b"/"):
            raise Unprocessable(detail="a path is wanted")
        return await found.prewarm(target, host or self._called(found.config) or found.own_host())

    def drain_usage(self) -> list[Usage]:
        hot: dict[Name, tuple[int, int]] = {}
        cold: dict[Name, tuple[int, ...]] = {}
        for (number, key), (requests, size) in self.keeper.drain_usage().items():
            if number == k.PICTURES:  # no object of a site
                continue
            before = hot.get((number, primary(key)), (0, 0))
            hot[number, primary(key)] = (before[0] + requests, before[1] + size)
        for running in self._sites.values():
            cold |= {(running.site.number, key): found for key, found in running.site.drain_misses().items()}
        found = []
        for name in hot.keys() | cold.keys():
            host, slash, rest = name[1].partition(b"/")
            hits, size = hot.get(name, (0, 0))
            came_up, kept, passed = cold.get(name, (0, 0, 0))
            found.append(Usage(self._name_of(name[0]), host, slash + rest, hits + came_up, hits + kept, size + passed))
        return found

    def stats(self) -> dict[str, dict[str, int]]:
        total: dict[str, int] = {
            "objects": self.keeper.table.count,
            "bytes": self.keeper.account.bytes,
            "stored_bytes": self.keeper.table.bytes,
            "promised_bytes": self.keeper.account.promised,
            "evictions": self.keeper.evictions,
            "compressed": self._compressor.made,
        }
        if self.disk is not None:
            total |= {
                "disk_objects": len(self.disk), "disk_bytes": self.disk.used, "disk_writes": self.disk.writes,
                "disk_reads": self.disk.reads, "disk_failures": self.disk.failures, "disk_evictions": self.disk.evictions,
            }  # fmt: skip
        found = {"": total}
        for name, running in self._sites.items():
            hot = self._reactor.engine.site_stats(running.site.number)
            cold = asdict(running.site.counters)
            each = {**cold, **hot, "bytes": hot["bytes"] + cold["bytes"], "hits": hot["hits"] + cold["hits"]}
            each |= {"requests": hot["requests"] + cold["assets"]}
            each |= {"misses": each["requests"] - each["hits"]}
            each |= {"fetching": running.site.slots.busy, "queued": running.site.slots.waiting}
            found[name] = each
            for key in ("requests", "hits", "stale", "collapsed", "misses", "fills", "passed", "validated", "failed"):
                total[key] = total.get(key, 0) + each[key]
        return found

    def _name_of(self, number: int) -> str:
        return next((name for name, found in self._numbers.items() if found == number), "")


def target_of(key: bytes) -> bytes:
    """Path and query of a key: a host has no slash."""
    at = key.find(b"/")
    return key[at:] if at >= 0 else b""


def _is_one_of(targets: Collection[bytes], host: bytes | None, key: bytes, tags: tuple[bytes, ...]) -> bool:
    return target_of(key) in targets and _host_is(key, host)


def _host_is(key: bytes, host: bytes | None) -> bool:
    return host is None or (found := key.partition(b"/")[0]) == b"" or found in _called(host)


def _called(host: bytes) -> set[bytes]:
    """The names in keys of who is called so in a URL: viewers may write a scheme's own port, or not."""
    bare = host.lower().removesuffix(b":80").removesuffix(b":443")
    return {bare} if re.search(rb":\d+$", bare) else {bare, bare + b":80", bare + b":443"}
