"""Where the objects of a tier are: an index by site and key, by tag, and by the object that a variant belongs to.

It is made for millions of objects: one takes some 70 bytes beside its key, and 12 for each tag that it shares with others. What is known
of one is a single piece of memory with its key at the end; everything else says its handle in the order of leaving, which is four bytes.
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memchr, memcmp, memcpy

from nova.ext.eviction cimport EV_NONE, Eviction, evict_add, evict_forget, evict_remove, evict_size
from nova.ext.objects cimport key_hash

import os

cdef extern from "malloc.h" nogil:
    size_t malloc_usable_size(void* block)

cdef enum:
    NONE = EV_NONE
    FIRST = 64                  # of what grows
    MOST = 65535                # bytes of a key, tags of an object
    BLOCK_OVERHEAD = 8          # bytes that malloc takes beside each block

cdef enum:
    BY_NAME = 0                 # places, by site and key
    BY_OBJECT = 1               # the newest variant of each object, by site and the object's key
    BY_LABEL = 2                # labels, by their bytes


# What a place is made of

cdef inline Place* place_of(Places self, uint32_t handle) noexcept nogil:
    return <Place*> self.order.e.nodes[handle].owner


cdef inline Sibling* sibling_of(Place* place) noexcept nogil:
    return <Sibling*> (place + 1)


cdef inline Bearing* bearings_of(Place* place) noexcept nogil:
    return <Bearing*> (<uint8_t*> (place + 1) + (sizeof(Sibling) if place.flags & PL_VARIES else 0))


cdef inline uint8_t* key_of(Place* place) noexcept nogil:
    return <uint8_t*> (bearings_of(place) + place.labels)


cdef inline Bearing* bearing_of(Places self, uint32_t handle, uint32_t label) noexcept nogil:
    """That of a place which is known to have the label."""
    cdef Bearing* bearing = bearings_of(place_of(self, handle))
    while bearing.label != label:
        bearing += 1
    return bearing


cdef inline size_t object_size(const uint8_t* key, size_t size) noexcept nogil:
    """Bytes of a key without the values that its answer varies with."""
    cdef const uint8_t* end = <const uint8_t*> memchr(key, 0, size)
    return size if end == NULL else end - key


# Chains. Linear hashing: with each newcomer one chain is split in two, so nothing is ever built anew while the loop waits

cdef uint32_t* link_of(Places self, int kind, uint32_t element) noexcept nogil:
    if kind == BY_LABEL:
        return &self.labels[element].next
    if kind == BY_OBJECT:
        return &sibling_of(place_of(self, element)).newer
    return &place_of(self, element).next


cdef uint64_t hash_of(Places self, int kind, uint32_t element) noexcept nogil:
    cdef Place* place
    cdef uint8_t* key
    if kind == BY_LABEL:
        return key_hash(self.seed, 0, self.labels[element].name, self.labels[element].size)
    place = place_of(self, element)
    key = key_of(place)
    return key_hash(self.seed, place.site, key, object_size(key, place.key_size) if kind == BY_OBJECT else place.key_size)


cdef inline uint32_t home(Chains* chains, uint64_t hash) noexcept nogil:
    cdef uint32_t i = <uint32_t> hash & chains.mask
    return i if i < chains.used else i & (chains.mask >> 1)


cdef void split(Places self, int kind) noexcept nogil:
    """One chain more. Out of memory: they grow longer instead."""
    cdef Chains* chains = &self.chains[kind]
    cdef uint32_t room, at, after, i
    cdef uint32_t* grown
    cdef uint32_t* link
    if chains.used == chains.room:
        room = chains.room + (chains.room >> 3)
        grown = <uint32_t*> realloc(chains.heads, room * sizeof(uint32_t))
        if grown == NULL:
            return
        chains.heads = grown
        chains.room = room
    if chains.used > chains.mask:
        chains.mask = chains.mask * 2 + 1
    i = chains.used & (chains.mask >> 1)
    at = chains.heads[i]
    chains.heads[i] = chains.heads[chains.used] = NONE
    chains.used += 1
    while at != NONE:
        link = link_of(self, kind, at)
        after = link[0]
        i = home(chains, hash_of(self, kind, at))
        link[0] = chains.heads[i]
        chains.heads[i] = at
        at = after


cdef void chain_add(Places self, int kind, uint32_t element) noexcept nogil:
    cdef Chains* chains = &self.chains[kind]
    cdef uint32_t i
    chains.count += 1
    if chains.count > chains.used:
        split(self, kind)
    i = home(chains, hash_of(self, kind, element))
    link_of(self, kind, element)[0] = chains.heads[i]
    chains.heads[i] = element


cdef uint32_t* chain_link(Places self, int kind, uint32_t element) noexcept nogil:
    """What points to an element that is there."""
    cdef uint32_t* link = &self.chains[kind].heads[home(&self.chains[kind], hash_of(self, kind, element))]
    while link[0] != element:
        link = link_of(self, kind, link[0])
    return link


cdef void chain_remove(Places self, int kind, uint32_t element) noexcept nogil:
    chain_link(self, kind, element)[0] = link_of(self, kind, element)[0]
    self.chains[kind].count -= 1


cdef uint32_t place_find(Places self, uint16_t site, const uint8_t* key, size_t size) noexcept nogil:
    cdef uint32_t at = self.chains[BY_NAME].heads[home(&self.chains[BY_NAME], key_hash(self.seed, site, key, size))]
    cdef Place* place
    while at != NONE:
        place = place_of(self, at)
        if place.key_size == size and place.site == site and memcmp(key_of(place), key, size) == 0:
            return at
        at = place.next
    return NONE


cdef uint32_t newest_variant(Places self, uint16_t site, const uint8_t* key, size_t size) noexcept nogil:
    """key: the object's."""
    cdef uint32_t at = self.chains[BY_OBJECT].heads[home(&self.chains[BY_OBJECT], key_hash(self.seed, site, key, size))]
    cdef Place* place
    cdef uint8_t* found
    while at != NONE:
        place = place_of(self, at)
        found = key_of(place)
        if place.site == site and object_size(found, place.key_size) == size and memcmp(found, key, size) == 0:
            return at
        at = sibling_of(place).newer
    return NONE


