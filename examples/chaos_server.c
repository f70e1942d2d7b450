/* chaos_server: a WebSocket echo server that misbehaves on request.
 *
 *     cc -O2 -o chaos_server chaos_server.c
 *     ./chaos_server --cut-after 4000 --refuse-for 1.5      loses its clients, and stays away
 *     ./chaos_server --vanish-every 2 --ledger got.txt      every second connection falls silent
 *     ./chaos_server --help
 *
 * Point a WebSocket client at it, and see what the client does when its server cuts connections,
 * falls silent, refuses to come back, reads slowly or closes with an error. Without options it is a
 * strict, well-behaved RFC 6455 echo server. One file, one process, one thread, nothing but POSIX.
 * It has no code of mtws.h, so the two check each other.
 *
 * The path /status/503 (any code from 200 to 599) gets that HTTP status in answer to the upgrade.
 *
 * The first line of output is "listening on ADDR:PORT". Each later one begins with the seconds
 * since the start. Connections are numbered from 1, in the order in which TCP accepts them.
 *
 * A ledger has one line a message, "CONNECTION KIND SIZE PAYLOAD", separated by single spaces. KIND
 * is t or b, SIZE is in bytes. The payload of a binary message is in hexadecimal; that of a text
 * message is as it came, but a backslash is written \\, and control characters (below 0x20, and
 * 0x7f) are written \xHH.
 */
#define _XOPEN_SOURCE 700

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MESSAGE_MAX (16u * 1024 * 1024) /* bytes of a whole message; more is answered with 1009 */
#define REQUEST_MAX (16u * 1024)        /* bytes of an upgrade request                          */
#define READ_SIZE (16u * 1024)          /* bytes read from a connection in one turn             */
#define UNSENT_HIGH (1024u * 1024)      /* nothing is read while so many bytes are unsent       */
#define PUSH_LOW (64u * 1024)           /* --push adds messages while fewer bytes are unsent    */

#define UPGRADE_SECONDS 10.0 /* for the upgrade request to arrive               */
#define CLOSE_SECONDS 5.0    /* for the client to answer a Close frame          */
#define LINGER_SECONDS 1.0   /* for the client to close TCP once the server has */
#define RETRY_SECONDS 0.5    /* until a failed accept or listen is tried again  */
#define NEVER 1e300

enum { CONTINUATION = 0x0, TEXT = 0x1, BINARY = 0x2, CLOSE = 0x8, PING = 0x9, PONG = 0xA };

/* ---- options --------------------------------------------------------------------------------- */

/* Written by parse_options, read by everything else. */
static struct {
    long long port, cut_after, vanish_every, slow, close_code, close_after, connections_faulty;
    long long push_count, push_size;
    double refuse_for, lifetime;
    const char *bind, *ledger, *subprotocol;
    bool no_pong, no_echo, quiet;
} options = {.port = 9001, .cut_after = -1, .close_after = -1, .bind = "127.0.0.1"};

static const char help[] =
    "usage: chaos_server [options]\n"
    "\n"
    "A WebSocket echo server that misbehaves on request.\n"
    "\n"
    "  --port N                 TCP port (default 9001); 0: the system chooses one\n"
    "  --bind ADDR              IPv4 or IPv6 address in digits (default 127.0.0.1)\n"
    "  --no-echo                receive only\n"
    "  --push N:SIZE            on opening send N text messages of SIZE bytes, numbered from 1\n"
    "  --subprotocol NAME       agree on this subprotocol where it is offered\n"
    "  --ledger FILE            append each message to FILE before anything is answered\n"
    "  --lifetime SECONDS       exit after so long (default: run until SIGINT or SIGTERM)\n"
    "  -q, --quiet              print nothing after the \"listening on\" line\n"
    "  -h, --help\n"
    "\n"
    "Faults:\n"
    "  --cut-after BYTES        reset TCP when so many bytes have come after the upgrade. Every\n"
    "                           message that was whole is in the ledger then, but what came in\n"
    "                           the last read (16 KiB at most) is not answered. 0: at once\n"
    "  --vanish-every N         on every Nth connection, from its first message on, read and\n"
    "                           write nothing, but hold the socket open\n"
    "  --close CODE             close each connection with this close code (1000 to 4999)\n"
    "  --close-after N          after so many messages (default 1); 0: at once\n"
    "  --refuse-for SECONDS     after each of the above, refuse connections for so long\n"
    "  --slow BYTES_PER_SECOND  read each connection no faster, from the upgrade on\n"
    "  --no-pong                never answer a Ping\n"
    "  --connections-faulty N   only the first N connections suffer (default 0: all)\n"
    "\n"
    "SECONDS may have a fraction, such as 0.5. The path /status/CODE (200 to 599) gets that HTTP\n"
    "status in answer to the upgrade. The exit status is 0, 1 for a failure, 2 for bad usage.\n";

enum option_kind { FLAG, COUNT, SECONDS, STRING, PUSH };

static const struct option_rule {
    const char *name;
    enum option_kind kind;
    void *target;       /* bool, long long, double or const char *, as kind says; PUSH has two */
    long long min, max; /* of a COUNT                                                          */
} option_rules[] = {
    {"--port", COUNT, &options.port, 0, 65535},
    {"--bind", STRING, &options.bind, 0, 0},
    {"--no-echo", FLAG, &options.no_echo, 0, 0},
    {"--push", PUSH, NULL, 0, 0},
    {"--subprotocol", STRING, &options.subprotocol, 0, 0},
    {"--ledger", STRING, &options.ledger, 0, 0},
    {"--lifetime", SECONDS, &options.lifetime, 0, 0},
    {"-q", FLAG, &options.quiet, 0, 0},
    {"--quiet", FLAG, &options.quiet, 0, 0},
    {"--cut-after", COUNT, &options.cut_after, 0, LLONG_MAX},
    {"--vanish-every", COUNT, &options.vanish_every, 1, LLONG_MAX},
    {"--close", COUNT, &options.close_code, 1000, 4999},
    {"--close-after", COUNT, &options.close_after, 0, LLONG_MAX},
    {"--refuse-for", SECONDS, &options.refuse_for, 0, 0},
    {"--slow", COUNT, &options.slow, 1, LLONG_MAX},
    {"--no-pong", FLAG, &options.no_pong, 0, 0},
    {"--connections-faulty", COUNT, &options.connections_faulty, 0, LLONG_MAX},
};

