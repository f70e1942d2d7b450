/* The harness of the session tests: one client in a world of its own, where time, randomness, the
 * log and the network are the test's. Behind the transport sits a scripted server, which takes the
 * client's bytes apart strictly and records what it finds wrong in peer.bad.
 *
 *     peer p;
 *     peer_init(&p);                         defaults, that the test may then change
 *     peer_start(&p);                        mtws_create, mtws_connect
 *     peer_run(&p);                          mtws_poll until it has nothing to do at this instant
 *     peer_stream(&p, "text:hello");         the server sends a frame (see wire.h)
 *     peer_advance(&p, 1000);                a second passes, the client being polled
 *     CHECK_STR(peer_client_said(&p), "...");
 *     peer_finish(&p);                       destroys it, fails the test if peer.bad says so
 *
 * How the server treats each connection stands in peer.plans: the first connection gets the first
 * plan, and the last plan is kept for all that follow. A zeroed plan is a good server.
 */
#ifndef MTWS_TEST_PEER_H_INCLUDED
#define MTWS_TEST_PEER_H_INCLUDED

#include "wire.h"

/* %A in an answer stands for the right Sec-WebSocket-Accept, without it. */
#define PEER_ANSWER_LINES                                                                          \
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"                                   \
    "Connection: Upgrade\r\nSec-WebSocket-Accept: %A\r\n"
#define PEER_ANSWER PEER_ANSWER_LINES "\r\n"
#define PEER_NEVER UINT64_MAX

typedef struct peer_plan {
    int open_again;                  /* open() says AGAIN this often, once a poll */
    bool open_never;                 /* ... for ever */
    int open_result;                 /* and then this: 0 opens */
    bool no_answer;                  /* the upgrade is never answered */
    const char *answer;              /* instead of PEER_ANSWER */
    const wire_buffer *answer_bytes; /* instead of answer, as it stands */
    bool end_after_answer;           /* TCP ends behind the answer */
    const char *then;                /* frames in the same piece as the answer */
    uint32_t latency_ms;             /* from what the client wrote to the answer to it */
    bool no_pong;                    /* Pings are not answered */
    bool no_close;                   /* nor is a Close */
    bool keep_open;                  /* a Close is answered, but TCP stays open */
    bool echo;                       /* messages come back */
    uint32_t rate;                   /* bytes a second that the server takes in; 0: all at once */
    size_t die_at;     /* the connection dies once the client wrote so many bytes; 0: never */
    size_t die_unseen; /* so many of them, the last ones, never reached the server */
    bool die_deaf;     /* and what the server had answered is lost with them */
    int die_with;      /* what reading gives then; 0: MTWS_IO_ERROR */
} peer_plan;

typedef struct peer_frame {
    int connection;
    unsigned first, opcode;
    bool final;
    uint8_t mask[4];
    size_t at, size; /* of the unmasked payload, in peer.payloads */
    uint64_t time_us;
} peer_frame;

typedef struct peer_message {
    int connection;
    unsigned opcode;
    size_t at, size; /* in peer.messages_data */
    uint64_t time_us;
} peer_message;

typedef struct peer_event {
    mtws_event event; /* its pointers are not to be used */
    char reason[160];
    size_t at; /* of a message's data in peer.received */
    uint64_t time_us;
} peer_event;

typedef struct peer_arrival {
    uint64_t due_us;
    size_t end; /* of peer.down, up to where it has arrived then */
} peer_arrival;

typedef struct peer peer;
struct peer {
    /* what the test may set before peer_start */
    mtws_options options;
    const char *url;
    const mtws_pair *params;
    const peer_plan *plans;
    size_t plan_count;
    bool echo; /* the client's program sends each message back */
    void (*on_event)(peer *p, const mtws_event *event);
    void (*on_message)(peer *p, const peer_message *message); /* the server got one */
    void *context;                                            /* the test's own */
    bool reuse_memory; /* the block of the client before: for tests that make very many */

    /* how bytes move; may be changed at any time */
    size_t read_size;         /* at most so many bytes a read, with an AGAIN behind each; 0: all */
    const size_t *read_sizes; /* the same from a list, from its start again when it ends */
    size_t read_sizes_count, read_sizes_at;
    size_t read_cut;        /* an AGAIN behind so many more bytes; SIZE_MAX: none */
    size_t write_size;      /* at most so many bytes a write; 0: all */
    bool write_pause;       /* an AGAIN behind each write */
    size_t write_budget;    /* so many more bytes, then AGAIN; SIZE_MAX: no limit */
    bool ignore_violations; /* the decoder keeps quiet: for tests that break a rule themselves */

    /* the world */
    mtws_client *ws;
    uint64_t now_us;
    int64_t unix_offset_ms;
    uint64_t random;
    bool random_fails;
    uint64_t random_calls;

    /* the connection of the moment */
    const peer_plan *plan;
    bool opening, open, dead, upgraded;
    int open_left;
    wire_buffer up;      /* what the server has and has not parsed */
    wire_buffer backlog; /* what it has not taken in yet, where plan.rate is set */
    uint64_t took_us;    /* when it last did */
    size_t up_total, up_seen, upgrade_size; /* accepted, given to the server, of the request */
    wire_buffer down; /* everything that the server sends on this connection */
    size_t down_at;
    peer_arrival *arrivals;
    size_t arrival_count, arrival_capacity, arrival_at;
    uint64_t end_us; /* when TCP ends, behind all of down */
    int end_with;    /* MTWS_IO_EOF or _ERROR */
    bool read_gate, write_gate, refused_valid;
    wire_buffer refused; /* what write() said AGAIN to */
    bool client_closed, server_closed;
    unsigned fragmented; /* opcode of the message under way, 0: none */
    size_t fragment_at;

