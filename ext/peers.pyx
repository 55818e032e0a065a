"""How many connections each address has open, over all I/O threads, and the bound on it.

An IPv6 address counts by its /64: that is what one subscriber has. Only addresses with connections take a place, so the table is as
bounded as the connections are.
"""
from libc.stdlib cimport calloc, free

from nova.ext.pthread cimport pthread_mutex_destroy, pthread_mutex_init, pthread_mutex_lock, pthread_mutex_unlock

import os

cdef enum:
    FIRST_CAP = 64


cdef PeerMap* peers_new() noexcept nogil:
    """An empty table without a bound; NULL when memory is out. `secret` is the caller's to set."""
    cdef PeerMap* map = <PeerMap*> calloc(1, sizeof(PeerMap))
    if map == NULL:
        return NULL
    map.slots = <PeerCount*> calloc(FIRST_CAP, sizeof(PeerCount))
    if map.slots == NULL:
        free(map)
        return NULL
    map.cap = FIRST_CAP
    map.secret = 1
    pthread_mutex_init(&map.lock, NULL)
    return map


cdef void peers_free(PeerMap* map) noexcept nogil:
    pthread_mutex_destroy(&map.lock)
    free(map.slots)
    free(map)


cdef inline uint64_t word(const uint8_t* bytes) noexcept nogil:
    cdef uint64_t value = 0
    cdef int i
    for i in range(8):
        value = value << 8 | bytes[i]
    return value


cdef inline bint is_mapped(uint64_t high, uint64_t low) noexcept nogil:
    """An IPv4 address in IPv6's clothes (RFC 4291, 2.5.5.2)."""
    return high == 0 and low >> 32 == 0xFFFF


cdef inline size_t place(PeerMap* map, uint64_t high, uint64_t low) noexcept nogil:
    cdef uint64_t mixed = (high ^ (low * <uint64_t> 0x9E3779B97F4A7C15)) * map.secret
    return <size_t> (mixed >> 32) & (map.cap - 1)


cdef size_t find(PeerMap* map, uint64_t high, uint64_t low) noexcept nogil:
    """The slot of the address, or the free one where it belongs."""
    cdef size_t i = place(map, high, low)
    while map.slots[i].count and (map.slots[i].high != high or map.slots[i].low != low):
        i = (i + 1) & (map.cap - 1)
    return i


cdef bint resize(PeerMap* map, size_t cap) noexcept nogil:
    cdef PeerCount* old = map.slots
    cdef size_t i, old_cap = map.cap
    cdef PeerCount* fresh = <PeerCount*> calloc(cap, sizeof(PeerCount))
    if fresh == NULL:
        return False
    map.slots = fresh
    map.cap = cap
    for i in range(old_cap):
        if old[i].count:
            fresh[find(map, old[i].high, old[i].low)] = old[i]
    free(old)
    return True


cdef bint among(const Net* nets, int count, uint64_t high, uint64_t low) noexcept nogil:
    cdef int i
    for i in range(count):
        if high & nets[i].high_mask == nets[i].high and low & nets[i].low_mask == nets[i].low:
            return True
    return False


cdef bint peers_proxy(PeerMap* map, const uint8_t* address) noexcept nogil:
    """Whether these 16 bytes are the address of a trusted proxy, whose connections begin with a PROXY header."""
    return map.proxy_count > 0 and among(map.proxies, map.proxy_count, word(address), word(address + 8))


cdef bint peers_admit(PeerMap* map, const uint8_t* address, int64_t now_ms) noexcept nogil:
    """Whether one more WebSocket may come now, from these 16 bytes: a bucket for all of them that fills at the rate."""
    cdef bint may
    if map.admit_events == 0 or among(map.free_nets, map.free_count, word(address), word(address + 8)):
        return True
    pthread_mutex_lock(&map.lock)
    if now_ms > map.admit_at:
        map.admit_left += <double> (now_ms - map.admit_at) * map.admit_events / map.admit_ms
        if map.admit_left > map.admit_events:
            map.admit_left = map.admit_events
        map.admit_at = now_ms
    may = map.admit_left >= 1
    if may:
        map.admit_left -= 1
    else:
        map.unadmitted += 1
    pthread_mutex_unlock(&map.lock)
    return may


cdef int peers_enter(PeerMap* map, const uint8_t* address) noexcept nogil:
    """A connection from these 16 bytes: PEER_COUNTED, PEER_EXEMPT, or PEER_REFUSED: its address has as many as it may."""
    cdef uint64_t high = word(address), low = word(address + 8)
    cdef size_t i
    cdef int answer = PEER_COUNTED
    if map.most == 0 or among(map.nets, map.net_count, high, low):
        return PEER_EXEMPT
    if not is_mapped(high, low):
        low = 0
    pthread_mutex_lock(&map.lock)
    i = find(map, high, low)
    if map.slots[i].count >= map.most:
        map.refused += 1
        answer = PEER_REFUSED
    elif map.slots[i].count:
        map.slots[i].count += 1
    elif (map.used + 1) * 2 > map.cap and not resize(map, map.cap * 2):
        answer = PEER_EXEMPT  # no memory to count with; the bound on all connections holds
    else:
        i = find(map, high, low)
        map.slots[i].high = high
        map.slots[i].low = low
        map.slots[i].count = 1
        map.used += 1
    pthread_mutex_unlock(&map.lock)
    return answer


