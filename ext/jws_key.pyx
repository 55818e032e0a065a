# nova: libraries=crypto,sodium
"""Keys of signed tokens (JWS, RFC 7515): EdDSA with Ed25519, ES256, RS256 and HS256, by libcrypto.

A key knows its one algorithm (RFC 8725, section 3.1): the type of the key decides it, never the token. Signatures of Ed25519 are
checked by libsodium, which takes half of libcrypto's time.
"""
from libc.stdint cimport int32_t, uint8_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcmp, memcpy

from nova.ext.atomics cimport nova_add32
from nova.ext.sha256 cimport (
    nova_equal, nova_hmac_add, nova_hmac_end, nova_hmac_prepare, nova_hmac_start, nova_hmac_state, nova_sha256, nova_wipe,
)

cdef extern from "openssl/evp.h" nogil:
    ctypedef struct EVP_MD:
        pass
    ctypedef struct EVP_MD_CTX:
        pass
    ctypedef struct ENGINE:
        pass
    ctypedef struct OSSL_LIB_CTX:
        pass
    ctypedef struct OSSL_PARAM:
        pass
    enum:
        EVP_PKEY_RSA
        EVP_PKEY_EC
        EVP_PKEY_ED25519
        EVP_PKEY_PUBLIC_KEY
        RSA_PKCS1_PADDING
    void EVP_PKEY_free(EVP_PKEY* pkey)
    int EVP_PKEY_get_base_id(const EVP_PKEY* pkey)
    int EVP_PKEY_get_bits(const EVP_PKEY* pkey)
    int EVP_PKEY_get_size(const EVP_PKEY* pkey)
    int EVP_PKEY_get_utf8_string_param(const EVP_PKEY* pkey, const char* name, char* out, size_t max_size, size_t* size)
    EVP_PKEY* EVP_PKEY_new_raw_public_key(int type, ENGINE* e, const uint8_t* key, size_t size)
    int EVP_PKEY_get_raw_public_key(const EVP_PKEY* pkey, uint8_t* out, size_t* size)
    EVP_PKEY_CTX* EVP_PKEY_CTX_new(EVP_PKEY* pkey, ENGINE* e)
    EVP_PKEY_CTX* EVP_PKEY_CTX_new_id(int id, ENGINE* e)
    EVP_PKEY_CTX* EVP_PKEY_CTX_new_from_name(OSSL_LIB_CTX* lib, const char* name, const char* properties)
    EVP_PKEY_CTX* EVP_PKEY_CTX_dup(const EVP_PKEY_CTX* ctx)
    void EVP_PKEY_CTX_free(EVP_PKEY_CTX* ctx)
    int EVP_PKEY_keygen_init(EVP_PKEY_CTX* ctx)
    int EVP_PKEY_keygen(EVP_PKEY_CTX* ctx, EVP_PKEY** out)
    int EVP_PKEY_fromdata_init(EVP_PKEY_CTX* ctx)
    int EVP_PKEY_fromdata(EVP_PKEY_CTX* ctx, EVP_PKEY** out, int selection, OSSL_PARAM* params)
    int EVP_PKEY_public_check(EVP_PKEY_CTX* ctx)
    int EVP_PKEY_verify_init(EVP_PKEY_CTX* ctx)
    int EVP_PKEY_CTX_set_signature_md(EVP_PKEY_CTX* ctx, const EVP_MD* md)
    int EVP_PKEY_verify(EVP_PKEY_CTX* ctx, const uint8_t* signature, size_t size, const uint8_t* digest, size_t digest_size)
    const EVP_MD* EVP_sha256()
    EVP_MD_CTX* EVP_MD_CTX_new()
    void EVP_MD_CTX_free(EVP_MD_CTX* ctx)
    int EVP_DigestSignInit(EVP_MD_CTX* ctx, EVP_PKEY_CTX** pctx, const EVP_MD* md, ENGINE* e, EVP_PKEY* pkey)
    int EVP_DigestSign(EVP_MD_CTX* ctx, uint8_t* signature, size_t* size, const uint8_t* data, size_t data_size)

cdef extern from "openssl/rsa.h" nogil:
    int EVP_PKEY_CTX_set_rsa_padding(EVP_PKEY_CTX* ctx, int padding)

cdef extern from "openssl/params.h" nogil:
    OSSL_PARAM OSSL_PARAM_construct_utf8_string(const char* name, char* value, size_t size)
    OSSL_PARAM OSSL_PARAM_construct_octet_string(const char* name, void* value, size_t size)
    OSSL_PARAM OSSL_PARAM_construct_BN(const char* name, uint8_t* value, size_t size)
    OSSL_PARAM OSSL_PARAM_construct_end()