    /* what was recorded */
    int connections; /* that reached open() */
    int upgrades;
    wire_buffer request; /* the latest upgrade request */
    char accept[29];
    wire_buffer keys; /* one line each */
    wire_buffer payloads, messages_data, received;
    peer_frame *frames;
    size_t frame_count, frame_capacity;
    peer_message *messages;
    size_t message_count, message_capacity;
    peer_event *events;
    size_t event_count, event_capacity;
    wire_buffer log;    /* a line for each event */
    wire_buffer logged; /* the client's own log */
    wire_buffer bad;    /* rules that the client broke */
    wire_buffer said;
    uint64_t polls, reads, writes, waits, closes;
    uint64_t between; /* bytes that a test's own transport moved before this one was open */
    uint64_t poll_reads, poll_writes, poll_read_bytes; /* of the latest mtws_poll */
    bool wanted_read, wanted_write;                    /* the latest transport.wait */
    char opened_host[256];
    uint16_t opened_port;
    bool opened_tls;
    mtws_state last_state;
    uint8_t *fates; /* by id: 0 open, 1 delivered, 2 dropped */
    size_t fate_capacity;
    uint64_t last_id, settled;
    bool idle; /* the latest mtws_poll said so */
};

TEST_PRINTF(2, 3) static void peer_wrong(peer *p, const char *format, ...) {
    if (p->ignore_violations || p->bad.size > 2000) {
        return;
    }
    char text[512];
    va_list list;
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    wire_print(&p->bad, "%s[connection %d] %s", p->bad.size > 0 ? "; " : "", p->connections, text);
}

#define PEER_PUSH(list, count, capacity, type)                                                     \
    ((count) == (capacity)                                                                         \
         ? ((capacity) = (capacity)*2 + 16,                                                        \
            (list) = (type *)wire_grow((list), (capacity) * sizeof(type)), &(list)[(count)++])     \
         : &(list)[(count)++])

/* ---- clock, random, log ---------------------------------------------------------------------- */

static uint64_t peer_now_us(void *context) { return ((peer *)context)->now_us; }

static uint64_t peer_unix_ms(void *context) {
    const peer *p = (const peer *)context;
    return (uint64_t)((int64_t)(p->now_us / 1000) + p->unix_offset_ms);
}

static bool peer_fill(void *context, void *out, size_t size) {
    peer *p = (peer *)context;
    p->random_calls++;
    for (size_t i = 0; i < size; i++) {
        p->random = p->random * 6364136223846793005u + 1442695040888963407u;
        ((uint8_t *)out)[i] = (uint8_t)(p->random >> 56);
    }
    return !p->random_fails;
}

static void peer_log(void *context, mtws_level level, const char *item, const char *text) {
    peer *p = (peer *)context;
    wire_print(&p->logged, "%d %s: ", (int)level, item);
    wire_add_text(&p->logged, text);
    wire_add_text(&p->logged, "\n");
    if (level < MTWS_LOG_ERROR || level > MTWS_LOG_DEBUG) {
        peer_wrong(p, "log level %d", (int)level);
    }
    for (const char *c = text; *c != '\0'; c++) {
        if ((unsigned char)*c < 32) {
            peer_wrong(p, "control character %d in log item %s", *c, item);
        }
    }
}

/* ---- the server: what it sends --------------------------------------------------------------- */

/* The server sends bytes, ms from now at the earliest, and never before what it sent earlier. */
TEST_UNUSED static void peer_send_at(peer *p, uint64_t ms, const void *data, size_t size) {
    uint64_t due = p->now_us + ms * 1000;
    if (p->arrival_count > 0 && p->arrivals[p->arrival_count - 1].due_us > due) {
        due = p->arrivals[p->arrival_count - 1].due_us;
    }
    wire_add(&p->down, data, size);
    if (p->arrival_count == 0 || p->arrivals[p->arrival_count - 1].due_us != due) {
        peer_arrival *arrival =
            PEER_PUSH(p->arrivals, p->arrival_count, p->arrival_capacity, peer_arrival);
        arrival->due_us = due;
    }
    p->arrivals[p->arrival_count - 1].end = p->down.size;
}

TEST_UNUSED static void peer_send(peer *p, const void *data, size_t size) {
    peer_send_at(p, p->plan == NULL ? 0 : p->plan->latency_ms, data, size);
}

/* TCP ends, ms from now: MTWS_IO_EOF or MTWS_IO_ERROR. What was sent before is read first. */
TEST_UNUSED static void peer_end_at(peer *p, uint64_t ms, int how) {
    if (p->end_us == PEER_NEVER) {
        p->end_us = p->now_us + ms * 1000;
        p->end_with = how;
    }
}

TEST_UNUSED static void peer_end(peer *p, int how) {
    peer_end_at(p, p->plan == NULL ? 0 : p->plan->latency_ms, how);
}

/* The server sends the frames that the notation of wire.h stands for. */
TEST_UNUSED static void peer_stream(peer *p, const char *notation) {
    wire_buffer bytes = {0};
    wire_stream(&bytes, notation);
    peer_send(p, bytes.data, bytes.size);
    wire_free(&bytes);
}

static void peer_answer_upgrade(peer *p) {
    const peer_plan *plan = p->plan;
    wire_buffer out = {0};
    if (plan->no_answer) {
        return;
    }
    if (plan->answer_bytes != NULL) {
        wire_add(&out, plan->answer_bytes->data, plan->answer_bytes->size);
    } else {
        const char *text = plan->answer != NULL ? plan->answer : PEER_ANSWER;
        for (const char *mark; (mark = strstr(text, "%A")) != NULL; text = mark + 2) {
            wire_add(&out, text, (size_t)(mark - text));
            wire_add_text(&out, p->accept);
        }
        wire_add_text(&out, text);
    }
    if (plan->then != NULL) {
        wire_stream(&out, plan->then);
    }
    peer_send(p, out.data, out.size);
    wire_free(&out);
    if (plan->end_after_answer) {
        peer_end(p, MTWS_IO_EOF);
    }
}

