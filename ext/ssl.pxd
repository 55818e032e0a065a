"""The part of OpenSSL 3 that the TLS transport calls."""
from libc.stdint cimport uint64_t

cdef extern from "openssl/ssl.h" nogil:
    ctypedef struct SSL:
        pass
    ctypedef struct SSL_CTX:
        pass
    ctypedef struct SSL_METHOD:
        pass
    SSL_METHOD* TLS_server_method()
    SSL_CTX* SSL_CTX_new(const SSL_METHOD* method)
    void SSL_CTX_free(SSL_CTX* ctx)
    int SSL_CTX_up_ref(SSL_CTX* ctx)
    int SSL_CTX_set_min_proto_version(SSL_CTX* ctx, int version)
    uint64_t SSL_CTX_set_options(SSL_CTX* ctx, uint64_t options)
    long SSL_CTX_set_mode(SSL_CTX* ctx, long mode)
    long SSL_CTX_set_session_cache_mode(SSL_CTX* ctx, long mode)
    int SSL_CTX_set_session_id_context(SSL_CTX* ctx, const unsigned char* sid, unsigned int size)
    int SSL_CTX_set_num_tickets(SSL_CTX* ctx, size_t count)
    int SSL_CTX_use_certificate_chain_file(SSL_CTX* ctx, const char* file)
    int SSL_CTX_use_PrivateKey_file(SSL_CTX* ctx, const char* file, int type)
    int SSL_CTX_check_private_key(const SSL_CTX* ctx)
    int SSL_CTX_set_cipher_list(SSL_CTX* ctx, const char* text)
    long SSL_CTX_get_tlsext_ticket_keys(SSL_CTX* ctx, void* keys, int size)
    long SSL_CTX_set_tlsext_ticket_keys(SSL_CTX* ctx, void* keys, int size)
    ctypedef int (*alpn_select)(SSL* ssl, const unsigned char** out, unsigned char* outlen,
                                const unsigned char* given, unsigned int givenlen, void* arg) noexcept nogil
    void SSL_CTX_set_alpn_select_cb(SSL_CTX* ctx, alpn_select cb, void* arg)
    int SSL_select_next_proto(unsigned char** out, unsigned char* outlen, const unsigned char* server,
                              unsigned int server_len, const unsigned char* client, unsigned int client_len)
    ctypedef int (*servername)(SSL* ssl, int* alert, void* arg) noexcept nogil
    long SSL_CTX_set_tlsext_servername_callback(SSL_CTX* ctx, servername cb)
    long SSL_CTX_set_tlsext_servername_arg(SSL_CTX* ctx, void* arg)
    const char* SSL_get_servername(const SSL* ssl, int type)
    SSL_CTX* SSL_set_SSL_CTX(SSL* ssl, SSL_CTX* ctx)
    SSL* SSL_new(SSL_CTX* ctx)
    void SSL_free(SSL* ssl)
    int SSL_set_fd(SSL* ssl, int fd)
    void SSL_set_accept_state(SSL* ssl)
    int SSL_do_handshake(SSL* ssl)
    int SSL_read(SSL* ssl, void* buf, int size)
    int SSL_write(SSL* ssl, const void* buf, int size)
    int SSL_pending(const SSL* ssl)
    int SSL_shutdown(SSL* ssl)
    int SSL_get_error(const SSL* ssl, int ret)
    int SSL_version(const SSL* ssl)
    int SSL_session_reused(const SSL* ssl)
    void SSL_get0_alpn_selected(const SSL* ssl, const unsigned char** data, unsigned int* size)
    enum:
        TLS1_2_VERSION, SSL_FILETYPE_PEM, SSL_ERROR_NONE, SSL_ERROR_WANT_READ, SSL_ERROR_WANT_WRITE
        SSL_ERROR_ZERO_RETURN, SSL_TLSEXT_ERR_OK, SSL_TLSEXT_ERR_NOACK, SSL_TLSEXT_ERR_ALERT_FATAL, TLSEXT_NAMETYPE_host_name
        SSL_MODE_ENABLE_PARTIAL_WRITE, SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER, SSL_MODE_RELEASE_BUFFERS
        SSL_SESS_CACHE_OFF, SSL_SESS_CACHE_SERVER, OPENSSL_NPN_NEGOTIATED
    uint64_t SSL_OP_NO_COMPRESSION, SSL_OP_NO_RENEGOTIATION, SSL_OP_IGNORE_UNEXPECTED_EOF, SSL_OP_CIPHER_SERVER_PREFERENCE

cdef extern from "openssl/err.h" nogil:
    unsigned long ERR_get_error()
    void ERR_clear_error()
    void ERR_error_string_n(unsigned long code, char* buf, size_t size)
