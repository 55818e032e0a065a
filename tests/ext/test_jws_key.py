"""Ed25519 against RFC 8032 and `cryptography`: what is honest passes, and what others may let pass does not."""

import hashlib

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given
from hypothesis import strategies as st

from nova.ext.jws_key import JwsKey

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493  # the order of the generator's group
D = -121665 * pow(121666, -1, P) % P
ROOT = pow(2, (P - 1) // 4, P)  # of -1

VECTORS = [  # RFC 8032, section 7.1: secret key, public key, message, signature
    (
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
    ),
    (
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
    ),
    (
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
    ),
    (  # the message is SHA-512 of "abc"
        "833fe62409237b9d62ec77587520911e9a759cec1d19755b7da901b96dca3d42",
        "ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf",
        hashlib.sha512(b"abc").hexdigest(),
        "dc2a4459e7369633a52b1bf277839a00201009a3efbf3ecb69bea2186c26b58909351fc9ac90b3ecfdfbc7c66431e0303dca179c138ac17ad9bef1177331a704",
    ),
]

Point = tuple[int, int]


def added(a: Point, b: Point) -> Point:
    """RFC 8032, section 3: addition on the curve."""
    product = D * a[0] * b[0] * a[1] * b[1] % P
    x = (a[0] * b[1] + b[0] * a[1]) * pow(1 + product, -1, P) % P
    return x, (a[1] * b[1] + a[0] * b[0]) * pow(1 - product, -1, P) % P


def written(point: Point) -> bytes:
    return (point[1] | (point[0] & 1) << 255).to_bytes(32, "little")


def read(text: bytes) -> Point | None:
    """Section 5.1.3; None: no point of the curve has this y."""
    y = int.from_bytes(text, "little") & 2**255 - 1
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    if x * x % P != square:
        x = x * ROOT % P
    if x * x % P != square:
        return None
    return (P - x if x & 1 != text[31] >> 7 else x), y


def times(factor: int, point: Point) -> Point:
    found = (0, 1)
    while factor:
        if factor & 1:
            found = added(found, point)
        point = added(point, point)
        factor >>= 1
    return found


def small() -> list[Point]:
    """The eight points whose order divides 8: the multiples of one of order 8, which most points become when L times is taken."""
    points = (read(number.to_bytes(32, "little")) for number in range(2, 200))
    eighth = next(found for found in (times(L, point) for point in points if point) if times(4, found) != (0, 1))
    return [times(number, eighth) for number in range(8)]


SMALL = [written(point) for point in small()]


def pair(seed: bytes) -> JwsKey:
    secret = Ed25519PrivateKey.from_private_bytes(seed)
    return JwsKey.from_pem(secret.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


@pytest.mark.parametrize(("secret", "public", "message", "signature"), [[bytes.fromhex(part) for part in vector] for vector in VECTORS])
def test_the_vectors_of_rfc_8032(secret: bytes, public: bytes, message: bytes, signature: bytes) -> None:
    key, mine = JwsKey.from_okp(public), pair(secret)
    assert mine.public_bytes() == key.public_bytes() == public
    assert mine.sign(message) == signature
    assert key.verify(message, signature)
    assert not key.verify(message + b"\0", signature)
    for bit in range(512):
        assert not key.verify(message, (int.from_bytes(signature, "big") ^ 1 << bit).to_bytes(64, "big"))
    for bit in range(len(message) * 8):
        assert not key.verify((int.from_bytes(message, "big") ^ 1 << bit).to_bytes(len(message), "big"), signature)
    for size in (*range(64), 65, 96, 128):
        assert not key.verify(message, (signature + bytes(64))[:size])


@given(st.binary(min_size=32, max_size=32), st.binary(max_size=2000), st.integers(0, 511), st.integers(0, 7))
def test_what_cryptography_says_we_say(seed: bytes, message: bytes, bit: int, change: int) -> None:
    secret = Ed25519PrivateKey.from_private_bytes(seed)
    signature = secret.sign(message)
    if change == 0:
        signature = (int.from_bytes(signature, "big") ^ 1 << bit).to_bytes(64, "big")
    public = secret.public_key().public_bytes_raw()
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
        good = True
    except InvalidSignature:
        good = False
    assert good == (change != 0)
    assert JwsKey.from_okp(public).verify(message, signature) is good
    assert pair(seed).sign(message) == secret.sign(message)


def test_a_signature_has_one_s() -> None:
    """Section 5.1.7: S + L is S to the curve; whoever took both would know one token by two names."""
    secret, public, message, signature = (bytes.fromhex(part) for part in VECTORS[1])
    key, s = JwsKey.from_okp(public), int.from_bytes(signature[32:], "little")
    for number in range(1, 16):
        if s + number * L < 2**256:
            assert not key.verify(message, signature[:32] + (s + number * L).to_bytes(32, "little"))
    for number in (0, L, L - s, 2**252, 2**253, 2**256 - 1):
        assert not key.verify(message, signature[:32] + number.to_bytes(32, "little"))
    assert key.verify(message, pair(secret).sign(message))


def forms(point: bytes) -> list[bytes]:
    """The ways to write a point: with y, or y + P where 255 bits hold it; and with either sign of an x that is 0."""
    y, sign = int.from_bytes(point, "little") & 2**255 - 1, point[31] & 128
    ys = [y, y + P] if y + P < 2**255 else [y]
    signs = [0, 128] if y in (1, P - 1) else [sign]
    return [(y | sign << 248).to_bytes(32, "little") for y in ys for sign in signs]


def test_an_r_of_small_order_is_refused() -> None:
    """The equation holds for R of small order and S = k·a, times 8 at least. Only the key's owner can make one; no honest signer does."""
    assert len(set(SMALL)) == 8
    seed, message = bytes(range(32)), b"a message"
    secret = Ed25519PrivateKey.from_private_bytes(seed)
    public = secret.public_key().public_bytes_raw()
    generator, point = read((4 * pow(5, -1, P) % P).to_bytes(32, "little")), read(public)
    assert generator
    assert point
    scalar = int.from_bytes(hashlib.sha512(seed).digest()[:32], "little") & 2**254 - 8 | 2**254
    for order in SMALL:
        for form in forms(order):
            k = int.from_bytes(hashlib.sha512(form + public + message).digest(), "little") % L
            s = k * scalar % L
            assert times(s, generator) == times(k, point)
            assert not JwsKey.from_okp(public).verify(message, form + s.to_bytes(32, "little"))


def test_a_key_is_a_point_of_the_generators_group() -> None:
    honest = bytes.fromhex(VECTORS[0][1])
    point = read(honest)
    assert point
    assert JwsKey.from_okp(written(point)).public_bytes() == honest
    for order in SMALL:  # anybody could sign for such a key
        for form in forms(order):
            with pytest.raises(ValueError, match="no public key of Ed25519"):
                JwsKey.from_okp(form)
    for order in SMALL[1:]:  # two keys for one signature
        with pytest.raises(ValueError, match="no public key of Ed25519"):
            JwsKey.from_okp(written(added(point, read(order) or point)))
    off = next(text for text in (number.to_bytes(32, "little") for number in range(2, 200)) if read(text) is None)
    for text in (off, bytes(31) + b"\x80", b"\xff" * 32, (2**255 - 1).to_bytes(32, "little"), (P + 3).to_bytes(32, "little")):
        with pytest.raises(ValueError, match="no public key of Ed25519"):
            JwsKey.from_okp(text)
    for size in (0, 31, 33, 64):
        with pytest.raises(ValueError, match="32 bytes"):
            JwsKey.from_okp((honest * 2)[:size])
