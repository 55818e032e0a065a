"""Commands of the channel protocol: one grammar, read from JSON or from msgpack.

    {"id": 1, "subscribe": {"channel": "stream:x", "recover": {"offset": 7, "epoch": "k3"}}}

A frame holds one command or an array of them, and is understood whole before anything is done. What makes replies impossible (no
JSON, no id) refuses the frame; what is wrong with one command is that command's reply. Every name may come once, and every name
is known: a client learns of its typing error, not of a setting that was silently dropped. Strings mean what they mean after
their escapes are decoded, whichever form they came in.
"""
from libc.string cimport memchr, memcmp, memset

from nova.ext.json_scan cimport JsonCursor, json_scan_number, json_scan_string, json_space, json_string
from nova.ext.msgpack cimport MP_ARRAY, MP_FLOAT, MP_MAP, MP_STRING, MP_UNSIGNED, MpItem, mp_item
from nova.ext.utf8 cimport utf8_valid
from nova.ext.values cimport (
    FORM_JSON, VALUE_DEPTH, VALUE_E_DEPTH, ValueScan, value_scan,
)

cdef extern from "nova_number.h" nogil:
    enum: NUMBER_UNSIGNED, NUMBER_FLOAT
    int nova_read_number(const uint8_t* p, size_t size, uint64_t* whole, double* real)

cdef enum:
    MAX_ID = 0x7FFFFFFF
    NAMESPACE_MAX = 32

cdef uint64_t MAX_OFFSET = 9007199254740991    # 2^53 - 1: every client's numbers hold it

ctypedef struct Source:
    JsonCursor c                # of msgpack too: text, size and place
    int form

ctypedef struct Members:        # of the object or array that is being read
    uint32_t left               # msgpack: how many are to come
    bint begun                  # JSON: one was read

cdef enum:                      # what readers of one value answer; all of them pass it
    GOOD = 1
    WRONG = 0                   # it is of another type, or out of range
    # negative: FrameError


# -- values, in either form -------------------------------------------------------------------------------------------

cdef inline bint is_at(Source* s, uint8_t byte) noexcept nogil:
    return s.c.at < s.c.size and s.c.text[s.c.at] == byte


cdef int pass_value(Source* s, ValueScan* found) noexcept nogil:
    """Over any value. GOOD; WRONG: its end is known, but it says what the other form can not; or a FrameError."""
    cdef int said = value_scan(s.form, s.c.text + s.c.at, s.c.size - s.c.at, found)
    if said and found.size == 0:
        return FRAME_E_DEPTH if said == VALUE_E_DEPTH else FRAME_E_SYNTAX
    s.c.at += found.size
    return WRONG if said else GOOD


cdef int pass_wrong(Source* s) noexcept nogil:
    """Over a value that is of no use: WRONG, or a FrameError."""
    cdef ValueScan found
    cdef int said = pass_value(s, &found)
    return said if said < 0 else WRONG


cdef int open_members(Source* s, bint named, Members* m) noexcept nogil:
    """Into an object (named) or an array. GOOD, or WRONG when it is none, and then it is passed."""
    cdef MpItem item
    cdef size_t used
    m.left = 0
    m.begun = False
    if s.form == FORM_JSON:
        if not is_at(s, c'{' if named else c'['):
            return pass_wrong(s)
        s.c.at += 1
        return GOOD
    used = mp_item(s.c.text + s.c.at, s.c.size - s.c.at, &item)
    if used == 0:
        return FRAME_E_SYNTAX
    if item.kind != (MP_MAP if named else MP_ARRAY):
        return pass_wrong(s)
    s.c.at += used
    m.left = item.count
    return GOOD


cdef int next_item(Source* s, bint named, Members* m) noexcept nogil:
    """To the next member or item: 1, 0 when there is none, or FRAME_E_SYNTAX."""
    if s.form != FORM_JSON:
        if m.left == 0:
            return 0
        m.left -= 1
        return 1
    json_space(&s.c)
    if is_at(s, c'}' if named else c']'):
        s.c.at += 1
        return 0
    if m.begun:
        if not is_at(s, c','):
            return FRAME_E_SYNTAX
        s.c.at += 1
        json_space(&s.c)
    m.begun = True
    return 1


