/* The world around a client: a clock, a source of randomness, a transport, and the server at its
 * other end, which notes all that the client does wrong. For client.c alone. */
#ifndef MTWS_FUZZ_PEER_H_INCLUDED
#define MTWS_FUZZ_PEER_H_INCLUDED

#include "reference.h"

enum {
    SENT_MAX = 400,  /* messages of one run */
    ID_SIZE = 8,     /* each begins with its id in hexadecimal */
    READS_MAX = 256, /* of the transport in one mtws_poll; writes: */
    WRITES_MAX = 2048 + MTWS_REQUEST_MAX,
    PINGS_KEPT = 4
};

/* What a log or an event may never show. */
static const char *const secrets[] = {"q-secret-11", "u-secret-22", "h-secret-33"};

typedef struct sent {
    mtws_kind kind;
    size_t size;
    unsigned flags;
    bool parts;
    uint32_t connection; /* on which it was sent */
    uint32_t got;        /* times that the server had it whole */
    bool settled;
} sent;

static struct {
    mtws_client *ws;
    mtws_options options;
    uint64_t seed, now_us, unix_ms;
    uint8_t faults; /* of 256 calls of the transport so many go wrong */
    bool trace;     /* print what happens */

    /* the transport */
    enum { SHUT, OPENING, OPEN } transport;
    char host[MTWS__HOST_MAX + 1];
    uint16_t port;
    bool tls;
    uint32_t opened, closed, connection;
    uint32_t reads, writes, opens; /* in this mtws_poll */
    uint64_t moved;                /* bytes, in all: progress */
    bool blocked;                  /* writes are not taken */
    bool want_read, want_write;    /* as the client said last */
    int ending;                    /* what a read says behind the last byte; 0: AGAIN */
    bool ending_said, writing_ended;
    fuzz_bytes held; /* what the client showed when it was told AGAIN */

    /* the server, in this connection */
    fuzz_bytes request, in, early, stream; /* in: to the client; early: before the answer */
    size_t read_at, stream_at;             /* the latter: where the stream begins in `in` */
    bool answered, refused, friendly;
    fuzz_bytes wire; /* the client's frames, as far as they are not whole */
    fuzz_bytes message;
    uint8_t message_opcode; /* 0: none is under way */
    uint64_t last_id, last_first_id;
    bool close_came;
    fuzz_bytes pongs;
    uint8_t pings[PINGS_KEPT][125];
    size_t ping_sizes[PINGS_KEPT], ping_count;
    char beat[64];

    /* the program */
    sent list[SENT_MAX + 1]; /* by id */
    uint64_t next_id, confirmed_id, dropped;
    fuzz_bytes handed, handed_part; /* messages of this connection; of the one that is not whole */
    bool stopped;                   /* mtws_disconnect was called on this connection */
} w;

static bool chance(uint32_t of_256) { return fuzz_below(&w.seed, 256) < of_256; }

/* ---- messages of the program -------------------------------------------------------------------- */

static uint8_t filler(uint64_t id, size_t at, mtws_kind kind) {
    uint64_t mixed = id * 7 + at * 13;
    return (uint8_t)(kind == MTWS_TEXT ? 'a' + mixed % 26 : mixed);
}

static void make_payload(uint8_t *out, uint64_t id, size_t before, size_t size, mtws_kind kind) {
    char head[ID_SIZE + 1];
    snprintf(head, sizeof head, "%08x", (unsigned)id);
    for (size_t i = 0; i < size; i++) {
        size_t at = before + i;
        out[i] = at < ID_SIZE ? (uint8_t)head[at] : filler(id, at, kind);
    }
}

/* ---- the server ----------------------------------------------------------------------------------- */

/* Bytes of the stream, behind the answer to the upgrade. */
static void serve(const void *data, size_t size) {
    if (!w.answered) {
        fuzz_put(&w.early, data, size);
    } else if (!w.refused) {
        fuzz_put(&w.in, data, size);
        fuzz_put(&w.stream, data, size);
    }
}

static void serve_frame(uint8_t first, const void *payload, size_t size) {
    uint8_t head[4] = {first, (uint8_t)size, 0, 0};
    CHECK(size < 65536);
    if (size > 125) {
        head[1] = 126;
        mtws__store_big(head + 2, 2, size);
    }
    serve(head, size > 125 ? 4 : 2);
    serve(payload, size);
}

static void serve_pong(size_t index) {
    serve_frame(0x8a, w.pings[index], w.ping_sizes[index]);
    w.ping_count -= index + 1;
    memmove(w.pings, w.pings + index + 1, w.ping_count * sizeof w.pings[0]);
    memmove(w.ping_sizes, w.ping_sizes + index + 1, w.ping_count * sizeof w.ping_sizes[0]);
}