/* ---- the server: the upgrade request --------------------------------------------------------- */

/* The value of a header field in the latest request, in a buffer that the next call uses again;
 * NULL if it is absent. */
TEST_UNUSED static const char *peer_request_header(const peer *p, const char *name) {
    static char value[9000];
    size_t name_size = strlen(name);
    const char *line = strstr(wire_text(&p->request), "\r\n");
    while (line != NULL && line[2] != '\r' && line[2] != '\0') {
        const char *field = line + 2;
        line = strstr(field, "\r\n");
        size_t same = 0;
        while (same < name_size && (field[same] | 32) == (name[same] | 32)) {
            same++;
        }
        if (same == name_size && field[same] == ':' && line != NULL) {
            field += name_size + 1;
            field += *field == ' ';
            snprintf(value, sizeof value, "%.*s", (int)(line - field), field);
            return value;
        }
    }
    return NULL;
}

static void peer_check_field(peer *p, const char *field, size_t size, const char *earlier) {
    static const char token[] = "!#$%&'*+-.^_`|~0123456789"
                                "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    const char *colon = (const char *)memchr(field, ':', size);
    if (colon == NULL || colon == field) {
        peer_wrong(p, "header line without a name: %.*s", (int)size, field);
        return;
    }
    size_t name_size = (size_t)(colon - field);
    if (strspn(field, token) != name_size) {
        peer_wrong(p, "header name is no token: %.*s", (int)size, field);
    }
    for (size_t i = 0; i < size; i++) {
        if ((unsigned char)field[i] < 32 || field[i] == 127) {
            peer_wrong(p, "control character in header %.*s", (int)name_size, field);
        }
    }
    for (const char *line = earlier; line < field; line = strstr(line, "\r\n") + 2) {
        size_t same = 0;
        while (same <= name_size && (line[same] | 32) == (field[same] | 32)) {
            same++;
        }
        if (same > name_size) {
            peer_wrong(p, "header sent twice: %.*s", (int)size, field);
        }
    }
}

static void peer_check_request(peer *p) {
    const char *request = wire_text(&p->request);
    const char *end = strstr(request, "\r\n");
    size_t line_size = (size_t)(end - request);
    if (strlen(request) != p->request.size) {
        peer_wrong(p, "a NUL in the upgrade request");
    }
    const char *target_end = (const char *)memchr(request + 4, ' ', line_size - 4);
    if (strncmp(request, "GET /", 5) != 0 || target_end == NULL ||
        strncmp(target_end, " HTTP/1.1\r\n", 11) != 0) {
        peer_wrong(p, "request line: %.*s", (int)line_size, request);
    }
    for (const char *line = end + 2; strncmp(line, "\r\n", 2) != 0; line = end + 2) {
        end = strstr(line, "\r\n");
        peer_check_field(p, line, (size_t)(end - line), strstr(request, "\r\n") + 2);
    }
    static const char *const fixed[][2] = {{"Upgrade", "websocket"},
                                           {"Connection", "Upgrade"},
                                           {"Sec-WebSocket-Version", "13"}};
    for (size_t i = 0; i < 3; i++) {
        const char *value = peer_request_header(p, fixed[i][0]);
        if (value == NULL || strcmp(value, fixed[i][1]) != 0) {
            peer_wrong(p, "%s: %s", fixed[i][0], value == NULL ? "absent" : value);
        }
    }
    if (peer_request_header(p, "Host") == NULL) {
        peer_wrong(p, "no Host");
    }
    const char *key = peer_request_header(p, "Sec-WebSocket-Key");
    if (key == NULL || !wire_is_key(key, strlen(key))) {
        peer_wrong(p, "Sec-WebSocket-Key: %s", key == NULL ? "absent" : key);
        return;
    }
    if (strstr(wire_text(&p->keys), key) != NULL) {
        peer_wrong(p, "Sec-WebSocket-Key used again: %s", key);
    }
    wire_print(&p->keys, "%s\n", key);
    wire_accept(key, p->accept);
}

/* ---- the server: frames ---------------------------------------------------------------------- */

static void peer_got_control(peer *p, const peer_frame *frame) {
    const uint8_t *payload = p->payloads.data + frame->at;
    wire_buffer out = {0};
    if (frame->opcode == WIRE_PING && !p->plan->no_pong && !p->server_closed) {
        wire_frame(&out, WIRE_PONG, true, payload, frame->size);
    } else if (frame->opcode == WIRE_CLOSE) {
        p->client_closed = true;
        if (frame->size == 1) {
            peer_wrong(p, "a Close body of one byte");
        } else if (frame->size >= 2) {
            unsigned code = (unsigned)payload[0] << 8 | payload[1];
            if (code < 1000 || code > 4999 || (code >= 1004 && code <= 1006) ||
                (code >= 1015 && code < 3000)) {
                peer_wrong(p, "Close with code %u", code);
            }
        }
        if (!p->plan->no_close) {
            if (!p->server_closed) {
                wire_frame(&out, WIRE_CLOSE, true, payload, frame->size >= 2 ? 2 : 0);
                p->server_closed = true;
            }
            if (!p->plan->keep_open) {
                peer_send(p, out.data, out.size);
                out.size = 0;
                peer_end(p, MTWS_IO_EOF);
            }
        }
    }
    if (out.size > 0) {
        peer_send(p, out.data, out.size);
    }
    wire_free(&out);
}

