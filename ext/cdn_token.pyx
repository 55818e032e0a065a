# nova: libraries=crypto
"""Tokens of the CDN: a path, or everything below a folder, until a moment, for everybody or for one address.

Text: `<key id>.<expires>.<not before>.<prefix>.<bound>.<mac>`, the numbers in decimal (unix seconds; bytes of the path that the
token is good for, 0: exactly this target; 1: bound to an address) and the mac in base64url of HMAC-SHA256 over

    nova cdn 1 LF <the token up to and with its last dot> LF <scope> LF <address, empty when not bound>

The scope is the target (path and query) without the token, or its first <prefix> bytes. It stands as `?cdn_token=` or, so that
relative links keep it, as the first segment of the path: `/~<token>/…`. Plain enough to be made in five lines of any language.
"""
from libc.stdint cimport int64_t, uint8_t
from libc.string cimport memchr, memcmp, memcpy

from nova.ext.base64url cimport base64url_decode, base64url_encode
from nova.ext.httpfields cimport http1_query, http1_remove_query
from nova.ext.sha256 cimport (
    nova_equal, nova_hmac_add, nova_hmac_end, nova_hmac_key, nova_hmac_prepare, nova_hmac_start, nova_hmac_state, nova_wipe,
)

cdef enum:
    KEYS = 16                   # that verify at once: two for each rotation of eight tenants
    KEY_ID = 32                 # characters
    TOKEN = 160                 # characters; the longest possible token is shorter
    TARGET = 8192               # bytes, as the request parser's limit

cdef enum:
    E_MISSING = -1
    E_MALFORMED = -2
    E_KEY = -3
    E_FORGED = -4
    E_EXPIRED = -5
    E_EARLY = -6
    E_DOTS = -7

CODES = {
    E_MISSING: "missing",
    E_MALFORMED: "malformed",
    E_KEY: "unknown_key",
    E_FORGED: "forged",
    E_EXPIRED: "expired",
    E_EARLY: "not_yet_valid",
    E_DOTS: "ambiguous_path",
}

ctypedef struct Key:
    nova_hmac_key hmac
    uint8_t id[KEY_ID]
    size_t id_len               # 0: this slot is free

ctypedef struct Token:
    const uint8_t* key_id
    size_t key_id_len
    int64_t expires
    int64_t not_before
    int64_t prefix
    bint bound
    size_t signed_len           # up to and with the last dot
    uint8_t mac[32]


class CdnTokenError(ValueError):
    """A request that is not admitted; `reason` is a word of CODES."""

    def __init__(self, reason):
        super().__init__(reason)
        self.reason = reason


cdef bint id_char(uint8_t c) noexcept nogil:
    return (c >= c'a' and c <= c'z') or (c >= c'A' and c <= c'Z') or (c >= c'0' and c <= c'9') or c == c'-' or c == c'_'


cdef int number(const uint8_t** at, const uint8_t* end, int64_t most, int64_t* out) noexcept nogil:
    """A decimal number and the dot behind it; one spelling for each number."""
    cdef const uint8_t* p = at[0]
    cdef int64_t value = 0
    if p == end or p[0] < c'0' or p[0] > c'9' or (p[0] == c'0' and p + 1 < end and p[1] != c'.'):
        return -1
    while p < end and p[0] >= c'0' and p[0] <= c'9':
        value = value * 10 + (p[0] - c'0')
        if value > most:
            return -1
        p += 1
    if p == end or p[0] != c'.':
        return -1
    at[0] = p + 1
    out[0] = value
    return 0


cdef int parse(const uint8_t* text, size_t size, Token* out) noexcept nogil:
    cdef const uint8_t* p = text
    cdef const uint8_t* end = text + size
    cdef int64_t bound = 0
    if size > TOKEN:
        return -1
    while p < end and id_char(p[0]):
        p += 1
    if p == text or p - text > KEY_ID or p == end or p[0] != c'.':
        return -1
    out.key_id = text
    out.key_id_len = p - text
    p += 1
    if number(&p, end, <int64_t> 1 << 40, &out.expires) or number(&p, end, <int64_t> 1 << 40, &out.not_before):
        return -1
    if number(&p, end, TARGET, &out.prefix) or number(&p, end, 1, &bound):
        return -1
    out.bound = bound == 1
    out.signed_len = p - text
    if end - p != 43 or base64url_decode(p, 43, out.mac) != 32:
        return -1
    return 0