# Labels

cdef uint32_t label_find(Places self, const uint8_t* name, size_t size) noexcept nogil:
    cdef uint32_t at = self.chains[BY_LABEL].heads[home(&self.chains[BY_LABEL], key_hash(self.seed, 0, name, size))]
    while at != NONE and (self.labels[at].size != size or memcmp(self.labels[at].name, name, size) != 0):
        at = self.labels[at].next
    return at


cdef uint32_t label_take(Places self, const uint8_t* name, size_t size) noexcept nogil:
    """The label of that name, made when there is none; one more names it. NONE: memory is out."""
    cdef uint32_t at = label_find(self, name, size), room
    cdef Label* grown
    cdef uint8_t* copy
    if at == NONE:
        if self.label_spare == NONE and self.label_used == self.label_room:
            room = self.label_room + (self.label_room >> 3)
            grown = <Label*> realloc(self.labels, room * sizeof(Label))
            if grown == NULL:
                return NONE
            self.labels = grown
            self.label_room = room
        copy = <uint8_t*> malloc(size if size else 1)
        if copy == NULL:
            return NONE
        memcpy(copy, name, size)
        self.held += malloc_usable_size(copy) + BLOCK_OVERHEAD
        if self.label_spare != NONE:
            at = self.label_spare
            self.label_spare = self.labels[at].next
        else:
            at = self.label_used
            self.label_used += 1
        self.labels[at].name = copy
        self.labels[at].size = <uint32_t> size
        self.labels[at].count = 0
        self.labels[at].newest = NONE
        chain_add(self, BY_LABEL, at)
    self.labels[at].count += 1
    return at