cdef extern from "openssl/bio.h" nogil:
    ctypedef struct BIO:
        pass
    ctypedef struct BIO_METHOD:
        pass
    BIO* BIO_new(const BIO_METHOD* method)
    BIO* BIO_new_mem_buf(const void* data, int size)
    const BIO_METHOD* BIO_s_secmem()
    long BIO_get_mem_data(BIO* bio, char** data)
    void BIO_free_all(BIO* bio)

cdef extern from "openssl/x509.h" nogil:
    ctypedef struct X509:
        pass
    EVP_PKEY* X509_get_pubkey(X509* certificate)
    void X509_free(X509* certificate)

cdef extern from "openssl/pem.h" nogil:
    ctypedef int (*pem_password_cb)(char* out, int size, int rwflag, void* userdata) noexcept nogil
    ctypedef struct EVP_CIPHER:
        pass
    EVP_PKEY* PEM_read_bio_PUBKEY(BIO* bio, EVP_PKEY** out, pem_password_cb callback, void* userdata)
    EVP_PKEY* PEM_read_bio_PrivateKey(BIO* bio, EVP_PKEY** out, pem_password_cb callback, void* userdata)
    X509* PEM_read_bio_X509(BIO* bio, X509** out, pem_password_cb callback, void* userdata)
    int PEM_write_bio_PKCS8PrivateKey(BIO* bio, const EVP_PKEY* pkey, const EVP_CIPHER* cipher, const char* password,
                                      int password_size, pem_password_cb callback, void* userdata)

cdef extern from "openssl/err.h" nogil:
    void ERR_clear_error()

cdef extern from "sodium.h" nogil:
    int sodium_init()
    int crypto_core_ed25519_is_valid_point(const uint8_t* point)
    int crypto_sign_ed25519_verify_detached(const uint8_t* signature, const uint8_t* data, unsigned long long size, const uint8_t* point)

cdef enum:
    MIN_RSA_BITS = 2048   # RFC 7518, section 3.3
    MAX_RSA_BITS = 8192   # a check costs the square of it
    MIN_SECRET = 32       # bytes; RFC 7518, section 3.2: as long as the digest
    ED25519_SIZE = 32
    SIGNATURE_SIZE = 64   # of Ed25519
    COORDINATE_SIZE = 32  # of P-256

if sodium_init() < 0:  # chooses its code for this processor, once and before there are threads
    raise ImportError("libsodium cannot be used: it finds no source of random numbers")

NAMES = {ALG_HS256: "HS256", ALG_RS256: "RS256", ALG_ES256: "ES256", ALG_EDDSA: "EdDSA"}


cdef int alg_named(const uint8_t* name, size_t size) noexcept nogil:
    """The algorithm that a token names, or ALG_NONE."""
    if size == 5:
        if memcmp(name, b"HS256", 5) == 0:
            return ALG_HS256
        if memcmp(name, b"RS256", 5) == 0:
            return ALG_RS256
        if memcmp(name, b"ES256", 5) == 0:
            return ALG_ES256
        if memcmp(name, b"EdDSA", 5) == 0:
            return ALG_EDDSA
    return ALG_NONE


cdef void key_unref(Key* key) noexcept nogil:
    if nova_add32(&key.refs, -1) != 0:
        return
    if key.verifier != NULL:
        EVP_PKEY_CTX_free(key.verifier)
    if key.pkey != NULL:
        EVP_PKEY_free(key.pkey)
    nova_wipe(&key.hmac, sizeof(key.hmac))
    free(key)


cdef size_t der_integer(const uint8_t* value, uint8_t* out) noexcept nogil:
    """A 32-byte unsigned number as a DER INTEGER: no leading zeros, but one where the sign bit would be set."""
    cdef size_t skip = 0
    cdef size_t pad
    while skip < COORDINATE_SIZE - 1 and value[skip] == 0:
        skip += 1
    pad = 1 if value[skip] & 0x80 else 0
    out[0] = 0x02
    out[1] = <uint8_t> (COORDINATE_SIZE - skip + pad)
    out[2] = 0
    memcpy(out + 2 + pad, value + skip, COORDINATE_SIZE - skip)
    return 2 + pad + COORDINATE_SIZE - skip