cdef bint two_hex(const uint8_t* p, uint8_t high, uint8_t low) noexcept nogil:
    return p[0] == high and (p[1] | 32) == low


cdef bint ambiguous(const uint8_t* path, size_t size) noexcept nogil:
    """Whether a server behind us may read another path than the bytes say: dot segments, encoded dots, slashes and backslashes."""
    cdef size_t at
    cdef size_t began = 0
    cdef size_t dots = 0
    for at in range(size + 1):
        if at == size or path[at] == c'/':
            if at - began == dots and (dots == 1 or dots == 2):
                return True
            began = at + 1
            dots = 0
        elif path[at] == c'.':
            dots += 1
        elif path[at] == c'\\':
            return True
        elif path[at] == c'%' and at + 2 < size:
            if two_hex(path + at + 1, c'2', c'e') or two_hex(path + at + 1, c'2', c'f') or two_hex(path + at + 1, c'5', c'c'):
                return True
    return False


cdef void mac_of(const nova_hmac_key* key, const uint8_t* signed, size_t signed_len, const uint8_t* scope, size_t scope_len,
                 const uint8_t* address, size_t address_len, uint8_t* out) noexcept nogil:
    cdef nova_hmac_state state
    nova_hmac_start(&state, key)
    nova_hmac_add(&state, b"nova cdn 1\n", 11)
    nova_hmac_add(&state, signed, signed_len)
    nova_hmac_add(&state, b"\n", 1)
    nova_hmac_add(&state, scope, scope_len)
    nova_hmac_add(&state, b"\n", 1)
    nova_hmac_add(&state, address, address_len)
    nova_hmac_end(&state, key, out)


cdef size_t path_length(const uint8_t* target, size_t size) noexcept nogil:
    cdef const uint8_t* query = <const uint8_t*> memchr(target, c'?', size)
    return size if query == NULL else <size_t> (query - target)


cdef int take_token(const uint8_t* target, size_t size, uint8_t* clean, size_t* clean_len, uint8_t* token, size_t* token_len) noexcept nogil:
    """Copy `target` without its token to `clean`, and the token. Refuses a request with two of them: one would go on to the origin."""
    cdef size_t path = path_length(target, size)
    cdef const uint8_t* slash
    cdef const uint8_t* value = NULL
    cdef size_t value_len = 0
    cdef size_t left
    cdef size_t begin = 0
    token_len[0] = 0
    if path >= 2 and target[0] == c'/' and target[1] == c'~':
        slash = <const uint8_t*> memchr(target + 2, c'/', path - 2)
        if slash == NULL or slash - (target + 2) > TOKEN:
            return E_MALFORMED
        begin = slash - target
        token_len[0] = begin - 2
        memcpy(token, target + 2, begin - 2)
    clean_len[0] = size - begin
    memcpy(clean, target + begin, size - begin)
    path -= begin
    if path < clean_len[0] and http1_query(clean + path + 1, clean_len[0] - path - 1, b"cdn_token", 9, &value, &value_len):
        if token_len[0] or value_len > TOKEN:
            return E_MALFORMED
        memcpy(token, value, value_len)
        token_len[0] = value_len
        left = http1_remove_query(clean + path + 1, clean_len[0] - path - 1, b"cdn_token", 9)
        clean_len[0] = path + 1 + left if left else path
    return 0 if token_len[0] else E_MISSING


cdef int check(const Key* keys, const uint8_t* token, size_t token_len, const uint8_t* target, size_t size, const uint8_t* address,
               size_t address_len, int64_t now, int64_t leeway) noexcept nogil:
    """0, or a negative E_*. The mac is looked at before what it vouches for, in constant time."""
    cdef Token found
    cdef uint8_t wanted[32]
    cdef const Key* key = NULL
    cdef size_t scope = size
    cdef int i
    if parse(token, token_len, &found) != 0:
        return E_MALFORMED
    if found.prefix:
        scope = <size_t> found.prefix
        if scope > path_length(target, size) or target[scope - 1] != c'/':
            return E_FORGED
    for i in range(KEYS):
        if keys[i].id_len == found.key_id_len and memcmp(keys[i].id, found.key_id, found.key_id_len) == 0:
            key = &keys[i]
    if key == NULL:
        return E_KEY
    mac_of(&key.hmac, token, found.signed_len, target, scope, address, address_len if found.bound else 0, wanted)
    if not nova_equal(wanted, found.mac, 32):
        return E_FORGED
    if found.expires + leeway <= now:
        return E_EXPIRED
    if found.not_before - leeway > now:
        return E_EARLY
    if found.prefix and ambiguous(target, path_length(target, size)):
        return E_DOTS
    return 0


