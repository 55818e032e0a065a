# nova: libraries=ssl,crypto
"""Bytes in and out of a connection: plain, or TLS by OpenSSL in the I/O thread. One seam, so that no kernel knows which.

Answers gather in the thread's stretch list (`tx_copy`, `tx_slice`) and go out in one system call (`tx_flush`); what the socket
does not take becomes the connection's backlog: references to shared bytes, and one copy of what lay in the scratch. Large stretches
of a memfd go by sendfile.
"""
from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdint cimport uint8_t, uint32_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcpy, memmove

from nova.ext.atomics cimport nova_ref
from nova.ext.buffer cimport buf_copy, buf_pin, buf_unpin, buf_unref
from nova.ext.io cimport CF_TLS_WANTS_OUT, Out, TX_SIZE, TX_STRETCHES
from nova.ext.ssl cimport (
    ERR_clear_error, SSL_ERROR_WANT_READ, SSL_ERROR_WANT_WRITE, SSL_ERROR_ZERO_RETURN, SSL_do_handshake, SSL_get_error,
    SSL_read, SSL_shutdown, SSL_write,
)

cdef extern from "sys/uio.h" nogil:
    cdef struct iovec:
        void* iov_base
        size_t iov_len

cdef extern from "sys/socket.h" nogil:
    cdef struct msghdr:
        iovec* msg_iov
        size_t msg_iovlen
        void* msg_name
        void* msg_control
        size_t msg_controllen
        unsigned int msg_namelen
        int msg_flags
    Py_ssize_t recv(int fd, void* buf, size_t size, int flags)
    Py_ssize_t send(int fd, const void* buf, size_t size, int flags)
    Py_ssize_t sendmsg(int fd, const msghdr* msg, int flags)
    int shutdown(int fd, int how)
    enum: MSG_DONTWAIT, MSG_NOSIGNAL, MSG_MORE, SHUT_WR

cdef extern from "sys/sendfile.h" nogil:
    Py_ssize_t sendfile(int out_fd, int in_fd, long* offset, size_t count)

cdef enum:
    SENDFILE_MIN = 32768        # below this the copy is cheaper than the pages' bookkeeping
    TLS_RECORD = 16384          # bytes of plain text in one record
    TURN_BYTES = 4194304        # one connection sends at most this in a turn
    IOVS = 64


cdef Py_ssize_t conn_read(Thread* t, Conn* c, void* at, size_t size) noexcept nogil:
    """Bytes read, 0 at the end of the stream, READ_AGAIN, or READ_FAILED."""
    cdef Py_ssize_t n
    cdef size_t got = 0
    cdef int r, e
    if c.ssl == NULL:
        while True:
            n = recv(c.fd, at, size, MSG_DONTWAIT)
            if n >= 0:
                t.stats.bytes_in += <uint64_t> n
                return n
            if errno == EINTR:
                continue
            return READ_AGAIN if errno == EAGAIN else READ_FAILED
    while got < size:
        ERR_clear_error()
        r = SSL_read(c.ssl, <uint8_t*> at + got, <int> (size - got))
        if r > 0:
            got += <size_t> r
            continue
        e = SSL_get_error(c.ssl, r)
        if got:
            break
        if e == SSL_ERROR_WANT_READ or e == SSL_ERROR_WANT_WRITE:
            return READ_AGAIN
        return 0 if e == SSL_ERROR_ZERO_RETURN else READ_FAILED
    t.stats.bytes_in += got
    return <Py_ssize_t> got


cdef int tls_step(Thread* t, Conn* c) noexcept nogil:
    """One step of the handshake: 1 done, 0 more to come, -1 failed."""
    cdef int r, e
    ERR_clear_error()
    r = SSL_do_handshake(c.ssl)
    if r == 1:
        return 1
    e = SSL_get_error(c.ssl, r)
    if e == SSL_ERROR_WANT_WRITE:
        c.flags |= CF_TLS_WANTS_OUT
        return 0
    c.flags &= ~<uint32_t> CF_TLS_WANTS_OUT
    return 0 if e == SSL_ERROR_WANT_READ else -1