cdef void label_leave(Places self, uint32_t label) noexcept nogil:
    """One fewer names it; with the last one it goes."""
    self.labels[label].count -= 1
    if self.labels[label].count:
        return
    chain_remove(self, BY_LABEL, label)
    self.held -= malloc_usable_size(self.labels[label].name) + BLOCK_OVERHEAD
    free(self.labels[label].name)
    self.labels[label].name = NULL
    self.labels[label].next = self.label_spare
    self.label_spare = label


cdef void bear(Places self, uint32_t handle, Bearing* bearing, uint32_t label) noexcept nogil:
    """The place is the newest with that label."""
    bearing.label = label
    bearing.newer = NONE
    bearing.older = self.labels[label].newest
    if bearing.older != NONE:
        bearing_of(self, bearing.older, label).newer = handle
    self.labels[label].newest = handle


cdef void unbear(Places self, Bearing* bearing) noexcept nogil:
    if bearing.newer != NONE:
        bearing_of(self, bearing.newer, bearing.label).older = bearing.older
    else:
        self.labels[bearing.label].newest = bearing.older
    if bearing.older != NONE:
        bearing_of(self, bearing.older, bearing.label).newer = bearing.newer
    label_leave(self, bearing.label)


# Variants

cdef void join(Places self, uint32_t handle, uint32_t vary) noexcept nogil:
    """The place is its object's newest variant."""
    cdef Place* place = place_of(self, handle)
    cdef Sibling* sibling = sibling_of(place)
    cdef uint8_t* key = key_of(place)
    cdef uint32_t before = newest_variant(self, place.site, key, object_size(key, place.key_size))
    sibling.vary = vary
    sibling.older = before
    place.flags |= PL_NEWEST
    if before == NONE:
        chain_add(self, BY_OBJECT, handle)
        return
    chain_link(self, BY_OBJECT, before)[0] = handle
    sibling.newer = sibling_of(place_of(self, before)).newer
    sibling_of(place_of(self, before)).newer = handle
    place_of(self, before).flags &= ~<uint16_t> PL_NEWEST


cdef void part(Places self, uint32_t handle) noexcept nogil:
    cdef Place* place = place_of(self, handle)
    cdef Sibling* sibling = sibling_of(place)
    if not place.flags & PL_NEWEST:
        sibling_of(place_of(self, sibling.newer)).older = sibling.older
        if sibling.older != NONE:
            sibling_of(place_of(self, sibling.older)).newer = sibling.newer
    elif sibling.older == NONE:
        chain_remove(self, BY_OBJECT, handle)
    else:
        chain_link(self, BY_OBJECT, handle)[0] = sibling.older
        sibling_of(place_of(self, sibling.older)).newer = sibling.newer
        place_of(self, sibling.older).flags |= PL_NEWEST
    label_leave(self, sibling.vary)


cdef void unlist(Places self, uint32_t handle) noexcept nogil:
    """It is found by nothing but its handle any more."""
    cdef Place* place = place_of(self, handle)
    cdef uint32_t i
    chain_remove(self, BY_NAME, handle)
    if place.flags & PL_VARIES:
        part(self, handle)
    for i in range(place.labels):
        unbear(self, bearings_of(place) + i)
    self.held -= malloc_usable_size(place) + BLOCK_OVERHEAD


cdef Place* checked(Places self, uint32_t handle) except NULL:
    if handle >= self.order.e.used or self.order.e.nodes[handle].owner == NULL:
        raise ValueError("there is no such handle")
    return place_of(self, handle)


cdef inline bytes key_bytes(Place* place):
    return (<char*> key_of(place))[:place.key_size]


cdef inline tuple name_of(Place* place):
    return place.site, key_bytes(place)


cdef inline bytes label_name(Places self, uint32_t label):
    return (<char*> self.labels[label].name)[:self.labels[label].size]


