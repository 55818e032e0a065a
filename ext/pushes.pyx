"""What the server says on channels: replies `{id, <command>: {…}}` and pushes `{<push>: {…}}`, in JSON and in msgpack.

Both forms have the same names in the same order. An item is encoded once, whatever the number of its readers.
"""
from libc.string cimport memset, strlen

from nova.ext.bytevec cimport vec_append, vec_free, vec_reserve
from nova.ext.commands cimport CMD_CONNECT, CMD_HISTORY, CMD_PRESENCE, CMD_PUBLISH, CMD_REFRESH, CMD_SUBSCRIBE, command_name
from nova.ext.msgpack cimport MP_ROOM, mp_put_map, mp_put_string, mp_put_unsigned
from nova.ext.values cimport json_quote

cdef extern from "nova_number.h" nogil:
    enum: NUMBER_ROOM
    size_t nova_put_integer(uint8_t* out, uint64_t value)

ctypedef struct Writer:
    ByteVec* out
    int form
    bint inside                 # JSON: something stands before the next name or item
    int failed                  # memory is out: nothing of it is to be used


# -- the two forms ----------------------------------------------------------------------------------------------------

cdef inline void put(Writer* w, const void* data, size_t size) noexcept nogil:
    if size:
        w.failed |= vec_append(w.out, data, size)


cdef inline void comma(Writer* w) noexcept nogil:
    if w.form == FORM_JSON and w.inside:
        put(w, b",", 1)
    w.inside = True


cdef inline void object_open(Writer* w, uint32_t count) noexcept nogil:
    cdef uint8_t[MP_ROOM] head
    if w.form == FORM_JSON:
        put(w, b"{", 1)
        w.inside = False
    else:
        put(w, head, mp_put_map(head, count))


cdef inline void object_close(Writer* w) noexcept nogil:
    if w.form == FORM_JSON:
        put(w, b"}", 1)
        w.inside = True


cdef inline void array_open(Writer* w, uint32_t count) noexcept nogil:
    cdef uint8_t[BATCH_ROOM] head
    put(w, head, batch_open(w.form, head, count))
    w.inside = False


cdef inline void array_close(Writer* w) noexcept nogil:
    cdef uint8_t[BATCH_ROOM] end
    put(w, end, batch_close(w.form, end))
    w.inside = True


cdef inline void name(Writer* w, const char* word) noexcept nogil:
    """A member's name: a word of ours, below 32 bytes and without anything to escape."""
    cdef size_t size = strlen(word)
    cdef uint8_t head
    if w.form == FORM_JSON:
        comma(w)
        put(w, b'"', 1)
        put(w, word, size)
        put(w, b'":', 2)
    else:
        head = 0xA0 | <uint8_t> size
        put(w, &head, 1)
        put(w, word, size)


cdef inline void text(Writer* w, const char* word, const Text* value) noexcept nogil:
    cdef uint8_t[MP_ROOM] head
    name(w, word)
    if w.form == FORM_JSON:
        w.failed |= json_quote(value.data, value.size, w.out)
    else:
        put(w, head, mp_put_string(head, value.size))
        put(w, value.data, value.size)


cdef inline void null(Writer* w, const char* word) noexcept nogil:
    name(w, word)
    if w.form == FORM_JSON:
        put(w, b"null", 4)
    else:
        put(w, b"\xc0", 1)


cdef inline void text_or_null(Writer* w, const char* word, const Text* value) noexcept nogil:
    if value.size:
        text(w, word, value)
    else:
        null(w, word)


cdef inline void raw(Writer* w, const char* word, const Text* value) noexcept nogil:
    """A value that is in this form already."""
    name(w, word)
    put(w, value.data, value.size)


cdef inline void number(Writer* w, const char* word, uint64_t value) noexcept nogil:
    cdef uint8_t* at
    name(w, word)
    at = vec_reserve(w.out, NUMBER_ROOM)
    if at == NULL:
        w.failed = -1
        return
    w.out.len += nova_put_integer(at, value) if w.form == FORM_JSON else mp_put_unsigned(at, value)


cdef inline void truth(Writer* w, const char* word, bint value) noexcept nogil:
    name(w, word)
    if w.form == FORM_JSON:
        put(w, b"true" if value else b"false", 4 if value else 5)
    else:
        put(w, b"\xc3" if value else b"\xc2", 1)


# -- pieces -----------------------------------------------------------------------------------------------------------