static void usage_error(const char *option, const char *problem) {
    fprintf(stderr, "chaos_server: %s: %s (see --help)\n", option, problem);
    exit(2);
}

static const char *parse_count(const char *text, long long *out) {
    char *end;
    if (*text < '0' || *text > '9') return NULL;
    errno = 0;
    *out = strtoll(text, &end, 10);
    return errno == 0 ? end : NULL;
}

static void set_option(const struct option_rule *rule, const char *value) {
    if (rule->kind == FLAG) {
        *(bool *)rule->target = true;
    } else if (rule->kind == STRING) {
        *(const char **)rule->target = value;
    } else if (rule->kind == COUNT) {
        long long count = 0;
        const char *end = parse_count(value, &count);
        if (!end || *end || count < rule->min || count > rule->max)
            usage_error(rule->name, "not a whole number, or out of range");
        *(long long *)rule->target = count;
    } else if (rule->kind == SECONDS) {
        char *end;
        double seconds = strtod(value, &end);
        if (value[strspn(value, "0123456789.")] || end == value || *end || seconds > 1e7)
            usage_error(rule->name, "not a number of seconds, such as 2 or 0.5");
        *(double *)rule->target = seconds;
    } else {
        const char *end = parse_count(value, &options.push_count);
        end = end && *end == ':' ? parse_count(end + 1, &options.push_size) : NULL;
        if (!end || *end || options.push_size > (long long)MESSAGE_MAX)
            usage_error(rule->name, "not N:SIZE, such as 10:1000, with SIZE up to 16 MiB");
    }
}

static const struct option_rule *find_option(const char *name) {
    for (size_t i = 0; i < sizeof option_rules / sizeof option_rules[0]; i++)
        if (!strcmp(option_rules[i].name, name)) return &option_rules[i];
    return NULL;
}

static void parse_options(int argc, char **argv) {
    for (int i = 1; i < argc; i++) {
        const char *name = argv[i];
        if (!strcmp(name, "--help") || !strcmp(name, "-h")) {
            fputs(help, stdout);
            exit(0);
        }
        const struct option_rule *rule = find_option(name);
        if (!rule) usage_error(name, "no such option");
        if (rule->kind != FLAG && ++i == argc) usage_error(name, "needs a value");
        set_option(rule, argv[i]);
    }
    if (options.close_after >= 0 && !options.close_code)
        usage_error("--close-after", "says when, but --close is missing");
    if (options.close_after < 0) options.close_after = 1;
    if (options.refuse_for > 0 && options.cut_after < 0 && !options.vanish_every &&
        !options.close_code)
        usage_error("--refuse-for", "needs --cut-after, --vanish-every or --close to follow");
}

/* ---- time, log, memory ----------------------------------------------------------------------- */

static double start_time;

static double seconds_since_start(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9 - start_time;
}

static void log_line(const char *format, ...) {
    if (options.quiet) return;
    va_list arguments;
    va_start(arguments, format);
    printf("%9.3f  ", seconds_since_start());
    vprintf(format, arguments);
    putchar('\n');
    va_end(arguments);
}

static void die(const char *what) {
    fprintf(stderr, "chaos_server: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void *reallocate(void *memory, size_t size) {
    memory = realloc(memory, size);
    if (!memory) die("memory");
    return memory;
}

/* Bytes are added at the end and taken from the front. */
struct buffer {
    unsigned char *data;
    size_t start, end, capacity;
};

static size_t buffer_size(const struct buffer *b) { return b->end - b->start; }

/* Room for size more bytes at the end, which the caller fills and adds to b->end. */
static unsigned char *buffer_reserve(struct buffer *b, size_t size) {
    if (b->start > 0 && size > b->capacity - b->end) {
        memmove(b->data, b->data + b->start, buffer_size(b));
        b->end -= b->start;
        b->start = 0;
    }
    if (size > b->capacity - b->end) {
        b->capacity = (b->end + size) * 2;
        b->data = reallocate(b->data, b->capacity);
    }
    return b->data + b->end;
}

static void buffer_append(struct buffer *b, const void *data, size_t size) {
    if (size > 0) {
        memcpy(buffer_reserve(b, size), data, size);
        b->end += size;
    }
}

/* Big memory is given back, so that one big message does not stay paid for. */
static void buffer_clear(struct buffer *b) {
    b->start = b->end = 0;
    if (b->capacity > 64 * 1024) {
        free(b->data);
        b->data = NULL;
        b->capacity = 0;
    }
}

/* ---- Sec-WebSocket-Accept: SHA-1 and base64 -------------------------------------------------- */

#define LETTERS_AND_DIGITS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

static const char base64_digits[] = LETTERS_AND_DIGITS "+/";
static const char accept_guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
enum { KEY_SIZE = 24, GUID_SIZE = sizeof accept_guid - 1, ACCEPT_SIZE = 28 };

static uint32_t rotate_left(uint32_t value, int bits) {
    return value << bits | value >> (32 - bits);
}

static void sha1_block(uint32_t hash[5], const unsigned char *block) {
    static const uint32_t constants[4] = {0x5A827999, 0x6ED9EBA1, 0x8F1BBCDC, 0xCA62C1D6};
    uint32_t w[80], a = hash[0], b = hash[1], c = hash[2], d = hash[3], e = hash[4];
    for (int i = 0; i < 16; i++, block += 4)
        w[i] = (uint32_t)block[0] << 24 | (uint32_t)block[1] << 16 | (uint32_t)block[2] << 8 |
               block[3];
    for (int i = 16; i < 80; i++)
        w[i] = rotate_left(w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16], 1);
    for (int i = 0; i < 80; i++) {
        uint32_t choice = (b & c) | (~b & d), majority = (b & c) | (b & d) | (c & d);
        uint32_t mixed = i < 20 ? choice : i / 20 == 2 ? majority : b ^ c ^ d;
        uint32_t next = rotate_left(a, 5) + mixed + e + constants[i / 20] + w[i];
        e = d;
        d = c;
        c = rotate_left(b, 30);
        b = a;
        a = next;
    }
    hash[0] += a;
    hash[1] += b;
    hash[2] += c;
    hash[3] += d;
    hash[4] += e;
}