cdef void send_fin(Conn* c) noexcept nogil:
    """The orderly end of our half: close_notify for TLS, then FIN."""
    if c.ssl != NULL:
        ERR_clear_error()
        SSL_shutdown(c.ssl)
    shutdown(c.fd, SHUT_WR)


cdef const uint8_t* stretch(Thread* t, Out* out) noexcept nogil:
    return (t.tx if out.buf == NULL else out.buf.data) + out.offset


cdef Py_ssize_t write_plain(Thread* t, Conn* c, Out* list, uint32_t count) noexcept nogil:
    """One system call's worth of `list`: bytes written, READ_AGAIN or READ_FAILED."""
    cdef iovec iov[IOVS]
    cdef msghdr msg
    cdef uint32_t n = 0
    cdef int flags = MSG_DONTWAIT | MSG_NOSIGNAL
    cdef Py_ssize_t sent
    cdef long offset
    if list[0].buf != NULL and list[0].buf.fd >= 0 and list[0].size >= SENDFILE_MIN:
        offset = <long> list[0].offset
        list[0].buf.lent = 1
        while True:
            sent = sendfile(c.fd, list[0].buf.fd, &offset, list[0].size)
            if sent >= 0 or errno != EINTR:
                break
    else:
        while n < count and n < IOVS:
            if list[n].buf != NULL and list[n].buf.fd >= 0 and list[n].size >= SENDFILE_MIN:
                flags |= MSG_MORE
                break
            iov[n].iov_base = <void*> stretch(t, &list[n])
            iov[n].iov_len = list[n].size
            n += 1
        msg.msg_iov = iov
        msg.msg_iovlen = n
        msg.msg_name = NULL
        msg.msg_namelen = 0
        msg.msg_control = NULL
        msg.msg_controllen = 0
        msg.msg_flags = 0
        while True:
            sent = sendmsg(c.fd, &msg, flags)
            if sent >= 0 or errno != EINTR:
                break
    if sent > 0:
        return sent
    return READ_AGAIN if sent < 0 and errno == EAGAIN else READ_FAILED


cdef Py_ssize_t write_tls(Thread* t, Conn* c, Out* list, uint32_t count) noexcept nogil:
    """One record's worth of `list`; small stretches are put together first, for a record has a price of its own."""
    cdef uint8_t record[TLS_RECORD]
    cdef const uint8_t* data
    cdef size_t size, piece
    cdef uint32_t n = 0
    cdef int r, e
    if list[0].size >= TLS_RECORD or count == 1:
        data = stretch(t, &list[0])
        size = list[0].size if list[0].size < TURN_BYTES else TURN_BYTES
        if size > TLS_RECORD:
            size -= size % TLS_RECORD  # whole records: what follows may share the last one
    else:
        size = 0
        while n < count and size < TLS_RECORD:
            piece = list[n].size if list[n].size < TLS_RECORD - size else TLS_RECORD - size
            memcpy(record + size, stretch(t, &list[n]), piece)
            size += piece
            n += 1
        data = record
    ERR_clear_error()
    r = SSL_write(c.ssl, data, <int> size)
    if r > 0:
        c.flags &= ~<uint32_t> CF_TLS_WANTS_OUT
        return r
    e = SSL_get_error(c.ssl, r)
    if e == SSL_ERROR_WANT_WRITE or e == SSL_ERROR_WANT_READ:
        return READ_AGAIN
    return READ_FAILED


cdef Py_ssize_t write_list(Thread* t, Conn* c, Out* list, uint32_t count, uint32_t* done, bint backlog) noexcept nogil:
    """Write as much of `list` as the socket takes: bytes written, or READ_FAILED. `done` stretches are out entirely and the next
    one is shortened in place. backlog: whether the list is the connection's own."""
    cdef Py_ssize_t n
    cdef Py_ssize_t total = 0
    cdef uint32_t i = 0
    while i < count and total < TURN_BYTES:
        n = write_plain(t, c, list + i, count - i) if c.ssl == NULL else write_tls(t, c, list + i, count - i)
        if n == READ_AGAIN:
            break
        if n < 0:
            done[0] = i
            return READ_FAILED
        total += n
        while n > 0:
            if <size_t> n >= list[i].size:
                n -= <Py_ssize_t> list[i].size
                if backlog:
                    buf_unpin(list[i].buf)
                elif list[i].buf != NULL:
                    buf_unref(list[i].buf)
                i += 1
            else:
                list[i].offset += <size_t> n
                list[i].size -= <size_t> n
                n = 0
    done[0] = i
    t.stats.bytes_out += <uint64_t> total
    c.moved += <uint64_t> total
    return total