cdef int read_string(Source* s, Text* out) noexcept nogil:
    """GOOD, WRONG when it is no string, or a FrameError."""
    cdef uint32_t start, length
    cdef Py_ssize_t decoded
    cdef MpItem item
    cdef size_t used
    if s.form == FORM_JSON:
        if not is_at(s, c'"'):
            return pass_wrong(s)
        if json_scan_string(&s.c, &start, &length) != 0:
            return FRAME_E_SYNTAX
        out.data = s.c.text + start
        out.size = length
        if memchr(out.data, c'\\', length) != NULL:
            decoded = json_string(out.data, length, <uint8_t*> out.data)  # in place: it never grows
            if decoded < 0:
                return FRAME_E_SYNTAX
            out.size = <uint32_t> decoded
        return GOOD
    used = mp_item(s.c.text + s.c.at, s.c.size - s.c.at, &item)
    if used == 0:
        return FRAME_E_SYNTAX
    if item.kind != MP_STRING:
        return pass_wrong(s)
    if item.count > s.c.size - s.c.at - used:
        return FRAME_E_SYNTAX
    out.data = s.c.text + s.c.at + used
    out.size = item.count
    s.c.at += used + item.count
    return GOOD


cdef int next_member(Source* s, Members* m, Text* name) noexcept nogil:
    """To the value of the next member: 1 with its name, 0 when there is none, or FRAME_E_SYNTAX."""
    cdef int said = next_item(s, True, m)
    if said <= 0:
        return said
    said = read_string(s, name)
    if said != GOOD:
        return FRAME_E_SYNTAX
    if s.form == FORM_JSON:
        json_space(&s.c)
        if not is_at(s, c':'):
            return FRAME_E_SYNTAX
        s.c.at += 1
        json_space(&s.c)
    return 1


cdef int read_whole(Source* s, uint64_t least, uint64_t most, uint64_t* out) noexcept nogil:
    """A whole number within its limits, 1.0 among them: GOOD, WRONG, or a FrameError."""
    cdef size_t start = s.c.at
    cdef double real = -1
    cdef int kind
    cdef MpItem item
    cdef ValueScan found
    cdef int said = pass_value(s, &found)
    if said != GOOD:
        return said
    if s.form == FORM_JSON:
        if not (48 <= s.c.text[start] <= 57 or s.c.text[start] == c'-'):
            return WRONG
        kind = nova_read_number(s.c.text + start, found.size, out, &real)
        if kind != NUMBER_UNSIGNED and kind != NUMBER_FLOAT:
            return WRONG
    else:
        mp_item(s.c.text + start, found.size, &item)
        if item.kind == MP_FLOAT:
            kind, real = NUMBER_FLOAT, item.real
        elif item.kind == MP_UNSIGNED:
            kind, out[0] = NUMBER_UNSIGNED, item.whole
        else:
            return WRONG
    if kind == NUMBER_FLOAT:  # some encoders write every number above 32 bits so
        if not (0 <= real <= <double> MAX_OFFSET and real == <double> <uint64_t> real):
            return WRONG
        out[0] = <uint64_t> real
    return GOOD if least <= out[0] <= most else WRONG


# -- the tables -------------------------------------------------------------------------------------------------------

cdef inline bint is_text(const Text* text, const char* word, uint32_t size) noexcept nogil:
    return text.size == size and memcmp(text.data, word, size) == 0