cdef class CdnTokenKeys:
    """The keys of one site: up to 16 verify, the one added last mints. Trio thread only."""

    cdef Key keys[KEYS]
    cdef int current

    def __cinit__(self):
        cdef int i
        for i in range(KEYS):
            self.keys[i].id_len = 0
        self.current = -1

    def __dealloc__(self):
        nova_wipe(self.keys, sizeof(self.keys))

    def add(self, bytes key_id, bytes secret) -> None:
        """Add a key of at least 16 bytes and mint with it from now on.

        Raises ValueError: a short secret, an id outside `[A-Za-z0-9_-]{1,32}` or in use, no place left.
        """
        cdef int slot
        if len(secret) < 16:
            raise ValueError("a token key has 16 bytes or more")
        if not 0 < len(key_id) <= KEY_ID or not all(id_char(c) for c in key_id) or key_id in self.ids():
            raise ValueError("a key id has 1 to 32 of A-Z a-z 0-9 _ - and is used once")
        for slot in range(KEYS):
            if self.keys[slot].id_len == 0:
                nova_hmac_prepare(&self.keys[slot].hmac, <const char*> secret, <size_t> len(secret))
                memcpy(self.keys[slot].id, <const char*> key_id, len(key_id))
                self.keys[slot].id_len = <size_t> len(key_id)
                self.current = slot
                return
        raise ValueError("at most 16 token keys")

    def remove(self, bytes key_id) -> None:
        """Refuse what this key signed from now on. Raises KeyError."""
        cdef int slot
        for slot in range(KEYS):
            if self.keys[slot].id_len and self.keys[slot].id[:self.keys[slot].id_len] == key_id:
                nova_wipe(&self.keys[slot], sizeof(Key))
                self.keys[slot].id_len = 0
                if self.current == slot:
                    self.current = max((i for i in range(KEYS) if self.keys[i].id_len), default=-1)
                return
        raise KeyError(key_id)

    def ids(self) -> list[bytes]:
        """The ids of the keys that verify."""
        return [self.keys[slot].id[:self.keys[slot].id_len] for slot in range(KEYS) if self.keys[slot].id_len]

    def mint(self, bytes target, expires: int, *, not_before: int = 0, prefix: int = 0, bytes address=b"") -> bytes:
        """The token for `target` until `expires` (unix seconds).

        prefix: good for every path that begins with so many bytes of this one; they end with a slash. address: as `admit` gets it.
        Raises ValueError: no key, or an argument outside its bounds.
        """
        cdef uint8_t mac[32]
        cdef uint8_t text[43]
        cdef Key* key
        cdef bytes signed
        if self.current < 0:
            raise ValueError("there is no token key")
        if not 0 < len(target) <= TARGET or not 0 < expires <= 1 << 40 or not 0 <= not_before <= 1 << 40:
            raise ValueError("a target has 1 to 8192 bytes, times are unix seconds")
        if prefix and not (0 < prefix <= path_length(target, len(target)) and target[prefix - 1] == 47):
            raise ValueError("a prefix lies within the path and ends with a slash")
        key = &self.keys[self.current]
        signed = b"%b.%d.%d.%d.%d." % (key.id[:key.id_len], expires, not_before, prefix, 1 if address else 0)
        mac_of(&key.hmac, signed, <size_t> len(signed), target, <size_t> (prefix or len(target)), address, <size_t> len(address), mac)
        base64url_encode(mac, 32, text)
        return signed + (<char*> text)[:43]

    def admit(self, bytes target, bytes address, int64_t now, int64_t leeway=0) -> bytes:
        """`target` without its token. Raises CdnTokenError: there is none, or none that is good for it now."""
        cdef uint8_t clean[TARGET]
        cdef uint8_t token[TOKEN]
        cdef size_t clean_len = 0
        cdef size_t token_len = 0
        cdef int code
        if not 0 < len(target) <= TARGET:
            raise CdnTokenError("malformed")
        code = take_token(target, <size_t> len(target), clean, &clean_len, token, &token_len)
        if code == 0:
            code = check(self.keys, token, token_len, clean, clean_len, address, <size_t> len(address), now, leeway)
        if code != 0:
            raise CdnTokenError(CODES[code])
        return (<char*> clean)[:clean_len]