cdef void push_open(Writer* w, int form, ByteVec* out, const char* kind, uint32_t count) noexcept nogil:
    w.out = out
    w.form = form
    w.inside = False
    w.failed = 0
    object_open(w, 1)
    name(w, kind)
    object_open(w, count)


cdef void reply_open(Writer* w, int form, ByteVec* out, uint32_t id, const char* kind, uint32_t count) noexcept nogil:
    w.out = out
    w.form = form
    w.inside = False
    w.failed = 0
    object_open(w, 2)
    number(w, b"id", id)
    name(w, kind)
    object_open(w, count)


cdef int close(Writer* w) noexcept nogil:
    object_close(w)
    object_close(w)
    return -1 if w.failed else 0


cdef void publication_rest(Writer* w, const Publication* p) noexcept nogil:
    number(w, b"offset", p.offset)
    raw(w, b"data", &p.data)
    number(w, b"at", <uint64_t> p.at)
    if p.info.size:
        raw(w, b"info", &p.info)


cdef void publication_list(Writer* w, const Publication* publications, uint32_t count) noexcept nogil:
    cdef uint32_t i
    name(w, b"publications")
    array_open(w, count)
    for i in range(count):
        comma(w)
        object_open(w, 4 if publications[i].info.size else 3)
        publication_rest(w, &publications[i])
        object_close(w)
    array_close(w)


# -- pushes -----------------------------------------------------------------------------------------------------------

cdef int push_pub(int form, ByteVec* out, const Text* channel, const Publication* publication) noexcept nogil:
    cdef Writer w
    push_open(&w, form, out, b"pub", 5 if publication.info.size else 4)
    text(&w, b"channel", channel)
    publication_rest(&w, publication)
    return close(&w)


cdef int push_join(int form, ByteVec* out, bint joined, const Text* channel, const Text* user, const Text* client) noexcept nogil:
    cdef Writer w
    push_open(&w, form, out, b"join" if joined else b"leave", 3)
    text(&w, b"channel", channel)
    text_or_null(&w, b"user", user)
    text(&w, b"client", client)
    return close(&w)


cdef int push_gap(int form, ByteVec* out, const Text* channel, const Text* epoch, uint64_t first, uint64_t last) noexcept nogil:
    cdef Writer w
    push_open(&w, form, out, b"gap", 4)
    text(&w, b"channel", channel)
    text(&w, b"epoch", epoch)
    number(&w, b"from", first)
    number(&w, b"to", last)
    return close(&w)


cdef int push_unsub(int form, ByteVec* out, const Text* channel, uint16_t code, const Text* reason) noexcept nogil:
    cdef Writer w
    push_open(&w, form, out, b"unsub", 3)
    text(&w, b"channel", channel)
    number(&w, b"code", code)
    text(&w, b"reason", reason)
    return close(&w)


cdef int push_bye(int form, ByteVec* out, uint16_t code, const Text* reason, uint32_t reconnect_after_ms) noexcept nogil:
    cdef Writer w
    push_open(&w, form, out, b"bye", 3)
    number(&w, b"code", code)
    text(&w, b"reason", reason)
    number(&w, b"reconnect_after_ms", reconnect_after_ms)
    return close(&w)


# -- replies ----------------------------------------------------------------------------------------------------------

cdef int reply_error(int form, ByteVec* out, uint32_t id, const Text* code, const Text* message, uint32_t retry_ms) noexcept nogil:
    cdef Writer w
    reply_open(&w, form, out, id, b"error", 3 if retry_ms else 2)
    text(&w, b"code", code)
    text(&w, b"message", message)
    if retry_ms:
        number(&w, b"retry_ms", retry_ms)
    return close(&w)


cdef int reply_empty(int form, ByteVec* out, uint32_t id, int command) noexcept nogil:
    cdef Writer w
    reply_open(&w, form, out, id, command_name(command), 0)
    return close(&w)


cdef int reply_connect(int form, ByteVec* out, uint32_t id, const Text* client, const Text* user, uint32_t expires_in,
                       uint32_t ping_s) noexcept nogil:
    cdef Writer w
    reply_open(&w, form, out, id, command_name(CMD_CONNECT), 4)
    text(&w, b"client", client)
    text_or_null(&w, b"user", user)
    expiry(&w, expires_in)
    number(&w, b"ping_s", ping_s)
    return close(&w)