cdef uint8_t command_of(const Text* name) noexcept nogil:
    if name.size == 4:
        return CMD_PING if is_text(name, b"ping", 4) else CMD_NONE
    if name.size == 7:
        return CMD_PUBLISH if is_text(name, b"publish", 7) else CMD_CONNECT if is_text(name, b"connect", 7) else \
            CMD_REFRESH if is_text(name, b"refresh", 7) else CMD_HISTORY if is_text(name, b"history", 7) else CMD_NONE
    if name.size == 8:
        return CMD_PRESENCE if is_text(name, b"presence", 8) else CMD_NONE
    if name.size == 9:
        return CMD_SUBSCRIBE if is_text(name, b"subscribe", 9) else CMD_NONE
    return CMD_UNSUBSCRIBE if is_text(name, b"unsubscribe", 11) else CMD_NONE


cdef uint16_t field_of(const Text* name) noexcept nogil:
    if name.size == 4:
        return CF_DATA if is_text(name, b"data", 4) else CF_NAME if is_text(name, b"name", 4) else 0
    if name.size == 5:
        return CF_TOKEN if is_text(name, b"token", 5) else CF_SINCE if is_text(name, b"since", 5) else \
            CF_LIMIT if is_text(name, b"limit", 5) else CF_EPOCH if is_text(name, b"epoch", 5) else 0
    if name.size == 6:
        return CF_OFFSET if is_text(name, b"offset", 6) else 0
    if name.size == 7:
        return CF_CHANNEL if is_text(name, b"channel", 7) else CF_RECOVER if is_text(name, b"recover", 7) else 0
    if name.size == 12:
        return CF_CONFLATE_KEY if is_text(name, b"conflate_key", 12) else 0
    return CF_IDEMPOTENCY_KEY if is_text(name, b"idempotency_key", 15) else 0


cdef uint16_t needed_of(uint8_t command) noexcept nogil:
    """Fields without which a command means nothing."""
    if command == CMD_CONNECT or command == CMD_PING:
        return 0
    if command == CMD_REFRESH:
        return CF_TOKEN
    return CF_CHANNEL | CF_DATA if command == CMD_PUBLISH else CF_CHANNEL


cdef uint16_t allowed_of(uint8_t command) noexcept nogil:
    if command == CMD_CONNECT:
        return CF_TOKEN | CF_NAME
    if command == CMD_SUBSCRIBE:
        return CF_CHANNEL | CF_RECOVER
    if command == CMD_PUBLISH:
        return CF_CHANNEL | CF_DATA | CF_IDEMPOTENCY_KEY | CF_CONFLATE_KEY
    if command == CMD_HISTORY:
        return CF_CHANNEL | CF_SINCE | CF_LIMIT
    return needed_of(command)


cdef bint channel_valid(const uint8_t* name, size_t size) noexcept nogil:
    """`[a-z][a-z0-9_-]{0,31}:[A-Za-z0-9._~-]{1,128}`"""
    cdef size_t at
    cdef size_t colon = 0
    cdef uint8_t b
    if size > CHANNEL_MAX:
        return False
    while colon < size and name[colon] != c':':
        b = name[colon]
        if not (c'a' <= b <= c'z') and (colon == 0 or not (c'0' <= b <= c'9' or b == c'_' or b == c'-')):
            return False
        colon += 1
    if colon == 0 or colon > NAMESPACE_MAX or size < colon + 2 or size - colon - 1 > 128:
        return False
    for at in range(colon + 1, size):
        b = name[at]
        if not (c'a' <= (b | 32) <= c'z' or c'0' <= b <= c'9' or b == c'.' or b == c'_' or b == c'~' or b == c'-'):
            return False
    return True


cdef bint visible(const Text* text, uint32_t most) noexcept nogil:
    """1 to `most` characters of ASCII that show: no space, no control character."""
    cdef uint32_t i
    for i in range(text.size if text.size <= most else 0):
        if not 0x21 <= text.data[i] <= 0x7E:
            return False
    return 0 < text.size <= most


# -- commands ---------------------------------------------------------------------------------------------------------

cdef inline void wrong(Command* out, uint8_t error, uint16_t field) noexcept nogil:
    """The first thing that is wrong is the one that is told."""
    if out.error == CE_OK:
        out.error = error
        out.wrong = field


