from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from nova.ext.eviction cimport Eviction

cdef enum PlaceFlag:
    PL_SOFT = 1                 # its owner says: what lies there was made stale
    PL_VARIES = 2               # a Sibling follows the struct
    PL_NEWEST = 4               # of its object's variants

ctypedef struct Place:          # an object; behind it its Sibling, its bearings, its key
    uint32_t next               # handle of the next one in its chain
    uint32_t fresh_until        # unix seconds
    uint16_t site
    uint16_t key_size
    uint16_t labels
    uint16_t flags

ctypedef struct Sibling:
    uint32_t newer              # variant of the same object; of the newest: that of the next object in the chain
    uint32_t older
    uint32_t vary               # the label with the names of the fields

ctypedef struct Bearing:        # that a place has a label; all that have it are a list
    uint32_t label
    uint32_t newer
    uint32_t older

ctypedef struct Label:          # a byte string that places share
    uint8_t* name               # NULL: free
    uint32_t size
    uint32_t count              # places that name it
    uint32_t newest
    uint32_t next               # in its chain; of a free one: the next free one

ctypedef struct Chains:
    uint32_t* heads
    uint32_t room               # heads that have memory
    uint32_t used
    uint32_t mask               # the power of two above `used`, less one
    uint32_t count              # what is in the chains

cdef class Places:
    cdef Eviction order
    cdef Chains chains[3]       # by name, object, label
    cdef Label* labels
    cdef uint32_t label_room
    cdef uint32_t label_used    # ever handed out
    cdef uint32_t label_spare
    cdef uint64_t seed
    cdef size_t held            # bytes of places and of labels' names