cdef bint verify_digest(Key* key, const uint8_t* digest, const uint8_t* signature, size_t size) noexcept nogil:
    cdef EVP_PKEY_CTX* ctx = EVP_PKEY_CTX_dup(key.verifier)
    cdef bint good = ctx != NULL and EVP_PKEY_verify(ctx, signature, size, digest, 32) == 1
    EVP_PKEY_CTX_free(ctx)
    return good


cdef bint key_verify(Key* key, const uint8_t* data, size_t size, const uint8_t* signature, size_t signature_len) noexcept nogil:
    """Whether `signature` is the key's over `data`. Any thread; leaves the thread's OpenSSL error queue empty."""
    cdef uint8_t digest[32]
    cdef uint8_t der[2 + 2 * (2 + 1 + COORDINATE_SIZE)]
    cdef nova_hmac_state state
    cdef size_t der_len
    cdef bint good = False
    if key.alg == ALG_HS256:
        if signature_len != 32:
            return False
        nova_hmac_start(&state, &key.hmac)
        nova_hmac_add(&state, data, size)
        nova_hmac_end(&state, &key.hmac, digest)
        return nova_equal(digest, signature, 32)
    if key.alg == ALG_EDDSA:
        # Stricter than RFC 8032, section 5.1.7: besides an S of the group's order or more, it refuses an R of small order.
        return signature_len == SIGNATURE_SIZE and crypto_sign_ed25519_verify_detached(signature, data, size, key.point) == 0
    if key.alg == ALG_RS256:
        if signature_len == <size_t> EVP_PKEY_get_size(key.pkey):
            nova_sha256(data, size, digest)
            good = verify_digest(key, digest, signature, signature_len)
    elif key.alg == ALG_ES256:
        # RFC 7518, section 3.4: r and s, 32 bytes each; libcrypto wants SEQUENCE { INTEGER r, INTEGER s }.
        if signature_len == 2 * COORDINATE_SIZE:
            nova_sha256(data, size, digest)
            der_len = der_integer(signature, der + 2)
            der_len += der_integer(signature + COORDINATE_SIZE, der + 2 + der_len)
            der[0] = 0x30
            der[1] = <uint8_t> der_len
            good = verify_digest(key, digest, der, der_len + 2)
    if not good:
        ERR_clear_error()  # the TLS transport of this thread reads that queue
    return good


cdef int no_password(char* out, int size, int rwflag, void* userdata) noexcept nogil:
    return -1  # without a callback libcrypto would ask on the terminal


cdef EVP_PKEY* read_pem(const char* data, int size, bint* private) noexcept nogil:
    """The key in a PEM text: a public key, a certificate or a private key; NULL when there is none."""
    cdef BIO* bio
    cdef EVP_PKEY* pkey = NULL
    cdef X509* certificate
    private[0] = False
    bio = BIO_new_mem_buf(data, size)
    if bio == NULL:
        return NULL
    pkey = PEM_read_bio_PrivateKey(bio, NULL, no_password, NULL)
    BIO_free_all(bio)
    if pkey != NULL:
        private[0] = True
        return pkey
    bio = BIO_new_mem_buf(data, size)
    if bio == NULL:
        return NULL
    pkey = PEM_read_bio_PUBKEY(bio, NULL, no_password, NULL)
    BIO_free_all(bio)
    if pkey != NULL:
        return pkey
    bio = BIO_new_mem_buf(data, size)
    if bio == NULL:
        return NULL
    certificate = PEM_read_bio_X509(bio, NULL, no_password, NULL)
    BIO_free_all(bio)
    if certificate != NULL:
        pkey = X509_get_pubkey(certificate)
        X509_free(certificate)
    return pkey


cdef EVP_PKEY* make_public(const char* kind, OSSL_PARAM* params) noexcept nogil:
    """A public key from its numbers, checked (a point on the curve, a plausible modulus), or NULL."""
    cdef EVP_PKEY* pkey = NULL
    cdef EVP_PKEY_CTX* ctx = EVP_PKEY_CTX_new_from_name(NULL, kind, NULL)
    cdef bint good
    if ctx == NULL:
        return NULL
    good = EVP_PKEY_fromdata_init(ctx) == 1 and EVP_PKEY_fromdata(ctx, &pkey, EVP_PKEY_PUBLIC_KEY, params) == 1
    EVP_PKEY_CTX_free(ctx)
    if not good:
        EVP_PKEY_free(pkey)
        return NULL
    ctx = EVP_PKEY_CTX_new(pkey, NULL)
    good = ctx != NULL and EVP_PKEY_public_check(ctx) == 1
    EVP_PKEY_CTX_free(ctx)
    if not good:
        EVP_PKEY_free(pkey)
        return NULL
    return pkey