/* RFC 6455 section 4.2.2. Key and GUID always have 60 bytes, which SHA-1 pads to two blocks. */
static void make_accept_key(const char *key, char out[ACCEPT_SIZE + 1]) {
    unsigned char blocks[128] = {0}, digest[21] = {0};
    uint32_t hash[5] = {0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476, 0xC3D2E1F0};
    memcpy(blocks, key, KEY_SIZE);
    memcpy(blocks + KEY_SIZE, accept_guid, GUID_SIZE);
    blocks[KEY_SIZE + GUID_SIZE] = 0x80;
    blocks[126] = (KEY_SIZE + GUID_SIZE) * 8 >> 8;
    blocks[127] = (KEY_SIZE + GUID_SIZE) * 8 & 0xFF;
    sha1_block(hash, blocks);
    sha1_block(hash, blocks + 64);
    for (int i = 0; i < 20; i++) digest[i] = (unsigned char)(hash[i / 4] >> (24 - 8 * (i % 4)));
    /* 160 bits are 27 digits of six bits, which may lie across two bytes, and one padding. */
    for (int i = 0; i < ACCEPT_SIZE - 1; i++) {
        int bit = 6 * i, pair = digest[bit / 8] << 8 | digest[bit / 8 + 1];
        out[i] = base64_digits[pair >> (10 - bit % 8) & 63];
    }
    memcpy(out + ACCEPT_SIZE - 1, "=", 2);
}

/* ---- UTF-8 ----------------------------------------------------------------------------------- */

/* Survives any split of the text; zeroed at its start. The text may end where left is 0. */
struct utf8 {
    unsigned char left;      /* bytes that the character still needs */
    unsigned char low, high; /* range of the next one of them        */
};

static bool utf8_continues(struct utf8 *u, const unsigned char *text, size_t size) {
    for (size_t i = 0; i < size; i++) {
        unsigned char byte = text[i];
        if (u->left > 0) {
            if (byte < u->low || byte > u->high) return false;
            u->left--;
        } else if (byte >= 0x80) {
            if (byte < 0xC2 || byte > 0xF4) return false;
            u->left = byte < 0xE0 ? 1 : byte < 0xF0 ? 2 : 3;
            /* Overlong forms, surrogates and what lies above U+10FFFF differ in the second byte. */
            u->low = byte == 0xE0 ? 0xA0 : byte == 0xF0 ? 0x90 : 0x80;
            u->high = byte == 0xED ? 0x9F : byte == 0xF4 ? 0x8F : 0xBF;
            continue;
        }
        u->low = 0x80;
        u->high = 0xBF;
    }
    return true;
}

/* ---- connections ----------------------------------------------------------------------------- */

enum state {
    UPGRADING, /* the upgrade request is being read                                      */
    OPEN,      /* messages flow                                                          */
    CLOSING,   /* --close has sent a Close: the client's is awaited                      */
    FINISHING, /* all is said: what is unsent goes out, then the server closes TCP first */
    VANISHED,  /* held open, neither read nor written                                    */
    DEAD       /* TCP is closed; freed at the end of the turn                            */
};

struct connection {
    unsigned long number;
    int fd;
    enum state state;
    bool faulty;       /* the faults are for it                        */
    bool ended;        /* the client has closed its direction of TCP   */
    bool shut;         /* the server has closed its own                */
    bool close_sent;   /* nothing may follow a Close                   */
    bool refuse_after; /* it ends by a fault: then --refuse-for begins */
    double deadline;   /* of UPGRADING, CLOSING and FINISHING          */

    struct buffer request, unsent; /* the upgrade request; wire bytes to write     */

    unsigned char header[14]; /* of the frame that is arriving                */
    size_t header_size, header_need;
    bool in_payload;            /* its header is whole                          */
    uint64_t payload_left;      /* what has not come of its payload             */
    size_t mask_at;             /* position in its masking key                  */
    unsigned char control[125]; /* its payload, if it is a control frame        */
    size_t control_size;

    struct buffer message; /* payload of the message that is arriving      */
    struct utf8 utf8;      /* as far as it has come                        */
    int message_opcode;    /* TEXT or BINARY; CONTINUATION: none has begun */

    long long received;    /* bytes since the upgrade                      */
    long long messages;    /* whole ones received                          */
    long long pushed;      /* messages sent by --push                      */
    double allowance;      /* bytes that --slow lets the server read       */
    double allowance_time; /* when that was reckoned                       */
};

struct server {
    int listener;     /* -1 while connections are refused            */
    int port;         /* also where the system chose it              */
    double listen_at; /* when to listen again; NEVER while listening */
    double accept_at; /* no accept before, because one failed        */
    double now;       /* seconds since the start, as of this turn    */
    int ledger;       /* -1: none                                    */
    struct buffer ledger_line;
    unsigned long accepted;
    struct connection **connections;
    struct pollfd *polls; /* stop pipe, listener, then one a connection  */
    size_t count, capacity;
};

static void refuse_connections(struct server *s) {
    if (options.refuse_for > 0) {
        log_line("refusing connections for %g s", options.refuse_for);
        if (s->listener >= 0) close(s->listener);
        s->listener = -1;
        s->listen_at = seconds_since_start() + options.refuse_for;
    }
}

/* The listener closes before the connection does, so a client that hurries back is refused too. */
static void end_connection(struct server *s, struct connection *c) {
    if (c->refuse_after) refuse_connections(s);
    close(c->fd);
    c->fd = -1;
    c->state = DEAD;
}

static void finish(struct server *s, struct connection *c) {
    if (c->refuse_after) {
        c->refuse_after = false;
        refuse_connections(s);
    }
    c->state = FINISHING;
    c->deadline = s->now + CLOSE_SECONDS;
}