static void serve_beat_answer(void) {
    char text[160];
    if (w.beat[0] == 0) return;
    int size = snprintf(text, sizeof text,
                        "{\"type\":\"heartbeat_response\",\"timestamp\":1,"
                        "\"originalTimestamp\":%s}",
                        w.beat);
    serve_frame(0x81, text, (size_t)size);
    w.beat[0] = 0;
}

/* The right answer to the upgrade. */
static void serve_switching(const char *key) {
    char accept[29], text[256];
    mtws__handshake_accept(accept, key);
    bool choose = w.options.subprotocols[0] != 0 && chance(128);
    int size = snprintf(text, sizeof text,
                        "%sHTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\n"
                        "Connection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n%s\r\n",
                        chance(16) ? "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" : "", accept,
                        choose ? "Sec-WebSocket-Protocol: chat\r\n" : "");
    fuzz_put(&w.in, text, (size_t)size);
    w.answered = true;
    serve(w.early.data, w.early.size);
    w.early.size = 0;
}

/* The request is whole. */
static void serve_answer(void) {
    static const char *const others[] = {
        "HTTP/1.1 503 Busy\r\nRetry-After: 2\r\n\r\n",
        "HTTP/1.1 429 Slow\r\nRetry-After: Sun, 06 Nov 2044 08:49:37 GMT\r\n\r\n",
        "HTTP/1.1 401 No q-secret-11\r\nX: u-secret-22\r\n\r\n",
        "HTTP/1.1 302 Found\r\nLocation: /h-secret-33\r\n\r\n",
        "HTTP/1.1 101 No\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
        "SSH-2.0-OpenSSH\r\n",
        "HTTP/1.1 500 x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    };
    fuzz_put_byte(&w.request, 0);
    const char *key = strstr((const char *)w.request.data, "\r\nSec-WebSocket-Key: ");
    CHECK(key != NULL && strlen(key) > 21 + MTWS__KEY_SIZE);
    key += 21;
    CHECK(key[MTWS__KEY_SIZE] == '\r');
    if (w.friendly || !chance(w.faults)) {
        serve_switching(key);
        return;
    }
    const char *text = others[fuzz_below(&w.seed, sizeof others / sizeof others[0])];
    fuzz_put(&w.in, text, strlen(text));
    w.answered = w.refused = true;
}

/* A whole message of the program's has come. */
static void got_message(void) {
    const uint8_t *data = w.message.data;
    bool text = w.message_opcode == MTWS_TEXT, whole;
    CHECK(!text || (reference_utf8(data, w.message.size, &whole) == w.message.size && whole));
    if (w.message.size > 0 && data[0] == '{') {
        CHECK(text && w.options.heartbeat == MTWS_HEARTBEAT_JSON);
        fuzz_put_byte(&w.message, 0);
        CHECK(strlen((const char *)w.message.data) == w.message.size - 1);
        (void)sscanf((const char *)w.message.data,
                     "{\"type\":\"heartbeat\",\"timestamp\":%60[0-9]}", w.beat);
        if (w.friendly) serve_beat_answer();
        return;
    }
    char head[ID_SIZE + 1] = {0};
    CHECK(w.message.size >= ID_SIZE);
    memcpy(head, data, ID_SIZE);
    uint64_t id = strtoull(head, NULL, 16);
    CHECK(id > 0 && id < w.next_id);
    sent *s = &w.list[id];
    uint8_t *expected = (uint8_t *)malloc(s->size);
    CHECK(expected != NULL && s->size == w.message.size && s->kind == w.message_opcode);
    make_payload(expected, id, 0, s->size, s->kind);
    CHECK(memcmp(expected, data, s->size) == 0);
    free(expected);

    bool first = (s->flags & MTWS_FIRST) != 0;
    bool bound = first || (s->flags & MTWS_NO_QUEUE) != 0 || s->parts;
    uint64_t *last = first ? &w.last_first_id : &w.last_id;
    CHECK(id > *last);
    *last = id;
    CHECK(!s->settled);
    CHECK(!bound || s->connection == w.connection);
    s->got++;
    CHECK(s->got == 1 || (s->flags & MTWS_ONCE) == 0);
}

static void got_control(uint8_t opcode, const uint8_t *data, size_t size) {
    bool whole;
    if (opcode == 10) {
        fuzz_put_item(&w.pongs, '9', data, size);
    } else if (opcode == 9) {
        if (w.ping_count == PINGS_KEPT) serve_pong(0);
        if (size > 0) memcpy(w.pings[w.ping_count], data, size);
        w.ping_sizes[w.ping_count++] = size;
        if (w.friendly) serve_pong(w.ping_count - 1);
    } else {
        w.close_came = true;
        CHECK(size != 1);
        if (size >= 2) {
            CHECK(mtws__close_code_ok((uint32_t)data[0] * 256 + data[1]));
            CHECK(reference_utf8(data + 2, size - 2, &whole) == size - 2 && whole);
        }
        if (!w.friendly) return;
        serve_frame(0x88, data, mtws__min_size(size, 2));
        w.ending = MTWS_IO_EOF;
    }
}

/* One whole frame of the client's. */
static void got_frame(uint8_t first, const uint8_t *data, size_t size) {
    uint8_t opcode = first & 15;
    CHECK(!w.close_came);
    if (opcode >= 8) {
        CHECK(first >= 0x80 && opcode <= 10 && size <= 125);
        got_control(opcode, data, size);
        return;
    }
    CHECK(opcode <= 2 && (opcode == 0) == (w.message_opcode != 0));
    bool beat = opcode == 1 && size > 0 && data[0] == '{';
    CHECK(beat || size <= w.options.max_frame_size);
    if (opcode != 0) w.message_opcode = opcode;
    fuzz_put(&w.message, data, size);
    if (first < 0x80) return;
    got_message();
    w.message.size = 0;
    w.message_opcode = 0;
}

/* Takes whole frames out of what the client wrote. */
static void got_bytes(void) {
    size_t at = 0;
    for (;;) {
        size_t have = w.wire.size - at, head = 6;
        const uint8_t *p = w.wire.data + at;
        if (have < 2) break;
        CHECK((p[0] & 0x70) == 0 && p[1] >= 0x80 && p[1] < 0xff);
        if (p[1] == 0xfe) head = 8;
        if (have < head) break;
        size_t size = p[1] == 0xfe ? (size_t)p[2] * 256 + p[3] : p[1] & 0x7fu;
        CHECK(head == 6 || size > 125);
        if (have < head + size) break;
        uint8_t *payload = fuzz_copy(p + head, size);
        for (size_t i = 0; i < size; i++) payload[i] ^= p[head - 4 + i % 4];
        got_frame(p[0], payload, size);
        free(payload);
        at += head + size;
    }
    w.wire.size -= at;
    if (at > 0 && w.wire.size > 0) memmove(w.wire.data, w.wire.data + at, w.wire.size);
}

/* ---- what became of a connection ------------------------------------------------------------------ */

/* The next item of one of two kinds in a log; false: there is none. */
static bool next_item(const fuzz_bytes *log, size_t *at, char a, char b, mtws__span *item) {
    while (*at < log->size) {
        char what = (char)log->data[*at];
        item->size = (size_t)mtws__load_big(log->data + *at + 1, 4);
        item->data = log->data + *at;
        *at += item->size + 5;
        item->size += 5;
        if (what == a || what == b) return true;
    }
    return false;
}

static bool same_item(mtws__span a, mtws__span b) {
    return a.size == b.size && memcmp(a.data, b.data, a.size) == 0;
}

/* What was handed over is how the server's messages begin, and all of them where the end of the
 * stream was read; the Pongs answer Pings, in their order. */
static void check_connection(void) {
    reference_stream expected;
    size_t max_size = w.options.stream_messages ? SIZE_MAX : w.options.max_message_size;
    mtws__span is, should;
    reference_read(&expected, w.stream.data, w.stream.size, max_size);
    size_t at = 0, pong_at = 0;
    while (next_item(&w.pongs, &pong_at, '9', '9', &is)) {
        do {
            CHECK(next_item(&expected.log, &at, '9', '9', &should));
        } while (!same_item(is, should));
    }
    if (w.options.heartbeat == MTWS_HEARTBEAT_PING) {
        size_t handed_at = 0;
        at = 0;
        while (next_item(&w.handed, &handed_at, 'T', 'B', &is)) {
            CHECK(next_item(&expected.log, &at, 'T', 'B', &should) && same_item(is, should));
        }
        bool more = next_item(&expected.log, &at, 'T', 'B', &should);
        if (w.handed_part.size > 0 && more) {
            CHECK(w.handed_part.size <= should.size - 5);
            CHECK(memcmp(w.handed_part.data, should.data + 5, w.handed_part.size) == 0);
        } else if (w.handed_part.size > 0) {
            CHECK(fuzz_begins(&expected.message, &w.handed_part));
        }
        if (w.ending_said && !w.stopped) CHECK(!more);
    }
    reference_free(&expected);
}

static void forget_connection(void) {
    fuzz_bytes *all[] = {&w.held,    &w.request, &w.in,     &w.stream,     &w.wire,
                         &w.message, &w.pongs,   &w.handed, &w.handed_part};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) all[i]->size = 0;
    w.read_at = w.ping_count = 0;
    w.message_opcode = 0;
    w.last_id = w.last_first_id = 0;
    w.ending = 0;
    w.beat[0] = 0;
    w.blocked = w.ending_said = w.writing_ended = w.answered = w.refused = false;
    w.close_came = w.stopped = false;
}