cdef JwsKey wrap(EVP_PKEY* pkey, bint private):
    """The JwsKey of `pkey` (taken over). Raises ValueError when it is no key that we use."""
    cdef JwsKey made = JwsKey.__new__(JwsKey)
    cdef Key* key = NULL
    cdef char group[32]
    cdef size_t length = 0
    cdef int kind
    if pkey == NULL:
        ERR_clear_error()
        raise ValueError("no usable key: damaged, encrypted, or of an unknown kind")
    key = <Key*> calloc(1, sizeof(Key))
    if key == NULL:
        EVP_PKEY_free(pkey)
        raise MemoryError
    key.refs = 1
    key.pkey = pkey
    made.key = key  # freed with `made` from here on
    made.private = private
    kind = EVP_PKEY_get_base_id(pkey)
    if kind == EVP_PKEY_ED25519:
        key.alg = ALG_EDDSA
        length = ED25519_SIZE
        if EVP_PKEY_get_raw_public_key(pkey, key.point, &length) != 1 or not crypto_core_ed25519_is_valid_point(key.point):
            ERR_clear_error()
            raise ValueError("no public key of Ed25519: off the curve, outside the generator's group, or not in its one form")
        return made
    if kind == EVP_PKEY_RSA:
        if not MIN_RSA_BITS <= EVP_PKEY_get_bits(pkey) <= MAX_RSA_BITS:
            raise ValueError(f"an RSA key has {MIN_RSA_BITS} to {MAX_RSA_BITS} bits, this one {EVP_PKEY_get_bits(pkey)}")
        key.alg = ALG_RS256
    elif kind == EVP_PKEY_EC:
        if EVP_PKEY_get_utf8_string_param(pkey, "group", group, sizeof(group), &length) != 1 or group[:length] != b"prime256v1":
            ERR_clear_error()
            raise ValueError("an EC key is on the curve P-256 (ES256)")
        key.alg = ALG_ES256
    else:
        raise ValueError("a key is Ed25519, EC P-256 or RSA")
    key.verifier = EVP_PKEY_CTX_new(pkey, NULL)
    if (key.verifier == NULL or EVP_PKEY_verify_init(key.verifier) != 1
            or (key.alg == ALG_RS256 and EVP_PKEY_CTX_set_rsa_padding(key.verifier, RSA_PKCS1_PADDING) != 1)
            or EVP_PKEY_CTX_set_signature_md(key.verifier, EVP_sha256()) != 1):
        ERR_clear_error()
        raise ValueError("libcrypto cannot verify with this key")
    return made