static void cut(struct server *s, struct connection *c) {
    struct linger reset = {.l_onoff = 1, .l_linger = 0};
    log_line("connection %lu cut: reset after %lld bytes", c->number, c->received);
    setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    c->refuse_after = true;
    end_connection(s, c);
}

static void vanish(struct server *s, struct connection *c) {
    log_line("connection %lu vanished: held open, no longer read or written", c->number);
    c->state = VANISHED;
    c->deadline = NEVER;
    refuse_connections(s);
}

/* Writes what the kernel takes now. */
static void flush_unsent(struct server *s, struct connection *c) {
    while (buffer_size(&c->unsent) > 0) {
        ssize_t n = write(c->fd, c->unsent.data + c->unsent.start, buffer_size(&c->unsent));
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return;
        if (n < 0) {
            log_line("connection %lu lost: %s", c->number, strerror(errno));
            end_connection(s, c);
            return;
        }
        c->unsent.start += (size_t)n;
    }
    buffer_clear(&c->unsent);
}

/* ---- sending frames -------------------------------------------------------------------------- */

static void append_frame_header(struct buffer *b, int opcode, size_t size) {
    unsigned char header[10] = {(unsigned char)(0x80 | opcode)};
    size_t extra = size < 126 ? 0 : size <= 0xFFFF ? 2 : 8;
    header[1] = (unsigned char)(extra == 0 ? size : extra == 2 ? 126 : 127);
    for (size_t i = 0; i < extra; i++)
        header[2 + i] = (unsigned char)((uint64_t)size >> (8 * (extra - 1 - i)));
    buffer_append(b, header, 2 + extra);
}

static void send_frame(struct connection *c, int opcode, const void *payload, size_t size) {
    if (!c->close_sent) {
        append_frame_header(&c->unsent, opcode, size);
        buffer_append(&c->unsent, payload, size);
    }
}

/* Code 0 is a Close without a body. */
static void send_close(struct connection *c, int code) {
    unsigned char body[2] = {(unsigned char)(code >> 8), (unsigned char)code};
    if (!c->close_sent) {
        send_frame(c, CLOSE, body, code ? 2 : 0);
        c->close_sent = true;
        log_line("connection %lu close frame sent, code %d", c->number, code ? code : 1005);
    }
}

/* Each pushed message is its number, a space and letters, cut to the size. */
static void push_messages(struct connection *c) {
    while (c->pushed < options.push_count && buffer_size(&c->unsent) < PUSH_LOW) {
        size_t size = (size_t)options.push_size;
        char number[24];
        size_t digits = (size_t)snprintf(number, sizeof number, "%lld ", ++c->pushed);
        append_frame_header(&c->unsent, TEXT, size);
        unsigned char *out = buffer_reserve(&c->unsent, size);
        for (size_t i = 0; i < size; i++)
            out[i] = (unsigned char)(i < digits ? number[i] : 'a' + (int)(i % 26));
        c->unsent.end += size;
    }
}

/* ---- receiving messages ---------------------------------------------------------------------- */

/* RFC 6455 section 7.1.7: after the client broke the protocol. */
static void fail(struct server *s, struct connection *c, int code, const char *why) {
    log_line("connection %lu fails: %s", c->number, why);
    send_close(c, code);
    finish(s, c);
}

static void start_faulty_close(struct server *s, struct connection *c) {
    send_close(c, (int)options.close_code);
    c->refuse_after = true;
    c->state = CLOSING;
    c->deadline = s->now + CLOSE_SECONDS;
}

/* Returns where the written text ends: at most 4 bytes further for each of payload. */
static unsigned char *write_escaped(unsigned char *out, const unsigned char *payload, size_t size,
                                    bool text) {
    static const char hex[] = "0123456789abcdef";
    for (size_t i = 0; i < size; i++) {
        unsigned char byte = payload[i];
        if (text && byte >= ' ' && byte != 0x7F) {
            *out++ = byte;
            if (byte == '\\') *out++ = byte;
            continue;
        }
        if (text) {
            *out++ = '\\';
            *out++ = 'x';
        }
        *out++ = (unsigned char)hex[byte >> 4];
        *out++ = (unsigned char)hex[byte & 15];
    }
    return out;
}

/* The line is in the file before the caller answers anything; a server that can't promise that any
 * more stops. */
static void write_ledger(struct server *s, const struct connection *c) {
    bool text = c->message_opcode == TEXT;
    struct buffer *line = &s->ledger_line;
    size_t size = buffer_size(&c->message);
    char start[64];
    snprintf(start, sizeof start, "%lu %c %zu ", c->number, text ? 't' : 'b', size);
    buffer_append(line, start, strlen(start));
    unsigned char *out = buffer_reserve(line, 4 * size + 1);
    out = write_escaped(out, c->message.data, size, text);
    *out++ = '\n';
    line->end = (size_t)(out - line->data);
    while (buffer_size(line) > 0) {
        ssize_t n = write(s->ledger, line->data + line->start, buffer_size(line));
        if (n < 0 && errno != EINTR) die(options.ledger);
        line->start += n > 0 ? (size_t)n : 0;
    }
    buffer_clear(line);
}

static void on_message(struct server *s, struct connection *c) {
    c->messages++;
    if (s->ledger >= 0) write_ledger(s, c);
    if (c->faulty && options.vanish_every && c->messages == 1 &&
        c->number % (unsigned long long)options.vanish_every == 0) {
        vanish(s, c);
        return;
    }
    if (!options.no_echo)
        send_frame(c, c->message_opcode, c->message.data, buffer_size(&c->message));
    if (c->faulty && c->state == OPEN && options.close_code && c->messages >= options.close_after)
        start_faulty_close(s, c);
}

/* RFC 6455 section 7.4 and its registry: what may stand in a Close frame. */
static bool close_code_is_valid(int code) {
    return (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) ||
           (code >= 3000 && code <= 4999);
}