cdef int read_place(Source* s, Command* out) noexcept nogil:
    """`{offset, epoch}` of recover and since: GOOD, WRONG, or a FrameError."""
    cdef Members m
    cdef Text name
    cdef uint16_t field
    cdef uint16_t seen = 0
    cdef bint fine = True
    cdef int said = open_members(s, True, &m)
    if said != GOOD:
        return said
    while True:
        said = next_member(s, &m, &name)
        if said < 0:
            return said
        if said == 0:
            return GOOD if fine and seen == (CF_OFFSET | CF_EPOCH) else WRONG
        field = field_of(&name)
        if seen & field:
            said = pass_wrong(s)
        elif field == CF_OFFSET:
            said = read_whole(s, 0, MAX_OFFSET, &out.offset)
        elif field == CF_EPOCH:
            said = read_string(s, &out.epoch)
            if said == GOOD and not visible(&out.epoch, EPOCH_MAX):
                said = WRONG
        else:
            said = pass_wrong(s)
        if said < 0:
            return said
        if said == WRONG:
            fine = False
        seen |= field


cdef int read_field(Source* s, uint16_t field, Command* out) noexcept nogil:
    """The value of a field: GOOD, WRONG, or a FrameError."""
    cdef size_t start = s.c.at
    cdef ValueScan found
    cdef uint64_t whole = 0
    cdef int said
    if field == CF_DATA:
        said = pass_value(s, &found)
        out.data.data = s.c.text + start
        out.data.size = found.size
        out.spaced = found.spaced
        if said >= 0 and found.depth > VALUE_DEPTH:
            wrong(out, CE_TOO_DEEP, CF_DATA)
        return said
    if field == CF_CHANNEL:
        said = read_string(s, &out.channel)
        return WRONG if said == GOOD and not channel_valid(out.channel.data, out.channel.size) else said
    if field == CF_IDEMPOTENCY_KEY:
        said = read_string(s, &out.idempotency_key)
        return WRONG if said == GOOD and not visible(&out.idempotency_key, IDEMPOTENCY_KEY_MAX) else said
    if field == CF_CONFLATE_KEY:
        said = read_string(s, &out.conflate_key)
        return WRONG if said == GOOD and not visible(&out.conflate_key, CONFLATE_KEY_MAX) else said
    if field == CF_TOKEN:
        said = read_string(s, &out.token)
        return WRONG if said == GOOD and not visible(&out.token, TOKEN_MAX) else said
    if field == CF_NAME:
        said = read_string(s, &out.name)
        if said == GOOD and (not 0 < out.name.size <= NAME_MAX or not utf8_valid(out.name.data, out.name.size)):
            return WRONG
        return said
    if field == CF_LIMIT:
        said = read_whole(s, 1, MAX_ID, &whole)
        out.limit = <uint32_t> whole
        return said
    return read_place(s, out)  # recover or since; no command has both


cdef int read_fields(Source* s, Command* out) noexcept nogil:
    """The object behind a command's name. 0 or a FrameError."""
    cdef uint16_t allowed = allowed_of(out.command)
    cdef uint16_t missing
    cdef Members m
    cdef Text name
    cdef uint16_t field
    cdef int said = open_members(s, True, &m)
    if said == WRONG:
        wrong(out, CE_BAD_REQUEST, 0)
    if said != GOOD:
        return said
    while True:
        said = next_member(s, &m, &name)
        if said < 0:
            return said
        if said == 0:
            break
        field = field_of(&name)
        if not field & allowed:
            wrong(out, CE_UNKNOWN_FIELD, 0)
            said = pass_wrong(s)
        elif field & out.fields:
            wrong(out, CE_INVALID_FIELD, field)
            said = pass_wrong(s)
        else:
            out.fields |= field
            said = read_field(s, field, out)
            if said == WRONG:
                wrong(out, CE_INVALID_FIELD, field)
        if said < 0:
            return said
    missing = needed_of(out.command) & <uint16_t> ~out.fields
    if missing:
        wrong(out, CE_MISSING_FIELD, missing & <uint16_t> -missing)
    return 0