cdef class JwsKey:
    """One key with its one algorithm. Made by the `from_*` functions; immutable, shared by threads."""

    def __init__(self):
        raise TypeError("use JwsKey.from_pem and its siblings")

    def __dealloc__(self):
        if self.key != NULL:
            key_unref(self.key)

    def __repr__(self):
        return f"<JwsKey {self.alg}>"

    @property
    def alg(self) -> str:
        return NAMES[self.key.alg]

    @property
    def can_sign(self) -> bool:
        return self.private and self.key.alg == ALG_EDDSA

    @staticmethod
    def from_pem(bytes pem) -> JwsKey:
        """A public key, certificate or private key. Raises ValueError: no key, encrypted, or not of a kind that we use."""
        cdef bint private = False
        cdef EVP_PKEY* pkey
        if len(pem) > 65536:
            raise ValueError("a PEM file of a key is not that large")
        pkey = read_pem(pem, <int> len(pem), &private)
        ERR_clear_error()
        return wrap(pkey, private)

    @staticmethod
    def from_secret(bytes secret) -> JwsKey:
        """An HS256 key. Raises ValueError below 32 bytes."""
        cdef JwsKey made = JwsKey.__new__(JwsKey)
        if len(secret) < MIN_SECRET:
            raise ValueError(f"an HS256 secret has {MIN_SECRET} bytes or more")
        made.key = <Key*> calloc(1, sizeof(Key))
        if made.key == NULL:
            raise MemoryError
        made.key.refs = 1
        made.key.alg = ALG_HS256
        nova_hmac_prepare(&made.key.hmac, <const char*> secret, <size_t> len(secret))
        return made

    @staticmethod
    def from_okp(bytes x) -> JwsKey:
        """An Ed25519 public key of 32 bytes (RFC 8037)."""
        if len(x) != ED25519_SIZE:
            raise ValueError("an Ed25519 public key has 32 bytes")
        return wrap(EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, <const uint8_t*> <const char*> x, ED25519_SIZE), False)

    @staticmethod
    def from_ec(bytes x, bytes y) -> JwsKey:
        """A P-256 public key of two coordinates of 32 bytes (RFC 7518, section 6.2.1)."""
        cdef OSSL_PARAM params[3]
        cdef bytes point = b"\x04" + x + y
        cdef bytes group = b"prime256v1"
        if len(x) != COORDINATE_SIZE or len(y) != COORDINATE_SIZE:
            raise ValueError("a P-256 coordinate has 32 bytes")
        params[0] = OSSL_PARAM_construct_utf8_string("group", group, 0)
        params[1] = OSSL_PARAM_construct_octet_string("pub", <char*> point, <size_t> len(point))
        params[2] = OSSL_PARAM_construct_end()
        return wrap(make_public("EC", params), False)

    @staticmethod
    def from_rsa(bytes n, bytes e) -> JwsKey:
        """An RSA public key: modulus and exponent, big endian (RFC 7518, section 6.3.1)."""
        cdef OSSL_PARAM params[3]
        cdef bytes modulus = n[::-1]  # OSSL_PARAM numbers are in the machine's order: little endian here
        cdef bytes exponent = e[::-1]
        if not n or len(n) > MAX_RSA_BITS // 8 or not e or len(e) > 4:
            raise ValueError("an RSA key has a modulus of at most 8192 bits and an exponent of at most 32")
        params[0] = OSSL_PARAM_construct_BN("n", <uint8_t*> <char*> modulus, <size_t> len(modulus))
        params[1] = OSSL_PARAM_construct_BN("e", <uint8_t*> <char*> exponent, <size_t> len(exponent))
        params[2] = OSSL_PARAM_construct_end()
        return wrap(make_public("RSA", params), False)

    @staticmethod
    def generate() -> JwsKey:
        """A new Ed25519 key pair."""
        cdef EVP_PKEY* pkey = NULL
        cdef EVP_PKEY_CTX* ctx = EVP_PKEY_CTX_new_id(EVP_PKEY_ED25519, NULL)
        if ctx == NULL:
            raise MemoryError
        if EVP_PKEY_keygen_init(ctx) == 1:
            EVP_PKEY_keygen(ctx, &pkey)
        EVP_PKEY_CTX_free(ctx)
        return wrap(pkey, True)

    def public_bytes(self) -> bytes:
        """The 32 bytes of an Ed25519 public key. Raises ValueError for another kind of key."""
        if self.key.alg != ALG_EDDSA:
            raise ValueError("only an Ed25519 key has 32 public bytes")
        return (<char*> self.key.point)[:ED25519_SIZE]

    def private_pem(self) -> bytes:
        """The key pair as PKCS #8 PEM, not encrypted. Raises ValueError when there is no private half."""
        cdef BIO* bio
        cdef char* at = NULL
        cdef long size
        if not self.private:
            raise ValueError("this key has no private half")
        bio = BIO_new(BIO_s_secmem())
        if bio == NULL:
            raise MemoryError
        try:
            if PEM_write_bio_PKCS8PrivateKey(bio, self.key.pkey, NULL, NULL, 0, NULL, NULL) != 1:
                ERR_clear_error()
                raise MemoryError
            size = BIO_get_mem_data(bio, &at)
            return at[:size]
        finally:
            BIO_free_all(bio)

    def sign(self, bytes data) -> bytes:
        """The Ed25519 signature of `data`, 64 bytes. Raises ValueError for any other key: we mint EdDSA only."""
        cdef uint8_t out[SIGNATURE_SIZE]
        cdef size_t size = SIGNATURE_SIZE
        cdef EVP_MD_CTX* ctx
        cdef bint good
        if not self.private or self.key.alg != ALG_EDDSA:
            raise ValueError("only an Ed25519 key pair signs")
        ctx = EVP_MD_CTX_new()
        good = (ctx != NULL and EVP_DigestSignInit(ctx, NULL, NULL, NULL, self.key.pkey) == 1
                and EVP_DigestSign(ctx, out, &size, <const uint8_t*> <const char*> data, <size_t> len(data)) == 1)
        EVP_MD_CTX_free(ctx)
        if not good:
            ERR_clear_error()
            raise MemoryError
        return (<char*> out)[:size]

    def verify(self, bytes data, bytes signature) -> bool:
        return key_verify(self.key, <const uint8_t*> <const char*> data, <size_t> len(data),
                          <const uint8_t*> <const char*> signature, <size_t> len(signature))