static void peer_got_data(peer *p, const peer_frame *frame) {
    if (frame->opcode != WIRE_CONT) {
        if (p->fragmented != 0) {
            peer_wrong(p, "a new message within a message");
        }
        p->fragmented = frame->opcode;
        p->fragment_at = p->messages_data.size;
    } else if (p->fragmented == 0) {
        peer_wrong(p, "a continuation of nothing");
        return;
    }
    wire_add(&p->messages_data, p->payloads.data + frame->at, frame->size);
    if (!frame->final) {
        return;
    }
    peer_message *message =
        PEER_PUSH(p->messages, p->message_count, p->message_capacity, peer_message);
    message->connection = p->connections - 1;
    message->opcode = p->fragmented;
    message->at = p->fragment_at;
    message->size = p->messages_data.size - p->fragment_at;
    message->time_us = p->now_us;
    p->fragmented = 0;
    if (p->plan->echo && !p->server_closed) {
        wire_buffer out = {0};
        wire_frame(&out, message->opcode, true, p->messages_data.data + message->at, message->size);
        peer_send(p, out.data, out.size);
        wire_free(&out);
    }
    if (p->on_message != NULL) {
        p->on_message(p, message);
    }
}

static void peer_check_frame(peer *p, const peer_frame *frame, const uint8_t *header, size_t size) {
    if ((header[0] & 0x70) != 0) {
        peer_wrong(p, "reserved bits in %02x", header[0]);
    }
    if (frame->opcode > WIRE_PONG || (frame->opcode > WIRE_BIN && frame->opcode < WIRE_CLOSE)) {
        peer_wrong(p, "reserved opcode %u", frame->opcode);
    }
    if (frame->opcode >= WIRE_CLOSE && (!frame->final || frame->size > 125)) {
        peer_wrong(p, "control frame, final %d, of %zu bytes", frame->final, frame->size);
    }
    if ((header[1] & 0x80) == 0) {
        peer_wrong(p, "a frame without a mask");
    }
    size_t shortest = size < 126 ? 0 : size < 65536 ? 2 : 8;
    size_t form = (header[1] & 127) == 126 ? 2 : (header[1] & 127) == 127 ? 8 : 0;
    if (form != shortest) {
        peer_wrong(p, "length %zu in %zu bytes", size, form);
    }
    if (p->client_closed) {
        peer_wrong(p, "a frame behind our Close, opcode %u", frame->opcode);
    }
}

/* Takes one frame out of up at *at; false if it is not complete. */
static bool peer_take_frame(peer *p, size_t *at) {
    const uint8_t *in = p->up.data + *at;
    size_t left = p->up.size - *at;
    if (left < 6) {
        return false;
    }
    size_t form = (in[1] & 127) == 126 ? 2 : (in[1] & 127) == 127 ? 8 : 0;
    if (left < 6 + form) {
        return false;
    }
    uint64_t size = in[1] & 127;
    for (size_t i = 0; i < form; i++) {
        size = (i == 0 ? 0 : size << 8) | in[2 + i];
    }
    if (size > left - 6 - form) {
        return false;
    }
    peer_frame *frame = PEER_PUSH(p->frames, p->frame_count, p->frame_capacity, peer_frame);
    frame->connection = p->connections - 1;
    frame->first = in[0];
    frame->opcode = in[0] & 15;
    frame->final = (in[0] & 0x80) != 0;
    frame->size = (size_t)size;
    frame->at = p->payloads.size;
    frame->time_us = p->now_us;
    memcpy(frame->mask, in + 2 + form, 4);
    wire_add(&p->payloads, in + 6 + form, frame->size);
    for (size_t i = 0; i < frame->size; i++) {
        p->payloads.data[frame->at + i] ^= frame->mask[i % 4];
    }
    peer_check_frame(p, frame, in, frame->size);
    *at += 6 + form + frame->size;
    if (frame->opcode >= WIRE_CLOSE) {
        peer_got_control(p, frame);
    } else {
        peer_got_data(p, frame);
    }
    return true;
}

/* Bytes reach the server. */
static void peer_server_read(peer *p, const void *data, size_t size) {
    wire_add(&p->up, data, size);
    size_t at = 0;
    if (!p->upgraded) {
        const char *end = strstr(wire_text(&p->up), "\r\n\r\n");
        if (end == NULL) {
            return;
        }
        at = (size_t)(end - (const char *)p->up.data) + 4;
        p->upgrade_size = at;
        p->upgraded = true;
        p->upgrades++;
        p->request.size = 0;
        wire_add(&p->request, p->up.data, at);
        peer_check_request(p);
        peer_answer_upgrade(p);
    }
    while (peer_take_frame(p, &at)) {
    }
    memmove(p->up.data, p->up.data + at, p->up.size - at);
    p->up.size -= at;
    p->up.data[p->up.size] = 0;
}

/* A server with a rate takes in what its time allows. */
static void peer_server_work(peer *p) {
    if (p->backlog.size == 0 || p->plan == NULL) {
        p->took_us = p->now_us;
        return;
    }
    uint64_t size = (p->now_us - p->took_us) * p->plan->rate / 1000000;
    if (size == 0) {
        return;
    }
    size = size < p->backlog.size ? size : p->backlog.size;
    p->took_us = p->now_us;
    wire_buffer now = {0};
    wire_add(&now, p->backlog.data, (size_t)size);
    p->backlog.size -= (size_t)size;
    memmove(p->backlog.data, p->backlog.data + size, p->backlog.size);
    peer_server_read(p, now.data, now.size);
    wire_free(&now);
}

static void peer_server_take(peer *p, const void *data, size_t size) {
    if (p->plan->rate == 0 || !p->upgraded) {
        peer_server_read(p, data, size);
    } else {
        peer_server_work(p);
        wire_add(&p->backlog, data, size);
    }
}

/* ---- the transport --------------------------------------------------------------------------- */

static void peer_reset_connection(peer *p) {
    p->open = p->dead = p->upgraded = false;
    p->up.size = p->up_total = p->up_seen = p->upgrade_size = p->backlog.size = 0;
    p->down.size = p->down_at = 0;
    p->arrival_count = p->arrival_at = 0;
    p->end_us = PEER_NEVER;
    p->read_gate = p->write_gate = p->refused_valid = false;
    p->client_closed = p->server_closed = false;
    p->fragmented = 0;
}