static void on_close(struct server *s, struct connection *c) {
    int code = c->control_size >= 2 ? c->control[0] << 8 | c->control[1] : 0;
    struct utf8 utf8 = {0};
    if (c->control_size == 1 || (c->control_size >= 2 && !close_code_is_valid(code))) {
        fail(s, c, 1002, "close frame with a bad code");
    } else if (c->control_size > 2 &&
               (!utf8_continues(&utf8, c->control + 2, c->control_size - 2) || utf8.left)) {
        fail(s, c, 1007, "close reason is not UTF-8");
    } else {
        log_line("connection %lu close frame received, code %d", c->number, code ? code : 1005);
        send_close(c, code);
        finish(s, c);
    }
}

static void on_frame(struct server *s, struct connection *c) {
    int opcode = c->header[0] & 0x0F;
    bool final = c->header[0] & 0x80;
    c->in_payload = false;
    c->header_size = 0;
    c->header_need = 2;
    if (opcode == CLOSE) {
        on_close(s, c);
    } else if (opcode == PING && !(c->faulty && options.no_pong)) {
        send_frame(c, PONG, c->control, c->control_size);
    } else if (opcode < CLOSE && final) {
        if (c->message_opcode == TEXT && c->utf8.left > 0) {
            fail(s, c, 1007, "text message ends within a UTF-8 character");
            return;
        }
        on_message(s, c);
        buffer_clear(&c->message);
        c->message_opcode = CONTINUATION;
    }
}

/* What the first two bytes of a frame break, or NULL. */
static const char *check_frame_start(const struct connection *c) {
    int opcode = c->header[0] & 0x0F, size = c->header[1] & 0x7F;
    if (c->header[0] & 0x70) return "reserved bit set";
    if ((opcode > BINARY && opcode < CLOSE) || opcode > PONG) return "reserved opcode";
    if (!(c->header[1] & 0x80)) return "frame is not masked";
    if (opcode >= CLOSE && (size > 125 || !(c->header[0] & 0x80)))
        return "control frame is fragmented or longer than 125 bytes";
    if (opcode == CONTINUATION && c->message_opcode == CONTINUATION)
        return "continuation of no message";
    if ((opcode == TEXT || opcode == BINARY) && c->message_opcode != CONTINUATION)
        return "new message within a fragmented one";
    return NULL;
}

static void on_frame_header(struct server *s, struct connection *c) {
    int opcode = c->header[0] & 0x0F;
    uint64_t size = c->header[1] & 0x7F;
    size_t extra = size == 126 ? 2 : size == 127 ? 8 : 0;
    if (extra > 0) {
        size = 0;
        for (size_t i = 0; i < extra; i++) size = size << 8 | c->header[2 + i];
        if (size < (extra == 2 ? 126u : 0x10000u) || size >> 63) {
            fail(s, c, 1002, "frame length is not in its shortest form or over 63 bits");
            return;
        }
    }
    if (opcode < CLOSE && size > MESSAGE_MAX - buffer_size(&c->message)) {
        fail(s, c, 1009, "message is longer than 16 MiB");
        return;
    }
    if (opcode == TEXT || opcode == BINARY) {
        c->message_opcode = opcode;
        memset(&c->utf8, 0, sizeof c->utf8);
    }
    c->control_size = 0;
    c->mask_at = 0;
    c->payload_left = size;
    c->in_payload = true;
    if (size == 0) on_frame(s, c);
}

/* Returns how many of the size bytes were used; so does take_payload. */
static size_t take_header(struct server *s, struct connection *c, const unsigned char *data,
                          size_t size) {
    size_t used = c->header_need - c->header_size;
    used = used < size ? used : size;
    memcpy(c->header + c->header_size, data, used);
    c->header_size += used;
    if (c->header_size == 2 && c->header_need == 2) {
        const char *why = check_frame_start(c);
        int length = c->header[1] & 0x7F;
        if (why) fail(s, c, 1002, why);
        c->header_need = (size_t)(length == 126 ? 8 : length == 127 ? 14 : 6);
    } else if (c->header_size == c->header_need) {
        on_frame_header(s, c);
    }
    return used;
}

static size_t take_payload(struct server *s, struct connection *c, const unsigned char *data,
                           size_t size) {
    const unsigned char *mask = c->header + c->header_need - 4;
    size_t used = c->payload_left < size ? (size_t)c->payload_left : size;
    bool control = (c->header[0] & 0x0F) >= CLOSE;
    unsigned char *out = control ? c->control + c->control_size : buffer_reserve(&c->message, used);
    for (size_t i = 0; i < used; i++) out[i] = data[i] ^ mask[c->mask_at++ % 4];
    if (control) {
        c->control_size += used;
    } else {
        c->message.end += used;
        if (c->message_opcode == TEXT && !utf8_continues(&c->utf8, out, used)) {
            fail(s, c, 1007, "text message is not UTF-8");
            return used;
        }
    }
    c->payload_left -= used;
    if (c->payload_left == 0) on_frame(s, c);
    return used;
}

/* Takes bytes that followed the upgrade, no more than --cut-after allows. */
static void receive_frames(struct server *s, struct connection *c, const unsigned char *data,
                           size_t size) {
    c->received += (long long)size;
    c->allowance -= (double)size;
    while (size > 0 && (c->state == OPEN || c->state == CLOSING)) {
        size_t used =
            c->in_payload ? take_payload(s, c, data, size) : take_header(s, c, data, size);
        data += used;
        size -= used;
    }
    if (c->faulty && options.cut_after >= 0 && c->received >= options.cut_after &&
        (c->state == OPEN || c->state == CLOSING))
        cut(s, c);
}

/* ---- the upgrade: RFC 6455 section 4.2 ------------------------------------------------------- */

struct request {
    const char *target, *key;
    int hosts, keys, versions;            /* how many of these fields there are    */
    bool upgrade, connection, version_13; /* these fields ask for what they should */
    bool subprotocol;                     /* the one of --subprotocol is offered   */
};

static bool is_token(const char *text) {
    return *text && !text[strspn(text, LETTERS_AND_DIGITS "!#$%&'*+-.^_`|~")];
}

static bool is_visible(const char *text) {
    while (*text > ' ' && *text <= '~') text++;
    return !*text;
}

/* Splits off what is before the first separator; *rest is what follows, NULL after the last one. */
static char *split(char **rest, char separator) {
    char *part = *rest, *at = part ? strchr(part, separator) : NULL;
    if (at) *at++ = '\0';
    *rest = at;
    return part;
}

