"""What RFC 9112 (and RFC 9110 where it decides framing) asks of a server, as a table: bytes in, answer out.

`$HOST` stands for the server's own authority. A case that is refused closes the connection: after ambiguous framing nobody
knows where the next request begins. A case that is fine leaves the connection ready for the next request.
"""

from typing import NamedTuple


class Case(NamedTuple):
    section: str
    title: str
    request: bytes
    status: int = 0  # 0: accepted, whatever the application answers
    closes: bool = False  # an accepted request that ends the connection


HOST = b"Host: $HOST\r\n"
GET = b"GET / HTTP/1.1\r\n" + HOST
POST = b"POST / HTTP/1.1\r\n" + HOST


def get(lines: bytes) -> bytes:
    return GET + lines + b"\r\n"


def post(lines: bytes, body: bytes = b"") -> bytes:
    return POST + lines + b"\r\n" + body


def chunked(body: bytes) -> bytes:
    return post(b"Transfer-Encoding: chunked\r\n", body)


CASES = [
    # 2.2 Message parsing
    Case("2.2", "plain request", get(b"")),
    Case("2.2", "one empty line before the request is ignored", b"\r\n" + get(b"")),
    Case("2.2", "two empty lines before the request", b"\r\n\r\n" + get(b""), 400),
    Case("2.2", "bare LF before the request", b"\n" + get(b""), 400),
    Case("2.2", "white space before the request line", b" " + get(b""), 400),
    Case("2.2", "bare LF after the request line", b"GET / HTTP/1.1\nHost: $HOST\r\n\r\n", 400),
    Case("2.2", "bare LF after a field", b"GET / HTTP/1.1\r\nHost: $HOST\n\r\n", 400),
    Case("2.2", "bare LF ends the head", b"GET / HTTP/1.1\r\nHost: $HOST\r\n\n", 400),
    Case("2.2", "bare CR in the request line", b"GET /\r HTTP/1.1\r\nHost: $HOST\r\n\r\n", 400),
    Case("2.2", "bare CR in a field value", get(b"A: b\rc\r\n"), 400),
    Case("2.2", "bare CR after a field name", get(b"A\r: b\r\n"), 400),
    Case("2.2", "CR CR LF after a field", get(b"A: b\r\r\n"), 400),
    Case("2.2", "white space between the request line and the first field", b"GET / HTTP/1.1\r\n Host: $HOST\r\n\r\n", 400),
    Case("2.2", "TLS client hello on the plain port", b"\x16\x03\x01\x00\xf4\x01\x00\x00\xf0\x03\x03", 400),
    # 2.3 HTTP version
    Case("2.3", "HTTP/1.0 closes by default", b"GET / HTTP/1.0\r\n\r\n", closes=True),
    Case("2.3", "HTTP/1.2", b"GET / HTTP/1.2\r\n" + HOST + b"\r\n", 505),
    Case("2.3", "HTTP/1.9", b"GET / HTTP/1.9\r\n" + HOST + b"\r\n", 505),
    Case("2.3", "HTTP/0.9 with a version", b"GET / HTTP/0.9\r\n" + HOST + b"\r\n", 505),
    Case("2.3", "HTTP/2.0 on an HTTP/1 line", b"GET / HTTP/2.0\r\n" + HOST + b"\r\n", 505),
    Case("2.3", "HTTP/2 connection preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    Case("2.3", "HTTP/3.0", b"GET / HTTP/3.0\r\n" + HOST + b"\r\n", 505),
    Case("2.3", "no version", b"GET /\r\n" + HOST + b"\r\n", 400),
    Case("2.3", "lower-case name", b"GET / http/1.1\r\n" + HOST + b"\r\n", 400),
    Case("2.3", "two digits", b"GET / HTTP/1.10\r\n" + HOST + b"\r\n", 400),
    Case("2.3", "leading zero", b"GET / HTTP/01.1\r\n" + HOST + b"\r\n", 400),
    Case("2.3", "no minor version", b"GET / HTTP/1\r\n" + HOST + b"\r\n", 400),
    Case("2.3", "white space inside", b"GET / HTTP /1.1\r\n" + HOST + b"\r\n", 400),
    Case("2.3", "another protocol", b"GET / ICY/1.1\r\n" + HOST + b"\r\n", 400),
    # 3 Request line
    Case("3", "two spaces after the method", b"GET  / HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    Case("3", "two spaces before the version", b"GET /  HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    Case("3", "tab as separator", b"GET\t/\tHTTP/1.1\r\n" + HOST + b"\r\n", 400),
    Case("3", "space after the version", b"GET / HTTP/1.1 \r\n" + HOST + b"\r\n", 400),
    Case("3", "space inside the target", b"GET /a b HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    Case("3", "NUL in the request line", b"GET /\x00 HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    Case("3", "target above 8192 bytes", b"GET /" + b"a" * 8192 + b" HTTP/1.1\r\n" + HOST + b"\r\n", 414),
    Case("3.1", "method with a separator in it", b"G(T / HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    Case("3.1", "no method", b" / HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    Case("3.1", "method longer than any", b"A" * 33 + b" / HTTP/1.1\r\n" + HOST + b"\r\n", 501),
    # 3.2 Request target
    Case("3.2", "query", b"GET /?a=b&c[]=%7B|d HTTP/1.1\r\n" + HOST + b"\r\n"),
    Case("3.2", "fragment", b"GET /#frag HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    Case("3.2", "fragment after a query", b"GET /?a#frag HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    Case("3.2", "percent sign without digits", b"GET /%g1 HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    Case("3.2", "percent sign at the end", b"GET /%4 HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    Case("3.2", "backslash in the path", b"GET /a\\b HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    Case("3.2", "byte above ASCII", b"GET /\xc3\xa9 HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    Case("3.2", "double quote", b'GET /" HTTP/1.1\r\n' + HOST + b"\r\n", 400),
    Case("3.2", "control byte", b"GET /\x7f HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    Case("3.2.1", "origin form without a slash", b"GET index.html HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    Case("3.2.2", "absolute form", b"GET http://$HOST/ HTTP/1.1\r\n" + HOST + b"\r\n"),
    Case("3.2.2", "absolute form, scheme in capitals, no path", b"GET HTTP://$HOST HTTP/1.1\r\n" + HOST + b"\r\n"),
    Case("3.2.2", "absolute form needs Host all the same", b"GET http://$HOST/ HTTP/1.1\r\n\r\n", 400),
    Case("3.2.2", "absolute form with user information", b"GET http://u:p@$HOST/ HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    Case("3.2.2", "absolute form without a host", b"GET http:///a HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    Case("3.2.2", "absolute form of another scheme", b"GET ftp://$HOST/ HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    Case("3.2.3", "authority form with GET", b"GET $HOST HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    Case("3.2.3", "CONNECT without a port", b"CONNECT example.net HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    Case("3.2.3", "CONNECT with a path", b"CONNECT / HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    Case("3.2.4", "asterisk form with OPTIONS", b"OPTIONS * HTTP/1.1\r\n" + HOST + b"\r\n"),
    Case("3.2.4", "asterisk form with GET", b"GET * HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    Case("3.2", "no Host", b"GET / HTTP/1.1\r\nA: b\r\n\r\n", 400),
    Case("3.2", "two Hosts", b"GET / HTTP/1.1\r\n" + HOST + HOST + b"\r\n", 400),
    Case("3.2", "two Hosts in HTTP/1.0", b"GET / HTTP/1.0\r\n" + HOST + HOST + b"\r\n", 400),
    Case("3.2", "empty Host", b"GET / HTTP/1.1\r\nHost:\r\n\r\n", 400),
    Case("3.2", "Host with user information", b"GET / HTTP/1.1\r\nHost: a@$HOST\r\n\r\n", 400),
    Case("3.2", "Host with a path", b"GET / HTTP/1.1\r\nHost: $HOST/a\r\n\r\n", 400),
    Case("3.2", "Host with a scheme", b"GET / HTTP/1.1\r\nHost: http://$HOST\r\n\r\n", 400),
    Case("3.2", "Host list", b"GET / HTTP/1.1\r\nHost: $HOST, $HOST\r\n\r\n", 400),
    Case("3.2", "Host with white space", b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
    Case("3.2", "Host with a port that is none", b"GET / HTTP/1.1\r\nHost: localhost:http\r\n\r\n", 400),
    Case("3.2", "Host with a port above 65535", b"GET / HTTP/1.1\r\nHost: localhost:65536\r\n\r\n", 400),
    Case("3.2", "Host with an unclosed IPv6 address", b"GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", 400),
    Case("3.2", "malformed Host in HTTP/1.0", b"GET / HTTP/1.0\r\nHost: a/b\r\n\r\n", 400),
    # 5 Field syntax
    Case("5", "no white space around the value", get(b"A:b\r\n")),
    Case("5", "white space around the value", get(b"A: \t b \t\r\n")),
    Case("5", "empty value", get(b"A:\r\n")),
    Case("5", "every token character in a name", get(b"!#$%&'*+-.^_`|~09azAZ: b\r\n")),
    Case("5", "bytes above ASCII in a value", get(b"A: \xc3\xa9\r\n")),
    Case("5", "no colon", get(b"A b\r\n"), 400),
    Case("5", "empty name", get(b": b\r\n"), 400),
    Case("5", "separator in a name", get(b"A(b): c\r\n"), 400),
    Case("5", "byte above ASCII in a name", get(b"\xe9: c\r\n"), 400),
    Case("5", "NUL in a value", get(b"A: b\x00c\r\n"), 400),
    Case("5", "escape in a value", get(b"A: \x1b[0m\r\n"), 400),
    Case("5", "DEL in a value", get(b"A: \x7f\r\n"), 400),
    Case("5", "NUL in a name", get(b"A\x00: b\r\n"), 400),
    Case("5", "101 fields", get(b"A: b\r\n" * 100), 431),
    Case("5", "100 fields", get(b"A: b\r\n" * 99)),
    Case("5", "head above the limit", get(b"A: " + b"b" * 70_000 + b"\r\n"), 431),
    Case("5.1", "space before the colon", get(b"A : b\r\n"), 400),
    Case("5.1", "tab before the colon", get(b"A\t: b\r\n"), 400),
    Case("5.1", "Transfer-Encoding with space before the colon", post(b"Transfer-Encoding : chunked\r\n", b"0\r\n\r\n"), 400),
    Case("5.2", "folded line", get(b"A: b\r\n c\r\n"), 400),
    Case("5.2", "folded by a tab", get(b"A: b\r\n\tc\r\n"), 400),
    Case("5.2", "line of white space", get(b"A: b\r\n \r\n"), 400),
    Case("5.2", "folded Transfer-Encoding", post(b"Transfer-Encoding:\r\n chunked\r\n", b"0\r\n\r\n"), 400),
    # 6.1 Transfer-Encoding
    Case("6.1", "chunked", chunked(b"5\r\nhello\r\n0\r\n\r\n")),
    Case("6.1", "chunked, in capitals", post(b"TRANSFER-ENCODING: CHUNKED\r\n", b"0\r\n\r\n")),
    Case("6.1", "with Content-Length", post(b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n"), 400),
    Case("6.1", "with Content-Length behind it", post(b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", b"0\r\n\r\n"), 400),
    Case("6.1", "with Content-Length 0", post(b"Content-Length: 0\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n"), 400),
    Case("6.1", "in HTTP/1.0", b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    Case("6.1", "chunked twice", post(b"Transfer-Encoding: chunked, chunked\r\n", b"0\r\n\r\n"), 400),
    Case("6.1", "chunked twice, in two lines", post(b"Transfer-Encoding: chunked\r\n" * 2, b"0\r\n\r\n"), 400),
    Case("6.1", "chunked is not last", post(b"Transfer-Encoding: chunked, gzip\r\n", b"0\r\n\r\n"), 400),
    Case("6.1", "chunked is not last, in two lines", post(b"Transfer-Encoding: chunked\r\nTransfer-Encoding: gzip\r\n", b"0\r\n\r\n"), 400),
    Case("6.1", "another coding below chunked", post(b"Transfer-Encoding: gzip, chunked\r\n", b"0\r\n\r\n"), 501),
    Case("6.1", "unknown coding below chunked, in two lines", post(b"Transfer-Encoding: x\r\nTransfer-Encoding: chunked\r\n"), 501),
    Case("6.1", "identity below chunked", post(b"Transfer-Encoding: identity, chunked\r\n", b"0\r\n\r\n"), 501),
    Case("6.1", "parameter on chunked", post(b"Transfer-Encoding: chunked;a=b\r\n", b"0\r\n\r\n"), 400),
    Case("6.1", "empty element", post(b"Transfer-Encoding: , chunked\r\n", b"0\r\n\r\n"), 400),
    Case("6.1", "quoted chunked", post(b'Transfer-Encoding: "chunked"\r\n', b"0\r\n\r\n"), 400),
    Case("6.1", "vertical tab before chunked", post(b"Transfer-Encoding: \x0bchunked\r\n", b"0\r\n\r\n"), 400),
    Case("6.1", "empty value", post(b"Transfer-Encoding:\r\n"), 400),
    Case("6.3", "no chunked at the end", post(b"Transfer-Encoding: gzip\r\n"), 400),
    Case("6.3", "nearly chunked", post(b"Transfer-Encoding: xchunked\r\n"), 400),
    # 6.2 and 6.3 Content-Length
    Case("6.2", "body", post(b"Content-Length: 5\r\n", b"hello")),
    Case("6.2", "empty body", post(b"Content-Length: 0\r\n")),
    Case("6.2", "body with GET", get(b"Content-Length: 5\r\n") + b"hello"),
    Case("6.3", "no body without either field", post(b"")),
    Case("6.3", "two equal ones", post(b"Content-Length: 5\r\nContent-Length: 5\r\n", b"hello"), 400),
    Case("6.3", "two different ones", post(b"Content-Length: 5\r\nContent-Length: 6\r\n", b"hello"), 400),
    Case("6.3", "list of equal numbers", post(b"Content-Length: 5, 5\r\n", b"hello"), 400),
    Case("6.3", "plus sign", post(b"Content-Length: +5\r\n", b"hello"), 400),
    Case("6.3", "minus sign", post(b"Content-Length: -5\r\n", b"hello"), 400),
    Case("6.3", "hexadecimal", post(b"Content-Length: 0x5\r\n", b"hello"), 400),
    Case("6.3", "white space inside", post(b"Content-Length: 5 5\r\n", b"hello"), 400),
    Case("6.3", "fraction", post(b"Content-Length: 5.0\r\n", b"hello"), 400),
    Case("6.3", "empty value", post(b"Content-Length:\r\n"), 400),
    Case("6.3", "above 64 bits", post(b"Content-Length: 18446744073709551621\r\n", b"hello"), 400),
    # 7.1 Chunked
    Case("7.1", "several chunks", chunked(b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n")),
    Case("7.1", "capital and small digits, leading zeros", chunked(b"00A\r\n0123456789\r\n00a\r\n0123456789\r\n0\r\n\r\n")),
    Case("7.1", "body of no bytes", chunked(b"0\r\n\r\n")),
    Case("7.1", "several zeros end it", chunked(b"000\r\n\r\n")),
    Case("7.1", "size above 60 bits", chunked(b"10000000000000000\r\n"), 400),
    Case("7.1", "size that wraps to 5", chunked(b"10000000000000005\r\nhello\r\n0\r\n\r\n"), 400),
    Case("7.1", "no size", chunked(b"\r\nhello\r\n0\r\n\r\n"), 400),
    Case("7.1", "minus sign", chunked(b"-5\r\nhello\r\n0\r\n\r\n"), 400),
    Case("7.1", "0x before the size", chunked(b"0x5\r\nhello\r\n0\r\n\r\n"), 400),
    Case("7.1", "white space before the size", chunked(b" 5\r\nhello\r\n0\r\n\r\n"), 400),
    Case("7.1", "white space after the size", chunked(b"5 \r\nhello\r\n0\r\n\r\n"), 400),
    Case("7.1", "bare LF after the size", chunked(b"5\nhello\r\n0\r\n\r\n"), 400),
    Case("7.1", "bare CR after the size", chunked(b"5\rhello\r\n0\r\n\r\n"), 400),
    Case("7.1", "bare LF after the data", chunked(b"5\r\nhello\n0\r\n\r\n"), 400),
    Case("7.1", "data longer than its size", chunked(b"5\r\nhelloworld\r\n0\r\n\r\n"), 400),
    Case("7.1", "bare LF ends the body", chunked(b"5\r\nhello\r\n0\r\n\n"), 400),
    Case("7.1", "bare LF after the last size", chunked(b"5\r\nhello\r\n0\n\r\n"), 400),
    Case("7.1.1", "extension", chunked(b"5;a\r\nhello\r\n0;b\r\n\r\n")),
    Case("7.1.1", "extension with values", chunked(b'5;a=b;c="d;\\"e";f\r\nhello\r\n0\r\n\r\n')),
    Case("7.1.1", "white space around an extension", chunked(b"5 ; a = b\r\nhello\r\n0\r\n\r\n")),
    Case("7.1.1", "extension without a name", chunked(b"5;\r\nhello\r\n0\r\n\r\n"), 400),
    Case("7.1.1", "bare LF in an extension", chunked(b"5;a\nb\r\nhello\r\n0\r\n\r\n"), 400),
    Case("7.1.1", "bare CR in an extension", chunked(b"5;a\rb\r\nhello\r\n0\r\n\r\n"), 400),
    Case("7.1.1", "line end inside a quoted value", chunked(b'5;a="\r\nhello\r\n0\r\n\r\n'), 400),
    Case("7.1.1", "NUL in an extension", chunked(b"5;a=\x00\r\nhello\r\n0\r\n\r\n"), 400),
    Case("7.1.1", "extensions above 16 KiB", chunked(b"5;" + b"a" * 17_000 + b"\r\nhello\r\n0\r\n\r\n"), 400),
    Case("7.1.2", "trailers", chunked(b"5\r\nhello\r\n0\r\nA: b\r\nC:\r\n\r\n")),
    Case("7.1.2", "trailer that would change framing is dropped", chunked(b"5\r\nhello\r\n0\r\nContent-Length: 50\r\n\r\n")),
    Case("7.1.2", "folded trailer", chunked(b"0\r\nA: b\r\n c\r\n\r\n"), 400),
    Case("7.1.2", "trailer with space before the colon", chunked(b"0\r\nA : b\r\n\r\n"), 400),
    Case("7.1.2", "trailer without a colon", chunked(b"0\r\nA\r\n\r\n"), 400),
    Case("7.1.2", "NUL in a trailer", chunked(b"0\r\nA: \x00\r\n\r\n"), 400),
    Case("7.1.2", "trailers above 8 KiB", chunked(b"0\r\nA: " + b"b" * 9000 + b"\r\n\r\n"), 431),
    # 9 Connection management
    Case("9.3", "Connection: close", get(b"Connection: close\r\n"), closes=True),
    Case("9.3", "close among other options, in capitals", get(b"Connection: x, CLOSE\r\n"), closes=True),
    Case("9.3", "close wins over keep-alive", get(b"Connection: keep-alive\r\nConnection: close\r\n"), closes=True),
    Case("9.3", "HTTP/1.0 with keep-alive stays", b"GET / HTTP/1.0\r\n" + HOST + b"Connection: keep-alive\r\n\r\n"),
    # RFC 9110 10.1.1 Expect
    Case("9110 10.1.1", "unknown expectation", post(b"Expect: a-pony\r\nContent-Length: 0\r\n"), 417),
    Case("9110 10.1.1", "expectation without a body", get(b"Expect: 100-continue\r\n")),
]