cdef int reply_refresh(int form, ByteVec* out, uint32_t id, uint32_t expires_in) noexcept nogil:
    cdef Writer w
    reply_open(&w, form, out, id, command_name(CMD_REFRESH), 1)
    expiry(&w, expires_in)
    return close(&w)


cdef void expiry(Writer* w, uint32_t expires_in) noexcept nogil:
    if expires_in:
        number(w, b"expires_in", expires_in)
    else:
        null(w, b"expires_in")


cdef int reply_publish(int form, ByteVec* out, uint32_t id, uint64_t offset, const Text* epoch, bint durable) noexcept nogil:
    cdef Writer w
    reply_open(&w, form, out, id, command_name(CMD_PUBLISH), 3)
    number(&w, b"offset", offset)
    text(&w, b"epoch", epoch)
    truth(&w, b"durable", durable)
    return close(&w)


cdef int reply_subscribe(int form, ByteVec* out, uint32_t id, uint64_t offset, const Text* epoch, bint recovered,
                         const Publication* publications, uint32_t count) noexcept nogil:
    cdef Writer w
    reply_open(&w, form, out, id, command_name(CMD_SUBSCRIBE), 4)
    number(&w, b"offset", offset)
    text(&w, b"epoch", epoch)
    truth(&w, b"recovered", recovered)
    publication_list(&w, publications, count)
    return close(&w)


cdef int reply_history(int form, ByteVec* out, uint32_t id, uint64_t offset, const Text* epoch, bint more,
                       const Publication* publications, uint32_t count) noexcept nogil:
    cdef Writer w
    reply_open(&w, form, out, id, command_name(CMD_HISTORY), 4)
    publication_list(&w, publications, count)
    number(&w, b"offset", offset)
    text(&w, b"epoch", epoch)
    truth(&w, b"more", more)
    return close(&w)


cdef int reply_presence(int form, ByteVec* out, uint32_t id, uint64_t total, bint more, const Member* members, uint32_t count) noexcept nogil:
    cdef Writer w
    cdef uint32_t i
    reply_open(&w, form, out, id, command_name(CMD_PRESENCE), 3)
    number(&w, b"count", total)
    name(&w, b"members")
    array_open(&w, count)
    for i in range(count):
        comma(&w)
        object_open(&w, 3)
        text_or_null(&w, b"user", &members[i].user)
        text(&w, b"client", &members[i].client)
        number(&w, b"since", <uint64_t> members[i].since)
        object_close(&w)
    array_close(&w)
    truth(&w, b"more", more)
    return close(&w)


# -- Python -----------------------------------------------------------------------------------------------------------

cdef Text text_of(bytes value):
    cdef Text out
    out.data = <const uint8_t*> <const char*> value if value is not None else NULL
    out.size = <uint32_t> len(value) if value is not None else 0
    return out


cdef bytes taken(ByteVec* out, int said):
    try:
        if said:
            raise MemoryError
        return (<const char*> out.data)[:out.len]
    finally:
        vec_free(out)


cdef class _Rows:
    """Publications or members as C rows; the tuples are held as long as they are."""
    cdef ByteVec rows
    cdef object held

    def __cinit__(self, given):
        memset(&self.rows, 0, sizeof(self.rows))
        self.held = [tuple(row) for row in given]

    def __dealloc__(self):
        vec_free(&self.rows)

    cdef const Publication* publications(self) except? NULL:
        cdef Publication row
        for offset, data, at, info in self.held:
            row.offset = offset
            row.at = at
            row.data = text_of(data)
            row.info = text_of(info)
            if vec_append(&self.rows, &row, sizeof(row)):
                raise MemoryError
        return <const Publication*> self.rows.data

    cdef const Member* members(self) except? NULL:
        cdef Member row
        for user, client, since in self.held:
            row.user = text_of(user)
            row.client = text_of(client)
            row.since = since
            if vec_append(&self.rows, &row, sizeof(row)):
                raise MemoryError
        return <const Member*> self.rows.data


def pub(int form, bytes channel, uint64_t offset, bytes data, int64_t at, bytes info=None) -> bytes:
    """data, info: values in this form; at: ms since 1970."""
    cdef ByteVec out
    cdef Text c = text_of(channel)
    cdef Publication p
    memset(&out, 0, sizeof(out))
    p.offset = offset
    p.at = at
    p.data = text_of(data)
    p.info = text_of(info)
    return taken(&out, push_pub(form, &out, &c, &p))