static char *trim(char *text) {
    text += strspn(text, " \t");
    size_t size = strlen(text);
    while (size > 0 && (text[size - 1] == ' ' || text[size - 1] == '\t')) text[--size] = '\0';
    return text;
}

static bool list_has(char *list, const char *token, int (*compare)(const char *, const char *)) {
    bool found = false;
    while (list) found = compare(trim(split(&list, ',')), token) == 0 || found;
    return found;
}

/* 0, or the HTTP status that says what is wrong with it. */
static int parse_request_line(char *line, struct request *r) {
    const char *method = split(&line, ' '), *target = split(&line, ' '), *version = line;
    if (!version || !is_token(method) || !*target || !is_visible(target) || strlen(version) != 8 ||
        strncmp(version, "HTTP/", 5))
        return 400;
    if (strcmp(version, "HTTP/1.1")) return 505;
    r->target = target;
    return strcmp(method, "GET") ? 405 : 0;
}

static int parse_field(char *line, struct request *r) {
    const char *name = split(&line, ':');
    if (!line || !is_token(name)) return 400;
    char *value = trim(line);
    if (!strcasecmp(name, "Host")) {
        r->hosts++;
    } else if (!strcasecmp(name, "Upgrade")) {
        r->upgrade = list_has(value, "websocket", strcasecmp) || r->upgrade;
    } else if (!strcasecmp(name, "Connection")) {
        r->connection = list_has(value, "upgrade", strcasecmp) || r->connection;
    } else if (!strcasecmp(name, "Sec-WebSocket-Key")) {
        r->keys++;
        r->key = value;
    } else if (!strcasecmp(name, "Sec-WebSocket-Version")) {
        r->versions++;
        r->version_13 = !strcmp(value, "13");
    } else if (!strcasecmp(name, "Sec-WebSocket-Protocol") && options.subprotocol) {
        r->subprotocol = list_has(value, options.subprotocol, strcmp) || r->subprotocol;
    }
    return 0;
}

/* /status/CODE asks for that answer; 101 stands for every other path. */
static int parse_target(const char *target) {
    if (strncmp(target, "/status/", 8)) return 101;
    const char *code = target + 8;
    bool known = strspn(code, "0123456789") == 3 && (!code[3] || code[3] == '?') &&
                 code[0] >= '2' && code[0] <= '5';
    return known ? atoi(code) : 404;
}

/* Takes the head apart, where it stands. Returns the HTTP status that answers it. */
static int parse_request(char *head, struct request *r) {
    while (head) {
        char *line = split(&head, '\n');
        size_t size = strlen(line);
        if (size == 0 || line[size - 1] != '\r') return 400;
        line[size - 1] = '\0';
        for (const char *c = line; *c; c++)
            if (((unsigned char)*c < ' ' && *c != '\t') || *c == 0x7F) return 400;
        int status = r->target ? parse_field(line, r) : parse_request_line(line, r);
        if (status) return status;
    }
    if (r->hosts != 1) return 400;
    if (!r->upgrade || !r->connection) return 426;
    /* 16 bytes in base64. */
    if (r->keys != 1 || r->versions > 1 || strlen(r->key) != KEY_SIZE ||
        strspn(r->key, base64_digits) != KEY_SIZE - 2 || strcmp(r->key + KEY_SIZE - 2, "=="))
        return 400;
    return r->version_13 ? parse_target(r->target) : 426;
}

static void append_text(struct buffer *b, const char *text) {
    buffer_append(b, text, strlen(text));
}

static void refuse_upgrade(struct server *s, struct connection *c, int status) {
    char line[64];
    snprintf(line, sizeof line, "HTTP/1.1 %d Refused\r\n", status);
    append_text(&c->unsent, line);
    if (status == 405) append_text(&c->unsent, "Allow: GET\r\n");
    if (status == 429 || status == 503) append_text(&c->unsent, "Retry-After: 1\r\n");
    if (status == 426)
        append_text(&c->unsent, "Upgrade: websocket\r\nConnection: Upgrade, close\r\n"
                                "Sec-WebSocket-Version: 13\r\nContent-Type: text/plain\r\n\r\n"
                                "This is a WebSocket server.\n");
    else append_text(&c->unsent, "Connection: close\r\n\r\n");
    log_line("connection %lu refused: HTTP status %d", c->number, status);
    finish(s, c);
}

static void accept_upgrade(struct server *s, struct connection *c, const struct request *r) {
    char accept_key[ACCEPT_SIZE + 1];
    make_accept_key(r->key, accept_key);
    append_text(&c->unsent, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                            "Connection: Upgrade\r\nSec-WebSocket-Accept: ");
    append_text(&c->unsent, accept_key);
    if (r->subprotocol) {
        append_text(&c->unsent, "\r\nSec-WebSocket-Protocol: ");
        append_text(&c->unsent, options.subprotocol);
    }
    append_text(&c->unsent, "\r\n\r\n");
    log_line("connection %lu open: %.100s%s%s", c->number, r->target,
             r->subprotocol ? ", subprotocol " : "", r->subprotocol ? options.subprotocol : "");
    c->state = OPEN;
    c->deadline = NEVER;
    c->allowance_time = s->now;
    /* So the client has its answer even where --cut-after 0 is next. */
    flush_unsent(s, c);
    if (c->state == OPEN && c->faulty && options.close_code && options.close_after == 0)
        start_faulty_close(s, c);
}

/* Where the last line of the head ends, or NULL. The bytes from old on are new. */
static char *find_head_end(const struct buffer *request, size_t old) {
    for (size_t i = old < 3 ? 0 : old - 3; i + 4 <= request->end; i++)
        if (!memcmp(request->data + i, "\r\n\r\n", 4)) return (char *)request->data + i + 1;
    return NULL;
}