cdef void peers_leave(PeerMap* map, const uint8_t* address) noexcept nogil:
    """A connection that was counted is gone."""
    cdef uint64_t high = word(address), low = word(address + 8)
    cdef size_t i, j, home
    if not is_mapped(high, low):
        low = 0
    pthread_mutex_lock(&map.lock)
    i = find(map, high, low)
    if map.slots[i].count:
        map.slots[i].count -= 1
        if map.slots[i].count == 0:
            map.used -= 1
            # Close the gap, so that nobody behind it is lost: move up whoever would not be found past it.
            j = i
            while True:
                j = (j + 1) & (map.cap - 1)
                if map.slots[j].count == 0:
                    break
                home = place(map, map.slots[j].high, map.slots[j].low)
                if (j - home) & (map.cap - 1) >= (j - i) & (map.cap - 1):
                    map.slots[i] = map.slots[j]
                    map.slots[j].count = 0
                    i = j
            if map.cap > FIRST_CAP and map.used * 8 < map.cap:
                resize(map, map.cap // 2)
    pthread_mutex_unlock(&map.lock)


cdef int networks(Net* nets, given) except -1:
    """Write the networks `given`, (16 bytes, bits of the prefix), into `nets`; how many there are."""
    cdef int count = 0
    cdef bytes prefix
    for prefix, bits in given:
        if count == MAX_EXEMPT:
            raise ValueError(f"at most {MAX_EXEMPT} networks can be named")
        if len(prefix) != 16 or not 0 <= bits <= 128:
            raise ValueError("a network is 16 bytes and a number of bits")
        nets[count].high_mask = <uint64_t> ((((1 << min(bits, 64)) - 1) << (64 - min(bits, 64))))
        nets[count].low_mask = <uint64_t> ((((1 << max(bits - 64, 0)) - 1) << (64 - max(bits - 64, 0))))
        nets[count].high = word(<const uint8_t*> <const char*> prefix) & nets[count].high_mask
        nets[count].low = word(<const uint8_t*> <const char*> prefix + 8) & nets[count].low_mask
        count += 1
    return count


cdef class Peers:
    """The table, and its bound. Addresses are 16 bytes; IPv4 ones mapped (`::ffff:192.0.2.1`)."""

    def __cinit__(self):
        self.map = peers_new()
        if self.map == NULL:
            raise MemoryError
        self.map.secret = int.from_bytes(os.urandom(8), "little") | 1

    def __dealloc__(self):
        if self.map != NULL:
            peers_free(self.map)

    def bound(self, uint32_t most, exempt=()) -> None:
        """At most `most` connections of one address (0: any number), but for those of the networks `exempt`: (16 bytes, bits of the prefix).

        For all connections that come after this call. Raises ValueError: too many networks, or not such ones.
        """
        cdef Net nets[MAX_EXEMPT]
        cdef int i, count = networks(nets, exempt)
        for i in range(count):
            self.map.nets[i] = nets[i]
        self.map.net_count = count
        self.map.most = most

    def trust(self, proxies) -> None:
        """Connections from these networks, (16 bytes, bits of the prefix), begin with a PROXY header. Raises ValueError, as `bound`."""
        cdef Net nets[MAX_EXEMPT]
        cdef int i, count = networks(nets, proxies)
        for i in range(count):
            self.map.proxies[i] = nets[i]
        self.map.proxy_count = count

    def admission(self, uint32_t events, uint32_t ms, exempt=()) -> None:
        """At most `events` WebSockets in `ms`, from all addresses together but the networks `exempt`; events 0: any number.

        Raises ValueError: no time, or as `bound`.
        """
        cdef Net nets[MAX_EXEMPT]
        cdef int i, count = networks(nets, exempt)
        if ms == 0:
            raise ValueError("a rate is of a time")
        for i in range(count):
            self.map.free_nets[i] = nets[i]
        self.map.free_count = count
        self.map.admit_events = events
        self.map.admit_ms = ms
        self.map.admit_left = events
        self.map.admit_at = 0

    def admit(self, bytes address, int64_t now_ms) -> bool:
        """As an I/O thread does for a WebSocket."""
        if len(address) != 16:
            raise ValueError("an address is 16 bytes")
        return peers_admit(self.map, <const uint8_t*> <const char*> address, now_ms)

    @property
    def unadmitted(self) -> int:
        """WebSockets that were told to come later."""
        return self.map.unadmitted

    def enter(self, bytes address) -> int:
        """As an I/O thread does for a connection: 0 refused, 1 counted, 2 exempt."""
        if len(address) != 16:
            raise ValueError("an address is 16 bytes")
        return peers_enter(self.map, <const uint8_t*> <const char*> address)

    def leave(self, bytes address) -> None:
        """A counted connection is gone."""
        if len(address) != 16:
            raise ValueError("an address is 16 bytes")
        peers_leave(self.map, <const uint8_t*> <const char*> address)

    def __len__(self):
        """Addresses with connections."""
        return self.map.used

    @property
    def refused(self) -> int:
        """Connections that were one too many for their address."""
        return self.map.refused
