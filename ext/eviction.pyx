"""What goes first when a tier is full: S3-FIFO, LRU, SIEVE and FIFO over one table of nodes, counted in bytes.

S3-FIFO (Yang et al., SOSP 2023): newcomers wait in a small queue of a tenth; who is asked for twice there moves to the main queue, where
a hit only raises a count of at most three; who leaves the small queue unasked is remembered as a ghost, and comes back into the main
queue at once. While nothing had to go yet, what the small queue has no room for is in the main one, as in its authors' library: else the
first full cache would lose all that was asked for once. A hit moves nothing, except under LRU.
"""
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memset

cdef enum:
    FIRST_NODES = 256
    SMALL_SHARE = 10            # the small queue's share is one in this many
    WAYS = 4                    # places in which a ghost may be
    PROMOTE = 2                 # hits in the small queue that lead to the main one
    MOST = 3                    # the highest count

cdef uint64_t SIZE_MASK = (<uint64_t> 1 << 56) - 1


cdef inline uint64_t size_of(Node* node) noexcept nogil:
    return node.size & SIZE_MASK


cdef inline int queue_of(Node* node) noexcept nogil:
    return <int> (node.size >> 56 & 1)


cdef inline int count_of(Node* node) noexcept nogil:
    return <int> (node.size >> 57 & 3)


cdef inline void mark(Node* node, int queue, int count) noexcept nogil:
    node.size = (node.size & SIZE_MASK) | <uint64_t> (queue | count << 1) << 56


cdef int evict_open(Evict* e, int policy, uint64_t capacity) noexcept nogil:
    """0, or -1 when memory is out."""
    cdef int i
    memset(e, 0, sizeof(Evict))
    e.policy = <uint8_t> policy
    e.capacity = capacity
    e.spare = e.hand = EV_NONE
    for i in range(2):
        e.queues[i].oldest = e.queues[i].newest = EV_NONE
    e.nodes = <Node*> calloc(FIRST_NODES, sizeof(Node))
    e.cap = FIRST_NODES
    if policy == P_S3FIFO:
        e.ghost_cap = FIRST_NODES
        e.ghosts = <uint64_t*> calloc(e.ghost_cap, sizeof(uint64_t))
        if e.ghosts == NULL:
            return -1
    return 0 if e.nodes != NULL else -1


cdef void evict_close(Evict* e) noexcept nogil:
    free(e.nodes)
    free(e.ghosts)
    e.nodes = NULL
    e.ghosts = NULL


# Queues

cdef inline void push(Evict* e, int queue, uint32_t handle) noexcept nogil:
    cdef Queue* q = &e.queues[queue]
    cdef Node* node = &e.nodes[handle]
    node.prev = q.newest
    node.next = EV_NONE
    if q.newest != EV_NONE:
        e.nodes[q.newest].next = handle
    else:
        q.oldest = handle
    q.newest = handle
    q.bytes += size_of(node)
    q.count += 1


cdef inline void pull(Evict* e, uint32_t handle) noexcept nogil:
    cdef Node* node = &e.nodes[handle]
    cdef Queue* q = &e.queues[queue_of(node)]
    if e.hand == handle:
        e.hand = node.next
    if node.prev != EV_NONE:
        e.nodes[node.prev].next = node.next
    else:
        q.oldest = node.next
    if node.next != EV_NONE:
        e.nodes[node.next].prev = node.prev
    else:
        q.newest = node.prev
    q.bytes -= size_of(node)
    q.count -= 1


# Ghosts: a bucket of four, each a fingerprint (upper half) and the time, in KiB that have passed, of its end

cdef inline uint64_t* bucket(Evict* e, uint32_t print_) noexcept nogil:
    return e.ghosts + (<size_t> (print_ * <uint32_t> 0x9E3779B1) & (e.ghost_cap - 1) & ~<size_t> (WAYS - 1))