static void receive_request(struct server *s, struct connection *c, const unsigned char *data,
                            size_t size) {
    size_t old = c->request.end;
    buffer_append(&c->request, data, size);
    char *head = (char *)c->request.data, *end = find_head_end(&c->request, old);
    size_t head_size = end ? (size_t)(end - head) : c->request.end;
    struct request r = {0};
    int status = 0;
    if (head_size > REQUEST_MAX) status = 431;
    else if (memchr(head, '\0', head_size)) /* TLS and other strangers show here, early */
        status = 400;
    else if (end) {
        *end = '\0';
        status = parse_request(head, &r);
    }
    if (status == 101) {
        accept_upgrade(s, c, &r);
        size_t early = c->request.end - head_size - 3;
        if (c->faulty && options.cut_after >= 0 && (long long)early > options.cut_after)
            early = (size_t)options.cut_after;
        receive_frames(s, c, (unsigned char *)end + 3, early);
        free(c->request.data);
        c->request = (struct buffer){0};
    } else if (status) {
        refuse_upgrade(s, c, status);
    }
}

/* ---- one turn of a connection ---------------------------------------------------------------- */

static void read_some(struct server *s, struct connection *c) {
    unsigned char data[READ_SIZE];
    size_t limit = sizeof data;
    bool counted = c->faulty && (c->state == OPEN || c->state == CLOSING);
    if (counted && options.cut_after >= 0 && options.cut_after - c->received < (long long)limit)
        limit = (size_t)(options.cut_after - c->received);
    if (counted && options.slow && c->allowance < (double)limit) limit = (size_t)c->allowance;
    ssize_t n = read(c->fd, data, limit);
    if (n > 0 && c->state == UPGRADING) {
        receive_request(s, c, data, (size_t)n);
    } else if (n > 0) {
        receive_frames(s, c, data, (size_t)n);
    } else if (n == 0) {
        c->ended = true;
        if (c->state != FINISHING) {
            log_line("connection %lu ended by the client %s", c->number,
                     c->state == UPGRADING ? "before its upgrade" : "without a close frame");
            finish(s, c);
        }
    } else if (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR) {
        log_line("connection %lu lost: %s", c->number, strerror(errno));
        end_connection(s, c);
    }
}

/* What poll is to watch; *wake becomes the time at which there is something to do anyway. */
static short wanted_events(const struct server *s, struct connection *c, double *wake) {
    size_t unsent = buffer_size(&c->unsent);
    short events = 0;
    if (c->deadline < *wake) *wake = c->deadline;
    if (c->state == VANISHED) return 0;
    if (unsent > 0 || (c->state == OPEN && c->pushed < options.push_count)) events |= POLLOUT;
    if (c->ended || (unsent >= UNSENT_HIGH && c->state != FINISHING)) return events;
    if (c->faulty && options.slow && (c->state == OPEN || c->state == CLOSING)) {
        /* Twenty reads a second are smooth enough, and need no precise timer. */
        double rate = (double)options.slow, portion = rate < 20 ? 1 : rate / 20;
        c->allowance += rate * (s->now - c->allowance_time);
        c->allowance = c->allowance < portion ? c->allowance : portion;
        c->allowance_time = s->now;
        if (c->allowance < portion) {
            double ready = s->now + (portion - c->allowance) / rate;
            *wake = ready < *wake ? ready : *wake;
            return events;
        }
    }
    return events | POLLIN;
}

static void on_deadline(struct server *s, struct connection *c) {
    if (c->state == UPGRADING) {
        refuse_upgrade(s, c, 408);
        return;
    }
    log_line("connection %lu closed: the client %s", c->number,
             c->state == CLOSING ? "has not answered the close frame" : "still held it");
    end_connection(s, c);
}

/* Shuts down writing, then waits for the client to do the same. Closing at once, with bytes unread,
 * would make TCP send a reset, and that can destroy the last frames on their way. */
static void finish_some(struct server *s, struct connection *c) {
    if (buffer_size(&c->unsent) == 0 && !c->shut) {
        shutdown(c->fd, SHUT_WR);
        c->shut = true;
        c->deadline = s->now + LINGER_SECONDS;
    }
    if (c->shut && c->ended) {
        log_line("connection %lu closed, messages received: %lld", c->number, c->messages);
        end_connection(s, c);
    }
}

static void serve(struct server *s, struct connection *c, const struct pollfd *polled) {
    if (polled->events & POLLIN && polled->revents) read_some(s, c);
    if (c->state == OPEN) push_messages(c);
    if (c->state != VANISHED && c->state != DEAD) flush_unsent(s, c);
    if (c->state == FINISHING) finish_some(s, c);
    if (c->state != DEAD && s->now >= c->deadline) on_deadline(s, c);
}

/* ---- the server ------------------------------------------------------------------------------ */

static void set_nonblocking(int fd) { fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK); }

/* "127.0.0.1:9001" or "[::1]:9001"; returns the port. */
static int describe_address(const struct sockaddr_storage *address, socklen_t size, char out[80]) {
    char host[64] = "?", port[8] = "0";
    getnameinfo((const struct sockaddr *)address, size, host, sizeof host, port, sizeof port,
                NI_NUMERICHOST | NI_NUMERICSERV);
    snprintf(out, 80, address->ss_family == AF_INET6 ? "[%s]:%s" : "%s:%s", host, port);
    return atoi(port);
}

/* The listening socket, or -1 with errno. */
static int open_listener(int port) {
    struct addrinfo hints = {.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE,
                             .ai_socktype = SOCK_STREAM};
    struct addrinfo *address;
    char service[8];
    int on = 1;
    snprintf(service, sizeof service, "%d", port);
    if (getaddrinfo(options.bind, service, &hints, &address) != 0)
        usage_error("--bind", "not an IPv4 or IPv6 address in digits");
    int fd = socket(address->ai_family, SOCK_STREAM, 0);
    if (fd >= 0) {
        set_nonblocking(fd);
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
        if (bind(fd, address->ai_addr, address->ai_addrlen) != 0 || listen(fd, 128) != 0) {
            int error = errno;
            close(fd);
            errno = error;
            fd = -1;
        }
    }
    freeaddrinfo(address);
    return fd;
}

static void listen_again(struct server *s) {
    s->listener = open_listener(s->port);
    if (s->listener < 0) {
        log_line("can't listen again: %s", strerror(errno));
        s->listen_at = s->now + RETRY_SECONDS;
        return;
    }
    log_line("listening again");
    s->listen_at = NEVER;
}