/* ---- hooks ---------------------------------------------------------------------------------------- */

static int hook_open(void *ctx, const char *host, uint16_t port, bool tls) {
    static const int errors[] = {MTWS_ERR_CONNECT,  MTWS_ERR_RESOLVE, MTWS_ERR_TLS_TRUST,
                                 MTWS_ERR_TLS_NAME, MTWS_ERR_TLS,     MTWS_ERR_PROXY,
                                 MTWS_ERR_TLS_TIME, MTWS_IO_ERROR,    MTWS_IO_EOF,
                                 MTWS_ERR_TIMEOUT};
    CHECK(ctx == &w && w.transport != OPEN);
    CHECK(++w.opens < 8);
    if (w.transport == SHUT) {
        forget_connection();
        snprintf(w.host, sizeof w.host, "%s", host);
        w.port = port;
        w.tls = tls;
        w.opened++;
        w.connection++;
        w.transport = OPENING;
    }
    CHECK(strcmp(host, w.host) == 0 && port == w.port && tls == w.tls);
    if (chance(w.faults)) return errors[fuzz_below(&w.seed, sizeof errors / sizeof errors[0])];
    if (chance(w.faults)) return MTWS_IO_AGAIN;
    w.transport = OPEN;
    return 0;
}

static ptrdiff_t hook_read(void *ctx, void *out, size_t capacity) {
    CHECK(ctx == &w && w.transport == OPEN && capacity > 0);
    CHECK(++w.reads < READS_MAX);
    size_t left = w.in.size - w.read_at;
    if (left > 0 && chance(w.faults)) return MTWS_IO_AGAIN;
    if (left == 0) {
        w.ending_said = w.ending_said || w.ending != 0;
        return w.ending != 0 ? w.ending : MTWS_IO_AGAIN;
    }
    size_t size = mtws__min_size(left, capacity);
    if (chance(w.faults)) size = fuzz_cut(&w.seed, size);
    memcpy(out, w.in.data + w.read_at, size);
    w.read_at += size;
    w.moved += size;
    return (ptrdiff_t)size;
}

