"""What strangers send to be let in, and what origins send back."""

from nova.cdn.signing import cloudfront
from nova.cdn.signing.policy import PolicyError
from nova.ext.cdn_token import CdnTokenError, CdnTokenKeys
from tests.exact import exact
from tests.fuzz.registry import target

NOW = 1_790_000_000

keys = CdnTokenKeys()
keys.add(b"k1", b"0123456789abcdef")
WHOLE = keys.mint(b"/a?x=1", NOW + 60)
FOLDER = keys.mint(b"/v/", NOW + 60, prefix=3)


@target(
    "cdn-token",
    seeds=[b"/a?x=1&cdn_token=" + WHOLE, b"/~" + FOLDER + b"/v/b.m4s?y=2", b"/~" + WHOLE + b"/a?x=1"],
    words=[b"/", b"~", b"?", b"&", b"cdn_token=", b"%63dn_token=", b".", b"0", b"k1.", b"..", b"%2e", WHOLE, FOLDER],
)
def cdn_token(data: bytes) -> object:
    try:
        clean = keys.admit(bytes(exact(data)), b"", NOW, 0)
    except CdnTokenError as error:
        return error.reason
    assert clean == b"/a?x=1" or clean.startswith(b"/v/")
    assert b"/../" not in clean.partition(b"?")[0]
    return "ok"


@target(
    "cdn-cloudfront",
    seeds=[
        b"/a?Expires=1790000060&Signature=aGk_&Key-Pair-Id=K1&Hash-Algorithm=SHA256",
        b"/a?x=1&Policy=" + cloudfront.encode(b'{"Statement":[{"Resource":"*","Condition":{"DateLessThan":{"AWS:EpochTime":1}}}]}').encode()
        + b"&Signature=aGk_&Key-Pair-Id=K1",
    ],
    words=[b"?", b"&", b"=", b"Expires=", b"Policy=", b"Signature=", b"Key-Pair-Id=", b"Hash-Algorithm=", b"-", b"~", b"_"],
)  # fmt: skip
def cdn_cloudfront(data: bytes) -> object:
    try:
        found = cloudfront.read(data, "https://h", [data])
    except PolicyError as error:
        return error.reason
    if found is None:
        return "unsigned"
    pairs = found.target.partition(b"?")[2].split(b"&")
    assert b"CloudFront-Signature" in data or not any(pair.startswith(b"Signature=") for pair in pairs)
    return "signed"