cdef int out_push(Conn* c, Buf* buf, size_t offset, size_t size) noexcept nogil:
    """Add a stretch to the backlog; takes over one reference. -1 when memory is out."""
    cdef Out* grown
    cdef uint32_t cap
    if c.out_first and c.out_first + c.out_count == c.out_cap:
        memmove(c.out, c.out + c.out_first, c.out_count * sizeof(Out))
        c.out_first = 0
    if c.out_count == c.out_cap:
        cap = c.out_cap * 2 if c.out_cap else 8
        grown = <Out*> realloc(c.out, cap * sizeof(Out))
        if grown == NULL:
            buf_unref(buf)
            return -1
        c.out = grown
        c.out_cap = cap
    c.out[c.out_first + c.out_count].buf = buf
    c.out[c.out_first + c.out_count].offset = offset
    c.out[c.out_first + c.out_count].size = size
    c.out_count += 1
    c.out_bytes += size
    buf_pin(buf)
    return 0


cdef void out_free(Conn* c) noexcept nogil:
    cdef uint32_t i
    for i in range(c.out_count):
        buf_unpin(c.out[c.out_first + i].buf)
    free(c.out)
    c.out = NULL
    c.out_first = c.out_count = c.out_cap = 0
    c.out_bytes = 0


cdef int queue_list(Thread* t, Conn* c, Out* list, uint32_t count) noexcept nogil:
    cdef uint32_t i
    cdef Buf* copy
    cdef int failed = 0
    for i in range(count):
        if list[i].buf == NULL:
            copy = buf_copy(t.tx + list[i].offset, list[i].size)
            if copy == NULL:
                failed = -1
                continue
            failed |= out_push(c, copy, 0, list[i].size)
        else:
            failed |= out_push(c, list[i].buf, list[i].offset, list[i].size)
    return failed


cdef void tx_copy(Thread* t, Conn* c, const void* data, size_t size) noexcept nogil:
    """Send a copy of `data` with what follows, at the next `tx_flush`."""
    cdef Buf* copy
    if c.fd < 0:
        return
    t.tx_of = c
    if size > TX_SIZE // 4:
        copy = buf_copy(data, size)
        if copy == NULL:
            t.tx_failed = True
            return
        tx_slice(t, c, copy, 0, size)
        buf_unref(copy)
        return
    if (t.tx_used + size > TX_SIZE or t.tx_count == TX_STRETCHES) and tx_flush(t, c) < 0:
        t.tx_failed = True
    memcpy(t.tx + t.tx_used, data, size)
    if t.tx_count and t.tx_out[t.tx_count - 1].buf == NULL and \
            t.tx_out[t.tx_count - 1].offset + t.tx_out[t.tx_count - 1].size == t.tx_used:
        t.tx_out[t.tx_count - 1].size += size
    else:
        t.tx_out[t.tx_count].buf = NULL
        t.tx_out[t.tx_count].offset = t.tx_used
        t.tx_out[t.tx_count].size = size
        t.tx_count += 1
    t.tx_used += size


cdef void tx_slice(Thread* t, Conn* c, Buf* buf, size_t offset, size_t size) noexcept nogil:
    """Send shared bytes with what follows, at the next `tx_flush`; takes a reference of its own."""
    if size == 0 or c.fd < 0:
        return
    t.tx_of = c
    if t.tx_count == TX_STRETCHES and tx_flush(t, c) < 0:
        t.tx_failed = True
    nova_ref(&buf.refs)
    t.tx_out[t.tx_count].buf = buf
    t.tx_out[t.tx_count].offset = offset
    t.tx_out[t.tx_count].size = size
    t.tx_count += 1


