"""Commands of the channel protocol, in JSON or msgpack: one, or an array of them. Pure, nogil, bounded; see commands.pyx."""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

cdef enum CommandName:
    CMD_NONE = 0                    # it could not be told
    CMD_CONNECT
    CMD_REFRESH
    CMD_SUBSCRIBE
    CMD_UNSUBSCRIBE
    CMD_PUBLISH
    CMD_PRESENCE
    CMD_HISTORY
    CMD_PING

cdef enum CommandField:             # bits of Command.fields; Command.wrong names one
    CF_TOKEN = 1
    CF_NAME = 2
    CF_CHANNEL = 4
    CF_DATA = 8
    CF_IDEMPOTENCY_KEY = 16
    CF_CONFLATE_KEY = 32
    CF_RECOVER = 64
    CF_SINCE = 128
    CF_LIMIT = 256
    CF_OFFSET = 512                 # within recover and since
    CF_EPOCH = 1024

cdef enum CommandError:             # the reply that this one command gets; command_error names them as core/errors.py does
    CE_OK = 0
    CE_BAD_REQUEST                  # no command in it, several, or its value is no object
    CE_UNKNOWN_COMMAND
    CE_UNKNOWN_FIELD
    CE_MISSING_FIELD
    CE_INVALID_FIELD                # of the wrong type, out of range, or given twice
    CE_ID_IN_USE                    # an earlier command of the same frame has this id
    CE_TOO_DEEP                     # data nests more than VALUE_DEPTH levels

cdef enum FrameError:               # the whole frame is refused: no reply could be told apart; the connection is closed with 4300
    FRAME_E_SYNTAX = -1             # no JSON, no msgpack, something behind it, or not UTF-8
    FRAME_E_ID = -2                 # a command without an id of 1 to 2^31 - 1
    FRAME_E_SHAPE = -3              # neither a command nor an array of commands; an empty array
    FRAME_E_COUNT = -4              # more commands than there is room for
    FRAME_E_DEPTH = -5              # nested deeper than VALUE_SCAN_DEPTH

cdef enum:
    COMMANDS_MAX = 128              # of one frame
    CHANNEL_MAX = 161               # bytes of a channel's name: 32, a colon, 128
    TOKEN_MAX = 8192
    NAME_MAX = 256
    EPOCH_MAX = 16
    IDEMPOTENCY_KEY_MAX = 255
    CONFLATE_KEY_MAX = 128

ctypedef struct Text:
    const uint8_t* data
    uint32_t size

ctypedef struct Command:
    uint32_t id
    uint32_t limit
    uint64_t offset                 # of recover or since
    Text channel
    Text data                       # the value as it was sent, in the form of the frame
    Text idempotency_key
    Text conflate_key
    Text token
    Text name
    Text epoch                      # of recover or since
    uint16_t fields                 # CommandField bits that were given
    uint16_t wrong                  # CommandField that an error is about, 0: none or unknown
    uint8_t command                 # CommandName
    uint8_t error                   # CommandError
    bint spaced                     # JSON: data has white space between its tokens, see json_compact

# All commands of one frame. The number of them, at least 1, or a FrameError. A frame is understood whole or refused whole; a command that is
# wrong in itself has its `error` and id set. Strings with escapes are decoded in place, so `text` is written to; Texts point into it.
# size: below 2^31.
cdef int commands_read(int form, uint8_t* text, size_t size, Command* out, int room) noexcept nogil
# `namespace:name` as the contract has it.
cdef bint channel_valid(const uint8_t* name, size_t size) noexcept nogil
cdef const char* command_error(int error) noexcept nogil       # "unknown_field" …
cdef const char* command_message(int error) noexcept nogil     # the title of that row in core/errors.py
cdef const char* command_name(int command) noexcept nogil      # "subscribe" …
cdef const char* field_name(int field) noexcept nogil         # "channel" …; "" for none
cdef const char* frame_error(int error) noexcept nogil         # "frame_syntax" …: a closed set, close reason and metric label