def join(int form, bint joined, bytes channel, bytes user, bytes client) -> bytes:
    """A `join`, or a `leave`. user: None for nobody."""
    cdef ByteVec out
    cdef Text c = text_of(channel), u = text_of(user), k = text_of(client)
    memset(&out, 0, sizeof(out))
    return taken(&out, push_join(form, &out, joined, &c, &u, &k))


def gap(int form, bytes channel, bytes epoch, uint64_t first, uint64_t last) -> bytes:
    cdef ByteVec out
    cdef Text c = text_of(channel), e = text_of(epoch)
    memset(&out, 0, sizeof(out))
    return taken(&out, push_gap(form, &out, &c, &e, first, last))


def unsub(int form, bytes channel, int code, bytes reason) -> bytes:
    cdef ByteVec out
    cdef Text c = text_of(channel), r = text_of(reason)
    memset(&out, 0, sizeof(out))
    return taken(&out, push_unsub(form, &out, &c, <uint16_t> code, &r))


def bye(int form, int code, bytes reason, uint32_t reconnect_after_ms) -> bytes:
    cdef ByteVec out
    cdef Text r = text_of(reason)
    memset(&out, 0, sizeof(out))
    return taken(&out, push_bye(form, &out, <uint16_t> code, &r, reconnect_after_ms))


def error(int form, uint32_t id, bytes code, bytes message, uint32_t retry_ms=0) -> bytes:
    cdef ByteVec out
    cdef Text c = text_of(code), m = text_of(message)
    memset(&out, 0, sizeof(out))
    return taken(&out, reply_error(form, &out, id, &c, &m, retry_ms))


def empty(int form, uint32_t id, int command) -> bytes:
    """command: its place in `commands.COMMANDS`, from 1."""
    cdef ByteVec out
    memset(&out, 0, sizeof(out))
    return taken(&out, reply_empty(form, &out, id, command))


def connected(int form, uint32_t id, bytes client, bytes user, uint32_t expires_in, uint32_t ping_s) -> bytes:
    """user: None for nobody; expires_in: seconds, 0 for never."""
    cdef ByteVec out
    cdef Text k = text_of(client), u = text_of(user)
    memset(&out, 0, sizeof(out))
    return taken(&out, reply_connect(form, &out, id, &k, &u, expires_in, ping_s))


def refreshed(int form, uint32_t id, uint32_t expires_in) -> bytes:
    """expires_in: seconds, 0 for never."""
    cdef ByteVec out
    memset(&out, 0, sizeof(out))
    return taken(&out, reply_refresh(form, &out, id, expires_in))


def published(int form, uint32_t id, uint64_t offset, bytes epoch, bint durable) -> bytes:
    cdef ByteVec out
    cdef Text e = text_of(epoch)
    memset(&out, 0, sizeof(out))
    return taken(&out, reply_publish(form, &out, id, offset, &e, durable))


def subscribed(int form, uint32_t id, uint64_t offset, bytes epoch, bint recovered, publications) -> bytes:
    """publications: (offset, data, at, info or None)."""
    cdef ByteVec out
    cdef Text e = text_of(epoch)
    cdef _Rows rows = _Rows(publications)
    memset(&out, 0, sizeof(out))
    return taken(&out, reply_subscribe(form, &out, id, offset, &e, recovered, rows.publications(), <uint32_t> len(rows.held)))


def history(int form, uint32_t id, uint64_t offset, bytes epoch, bint more, publications) -> bytes:
    """publications: (offset, data, at, info or None)."""
    cdef ByteVec out
    cdef Text e = text_of(epoch)
    cdef _Rows rows = _Rows(publications)
    memset(&out, 0, sizeof(out))
    return taken(&out, reply_history(form, &out, id, offset, &e, more, rows.publications(), <uint32_t> len(rows.held)))


def presence(int form, uint32_t id, uint64_t total, bint more, members) -> bytes:
    """members: (user or None, client, since in ms)."""
    cdef ByteVec out
    cdef _Rows rows = _Rows(members)
    memset(&out, 0, sizeof(out))
    return taken(&out, reply_presence(form, &out, id, total, more, rows.members(), <uint32_t> len(rows.held)))


def batch(int form, items) -> bytes:
    """Several items as one frame."""
    cdef uint8_t[BATCH_ROOM] piece
    rows = list(items)
    opening = (<const char*> piece)[:batch_open(form, piece, <uint32_t> len(rows))]
    between = (<const char*> piece)[:batch_next(form, piece)]
    return opening + between.join(rows) + (<const char*> piece)[:batch_close(form, piece)]