cdef void tx_rope(Thread* t, Conn* c, const Slice* slices, uint32_t count, size_t first, size_t size) noexcept nogil:
    """Send `size` bytes of a body in slices, from `first` on, with what follows."""
    cdef uint32_t i
    cdef size_t skip = first, left = size, piece
    cdef const Slice* slice
    for i in range(count):
        slice = &slices[i]
        if skip >= slice.size:
            skip -= slice.size
            continue
        piece = slice.size - skip
        if piece > left:
            piece = left
        if size <= SMALL:
            tx_copy(t, c, slice.buf.data + slice.offset + skip, piece)
        else:
            tx_slice(t, c, slice.buf, slice.offset + skip, piece)
        left -= piece
        skip = 0
        if left == 0:
            return


cdef int tx_flush(Thread* t, Conn* c) noexcept nogil:
    """Send what was gathered; the rest becomes backlog. 0, or -1: the connection has failed and must be closed."""
    cdef uint32_t done = 0, i
    cdef uint32_t count = t.tx_count
    cdef int failed = -1 if t.tx_failed else 0  # bytes before these are lost: what follows must not pass for the whole
    t.tx_failed = False
    if count == 0:
        return failed
    if c.out_count == 0 and c.fd >= 0 and not failed:
        if write_list(t, c, t.tx_out, count, &done, False) < 0:
            failed = -1
    if failed or c.fd < 0:
        for i in range(done, count):
            if t.tx_out[i].buf != NULL:
                buf_unref(t.tx_out[i].buf)
        failed = -1
    elif done < count:
        failed = queue_list(t, c, t.tx_out + done, count - done)
    t.tx_count = 0
    t.tx_used = 0
    return failed


cdef void tx_forget(Thread* t, Conn* c) noexcept nogil:
    """The connection is gone: what was gathered for it goes nowhere, least of all to the next one."""
    cdef uint32_t i
    if t.tx_of != c:
        return
    for i in range(t.tx_count):
        if t.tx_out[i].buf != NULL:
            buf_unref(t.tx_out[i].buf)
    t.tx_count = 0
    t.tx_used = 0
    t.tx_failed = False
    t.tx_of = NULL


cdef int out_resume(Thread* t, Conn* c) noexcept nogil:
    """The socket takes bytes again: send backlog. 0, or -1: failed."""
    cdef uint32_t done = 0
    cdef Py_ssize_t n
    if c.out_count == 0:
        return 0
    n = write_list(t, c, c.out + c.out_first, c.out_count, &done, True)
    c.out_first += done
    c.out_count -= done
    if c.out_count == 0:
        free(c.out)
        c.out = NULL
        c.out_first = c.out_cap = 0
    if n < 0:
        return -1
    c.out_bytes -= <size_t> n
    return 0


cdef int tx_direct(Thread* t, Conn* c, Buf* buf, size_t offset, size_t size) noexcept nogil:
    """Send shared bytes now, with nothing gathered before them; the rest becomes backlog. 0, or -1: failed."""
    cdef Py_ssize_t n
    if c.ssl != NULL or c.out_count:
        tx_slice(t, c, buf, offset, size)
        return tx_flush(t, c)
    while True:
        n = send(c.fd, buf.data + offset, size, MSG_DONTWAIT | MSG_NOSIGNAL)
        if n >= 0 or errno != EINTR:
            break
    if n < 0:
        if errno != EAGAIN:
            return -1
        n = 0
    t.stats.bytes_out += <uint64_t> n
    c.moved += <uint64_t> n
    return 0 if <size_t> n == size else out_share(c, buf, offset + <size_t> n, size - <size_t> n)


cdef int out_share(Conn* c, Buf* buf, size_t offset, size_t size) noexcept nogil:
    """Shared bytes into the backlog. 0, or -1: memory is out."""
    nova_ref(&buf.refs)
    return out_push(c, buf, offset, size)