static int peer_open(void *context, const char *host, uint16_t port, bool tls) {
    peer *p = (peer *)context;
    if (p->open) {
        peer_wrong(p, "open() while open");
    }
    if (!p->opening) {
        peer_reset_connection(p);
        size_t plan =
            (size_t)p->connections < p->plan_count ? (size_t)p->connections : p->plan_count - 1;
        p->plan = &p->plans[plan];
        p->connections++;
        p->opening = true;
        p->open_left = p->plan->open_again;
        snprintf(p->opened_host, sizeof p->opened_host, "%s", host);
        p->opened_port = port;
        p->opened_tls = tls;
    } else if (strcmp(host, p->opened_host) != 0 || port != p->opened_port ||
               tls != p->opened_tls) {
        peer_wrong(p, "open() continued with other arguments");
    }
    if (p->plan->open_never || p->open_left-- > 0) {
        return MTWS_IO_AGAIN;
    }
    p->open = true; /* a failed opening too is to be closed once */
    p->opening = false;
    p->dead = p->plan->open_result != 0;
    return p->plan->open_result;
}

/* How much has arrived and is not read. */
static size_t peer_readable(peer *p) {
    peer_server_work(p);
    while (p->arrival_at < p->arrival_count && p->arrivals[p->arrival_at].due_us <= p->now_us) {
        p->arrival_at++;
    }
    return (p->arrival_at > 0 ? p->arrivals[p->arrival_at - 1].end : 0) - p->down_at;
}

static bool peer_ended(peer *p) {
    return p->dead || (p->end_us <= p->now_us && p->down_at == p->down.size);
}

static size_t peer_read_limit(peer *p, size_t size) {
    size_t limit = p->read_size;
    if (p->read_sizes_count > 0) {
        limit = p->read_sizes[p->read_sizes_at++ % p->read_sizes_count];
    }
    if (limit != 0 && size > limit) {
        size = limit;
    }
    if (size > p->read_cut) {
        size = p->read_cut;
    }
    if (p->read_cut != SIZE_MAX) {
        p->read_cut -= size;
        if (p->read_cut == 0) {
            p->read_cut = SIZE_MAX;
            p->read_gate = true;
        }
    }
    p->read_gate |= limit != 0;
    return size;
}

static ptrdiff_t peer_read(void *context, void *out, size_t capacity) {
    peer *p = (peer *)context;
    p->reads++;
    if (!p->open) {
        peer_wrong(p, "read() while not open");
        return MTWS_IO_ERROR;
    }
    if (capacity == 0) {
        peer_wrong(p, "read() with no room");
    }
    size_t size = peer_readable(p);
    if (p->read_gate) {
        p->read_gate = false;
        return MTWS_IO_AGAIN;
    }
    if (size == 0) {
        return peer_ended(p) ? p->end_with : MTWS_IO_AGAIN;
    }
    size = peer_read_limit(p, size < capacity ? size : capacity);
    memcpy(out, p->down.data + p->down_at, size);
    p->down_at += size;
    p->poll_read_bytes += size;
    return (ptrdiff_t)size;
}

static void peer_die(peer *p) {
    p->dead = true;
    p->end_us = p->now_us;
    p->end_with = p->plan->die_with != 0 ? p->plan->die_with : MTWS_IO_ERROR;
    if (p->plan->die_deaf) {
        p->down.size = p->down_at;
        p->arrival_count = p->arrival_at = 0;
        peer_send_at(p, 0, NULL, 0);
    }
}

static ptrdiff_t peer_refuse(peer *p, const void *data, size_t size) {
    p->refused.size = 0;
    wire_add(&p->refused, data, size);
    p->refused_valid = true;
    return MTWS_IO_AGAIN;
}

/* After AGAIN the next call begins with the same bytes, and is no shorter. */
static void peer_check_rewrite(peer *p, const void *data, size_t size) {
    if (p->refused_valid &&
        (size < p->refused.size || memcmp(data, p->refused.data, p->refused.size) != 0)) {
        peer_wrong(p, "write() after AGAIN with %zu other bytes than the %zu before", size,
                   p->refused.size);
    }
    p->refused_valid = false;
}

static ptrdiff_t peer_write(void *context, const void *data, size_t size) {
    peer *p = (peer *)context;
    p->writes++;
    if (!p->open || size == 0) {
        peer_wrong(p, "write() of %zu bytes, open %d", size, p->open);
    }
    if (p->dead || (p->end_us <= p->now_us && p->end_with == MTWS_IO_ERROR)) {
        return MTWS_IO_ERROR;
    }
    peer_check_rewrite(p, data, size);
    size_t take = p->write_size != 0 && size > p->write_size ? p->write_size : size;
    take = take > p->write_budget ? p->write_budget : take;
    size_t die_at = p->plan->die_at != 0 ? p->plan->die_at : SIZE_MAX;
    take = take > die_at - p->up_total ? die_at - p->up_total : take;
    if (p->write_gate || take == 0) {
        p->write_gate = false;
        return peer_refuse(p, data, size);
    }
    p->write_gate = p->write_pause;
    p->write_budget -= p->write_budget != SIZE_MAX ? take : 0;
    p->up_total += take;
    size_t visible = die_at == SIZE_MAX ? SIZE_MAX : die_at - p->plan->die_unseen;
    if (p->up_seen < visible) {
        size_t seen = take < visible - p->up_seen ? take : visible - p->up_seen;
        p->up_seen += seen;
        peer_server_take(p, data, seen);
    }
    if (p->up_total >= die_at) {
        peer_die(p);
    }
    return (ptrdiff_t)take;
}