cdef int read_command(Source* s, Command* out) noexcept nogil:
    """One command at the cursor. 0 or a FrameError."""
    cdef Members m
    cdef Text name
    cdef uint64_t whole
    cdef bint begun = False
    cdef int said
    memset(out, 0, sizeof(Command))
    said = open_members(s, True, &m)
    if said != GOOD:
        return said if said < 0 else FRAME_E_SHAPE
    while True:
        said = next_member(s, &m, &name)
        if said < 0:
            return said
        if said == 0:
            break
        if is_text(&name, b"id", 2):
            said = read_whole(s, 1, MAX_ID, &whole)
            if said < 0:
                return said
            if said == WRONG or out.id:
                return FRAME_E_ID
            out.id = <uint32_t> whole
            continue
        if begun:  # a second command, or a name that has no place here
            wrong(out, CE_BAD_REQUEST, 0)
            said = pass_wrong(s)
        else:
            begun = True
            out.command = command_of(&name)
            if out.command == CMD_NONE:
                wrong(out, CE_UNKNOWN_COMMAND, 0)
                said = pass_wrong(s)
            else:
                said = read_fields(s, out)
        if said < 0:
            return said
    if out.id == 0:
        return FRAME_E_ID
    if not begun:
        wrong(out, CE_BAD_REQUEST, 0)
    return 0


cdef int commands_read(int form, uint8_t* text, size_t size, Command* out, int room) noexcept nogil:
    cdef Source s
    cdef Members m
    cdef MpItem item
    cdef bint batch
    cdef int count = 0
    cdef int i, said
    s.c.text = text
    s.c.size = size
    s.c.at = 0
    s.form = form
    if form == FORM_JSON:
        json_space(&s.c)
        batch = is_at(&s, c'[')
    else:
        batch = mp_item(text, size, &item) > 0 and item.kind == MP_ARRAY
    if batch:
        open_members(&s, False, &m)
        if form != FORM_JSON and item.count > <uint32_t> room:
            return FRAME_E_COUNT
    while True:
        if batch:
            said = next_item(&s, False, &m)
            if said < 0:
                return said
            if said == 0:
                break
        if count == room:
            return FRAME_E_COUNT
        said = read_command(&s, &out[count])
        if said < 0:
            return said
        for i in range(count):
            if out[i].id == out[count].id:
                out[count].error = CE_ID_IN_USE
                out[count].wrong = 0
        count += 1
        if not batch:
            break
    if form == FORM_JSON:
        json_space(&s.c)
    if s.c.at != size:
        return FRAME_E_SYNTAX
    return count if count else FRAME_E_SHAPE


# -- names ------------------------------------------------------------------------------------------------------------

cdef const char* command_name(int command) noexcept nogil:
    if command == CMD_CONNECT:
        return b"connect"
    if command == CMD_REFRESH:
        return b"refresh"
    if command == CMD_SUBSCRIBE:
        return b"subscribe"
    if command == CMD_UNSUBSCRIBE:
        return b"unsubscribe"
    if command == CMD_PUBLISH:
        return b"publish"
    if command == CMD_PRESENCE:
        return b"presence"
    if command == CMD_HISTORY:
        return b"history"
    return b"ping" if command == CMD_PING else b""


cdef const char* command_error(int error) noexcept nogil:
    if error == CE_UNKNOWN_COMMAND:
        return b"unknown_command"
    if error == CE_UNKNOWN_FIELD:
        return b"unknown_field"
    if error == CE_MISSING_FIELD:
        return b"missing_field"
    if error == CE_INVALID_FIELD:
        return b"invalid_field"
    if error == CE_ID_IN_USE:
        return b"id_in_use"
    if error == CE_TOO_DEEP:
        return b"too_deep"
    return b"bad_request" if error else b""