static void add_connection(struct server *s, int fd, const char *address) {
    int on = 1;
    struct connection *c = reallocate(NULL, sizeof *c);
    memset(c, 0, sizeof *c);
    set_nonblocking(fd);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    c->fd = fd;
    c->number = ++s->accepted;
    c->faulty = options.connections_faulty == 0 ||
                c->number <= (unsigned long long)options.connections_faulty;
    c->header_need = 2;
    c->deadline = s->now + UPGRADE_SECONDS;
    if (s->count == s->capacity) {
        s->capacity = s->capacity * 2 + 16;
        s->connections = reallocate(s->connections, s->capacity * sizeof s->connections[0]);
        s->polls = reallocate(s->polls, (s->capacity + 2) * sizeof s->polls[0]);
    }
    s->connections[s->count++] = c;
    log_line("connection %lu from %s", c->number, address);
}

static void accept_connections(struct server *s) {
    for (int i = 0; i < 64; i++) {
        struct sockaddr_storage address = {0};
        socklen_t size = sizeof address;
        char text[80];
        int fd = accept(s->listener, (struct sockaddr *)&address, &size);
        if (fd < 0) {
            if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
                log_line("can't accept: %s", strerror(errno));
                s->accept_at = s->now + RETRY_SECONDS;
            }
            return;
        }
        describe_address(&address, size, text);
        add_connection(s, fd, text);
    }
}

static void free_connection(struct connection *c) {
    if (c->fd >= 0) close(c->fd);
    free(c->request.data);
    free(c->unsent.data);
    free(c->message.data);
    free(c);
}

static void free_dead_connections(struct server *s) {
    size_t kept = 0;
    for (size_t i = 0; i < s->count; i++) {
        if (s->connections[i]->state == DEAD) free_connection(s->connections[i]);
        else s->connections[kept++] = s->connections[i];
    }
    s->count = kept;
}

/* Milliseconds for poll until the time wake, rounded up so that it is not a moment early. */
static int poll_timeout(const struct server *s, double wake) {
    double left_ms = (wake - s->now) * 1000;
    if (wake >= NEVER) return -1;
    return left_ms <= 0 ? 0 : left_ms >= 60000 ? 60000 : (int)left_ms + 1;
}

/* Signals write into stop_pipe, so that none can slip in between a check and poll. */
static int stop_pipe[2];

static void on_signal(int number) {
    int error = errno;
    ssize_t ignored = write(stop_pipe[1], "", 1);
    (void)ignored;
    (void)number;
    errno = error;
}

/* Returns false when it is time to stop. */
static bool run_turn(struct server *s) {
    double wake = options.lifetime > 0 ? options.lifetime : NEVER;
    bool accepting = s->listener >= 0 && s->now >= s->accept_at;
    double accept_wake = accepting || s->listener < 0 ? NEVER : s->accept_at;
    size_t count = s->count;
    wake = s->listen_at < wake ? s->listen_at : wake;
    wake = accept_wake < wake ? accept_wake : wake;
    s->polls[0] = (struct pollfd){.fd = stop_pipe[0], .events = POLLIN};
    s->polls[1] = (struct pollfd){.fd = accepting ? s->listener : -1, .events = POLLIN};
    for (size_t i = 0; i < count; i++) {
        short events = wanted_events(s, s->connections[i], &wake);
        /* poll reports errors even where nothing is asked: such a connection is left out. */
        s->polls[2 + i] =
            (struct pollfd){.fd = events ? s->connections[i]->fd : -1, .events = events};
    }
    if (poll(s->polls, (nfds_t)(count + 2), poll_timeout(s, wake)) < 0 && errno != EINTR)
        die("poll");
    s->now = seconds_since_start();
    if (s->polls[0].revents || (options.lifetime > 0 && s->now >= options.lifetime)) return false;
    for (size_t i = 0; i < count; i++) serve(s, s->connections[i], &s->polls[2 + i]);
    free_dead_connections(s);
    if (accepting && s->listener >= 0 && s->polls[1].revents) accept_connections(s);
    if (s->now >= s->listen_at) listen_again(s);
    return true;
}

/* Says 1001 (going away) as far as the kernel takes it at once. */
static void stop(struct server *s) {
    log_line("stopping");
    for (size_t i = 0; i < s->count; i++) {
        struct connection *c = s->connections[i];
        if (c->state == OPEN) {
            send_close(c, 1001);
            flush_unsent(s, c);
        }
        free_connection(c);
    }
    if (s->listener >= 0) close(s->listener);
    if (s->ledger >= 0) close(s->ledger);
    free(s->ledger_line.data);
    free(s->connections);
    free(s->polls);
}

static void set_up_process(void) {
    struct sigaction action = {.sa_handler = on_signal};
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    struct rlimit files;
    if (pipe(stop_pipe) != 0) die("pipe");
    set_nonblocking(stop_pipe[1]);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGPIPE, &ignore, NULL);
    /* Vanished connections hold their descriptors until the end. */
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
}

int main(int argc, char **argv) {
    struct server s = {.listener = -1, .listen_at = NEVER, .ledger = -1};
    struct sockaddr_storage address = {0};
    socklen_t size = sizeof address;
    char text[80];
    parse_options(argc, argv);
    if (options.subprotocol && !is_token(options.subprotocol))
        usage_error("--subprotocol", "not a token of HTTP");
    set_up_process();
    if (options.ledger) {
        s.ledger = open(options.ledger, O_WRONLY | O_CREAT | O_APPEND, 0644);
        if (s.ledger < 0) die(options.ledger);
    }
    s.listener = open_listener((int)options.port);
    if (s.listener < 0) die("listen");
    getsockname(s.listener, (struct sockaddr *)&address, &size);
    s.port = describe_address(&address, size, text);
    start_time = seconds_since_start();
    printf("listening on %s\n", text);
    s.polls = reallocate(NULL, 2 * sizeof s.polls[0]);
    while (run_turn(&s)) {
    }
    stop(&s);
    close(stop_pipe[0]);
    close(stop_pipe[1]);
    return 0;
}