/* There is no descriptor to wait on, so a wait is a timeout of 0 when something can be done. */
static void peer_transport_wait(void *context, bool want_read, bool want_write, mtws_wait *out) {
    peer *p = (peer *)context;
    p->waits++;
    p->wanted_read = want_read;
    p->wanted_write = want_write;
    bool readable = p->open && (peer_readable(p) > 0 || p->read_gate || peer_ended(p));
    bool writable = p->open && p->write_budget > 0;
    bool opening = p->opening && !p->plan->open_never;
    if ((want_read && readable) || (want_write && writable) || opening) {
        out->timeout_ms = 0;
    }
}

static void peer_transport_close(void *context) {
    peer *p = (peer *)context;
    if (!p->open && !p->opening) {
        peer_wrong(p, "close() of what is not open");
    }
    p->closes++;
    p->open = p->opening = false;
}

/* ---- the client ------------------------------------------------------------------------------ */

static void peer_init(peer *p) {
    static const peer_plan good;
    memset(p, 0, sizeof *p);
    p->url = "ws://server.example/chat";
    p->plans = &good;
    p->plan_count = 1;
    p->now_us = 5000000000u;
    p->unix_offset_ms = 1700000000000;
    p->random = 42;
    p->read_cut = p->write_budget = SIZE_MAX;
    p->end_us = PEER_NEVER;
    p->options.logger.log = peer_log;
    p->options.logger.ctx = p;
    p->options.logger.level = MTWS_LOG_DEBUG;
    p->options.clock.now_us = peer_now_us;
    p->options.clock.unix_ms = peer_unix_ms;
    p->options.clock.ctx = p;
    p->options.random.fill = peer_fill;
    p->options.random.ctx = p;
    p->options.transport.open = peer_open;
    p->options.transport.read = peer_read;
    p->options.transport.write = peer_write;
    p->options.transport.wait = peer_transport_wait;
    p->options.transport.close = peer_transport_close;
    p->options.transport.ctx = p;
    p->options.user_data = p;
}

/* Sets the plans; each is kept by reference. */
#define PEER_PLANS(p, list)                                                                        \
    ((p)->plans = (list), (p)->plan_count = sizeof(list) / sizeof((list)[0]))

/* As mtws_create does it, in a block that is kept while the size stays the same. */
static mtws_result peer_create_again(peer *p) {
    static struct {
        void *block;
        size_t size;
    } kept;
    size_t size = mtws_memory_required(&p->options);
    if (size != kept.size) {
        free(kept.block);
        kept.block = wire_grow(NULL, size);
        kept.size = size;
    }
    return mtws_create_in(&p->ws, &p->options, kept.block, size);
}

TEST_UNUSED static bool peer_start(peer *p) {
    mtws_result result = p->ws != NULL     ? MTWS_OK
                         : p->reuse_memory ? peer_create_again(p)
                                           : mtws_create(&p->ws, &p->options);
    if (!CHECK_INT(result, MTWS_OK)) {
        return false;
    }
    return CHECK_INT(mtws_connect(p->ws, p->url, p->params), MTWS_OK);
}

/* mtws_send, with the id noted. 0: refused. */
TEST_UNUSED static mtws_result peer_queue(peer *p, mtws_kind kind, const void *data, size_t size,
                                          unsigned flags) {
    uint64_t id = 0;
    mtws_result result = mtws_send(p->ws, kind, data, size, flags, &id);
    if (result == MTWS_OK) {
        if (id != p->last_id + 1) {
            peer_wrong(p, "id %llu follows %llu", (unsigned long long)id,
                       (unsigned long long)p->last_id);
        }
        p->last_id = id;
    }
    return result;
}

TEST_UNUSED static mtws_result peer_queue_text(peer *p, const char *text) {
    return peer_queue(p, MTWS_TEXT, text, strlen(text), 0);
}

static void peer_settle(peer *p, const mtws_event *event) {
    if (event->first_id == 0 || event->first_id > event->id || event->id > p->last_id) {
        peer_wrong(p, "ids %llu to %llu settled of %llu", (unsigned long long)event->first_id,
                   (unsigned long long)event->id, (unsigned long long)p->last_id);
        return;
    }
    if (p->fate_capacity <= p->last_id) {
        size_t capacity = (size_t)p->last_id * 2 + 64;
        p->fates = (uint8_t *)wire_grow(p->fates, capacity);
        memset(p->fates + p->fate_capacity, 0, capacity - p->fate_capacity);
        p->fate_capacity = capacity;
    }
    for (uint64_t id = event->first_id; id <= event->id; id++) {
        if (p->fates[id] != 0) {
            peer_wrong(p, "message %llu is settled twice", (unsigned long long)id);
            return;
        }
        p->fates[id] = event->type == MTWS_EVENT_DELIVERED ? 1 : 2;
        p->settled++;
    }
}

/* The moves that the manual draws, under A CLIENT'S LIFE. */
static bool peer_may_move(mtws_state from, mtws_state to) {
    static const char *const allowed[] = {
        /* a digit for each state that may follow, by the order of the enum */
        "1", "250", "50", "2540", "350", "3460", "130"};
    return strchr(allowed[from], '0' + (int)to) != NULL;
}

static void peer_log_event(peer *p, const mtws_event *event) {
    switch (event->type) {
    case MTWS_EVENT_STATE:
        wire_print(&p->log, "%s>%s result %d code %u status %u attempt %d retry %d \"%s\"\n",
                   mtws_state_name(event->previous), mtws_state_name(event->state),
                   (int)event->result, event->close_code, event->http_status, (int)event->attempt,
                   (int)event->retry_ms, event->reason);
        break;
    case MTWS_EVENT_MESSAGE:
        wire_print(&p->log, "message kind %d size %zu hash %016llx first %d last %d\n",
                   (int)event->kind, event->size,
                   (unsigned long long)wire_hash(event->data, event->size), event->first,
                   event->last);
        break;
    case MTWS_EVENT_DELIVERED:
        wire_print(&p->log, "delivered %llu to %llu\n", (unsigned long long)event->first_id,
                   (unsigned long long)event->id);
        break;
    case MTWS_EVENT_DROPPED:
        wire_print(&p->log, "dropped %llu to %llu result %d written %d\n",
                   (unsigned long long)event->first_id, (unsigned long long)event->id,
                   (int)event->result, event->written);
        break;
    case MTWS_EVENT_WRITABLE: wire_print(&p->log, "writable\n"); break;
    case MTWS_EVENT_NONE:
    default: peer_wrong(p, "event type %d", (int)event->type);
    }
}

