# nova: libraries=ssl,crypto
"""TLS contexts for listeners: certificates, server names, ALPN, resumption. TLS 1.2 and 1.3 (RFC 5246, 8446, 7301, 6066)."""
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy

from nova.ext.ssl cimport (
    ERR_clear_error, ERR_error_string_n, ERR_get_error, OPENSSL_NPN_NEGOTIATED, SSL, SSL_CTX_check_private_key, SSL_CTX_free,
    SSL_CTX_get_tlsext_ticket_keys, SSL_CTX_new, SSL_CTX_set_alpn_select_cb, SSL_CTX_set_cipher_list,
    SSL_CTX_set_min_proto_version, SSL_CTX_set_mode, SSL_CTX_set_options, SSL_CTX_set_session_cache_mode,
    SSL_CTX_set_session_id_context, SSL_CTX_set_tlsext_servername_arg, SSL_CTX_set_tlsext_servername_callback,
    SSL_CTX_set_tlsext_ticket_keys, SSL_CTX_use_PrivateKey_file, SSL_CTX_use_certificate_chain_file, SSL_FILETYPE_PEM,
    SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER, SSL_MODE_ENABLE_PARTIAL_WRITE, SSL_MODE_RELEASE_BUFFERS, SSL_OP_CIPHER_SERVER_PREFERENCE,
    SSL_OP_NO_COMPRESSION, SSL_OP_NO_RENEGOTIATION, SSL_SESS_CACHE_OFF, SSL_TLSEXT_ERR_ALERT_FATAL, SSL_TLSEXT_ERR_NOACK,
    SSL_TLSEXT_ERR_OK, SSL_get_servername, SSL_select_next_proto, SSL_set_SSL_CTX, TLS1_2_VERSION, TLSEXT_NAMETYPE_host_name,
    TLS_server_method,
)

cdef extern from "strings.h" nogil:
    int strcasecmp(const char* a, const char* b)

import os

cdef enum:
    TICKET_KEYS = 80            # bytes that OpenSSL keeps for session tickets: name, HMAC key, AES key

# RFC 9325, 4.2: forward secrecy and AEAD only, for TLS 1.2; 1.3 has nothing else.
cdef bytes CIPHERS = b"ECDHE+AESGCM:ECDHE+CHACHA20"


class TlsError(ValueError):
    """A certificate or key can not be used; the text says why and what to do."""


cdef str reason():
    cdef char text[256]
    ERR_error_string_n(ERR_get_error(), text, sizeof(text))
    ERR_clear_error()
    return (<bytes> text).decode("ascii", "replace").rpartition(":")[2] or "unknown reason"


cdef int choose_protocol(SSL* ssl, const unsigned char** out, unsigned char* outlen,
                         const unsigned char* given, unsigned int givenlen, void* arg) noexcept nogil:
    """ALPN: our preference among what the client offers; no common one is fatal (RFC 7301, 3.2)."""
    cdef const unsigned char* ours = <const unsigned char*> arg
    if SSL_select_next_proto(<unsigned char**> out, outlen, ours + 1, ours[0], given, givenlen) != OPENSSL_NPN_NEGOTIATED:
        return SSL_TLSEXT_ERR_ALERT_FATAL
    return SSL_TLSEXT_ERR_OK


cdef int choose_certificate(SSL* ssl, int* alert, void* arg) noexcept nogil:
    """SNI: the certificate of the name that the client asks for; any other name gets the default one."""
    cdef Names* names = <Names*> arg
    cdef const char* wanted = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name)
    cdef int i
    if wanted == NULL:
        return SSL_TLSEXT_ERR_NOACK
    for i in range(names.count):
        if strcasecmp(wanted, names.name[i]) == 0:
            SSL_set_SSL_CTX(ssl, names.ctx[i])
            return SSL_TLSEXT_ERR_OK
    return SSL_TLSEXT_ERR_OK


cdef class TlsContext:
    """One set of certificates. A listener takes a new context for a reload; connections keep the one they began with."""

    def __cinit__(self, cert, key, *, alpn=("h2", "http/1.1"), names=None, TlsContext resume=None):
        """cert, key: PEM files (chain; private key without a pass phrase). names: {server name: (cert, key)}.
        resume: the context before this one: its session tickets stay good. Raises TlsError."""
        cdef bytes offered = b"".join(bytes([len(name)]) + name.encode("ascii") for name in alpn)
        cdef int i
        self.alpn = bytes([len(offered)]) + offered
        self.ticket_keys = resume.ticket_keys if resume is not None else os.urandom(TICKET_KEYS)
        self.names = <Names*> calloc(1, sizeof(Names))
        if self.names == NULL:
            raise MemoryError
        self.ctx = self.make(os.fsencode(cert), os.fsencode(key))
        for name, (other_cert, other_key) in (names or {}).items():
            text = name.encode("idna")
            i = self.names.count
            if i == MAX_NAMES or len(text) > 255:
                raise TlsError(f"at most {MAX_NAMES} server names of 255 bytes")
            memcpy(self.names.name[i], <const char*> text, len(text))
            self.names.ctx[i] = self.make(os.fsencode(other_cert), os.fsencode(other_key))
            self.names.count += 1
        SSL_CTX_set_tlsext_servername_callback(self.ctx, choose_certificate)
        SSL_CTX_set_tlsext_servername_arg(self.ctx, self.names)

    def __dealloc__(self):
        cdef int i
        if self.names != NULL:
            for i in range(self.names.count):
                SSL_CTX_free(self.names.ctx[i])
            free(self.names)
        if self.ctx != NULL:
            SSL_CTX_free(self.ctx)

    cdef SSL_CTX* make(self, bytes cert, bytes key) except NULL:
        cdef SSL_CTX* ctx
        ERR_clear_error()
        ctx = SSL_CTX_new(TLS_server_method())
        if ctx == NULL:
            raise MemoryError
        SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION)
        SSL_CTX_set_options(ctx, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION | SSL_OP_CIPHER_SERVER_PREFERENCE)
        SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS)
        SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF)  # tickets carry the sessions: no memory here
        SSL_CTX_set_session_id_context(ctx, b"nova", 4)
        SSL_CTX_set_tlsext_ticket_keys(ctx, <char*> self.ticket_keys, TICKET_KEYS)
        if len(self.alpn) > 1:
            SSL_CTX_set_alpn_select_cb(ctx, choose_protocol, <void*> <const char*> self.alpn)
        try:
            if SSL_CTX_set_cipher_list(ctx, CIPHERS) != 1:
                raise TlsError("this OpenSSL has no cipher with forward secrecy")
            if SSL_CTX_use_certificate_chain_file(ctx, cert) != 1:
                raise TlsError(f"{os.fsdecode(cert)}: not a readable PEM certificate chain ({reason()})")
            if SSL_CTX_use_PrivateKey_file(ctx, key, SSL_FILETYPE_PEM) != 1:
                raise TlsError(f"{os.fsdecode(key)}: not a readable PEM private key without a pass phrase, or not that of the certificate ({reason()})")
            if SSL_CTX_check_private_key(ctx) != 1:
                raise TlsError(f"{os.fsdecode(key)}: not the key of {os.fsdecode(cert)}")
        except BaseException:
            SSL_CTX_free(ctx)
            raise
        return ctx