cdef const char* command_message(int error) noexcept nogil:
    if error == CE_UNKNOWN_COMMAND:
        return b"The command is not known"
    if error == CE_UNKNOWN_FIELD:
        return b"The request has a field that is not known"
    if error == CE_MISSING_FIELD:
        return b"A required field is missing"
    if error == CE_INVALID_FIELD:
        return b"A field has a value that is not allowed"
    if error == CE_ID_IN_USE:
        return b"Another command with this id is not answered yet"
    if error == CE_TOO_DEEP:
        return b"The data nests too deep"
    return b"The request is malformed" if error else b""


cdef const char* field_name(int field) noexcept nogil:
    if field == CF_TOKEN:
        return b"token"
    if field == CF_NAME:
        return b"name"
    if field == CF_CHANNEL:
        return b"channel"
    if field == CF_DATA:
        return b"data"
    if field == CF_IDEMPOTENCY_KEY:
        return b"idempotency_key"
    if field == CF_CONFLATE_KEY:
        return b"conflate_key"
    if field == CF_RECOVER:
        return b"recover"
    if field == CF_SINCE:
        return b"since"
    return b"limit" if field == CF_LIMIT else b""


cdef const char* frame_error(int error) noexcept nogil:
    if error == FRAME_E_SYNTAX:
        return b"frame_syntax"
    if error == FRAME_E_ID:
        return b"frame_id"
    if error == FRAME_E_SHAPE:
        return b"frame_shape"
    if error == FRAME_E_COUNT:
        return b"frame_count"
    return b"frame_depth"


# -- Python -----------------------------------------------------------------------------------------------------------

MAX_COMMANDS = COMMANDS_MAX
COMMANDS = tuple(command_name(command).decode() for command in range(CMD_CONNECT, CMD_PING + 1))
FRAME_ERRORS = tuple(frame_error(error).decode() for error in range(FRAME_E_SYNTAX, FRAME_E_DEPTH - 1, -1))
ERRORS = {command_error(error).decode(): command_message(error).decode() for error in range(CE_BAD_REQUEST, CE_TOO_DEEP + 1)}


class FrameRefused(ValueError):
    """No reply could be told apart. `code`: a name that `frame_error` gives."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


cdef bytes span(const Text* text):
    return (<const char*> text.data)[:text.size] if text.size else b""


def read(int form, data, int room=COMMANDS_MAX) -> list[dict[str, object]]:
    """The commands of a frame, each as a dict: id, command, then its fields, or error (a code) and wrong (a field's name or "").

    recover and since are (offset, epoch); data is the raw value; the other strings are bytes. Raises FrameRefused.
    """
    cdef bytearray copy = bytearray(data)  # strings with escapes are decoded in place
    cdef Command[COMMANDS_MAX] found
    cdef Command* command
    cdef int i
    cdef int said = commands_read(form, <uint8_t*> copy, <size_t> len(copy), found, min(room, COMMANDS_MAX))
    if said < 0:
        raise FrameRefused(frame_error(said).decode())
    out = []
    for i in range(said):
        command = &found[i]
        row: dict[str, object] = {"id": command.id, "command": command_name(command.command).decode()}
        out.append(row)
        if command.error:
            row["error"] = command_error(command.error).decode()
            row["wrong"] = field_name(command.wrong).decode()
            continue
        texts = {
            "token": (CF_TOKEN, span(&command.token)), "name": (CF_NAME, span(&command.name)),
            "channel": (CF_CHANNEL, span(&command.channel)), "data": (CF_DATA, span(&command.data)),
            "idempotency_key": (CF_IDEMPOTENCY_KEY, span(&command.idempotency_key)),
            "conflate_key": (CF_CONFLATE_KEY, span(&command.conflate_key)),
        }
        row.update({name: text for name, (bit, text) in texts.items() if command.fields & bit})
        for name, bit in (("recover", CF_RECOVER), ("since", CF_SINCE)):
            if command.fields & bit:
                row[name] = (command.offset, span(&command.epoch))
        if command.fields & CF_LIMIT:
            row["limit"] = command.limit
    return out


def valid_channel(bytes name) -> bool:
    """Whether `name` is `namespace:name` as the contract has it."""
    return bool(channel_valid(<const uint8_t*> <const char*> name, <size_t> len(name)))