static void peer_check_event(peer *p, const mtws_event *event) {
    if (event->reason == NULL || event->data == NULL) {
        peer_wrong(p, "a NULL pointer in an event");
        return;
    }
    if (event->state != mtws_get_state(p->ws)) {
        peer_wrong(p, "event.state is not the client's");
    }
    if (event->type != MTWS_EVENT_STATE && event->state != p->last_state) {
        peer_wrong(p, "the state changed without an event");
    }
    if (event->type == MTWS_EVENT_STATE) {
        if (event->previous != p->last_state || !peer_may_move(event->previous, event->state)) {
            peer_wrong(p, "state %d to %d after %d", (int)event->previous, (int)event->state,
                       (int)p->last_state);
        }
        p->last_state = event->state;
    }
    if (event->type == MTWS_EVENT_MESSAGE && event->last && event->first &&
        event->data[event->size] != 0) {
        peer_wrong(p, "data[size] is not 0");
    }
}

static void peer_keep_event(peer *p, const mtws_event *event) {
    peer_event *kept = PEER_PUSH(p->events, p->event_count, p->event_capacity, peer_event);
    kept->event = *event;
    kept->time_us = p->now_us;
    kept->at = p->received.size;
    snprintf(kept->reason, sizeof kept->reason, "%s", event->reason);
    if (event->type == MTWS_EVENT_MESSAGE) {
        wire_add(&p->received, event->data, event->size);
    }
}

/* One mtws_poll, checked and recorded. */
static int peer_poll(peer *p) {
    mtws_event event;
    uint64_t reads = p->reads, writes = p->writes;
    memset(&event, 0x55, sizeof event);
    p->polls++;
    p->poll_read_bytes = 0;
    int result = mtws_poll(p->ws, &event, 0);
    p->poll_reads = p->reads - reads;
    p->poll_writes = p->writes - writes;
    p->idle = result == MTWS_ERR_IDLE;
    if (result != 1) {
        if (event.type != MTWS_EVENT_NONE || (result != 0 && result != MTWS_ERR_IDLE)) {
            peer_wrong(p, "mtws_poll says %d with an event of type %d", result, (int)event.type);
        }
        return result;
    }
    peer_check_event(p, &event);
    if (event.reason == NULL || event.data == NULL) {
        return result;
    }
    peer_log_event(p, &event);
    peer_keep_event(p, &event);
    if (event.type == MTWS_EVENT_DELIVERED || event.type == MTWS_EVENT_DROPPED) {
        peer_settle(p, &event);
    }
    if (event.type == MTWS_EVENT_MESSAGE && p->echo) {
        mtws_result sent = peer_queue(p, event.kind, event.data, event.size, 0);
        if (sent != MTWS_OK && sent != MTWS_ERR_STATE) {
            peer_wrong(p, "the echo of %zu bytes was refused: %d", event.size, (int)sent);
        }
    }
    if (p->on_event != NULL) {
        p->on_event(p, &event);
    }
    return result;
}

TEST_UNUSED static mtws_wait peer_wait(peer *p) {
    mtws_wait wait;
    memset(&wait, 0x55, sizeof wait);
    mtws_get_wait(p->ws, &wait);
    if (wait.count != 0 || wait.timeout_ms < -1) {
        peer_wrong(p, "mtws_get_wait says %d descriptors, timeout %d", wait.count,
                   (int)wait.timeout_ms);
    }
    return wait;
}

/* What only grows while something is done. */
static uint64_t peer_moved(const peer *p) {
    return p->up_total + p->down_at + p->closes + (uint64_t)p->connections + p->between;
}

/* Polls until nothing is left to be done at this instant. */
TEST_UNUSED static void peer_run(peer *p) {
    unsigned fruitless = 0;
    while (fruitless < 200 && p->bad.size == 0) {
        uint64_t moved = peer_moved(p);
        int result = peer_poll(p);
        if (result == MTWS_ERR_IDLE || (result == 0 && peer_wait(p).timeout_ms != 0)) {
            return;
        }
        uint64_t now = peer_moved(p);
        fruitless = result == 1 || moved != now ? 0 : fruitless + 1;
    }
    if (fruitless == 200) {
        peer_wrong(p, "a busy loop: mtws_get_wait says 0, and nothing comes of polling");
    }
}

/* Virtual time passes, the client being polled when it asked to be and when bytes arrive. */
TEST_UNUSED static void peer_advance(peer *p, uint64_t ms) {
    uint64_t end = p->now_us + ms * 1000;
    peer_run(p);
    while (p->now_us < end && p->bad.size == 0) {
        mtws_wait wait = peer_wait(p);
        uint64_t next = end;
        if (wait.timeout_ms >= 0 && next - p->now_us > (uint64_t)wait.timeout_ms * 1000) {
            next = p->now_us + (uint64_t)wait.timeout_ms * 1000;
        }
        peer_readable(p);
        if (p->backlog.size > 0 && next > p->now_us + 5000) {
            next = p->now_us + 5000;
        }
        if (p->arrival_at < p->arrival_count && p->arrivals[p->arrival_at].due_us < next) {
            next = p->arrivals[p->arrival_at].due_us;
        }
        if (p->end_us > p->now_us && p->end_us < next) {
            next = p->end_us;
        }
        p->now_us = next > p->now_us ? next : p->now_us + 1000;
        peer_run(p);
    }
}