static ptrdiff_t hook_write(void *ctx, const void *data, size_t size) {
    CHECK(ctx == &w && w.transport == OPEN && size > 0);
    CHECK(++w.writes < WRITES_MAX);
    CHECK(w.held.size <= size);
    CHECK(w.held.size == 0 || memcmp(w.held.data, data, w.held.size) == 0);
    if (w.writing_ended) return MTWS_IO_ERROR;
    if (w.blocked || chance(w.faults)) {
        w.held.size = 0;
        fuzz_put(&w.held, data, size);
        return MTWS_IO_AGAIN;
    }
    if (chance(w.faults)) size = fuzz_cut(&w.seed, size);
    w.held.size = 0;
    w.moved += size;
    if (!w.answered) {
        fuzz_put(&w.request, data, size);
        bool whole =
            w.request.size >= 4 && memcmp(w.request.data + w.request.size - 4, "\r\n\r\n", 4) == 0;
        if (whole) serve_answer();
        return (ptrdiff_t)size;
    }
    fuzz_put(&w.wire, data, size);
    got_bytes();
    return (ptrdiff_t)size;
}

static void hook_wait(void *ctx, bool want_read, bool want_write, mtws_wait *out) {
    CHECK(ctx == &w && w.transport != SHUT && out->count == 0 && out->timeout_ms == -1);
    w.want_read = want_read;
    w.want_write = want_write;
}

static void hook_close(void *ctx) {
    CHECK(ctx == &w && w.transport != SHUT);
    w.transport = SHUT;
    w.closed++;
    w.early.size = 0;
    check_connection();
}

static uint64_t hook_now_us(void *ctx) {
    (void)ctx;
    return w.now_us;
}

static uint64_t hook_unix_ms(void *ctx) {
    (void)ctx;
    return w.unix_ms;
}

static bool hook_fill(void *ctx, void *out, size_t size) {
    (void)ctx;
    for (size_t i = 0; i < size; i++) ((uint8_t *)out)[i] = (uint8_t)fuzz_random(&w.seed);
    return !chance(w.faults / 4u);
}

static void check_text(const char *text) {
    for (const char *c = text; *c != 0; c++) CHECK((uint8_t)*c >= 0x20 && *c != 0x7f);
    for (size_t i = 0; i < sizeof secrets / sizeof secrets[0]; i++) {
        CHECK(strstr(text, secrets[i]) == NULL);
    }
}

static void hook_log(void *ctx, mtws_level level, const char *item, const char *text) {
    (void)ctx;
    CHECK(level >= MTWS_LOG_ERROR && level <= MTWS_LOG_DEBUG && item[0] != 0);
    check_text(text);
    if (w.trace) fprintf(stderr, "%10.3f %s: %s\n", (double)w.now_us / 1e6, item, text);
}

#endif