cdef inline bint alive(Evict* e, uint64_t ghost) noexcept nogil:
    return ghost != 0 and <uint32_t> (<uint32_t> e.ghost_clock - <uint32_t> ghost) <= (e.capacity - e.capacity // SMALL_SHARE) >> 10


cdef bint ghost_take(Evict* e, uint64_t hash) noexcept nogil:
    cdef uint32_t print_ = <uint32_t> (hash >> 32) | 1
    cdef uint64_t* at = bucket(e, print_)
    cdef bint found = False
    cdef int i
    for i in range(WAYS):
        if <uint32_t> (at[i] >> 32) == print_:
            found = alive(e, at[i])
            at[i] = 0
    return found


cdef void ghost_put(Evict* e, uint64_t hash, uint64_t size) noexcept nogil:
    cdef uint32_t print_ = <uint32_t> (hash >> 32) | 1
    cdef uint64_t* at = bucket(e, print_)
    cdef int i, oldest = 0
    cdef uint32_t age, most = 0
    e.ghost_clock += (size + 1023) >> 10
    for i in range(WAYS):
        if not alive(e, at[i]) or <uint32_t> (at[i] >> 32) == print_:
            oldest = i
            break
        age = <uint32_t> e.ghost_clock - <uint32_t> at[i]
        if age >= most:
            most = age
            oldest = i
    at[oldest] = <uint64_t> print_ << 32 | <uint32_t> e.ghost_clock


cdef void ghosts_grow(Evict* e) noexcept nogil:
    """Half as many places as nodes, or more; what was remembered moves along."""
    cdef uint32_t old_cap = e.ghost_cap, cap = e.ghost_cap * 2, i
    cdef uint64_t* old = e.ghosts
    cdef uint64_t* at
    cdef int way
    cdef uint64_t* fresh = <uint64_t*> calloc(cap, sizeof(uint64_t))
    if fresh == NULL:
        return
    e.ghosts = fresh
    e.ghost_cap = cap
    for i in range(old_cap):
        if alive(e, old[i]):
            at = bucket(e, <uint32_t> (old[i] >> 32))
            for way in range(WAYS):
                if at[way] == 0:
                    at[way] = old[i]
                    break
    free(old)


# The policy

cdef uint32_t evict_add(Evict* e, uint64_t hash, uint64_t size, void* owner) noexcept nogil:
    """A newcomer's handle, EV_NONE when memory is out. hash: a good one; it names the object among ghosts."""
    cdef uint32_t handle
    cdef Node* grown
    cdef uint32_t cap
    cdef int queue = 1
    if e.spare != EV_NONE:
        handle = e.spare
        e.spare = e.nodes[handle].next
    else:
        if e.used == e.cap:
            # A large block grows by moving its pages, not its bytes: little at a time is cheap, and little lies idle.
            cap = e.cap + (e.cap >> 3)
            grown = <Node*> realloc(e.nodes, cap * sizeof(Node))
            if grown == NULL:
                return EV_NONE
            e.nodes = grown
            e.cap = cap
            if e.ghosts != NULL and e.cap >= e.ghost_cap * 2:
                ghosts_grow(e)
        handle = e.used
        e.used += 1
    if e.policy == P_S3FIFO and not ghost_take(e, hash) and (e.evicted or e.queues[0].bytes + size <= e.capacity // SMALL_SHARE):
        queue = 0
    e.nodes[handle].owner = owner
    e.nodes[handle].size = size & SIZE_MASK
    mark(&e.nodes[handle], queue, 0)
    push(e, queue, handle)
    e.bytes += size
    e.count += 1
    return handle


cdef void evict_hit(Evict* e, uint32_t handle) noexcept nogil:
    cdef Node* node = &e.nodes[handle]
    cdef int count = count_of(node)
    if e.policy == P_LRU:
        pull(e, handle)
        push(e, 1, handle)
    elif count < MOST:
        mark(node, queue_of(node), count + 1)


cdef void evict_remove(Evict* e, uint32_t handle) noexcept nogil:
    """The object is gone for another reason."""
    pull(e, handle)
    e.bytes -= size_of(&e.nodes[handle])
    e.count -= 1
    e.nodes[handle].owner = NULL
    e.nodes[handle].size = SIZE_MASK  # nobody's
    e.nodes[handle].next = e.spare
    e.spare = handle
    if not e.count:
        e.evicted = False


cdef void evict_forget(Evict* e, uint32_t handle, uint64_t hash) noexcept nogil:
    """The victim goes; from the small queue it goes as a ghost."""
    if e.policy == P_S3FIFO and queue_of(&e.nodes[handle]) == 0:
        ghost_put(e, hash, size_of(&e.nodes[handle]))
    evict_remove(e, handle)
    e.evicted = True


cdef void evict_pause(Evict* e, uint32_t handle, uint64_t hash) noexcept nogil:
    """The object goes for a moment, for a newer one of its name comes: that one has its queue."""
    if e.policy == P_S3FIFO and queue_of(&e.nodes[handle]) == 1:
        ghost_put(e, hash, 0)
    evict_remove(e, handle)


cdef bint evict_replace(Evict* e, uint32_t handle, uint64_t size) noexcept nogil:
    """The object is another one of the same name: it keeps its place. False: as a newcomer it has a better one."""
    if e.policy != P_S3FIFO:
        return False
    evict_grow(e, handle, size - evict_size(e, handle))
    return True


cdef void evict_first(Evict* e, uint32_t handle) noexcept nogil:
    """Nobody will ask for it any more: it is the next victim of its queue."""
    cdef Node* node = &e.nodes[handle]
    cdef int queue = 0 if e.policy == P_S3FIFO else 1
    cdef Queue* q = &e.queues[queue]
    pull(e, handle)
    mark(node, queue, 0)
    node.prev = EV_NONE
    node.next = q.oldest
    if q.oldest != EV_NONE:
        e.nodes[q.oldest].prev = handle
    else:
        q.newest = handle
    q.oldest = handle
    q.bytes += size_of(node)
    q.count += 1
    if e.policy == P_SIEVE:
        e.hand = handle


cdef void evict_again(Evict* e, uint32_t handle) noexcept nogil:
    """The victim cannot go now: it is the newest of the main queue."""
    pull(e, handle)
    mark(&e.nodes[handle], 1, 0)
    push(e, 1, handle)


cdef void evict_grow(Evict* e, uint32_t handle, uint64_t more) noexcept nogil:
    """It weighs so much more."""
    e.nodes[handle].size += more
    e.queues[queue_of(&e.nodes[handle])].bytes += more
    e.bytes += more


cdef uint64_t evict_size(Evict* e, uint32_t handle) noexcept nogil:
    return size_of(&e.nodes[handle])


cdef bint evict_admits(Evict* e, uint64_t hash, uint64_t size) noexcept nogil:
    """Whether something of that size may come in: what would fill the small queue alone must have been asked for before."""
    if size > e.capacity:
        return False
    if e.policy != P_S3FIFO or size <= e.capacity // SMALL_SHARE or e.bytes + size <= e.capacity:
        return True
    if ghost_take(e, hash):
        ghost_put(e, hash, 0)
        return True
    ghost_put(e, hash, size)
    return False


cdef uint32_t victim_s3(Evict* e) noexcept nogil:
    cdef Queue* small = &e.queues[0]
    cdef Queue* main = &e.queues[1]
    cdef uint32_t handle
    cdef Node* node
    cdef int count
    while e.count:
        if small.count and (small.bytes > e.capacity // SMALL_SHARE or main.count == 0):
            handle = small.oldest
            node = &e.nodes[handle]
            if count_of(node) < PROMOTE:
                return handle
            pull(e, handle)
            mark(node, 1, 0)
            push(e, 1, handle)
        elif main.count == 0:
            break
        else:
            handle = main.oldest
            node = &e.nodes[handle]
            count = count_of(node)
            if count == 0:
                return handle
            pull(e, handle)
            mark(node, 1, count - 1)
            push(e, 1, handle)
    return EV_NONE


cdef uint32_t victim_sieve(Evict* e) noexcept nogil:
    cdef uint32_t handle = e.hand
    while e.count:
        if handle == EV_NONE:
            handle = e.queues[1].oldest
        if count_of(&e.nodes[handle]) == 0:
            e.hand = handle
            return handle
        mark(&e.nodes[handle], 1, 0)
        handle = e.nodes[handle].next
    return EV_NONE


cdef uint32_t evict_victim(Evict* e) noexcept nogil:
    """Who goes next, EV_NONE when nobody is there. The caller lets it go by `evict_forget`."""
    if e.policy == P_S3FIFO:
        return victim_s3(e)
    if e.policy == P_SIEVE:
        return victim_sieve(e)
    return e.queues[1].oldest


cdef int check(Evict* e, uint32_t handle) except -1:
    if handle >= e.used or e.nodes[handle].size & SIZE_MASK == SIZE_MASK:
        raise ValueError("there is no such handle")
    return 0


POLICIES = {"s3fifo": P_S3FIFO, "lru": P_LRU, "sieve": P_SIEVE, "fifo": P_FIFO}


cdef class Eviction:
    """A tier's order of leaving. Handles are small numbers, used again after `remove` and `evict`.

    Raises ValueError: no such policy.
    """

    def __cinit__(self, str policy, uint64_t capacity):
        if policy not in POLICIES:
            raise ValueError(f"there is no policy {policy!r}: {', '.join(POLICIES)}")
        if evict_open(&self.e, POLICIES[policy], capacity) < 0:
            raise MemoryError

    def __dealloc__(self):
        evict_close(&self.e)

    def __len__(self):
        return self.e.count

    @property
    def bytes(self) -> int:
        return self.e.bytes

    @property
    def memory(self) -> int:
        """Bytes that this index takes itself."""
        return self.e.cap * sizeof(Node) + self.e.ghost_cap * sizeof(uint64_t)

    def admits(self, uint64_t hash, uint64_t size) -> bool:
        return evict_admits(&self.e, hash, size)

    def add(self, uint64_t hash, uint64_t size) -> int:
        """The handle of a newcomer. hash: 64 well-mixed bits that name it."""
        cdef uint32_t handle = evict_add(&self.e, hash, size, NULL)
        if handle == EV_NONE:
            raise MemoryError
        return handle

    def hit(self, uint32_t handle) -> None:
        check(&self.e, handle)
        evict_hit(&self.e, handle)

    def remove(self, uint32_t handle) -> None:
        check(&self.e, handle)
        evict_remove(&self.e, handle)

    def first(self, uint32_t handle) -> None:
        """It goes next."""
        check(&self.e, handle)
        evict_first(&self.e, handle)

    def victim(self) -> int:
        """Who goes next, -1: nobody is there. It stays until `forget`."""
        cdef uint32_t handle = evict_victim(&self.e)
        return -1 if handle == EV_NONE else handle

    def forget(self, uint32_t handle, uint64_t hash) -> None:
        """Let a victim go."""
        check(&self.e, handle)
        evict_forget(&self.e, handle, hash)