/* Time passes in which nobody polls. */
TEST_UNUSED static void peer_sleep(peer *p, uint64_t ms) { p->now_us += ms * 1000; }

/* Lets time pass until the client is in a state, limit_ms at most. */
TEST_UNUSED static bool peer_reach(peer *p, mtws_state state, uint64_t limit_ms) {
    uint64_t end = p->now_us + limit_ms * 1000;
    peer_run(p);
    while (p->last_state != state && p->now_us < end && p->bad.size == 0) {
        mtws_wait wait = peer_wait(p);
        uint64_t step = wait.timeout_ms < 0 || wait.timeout_ms > 50 ? 50
                        : wait.timeout_ms == 0                      ? 1
                                                                    : (uint64_t)wait.timeout_ms;
        peer_advance(p, step);
    }
    return p->last_state == state;
}

/* Starts, and runs until CONNECTED. */
TEST_UNUSED static bool peer_open_up(peer *p) {
    return peer_start(p) &&
           CHECK_TEXT(peer_reach(p, MTWS_STATE_CONNECTED, 1000), "not connected; log:\n%s%s",
                      wire_text(&p->log), wire_text(&p->logged));
}

/* ---- looking at what happened ---------------------------------------------------------------- */

/* The messages that the client sent, then "/", then its Pongs and Closes, all described as wire.h
 * does. Its Pings are its own business: it may ask at any time what has arrived. */
TEST_UNUSED static const char *peer_client_said(peer *p) {
    p->said.size = 0;
    for (size_t i = 0; i < p->message_count; i++) {
        const peer_message *m = &p->messages[i];
        wire_describe(&p->said, m->opcode, p->messages_data.data + m->at, m->size);
    }
    wire_print(&p->said, "%s/", p->said.size > 0 ? " " : "");
    for (size_t i = 0; i < p->frame_count; i++) {
        const peer_frame *f = &p->frames[i];
        if (f->opcode >= WIRE_CLOSE && f->opcode != WIRE_PING) {
            wire_describe(&p->said, f->opcode, p->payloads.data + f->at, f->size);
        }
    }
    return wire_text(&p->said);
}

/* The states that were entered, as "connecting connected error reconnecting". */
TEST_UNUSED static const char *peer_states(peer *p) {
    p->said.size = 0;
    wire_add(&p->said, NULL, 0);
    for (size_t i = 0; i < p->event_count; i++) {
        if (p->events[i].event.type == MTWS_EVENT_STATE) {
            wire_print(&p->said, "%s%s", p->said.size > 0 ? " " : "",
                       mtws_state_name(p->events[i].event.state));
        }
    }
    return wire_text(&p->said);
}

/* The latest STATE event that entered a state, or NULL. */
TEST_UNUSED static const peer_event *peer_last_state(const peer *p, mtws_state state) {
    for (size_t i = p->event_count; i-- > 0;) {
        const mtws_event *event = &p->events[i].event;
        if (event->type == MTWS_EVENT_STATE && event->state == state) {
            return &p->events[i];
        }
    }
    return NULL;
}

TEST_UNUSED static size_t peer_count_events(const peer *p, mtws_event_type type) {
    size_t count = 0;
    for (size_t i = 0; i < p->event_count; i++) {
        count += p->events[i].event.type == type;
    }
    return count;
}

TEST_UNUSED static size_t peer_count_frames(const peer *p, unsigned opcode) {
    size_t count = 0;
    for (size_t i = 0; i < p->frame_count; i++) {
        count += p->frames[i].opcode == opcode;
    }
    return count;
}

/* True if a text is anywhere in what the client said to people: its log, its reasons. */
TEST_UNUSED static bool peer_told(const peer *p, const char *text) {
    return strstr(wire_text(&p->logged), text) != NULL || strstr(wire_text(&p->log), text) != NULL;
}

static int peer_compare_masks(const void *a, const void *b) { return memcmp(a, b, 4); }

/* A fresh key for every frame: none repeats. Among many chance alone may repeat one. */
static void peer_check_masks(peer *p) {
    if (p->frame_count < 2 || p->frame_count > 5000) {
        return;
    }
    uint8_t *masks = (uint8_t *)wire_grow(NULL, p->frame_count * 4);
    for (size_t i = 0; i < p->frame_count; i++) {
        memcpy(masks + 4 * i, p->frames[i].mask, 4);
    }
    qsort(masks, p->frame_count, 4, peer_compare_masks);
    size_t repeated = 0;
    for (size_t i = 1; i < p->frame_count; i++) {
        repeated += memcmp(masks + 4 * i, masks + 4 * i - 4, 4) == 0;
    }
    free(masks);
    if (repeated > (p->frame_count > 100 ? 1 : 0)) {
        peer_wrong(p, "%zu masking keys were used twice", repeated);
    }
}

TEST_UNUSED static void peer_finish(peer *p) {
    peer_check_masks(p);
    mtws_destroy(p->ws);
    if (p->ws != NULL && (p->open || p->opening)) {
        peer_wrong(p, "the transport was left open");
    }
    if (p->bad.size > 0) {
        test_fail(__FILE__, __LINE__, "%s", wire_text(&p->bad));
    }
    wire_buffer *buffers[] = {&p->up,       &p->backlog, &p->down,     &p->refused,
                              &p->request,  &p->keys,    &p->payloads, &p->messages_data,
                              &p->received, &p->log,     &p->logged,   &p->bad,
                              &p->said};
    for (size_t i = 0; i < sizeof buffers / sizeof buffers[0]; i++) {
        wire_free(buffers[i]);
    }
    free(p->arrivals);
    free(p->frames);
    free(p->messages);
    free(p->events);
    free(p->fates);
    memset(p, 0, sizeof *p);
}

#endif