cdef class Places:
    """The places of those that are in an order of leaving; it is filled and emptied through this alone.

    Sites are numbers below 65536. Handles are small numbers, used again for others after `remove` and `forget`. A handle that is nobody's
    raises ValueError.
    """

    def __cinit__(self, Eviction order not None):
        cdef int i
        self.order = order
        self.label_spare = NONE
        self.seed = int.from_bytes(os.urandom(8), "little")
        for i in range(3):
            self.chains[i].heads = <uint32_t*> malloc(FIRST * sizeof(uint32_t))
            if self.chains[i].heads == NULL:
                raise MemoryError
            self.chains[i].heads[0] = NONE
            self.chains[i].room = FIRST
            self.chains[i].used = 1
        self.labels = <Label*> malloc(FIRST * sizeof(Label))
        if self.labels == NULL:
            raise MemoryError
        self.label_room = FIRST

    def __dealloc__(self):
        cdef uint32_t i
        if self.order is not None:
            for i in range(self.order.e.used):
                free(self.order.e.nodes[i].owner)
                self.order.e.nodes[i].owner = NULL
        for i in range(self.label_used):
            free(self.labels[i].name)
        free(self.labels)
        for i in range(3):
            free(self.chains[i].heads)

    def __len__(self):
        return self.chains[BY_NAME].count

    @property
    def memory(self) -> int:
        """Bytes of the index with the order and the keys: what was asked of malloc, its rounding and its own bytes for each block."""
        cdef size_t size = self.held + self.label_room * sizeof(Label)
        cdef int i
        for i in range(3):
            size += self.chains[i].room * sizeof(uint32_t)
        return size + self.order.memory

    def hash(self, uint16_t site, bytes key) -> int:
        """64 bits that name a key in this process."""
        return key_hash(self.seed, site, <const uint8_t*> <const char*> key, <size_t> len(key))

    def find(self, uint16_t site, bytes key) -> int:
        """The handle of what lies under a key, -1: nothing does."""
        cdef uint32_t handle = place_find(self, site, <const uint8_t*> <const char*> key, <size_t> len(key))
        return -1 if handle == NONE else handle

    def add(self, uint16_t site, bytes key, uint64_t size, uint32_t fresh_until, tuple tags, bytes vary=b"", bint soft=False) -> int:
        """The handle of a newcomer, in place of what lay under its key.

        tags: each once. vary: the names of the fields, when it is a variant of the object that its key names before the first zero byte.
        Raises ValueError: a key of more than 65535 bytes, or so many tags.
        """
        cdef size_t length = <size_t> len(key), count = <size_t> len(tags), done = 0
        cdef const uint8_t* text = <const uint8_t*> <const char*> key
        cdef uint32_t handle = place_find(self, site, text, length)
        cdef uint32_t label = NONE
        cdef Place* place
        cdef bytes tag
        if length > MOST or count > MOST:
            raise ValueError(f"a key has at most {MOST} bytes and {MOST} tags")
        if handle != NONE:
            self.remove(handle)
        place = <Place*> malloc(sizeof(Place) + (sizeof(Sibling) if vary else 0) + count * sizeof(Bearing) + length)
        if place == NULL:
            raise MemoryError
        place.fresh_until = fresh_until
        place.site = site
        place.key_size = <uint16_t> length
        place.labels = <uint16_t> count
        place.flags = (PL_SOFT if soft else 0) | (PL_VARIES if vary else 0)
        memcpy(key_of(place), text, length)
        handle = evict_add(&self.order.e, key_hash(self.seed, site, text, length), size, place)
        if handle == NONE:
            free(place)
            raise MemoryError
        try:
            if vary:
                label = label_take(self, <const uint8_t*> <const char*> vary, <size_t> len(vary))
                if label == NONE:
                    raise MemoryError
            for tag in tags:
                (bearings_of(place) + done).label = label_take(self, <const uint8_t*> <const char*> tag, <size_t> len(tag))
                if (bearings_of(place) + done).label == NONE:
                    raise MemoryError
                done += 1
        except BaseException:
            while done:
                done -= 1
                label_leave(self, (bearings_of(place) + done).label)
            if label != NONE:
                label_leave(self, label)
            evict_remove(&self.order.e, handle)
            free(place)
            raise
        self.held += malloc_usable_size(place) + BLOCK_OVERHEAD
        chain_add(self, BY_NAME, handle)
        for done in range(count):
            bear(self, handle, bearings_of(place) + done, (bearings_of(place) + done).label)
        if vary:
            join(self, handle, label)
        return handle

    def remove(self, uint32_t handle) -> None:
        """It is gone for another reason than the lack of room."""
        cdef Place* place = checked(self, handle)
        unlist(self, handle)
        evict_remove(&self.order.e, handle)
        free(place)

    def forget(self, uint32_t handle) -> None:
        """Let a victim go."""
        cdef Place* place = checked(self, handle)
        cdef uint64_t hash = hash_of(self, BY_NAME, handle)
        unlist(self, handle)
        evict_forget(&self.order.e, handle, hash)
        free(place)

    def name(self, uint32_t handle) -> tuple:
        """(site, key)."""
        return name_of(checked(self, handle))

    def size(self, uint32_t handle) -> int:
        checked(self, handle)
        return evict_size(&self.order.e, handle)

    def fresh_until(self, uint32_t handle) -> int:
        return checked(self, handle).fresh_until

    def is_soft(self, uint32_t handle) -> bool:
        return checked(self, handle).flags & PL_SOFT != 0

    def age(self, uint32_t handle, uint32_t now) -> None:
        """It is fresh until `now` at most."""
        cdef Place* place = checked(self, handle)
        if now < place.fresh_until:
            place.fresh_until = now

    def soften(self, uint32_t handle) -> None:
        """From now on `is_soft`."""
        checked(self, handle).flags |= PL_SOFT

    def tags(self, uint32_t handle) -> tuple:
        cdef Place* place = checked(self, handle)
        cdef uint32_t i
        return tuple([label_name(self, bearings_of(place)[i].label) for i in range(place.labels)])

    def varies(self, uint16_t site, bytes key) -> bytes:
        """The names of fields with the newest variant of an object, empty: none is here."""
        cdef uint32_t at = newest_variant(self, site, <const uint8_t*> <const char*> key, <size_t> len(key))
        return b"" if at == NONE else label_name(self, sibling_of(place_of(self, at)).vary)

    def variants(self, uint16_t site, bytes key) -> list:
        """The keys of an object's variants, newest first."""
        cdef uint32_t at = newest_variant(self, site, <const uint8_t*> <const char*> key, <size_t> len(key))
        cdef list found = []
        while at != NONE:
            found.append(key_bytes(place_of(self, at)))
            at = sibling_of(place_of(self, at)).older
        return found

    def tagged(self, bytes tag, int site=-1) -> list:
        """(site, key) of those with a tag, newest first. site: -1 for every one."""
        cdef uint32_t label = label_find(self, <const uint8_t*> <const char*> tag, <size_t> len(tag))
        cdef uint32_t at = NONE if label == NONE else self.labels[label].newest
        cdef list found = []
        cdef Place* place
        while at != NONE:
            place = place_of(self, at)
            if site < 0 or place.site == site:
                found.append(name_of(place))
            at = bearing_of(self, at, label).older
        return found

    def scan(self, uint32_t at, uint32_t most, int site=-1) -> tuple:
        """([(site, key)], where to go on; -1: that was the end). Looks at `most` handles from `at` on. What is there from the first look to
        the last is found; what comes or goes meanwhile may be."""
        cdef uint32_t end = min(self.order.e.used, at + most)
        cdef list found = []
        cdef Place* place
        while at < end:
            place = place_of(self, at)
            if place != NULL and (site < 0 or place.site == site):
                found.append(name_of(place))
            at += 1
        return found, (at if at < self.order.e.used else -1)
