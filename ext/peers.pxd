from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t

from nova.ext.pthread cimport pthread_mutex_t

cdef enum:
    MAX_EXEMPT = 256            # networks that are not counted

ctypedef struct PeerCount:
    uint64_t high               # the address, in host order
    uint64_t low
    uint32_t count              # 0: free

ctypedef struct Net:
    uint64_t high
    uint64_t low
    uint64_t high_mask
    uint64_t low_mask

ctypedef struct PeerMap:
    pthread_mutex_t lock
    PeerCount* slots
    size_t cap                  # a power of two
    size_t used
    uint64_t secret             # odd: peers choose their addresses, and may not choose their slots
    uint32_t most               # connections of one address; 0: no bound
    uint64_t refused
    int net_count
    Net nets[MAX_EXEMPT]
    int proxy_count
    Net proxies[MAX_EXEMPT]     # networks whose PROXY headers are believed
    uint32_t admit_events       # WebSockets that come in admit_ms, which is the burst, too; 0: any number
    uint32_t admit_ms
    double admit_left           # of the burst
    int64_t admit_at            # ms of the reactor's clock, when that was
    uint64_t unadmitted
    int free_count
    Net free_nets[MAX_EXEMPT]   # networks whose WebSockets are not counted

cdef PeerMap* peers_new() noexcept nogil
cdef void peers_free(PeerMap* map) noexcept nogil
cdef int peers_enter(PeerMap* map, const uint8_t* address) noexcept nogil
cdef void peers_leave(PeerMap* map, const uint8_t* address) noexcept nogil
cdef bint peers_admit(PeerMap* map, const uint8_t* address, int64_t now_ms) noexcept nogil
cdef bint peers_proxy(PeerMap* map, const uint8_t* address) noexcept nogil

cdef enum:
    PEER_REFUSED = 0
    PEER_COUNTED = 1            # `peers_leave` when it goes
    PEER_EXEMPT = 2

cdef class Peers:
    cdef PeerMap* map
