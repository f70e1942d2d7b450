/* RFC 6455 as a client has to keep it. The client runs an echo program: each message goes back.
 *
 * Each row is a stream of the server's, in the notation of wire.h, and what the client must say to
 * it at once, without any time passing. Every stream is run whole, byte by byte, cut at each place
 * (at sampled places where it is long), in pieces of odd sizes, and in the same read as the answer
 * to the upgrade; all runs must say and hear the same.
 */
#define MTWS_IMPLEMENTATION
#include "../../mtws.h"

#include "../test.h"
#include "peer.h"

enum { STAYS = 0, CLEAN = MTWS_ERR_CLOSED }; /* how the connection ends, besides errors */

typedef struct row {
    const char *name;
    const char *stream;
    const char *messages; /* the echoes; NULL: none */
    const char *controls; /* what else the client says, Close last; NULL: nothing */
    int result;           /* STAYS, CLEAN, or the error of a violation */
} row;

/* ---- running one stream ---------------------------------------------------------------------- */

typedef struct cutting {
    size_t size;         /* of each read; 0: no limit */
    size_t cut;          /* one AGAIN behind so many bytes; SIZE_MAX: none */
    const size_t *sizes; /* of each read, in turn */
    size_t sizes_count;
    bool with_answer; /* in the same piece as the answer to the upgrade */
} cutting;

typedef struct outcome {
    wire_buffer said; /* at once */
    wire_buffer log;  /* to the end */
    int result;
    mtws_state state;
} outcome;

static const cutting whole = {0, SIZE_MAX, NULL, 0, false};

static void free_outcome(outcome *o) {
    wire_free(&o->said);
    wire_free(&o->log);
}

static void size_options(mtws_options *options, size_t stream_size) {
    options->max_reconnect_attempts = MTWS_OFF;
    if (stream_size > 500000) {
        options->max_message_size = stream_size + 1000;
        options->max_queue_size = 2 * stream_size + 100000;
        options->logger.level = MTWS_LOG_WARN;
    }
}

static outcome run_stream(const wire_buffer *stream, const cutting *how) {
    outcome result;
    memset(&result, 0, sizeof result);
    peer p;
    peer_init(&p);
    size_options(&p.options, stream->size);
    p.echo = p.reuse_memory = true;

    peer_plan plan;
    memset(&plan, 0, sizeof plan);
    p.plans = &plan;
    wire_buffer joined = {0};
    if (how->with_answer) {
        /* The key of the first attempt is the same in every run, so a first run tells it. */
        peer probe;
        peer_init(&probe);
        probe.reuse_memory = true;
        size_options(&probe.options, stream->size);
        if (peer_open_up(&probe)) {
            wire_add(&joined, probe.down.data, probe.down.size);
        }
        peer_finish(&probe);
        wire_add(&joined, stream->data, stream->size);
        plan.answer_bytes = &joined;
    }
    if (how->with_answer ? peer_start(&p) : peer_open_up(&p)) {
        p.read_size = how->size;
        p.read_sizes = how->sizes;
        p.read_sizes_count = how->sizes_count;
        p.read_cut = how->cut;
        if (!how->with_answer) {
            peer_send(&p, stream->data, stream->size);
        }
        peer_run(&p);
        wire_add_text(&result.said, peer_client_said(&p));
        peer_advance(&p, 10000);
        wire_add_text(&result.log, wire_text(&p.log));
        result.state = p.last_state;
        const peer_event *error = peer_last_state(&p, MTWS_STATE_ERROR);
        result.result = error == NULL ? MTWS_OK : (int)error->event.result;
    }
    peer_finish(&p);
    wire_free(&joined);
    return result;
}

static void compare(const wire_buffer *stream, const cutting *how, const outcome *expected,
                    const char *name, size_t at) {
    if (test_failing() || !test_sampled()) {
        return;
    }
    outcome got = run_stream(stream, how);
    test_context("%s %zu", name, at);
    CHECK_STR(wire_text(&got.said), wire_text(&expected->said));
    CHECK_STR(wire_text(&got.log), wire_text(&expected->log));
    test_context("%s", "");
    free_outcome(&got);
}

/* FAULTS rows 10 and 28, for every row of this file. */
static void compare_cuttings(const wire_buffer *stream, const outcome *expected) {
    static const size_t odd[] = {1, 2, 3, 5, 8, 13, 21, 997};
    static const cutting bytewise = {1, SIZE_MAX, NULL, 0, false};
    static const cutting pieces = {0, SIZE_MAX, odd, sizeof odd / sizeof odd[0], false};
    static const cutting joined = {0, SIZE_MAX, NULL, 0, true};
    compare(stream, &pieces, expected, "in pieces", 0);
    compare(stream, &joined, expected, "with the answer to the upgrade", 0);
    if (stream->size <= 300000) {
        compare(stream, &bytewise, expected, "byte by byte", 0);
    }
    size_t samples = stream->size > 500000 ? 3 : stream->size > 2048 ? 40 : stream->size;
    for (size_t i = 1; i < samples; i++) {
        cutting cut = whole;
        cut.cut = samples == stream->size ? i
                  : i < 16                ? i
                                          : (i * 7919 + i * i * 104729) % stream->size;
        compare(stream, &cut, expected, "cut at", cut.cut);
    }
}

static void run_row(const row *r) {
    wire_buffer stream = {0}, expected = {0};
    wire_add(&stream, NULL, 0);
    wire_stream(&stream, r->stream);
    if (r->messages != NULL) {
        wire_describe_items(&expected, r->messages);
    }
    wire_print(&expected, "%s/", expected.size > 0 ? " " : "");
    if (r->controls != NULL) {
        wire_describe_items(&expected, r->controls);
    }
    outcome first = run_stream(&stream, &whole);
    CHECK_STR(wire_text(&first.said), wire_text(&expected));
    CHECK_INT(first.result, r->result);
    CHECK_INT(first.state, r->result == STAYS   ? MTWS_STATE_CONNECTED
                           : r->result == CLEAN ? MTWS_STATE_DISCONNECTED
                                                : MTWS_STATE_FAILED);
    compare_cuttings(&stream, &first);
    free_outcome(&first);
    wire_free(&stream);
    wire_free(&expected);
}

static void run_rows(const row *rows, size_t count) {
    for (size_t i = 0; i < count; i++) {
        if (test_begin("%s", rows[i].name)) {
            run_row(&rows[i]);
            test_end();
        }
    }
}

#define RUN_ROWS(rows) run_rows(rows, sizeof(rows) / sizeof((rows)[0]))

/* A row that is put together. */
TEST_PRINTF(5, 6)
static void run_made(const char *stream, const char *messages, const char *controls, int result,
                     const char *format, ...) {
    char name[160];
    va_list list;
    va_start(list, format);
    vsnprintf(name, sizeof name, format, list);
    va_end(list);
    row made = {name, stream, messages, controls, result};
    run_rows(&made, 1);
}

/* ---- framing: section 5.2 -------------------------------------------------------------------- */

static void framing(void) {
    static const size_t sizes[] = {0, 1, 125, 126, 127, 128, 1000, 65535, 65536, 65537};
    static const char *const kinds[] = {"text", "bin"};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        for (size_t k = 0; k < 2; k++) {
            char stream[40];
            snprintf(stream, sizeof stream, "%s=%zu", kinds[k], sizes[i]);
            run_made(stream, stream, NULL, STAYS, "%s", stream);
        }
    }
}

/* A long message in pieces of 997 bytes, as the field's suite sends it. */
static void framing_in_997_byte_pieces(void) {
    static const char *const rows[] = {"text=65536", "bin=65536", "text=65535", "bin=127"};
    static const cutting pieces = {997, SIZE_MAX, NULL, 0, false};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (!test_begin("%s", rows[i])) {
            continue;
        }
        wire_buffer stream = {0}, expected = {0};
        wire_stream(&stream, rows[i]);
        wire_describe_items(&expected, rows[i]);
        wire_add_text(&expected, " /");
        outcome got = run_stream(&stream, &pieces);
        CHECK_STR(wire_text(&got.said), wire_text(&expected));
        CHECK_INT(got.state, MTWS_STATE_CONNECTED);
        free_outcome(&got);
        wire_free(&stream);
        wire_free(&expected);
        test_end();
    }
}

static void lengths(void) { /* FAULTS rows 1 to 5 */
    static const row rows[] = {
        {"16 bits for 0", "text:a long16.text", "text:a", "close:1002", MTWS_ERR_PROTOCOL},
        {"16 bits for 125", "long16.bin=125", NULL, "close:1002", MTWS_ERR_PROTOCOL},
        {"64 bits for 0", "long64.bin", NULL, "close:1002", MTWS_ERR_PROTOCOL},
        {"64 bits for 126", "long64.bin=126", NULL, "close:1002", MTWS_ERR_PROTOCOL},
        {"64 bits for 65535", "long64.bin=65535", NULL, "close:1002", MTWS_ERR_PROTOCOL},
        {"16 bits for a Ping", "long16.ping:a", NULL, "close:1002", MTWS_ERR_PROTOCOL},
        {"16 bits for 125, header alone", "raw:%82%7e%00%7d", NULL, "close:1002",
         MTWS_ERR_PROTOCOL},
        {"64 bits for 65535, header alone", "raw:%82%7f%00%00%00%00%00%00%ff%ff", NULL,
         "close:1002", MTWS_ERR_PROTOCOL},
        {"2^63", "text:a raw:%82%7f%80%00%00%00%00%00%00%00", "text:a", "close:1002",
         MTWS_ERR_PROTOCOL},
        {"2^64 - 1", "raw:%82%7f%ff%ff%ff%ff%ff%ff%ff%ff", NULL, "close:1002", MTWS_ERR_PROTOCOL},
        {"2^63 - 1", "raw:%82%7f%7f%ff%ff%ff%ff%ff%ff%ff", NULL, "close:1009", MTWS_ERR_TOO_BIG},
        {"2^32", "raw:%82%7f%00%00%00%01%00%00%00%00", NULL, "close:1009", MTWS_ERR_TOO_BIG},
        {"over max_message_size by one", "text:a raw:%82%7f%00%00%00%00%00%10%00%01", "text:a",
         "close:1009", MTWS_ERR_TOO_BIG},
        {"fragments that add up to 2^64", "bin-:a raw:%00%7f%7f%ff%ff%ff%ff%ff%ff%ff", NULL,
         "close:1009", MTWS_ERR_TOO_BIG},
        {"fragments that pass the limit by one", "bin-=10 raw:%80%7f%00%00%00%00%00%0f%ff%f7", NULL,
         "close:1009", MTWS_ERR_TOO_BIG},
        {"a masked text", "text:a masked.text:b", "text:a", "close:1002", MTWS_ERR_PROTOCOL},
        {"a masked Ping", "masked.ping:b", NULL, "close:1002", MTWS_ERR_PROTOCOL},
        {"a masked empty text", "masked.text", NULL, "close:1002", MTWS_ERR_PROTOCOL},
        {"a masked Close", "masked.close:1000", NULL, "close:1002", MTWS_ERR_PROTOCOL},
        {"a masked text, header alone", "raw:%81%85", NULL, "close:1002", MTWS_ERR_PROTOCOL},
    };
    RUN_ROWS(rows);
}

/* ---- Ping and Pong: sections 5.5.2, 5.5.3 ---------------------------------------------------- */

#define TEN_PINGS                                                                                  \
    "ping:one ping:two ping:three ping ping:five ping:six ping:seven ping:%ff%fe "                 \
    "ping:nine ping=125"
#define TEN_PONGS                                                                                  \
    "pong:one pong:two pong:three pong pong:five pong:six pong:seven pong:%ff%fe "                 \
    "pong:nine pong=125"

static void pings(void) {
    static const row rows[] = {
        {"empty", "ping", NULL, "pong", STAYS},
        {"text", "ping:hello", NULL, "pong:hello", STAYS},
        {"not UTF-8", "ping:%00%ff%fe%80%c0", NULL, "pong:%00%ff%fe%80%c0", STAYS},
        {"125 bytes", "ping=125", NULL, "pong=125", STAYS},
        {"126 bytes", "text:a ping=126", "text:a", "close:1002", MTWS_ERR_PROTOCOL},
        {"126 bytes, header alone", "raw:%89%7e%00%7e", NULL, "close:1002", MTWS_ERR_PROTOCOL},
        {"64-bit length", "raw:%89%7f", NULL, "close:1002", MTWS_ERR_PROTOCOL},
        {"a Pong of 126 bytes", "pong=126", NULL, "close:1002", MTWS_ERR_PROTOCOL},
        {"an empty Pong not asked for", "pong text:a", "text:a", NULL, STAYS},
        {"a Pong with payload not asked for", "pong:whatever text:a", "text:a", NULL, STAYS},
        {"a Pong of 125 bytes not asked for", "pong=125 ping:x", NULL, "pong:x", STAYS},
        {"a Pong of the size of ours", "pong=16 ping:x", NULL, "pong:x", STAYS},
        {"a Pong, then a Ping", "pong:no ping:yes", NULL, "pong:yes", STAYS},
        {"ten in a row", TEN_PINGS, NULL, TEN_PONGS, STAYS},
        {"twenty in a row", TEN_PINGS " " TEN_PINGS, NULL, TEN_PONGS " " TEN_PONGS, STAYS},
        {"among messages", "text:a ping:1 text:b ping:2 bin:c ping:3", "text:a text:b bin:c",
         "pong:1 pong:2 pong:3", STAYS},
    };
    RUN_ROWS(rows);
}

/* ---- reserved bits: section 5.2 -------------------------------------------------------------- */

static void reserved_bits(void) { /* FAULTS row 6 */
    static const char *const frames[] = {"text:b",     "bin:b",   "ping:b", "pong:b",
                                         "close:1000", "text-:b", "text",   "ping"};
    for (unsigned bits = 1; bits <= 7; bits++) {
        for (size_t i = 0; i < sizeof frames / sizeof frames[0]; i++) {
            char stream[80];
            snprintf(stream, sizeof stream, "text:a rsv%u.%s ping:never", bits, frames[i]);
            run_made(stream, "text:a", "close:1002", MTWS_ERR_PROTOCOL, "%u on %s", bits,
                     frames[i]);
        }
        char stream[80];
        snprintf(stream, sizeof stream, "text-:a rsv%u.cont:b", bits);
        run_made(stream, NULL, "close:1002", MTWS_ERR_PROTOCOL, "%u on a continuation", bits);
    }
}

/* ---- opcodes: sections 5.2, 11.8 ------------------------------------------------------------- */

static void opcodes(void) { /* FAULTS row 6 */
    for (unsigned opcode = 3; opcode <= 15; opcode++) {
        if (opcode >= WIRE_CLOSE && opcode <= WIRE_PONG) {
            continue;
        }
        char stream[80];
        snprintf(stream, sizeof stream, "text:a op%u ping:never", opcode);
        run_made(stream, "text:a", "close:1002", MTWS_ERR_PROTOCOL, "%u, empty", opcode);
        snprintf(stream, sizeof stream, "bin:a ping:b op%u:payload ping:never", opcode);
        run_made(stream, "bin:a", "pong:b close:1002", MTWS_ERR_PROTOCOL, "%u with payload",
                 opcode);
        snprintf(stream, sizeof stream, "text-:a op%u-:b", opcode);
        run_made(stream, NULL, "close:1002", MTWS_ERR_PROTOCOL, "%u within a message", opcode);
    }
}

/* ---- fragmentation: section 5.4 -------------------------------------------------------------- */

static void fragmentation(void) { /* FAULTS rows 7 to 9 */
    static const row rows[] = {
        {"a fragmented Ping", "ping-:a cont:b", NULL, "close:1002", MTWS_ERR_PROTOCOL},
        {"a fragmented Pong", "text:x pong-:a cont:b", "text:x", "close:1002", MTWS_ERR_PROTOCOL},
        {"a fragmented Close", "close-:1000", NULL, "close:1002", MTWS_ERR_PROTOCOL},
        {"an empty fragmented Ping", "ping-", NULL, "close:1002", MTWS_ERR_PROTOCOL},
        {"text in two", "text-:hel cont:lo", "text:hello", NULL, STAYS},
        {"binary in two", "bin-:%00%ff cont:%fe", "bin:%00%ff%fe", NULL, STAYS},
        {"a Ping within two", "text-:hel ping:p cont:lo", "text:hello", "pong:p", STAYS},
        {"a Pong within two", "text-:hel pong:p cont:lo", "text:hello", NULL, STAYS},
        {"text in five", "text-:f1 cont-:f2 cont-:f3 cont-:f4 cont:f5", "text:f1f2f3f4f5", NULL,
         STAYS},
        {"Pings within five", "text-:f1 cont-:f2 ping:1 cont-:f3 cont-:f4 ping:2 cont:f5",
         "text:f1f2f3f4f5", "pong:1 pong:2", STAYS},
        {"a Ping is answered before the message ends", "text-:f1 cont-:f2 ping:1 cont-:f3", NULL,
         "pong:1", STAYS},
        {"a final continuation of nothing", "cont:a text:b", NULL, "close:1002", MTWS_ERR_PROTOCOL},
        {"a continuation of nothing, not final", "cont-:a cont:b", NULL, "close:1002",
         MTWS_ERR_PROTOCOL},
        {"a final continuation behind a message", "text:a cont:b", "text:a", "close:1002",
         MTWS_ERR_PROTOCOL},
        {"the same, not final", "text:a cont-:b", "text:a", "close:1002", MTWS_ERR_PROTOCOL},
        {"a continuation behind a fragmented message", "text-:a cont:b cont:c", "text:ab",
         "close:1002", MTWS_ERR_PROTOCOL},
        {"an empty continuation of nothing", "cont", NULL, "close:1002", MTWS_ERR_PROTOCOL},
        {"a text within a text", "text-:a text:b", NULL, "close:1002", MTWS_ERR_PROTOCOL},
        {"a binary within a text", "text-:a bin-:b", NULL, "close:1002", MTWS_ERR_PROTOCOL},
        {"a text within a binary", "bin-:a cont-:b text:c", NULL, "close:1002", MTWS_ERR_PROTOCOL},
        {"empty fragments", "text- cont- cont", "text", NULL, STAYS},
        {"an empty last fragment", "text-:hello cont", "text:hello", NULL, STAYS},
        {"an empty first fragment", "text- cont:hello", "text:hello", NULL, STAYS},
        {"an empty one in the midst", "bin-:a cont- cont:b", "bin:ab", NULL, STAYS},
        {"long fragments", "bin-=70000 cont-=126 ping:x cont=65536 text:t", "bin=70000 text:t",
         "pong:x", STAYS},
        {"two messages, the control frames of each",
         "text-:a ping:1 cont:b ping:2 bin-:c ping:3 cont:d", "text:ab bin:cd",
         "pong:1 pong:2 pong:3", STAYS},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (strcmp(rows[i].name, "long fragments") != 0 && test_begin("%s", rows[i].name)) {
            run_row(&rows[i]);
            test_end();
        }
    }
}

/* Fragments of one size that make up one message, with a Ping here and there. */
static void add_fragments(wire_buffer *to, unsigned opcode, const wire_buffer *payload,
                          size_t fragment_size, size_t ping_each) {
    size_t count = 0;
    for (size_t at = 0; at == 0 || at < payload->size; at += fragment_size) {
        size_t left = payload->size - at;
        size_t size = left < fragment_size ? left : fragment_size;
        wire_frame(to, at == 0 ? opcode : WIRE_CONT, at + size == payload->size, payload->data + at,
                   size);
        if (ping_each != 0 && ++count % ping_each == 0 && at + size < payload->size) {
            wire_frame(to, WIRE_PING, true, "p", 1);
        }
    }
}

static void run_fragments(bool text, size_t size, size_t fragment_size, size_t ping_each) {
    if (!test_sampled() || !test_begin("%s of %zu bytes in fragments of %zu",
                                       text ? "text" : "binary", size, fragment_size)) {
        return;
    }
    wire_buffer payload = {0}, stream = {0}, expected = {0};
    wire_filler(&payload, text, size);
    add_fragments(&stream, text ? WIRE_TEXT : WIRE_BIN, &payload, fragment_size, ping_each);
    wire_describe(&expected, text ? WIRE_TEXT : WIRE_BIN, payload.data, payload.size);
    wire_add_text(&expected, " /");
    size_t fragments = (size + fragment_size - 1) / fragment_size;
    for (size_t i = 0; ping_each != 0 && i < (fragments - 1) / ping_each; i++) {
        wire_describe(&expected, WIRE_PONG, "p", 1);
    }
    outcome got = run_stream(&stream, &whole);
    CHECK_STR(wire_text(&got.said), wire_text(&expected));
    CHECK_INT(got.state, MTWS_STATE_CONNECTED);
    compare_cuttings(&stream, &got);
    free_outcome(&got);
    wire_free(&payload);
    wire_free(&stream);
    wire_free(&expected);
    test_end();
}

static void fragments_of_many_sizes(void) {
    run_fragments(true, 65536, 1300, 0);
    run_fragments(false, 65536, 1300, 7);
    run_fragments(true, 4096, 1, 0);
    run_fragments(true, 1000, 64, 3);
    run_fragments(false, 200, 126, 1);
}

/* ---- sizes: section 10.4 --------------------------------------------------------------------- */

static void run_size(bool text, size_t size, size_t read_size, size_t fragment_size) {
    if (!test_sampled() || !test_begin("%s of %zu, fragments of %zu, reads of %zu",
                                       text ? "text" : "binary", size, fragment_size, read_size)) {
        return;
    }
    wire_buffer payload = {0}, stream = {0}, expected = {0};
    wire_filler(&payload, text, size);
    add_fragments(&stream, text ? WIRE_TEXT : WIRE_BIN, &payload, fragment_size, 0);
    wire_describe(&expected, text ? WIRE_TEXT : WIRE_BIN, payload.data, payload.size);
    wire_add_text(&expected, " /");
    cutting how = whole;
    how.size = read_size;
    outcome got = run_stream(&stream, &how);
    CHECK_STR(wire_text(&got.said), wire_text(&expected));
    CHECK_INT(got.state, MTWS_STATE_CONNECTED);
    free_outcome(&got);
    wire_free(&payload);
    wire_free(&stream);
    wire_free(&expected);
    test_end();
}

static void sizes(void) {
    static const size_t messages[] = {65536, 262144, 1048576, 4194304};
    static const size_t fragments[] = {64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304};
    for (unsigned text = 0; text < 2; text++) {
        for (size_t i = 0; i < sizeof messages / sizeof messages[0]; i++) {
            run_size(text != 0, messages[i], 0, messages[i]);
        }
        for (size_t i = 0; i < sizeof fragments / sizeof fragments[0]; i++) {
            run_size(text != 0, 4194304, 0, fragments[i]);
        }
        for (size_t read = 64; read <= 4096; read *= 2) {
            run_size(text != 0, 1048576, read, 1048576);
        }
        run_size(text != 0, 16777216, 0, 16777216);
    }
    run_size(true, 4194305, 0, 64); /* 65,537 frames for one message */
}

/* So many round trips of one size: a message, its echo, the next. */
static void round_trips(void) {
    static const size_t sizes_of[] = {0, 16, 64, 256, 1024, 4096};
    for (size_t i = 0; i < 2 * sizeof sizes_of / sizeof sizes_of[0]; i++) {
        size_t size = sizes_of[i / 2];
        bool text = i % 2 == 0;
        if (!test_begin("1000 of %zu bytes, %s", size, text ? "text" : "binary")) {
            continue;
        }
        peer p;
        peer_init(&p);
        p.echo = true;
        p.options.logger.level = MTWS_LOG_WARN;
        wire_buffer payload = {0}, frame = {0};
        wire_filler(&payload, text, size);
        wire_frame(&frame, text ? WIRE_TEXT : WIRE_BIN, true, payload.data, payload.size);
        for (size_t round = 0; peer_open_up(&p) && round == 0; round++) {
            for (size_t k = 0; k < 1000 && !test_failing(); k++) {
                peer_send(&p, frame.data, frame.size);
                peer_run(&p);
                if (!CHECK_UINT(p.message_count, k + 1)) {
                    break;
                }
                const peer_message *m = &p.messages[k];
                CHECK_UINT(m->opcode, text ? WIRE_TEXT : WIRE_BIN);
                CHECK_UINT(m->size, size);
                CHECK_MEM(p.messages_data.data + m->at, payload.data, size);
            }
            break;
        }
        wire_free(&payload);
        wire_free(&frame);
        peer_finish(&p);
        test_end();
    }
}

/* ---- UTF-8: section 8.1 ---------------------------------------------------------------------- */

/* How many bytes it takes to see that no valid UTF-8 begins like this; 0: all is well so far.
 * *open: so many bytes at the end are a code point that is not complete. Written from table 3-7 of
 * the Unicode standard. */
static size_t first_bad(const uint8_t *data, size_t size, size_t *open) {
    static const struct {
        uint8_t low, high, second_low, second_high;
        size_t length;
    } leads[] = {
        {0x00, 0x7f, 0, 0, 1},       {0xc2, 0xdf, 0x80, 0xbf, 2}, {0xe0, 0xe0, 0xa0, 0xbf, 3},
        {0xe1, 0xec, 0x80, 0xbf, 3}, {0xed, 0xed, 0x80, 0x9f, 3}, {0xee, 0xef, 0x80, 0xbf, 3},
        {0xf0, 0xf0, 0x90, 0xbf, 4}, {0xf1, 0xf3, 0x80, 0xbf, 4}, {0xf4, 0xf4, 0x80, 0x8f, 4},
    };
    size_t at = 0;
    *open = 0;
    while (at < size) {
        size_t k = 0;
        while (k < 9 && (data[at] < leads[k].low || data[at] > leads[k].high)) {
            k++;
        }
        if (k == 9) {
            return at + 1;
        }
        for (size_t i = 1; i < leads[k].length; i++) {
            if (at + i == size) {
                *open = i;
                return 0;
            }
            uint8_t low = i == 1 ? leads[k].second_low : 0x80;
            uint8_t high = i == 1 ? leads[k].second_high : 0xbf;
            if (data[at + i] < low || data[at + i] > high) {
                return at + i + 1;
            }
        }
        at += leads[k].length;
    }
    return 0;
}

/* Payloads in the notation; whether one is valid, and where it stops being so, first_bad knows. */
static const char *const utf8_payloads[] = {
    /* whole words */
    "",
    "hello",
    "Hello-%c2%b5@%c3%9f%c3%b6%c3%a4%c3%bc%c3%a0%c3%a1-UTF-8!!",
    "%ce%ba%e1%bd%b9%cf%83%ce%bc%ce%b5",
    "%e6%97%a5%e6%9c%ac%e8%aa%9e",
    "%f0%9f%98%80%f0%9f%8e%89",
    "a%00b",
    "%00",
    /* the first and last code point of each length */
    "%7f",
    "%c2%80",
    "%df%bf",
    "%e0%a0%80",
    "%ef%bf%bf",
    "%f0%90%80%80",
    "%f4%8f%bf%bf",
    /* beside the gaps */
    "%ed%9f%bf",
    "%ee%80%80",
    "%ef%bf%bd",
    "%f4%8f%bf%bd",
    /* non-characters are characters enough */
    "%ef%bf%be",
    "%ef%b7%90",
    "%ef%b7%af",
    "%f0%9f%bf%be",
    "%f0%9f%bf%bf",
    "%f0%af%bf%be",
    "%f0%af%bf%bf",
    "%f0%bf%bf%be",
    "%f0%bf%bf%bf",
    "%f1%8f%bf%be",
    "%f1%8f%bf%bf",
    "%f1%9f%bf%be",
    "%f1%9f%bf%bf",
    "%f1%af%bf%be",
    "%f1%af%bf%bf",
    "%f1%bf%bf%be",
    "%f1%bf%bf%bf",
    "%f2%8f%bf%be",
    "%f2%8f%bf%bf",
    "%f2%9f%bf%be",
    "%f2%9f%bf%bf",
    "%f2%af%bf%be",
    "%f2%af%bf%bf",
    "%f2%bf%bf%be",
    "%f2%bf%bf%bf",
    "%f3%8f%bf%be",
    "%f3%8f%bf%bf",
    "%f3%9f%bf%be",
    "%f3%9f%bf%bf",
    "%f3%af%bf%be",
    "%f3%af%bf%bf",
    "%f3%bf%bf%be",
    "%f3%bf%bf%bf",
    "%f4%8f%bf%be",
    /* five and six bytes, above U+10FFFF */
    "%f8%88%80%80%80",
    "%fb%bf%bf%bf%bf",
    "%fc%84%80%80%80%80",
    "%fd%bf%bf%bf%bf%bf",
    "%f7%bf%bf%bf",
    "%f4%90%80%80",
    "%f5%80%80%80",
    "ok%f4%bf%bf%bfno",
    /* lone continuation bytes */
    "%80",
    "%bf",
    "%80%bf",
    "%80%bf%80",
    "%80%bf%80%bf",
    "%80%bf%80%bf%80",
    "%80%bf%80%bf%80%bf",
    "a%80b",
    "%80%81%82%83%84%85%86%87%88%89%8a%8b%8c%8d%8e%8f%90%91%92%93%94%95%96%97%98%99",
    "%a0%a1%a2%a3%a4%a5%a6%a7%a8%a9%aa%ab%ac%ad%ae%af%b0%b1%b2%b3%b4%b5%b6%b7%b8%b9%ba%bb",
    /* lone lead bytes */
    "%c2%20",
    "%df%20%c3%20",
    "%e0%20",
    "%e1%20%ef%20",
    "%f0%20",
    "%f4%20%f1%20",
    "%f5%20",
    "%f8%20%fb%20",
    "%fc%20%fd%20",
    "%c2%c2",
    "%e1%80%c2",
    "%f1%80%80%f1",
    /* the last byte missing */
    "%c2",
    "%df",
    "%e0%a0",
    "%e0",
    "%ef%bf",
    "%ef",
    "%f0%90%80",
    "%f0%90",
    "%f0",
    "%f4%8f%bf",
    "hello%e2%82",
    "%f8%88%80%80",
    "%fc%80%80%80%80",
    "%fd%bf%bf%bf%bf",
    "%c2%e0%a0%f0%90%80",
    "%e0%80%f0%80%80",
    /* bytes that never occur */
    "%fe",
    "%ff",
    "%fe%fe%ff%ff",
    "a%feb",
    "abc%ff",
    /* overlong */
    "%c0%af",
    "%c1%bf",
    "%e0%80%af",
    "%e0%9f%bf",
    "%f0%80%80%af",
    "%f0%8f%bf%bf",
    "%f8%80%80%80%af",
    "%fc%80%80%80%80%af",
    "%c0%80",
    "%e0%80%80",
    "%f0%80%80%80",
    "%f8%80%80%80%80",
    "%fc%80%80%80%80%80",
    "%f8%87%bf%bf%bf",
    "%fc%83%bf%bf%bf%bf",
    /* surrogates */
    "%ed%a0%80",
    "%ed%ad%bf",
    "%ed%ae%80",
    "%ed%af%bf",
    "%ed%b0%80",
    "%ed%be%80",
    "%ed%bf%bf",
    "%ed%a0%80%ed%b0%80",
    "%ed%a0%80%ed%bf%bf",
    "%ed%ad%bf%ed%b0%80",
    "%ed%ad%bf%ed%bf%bf",
    "%ed%ae%80%ed%b0%80",
    "%ed%ae%80%ed%bf%bf",
    "%ed%af%bf%ed%b0%80",
    "%ed%af%bf%ed%bf%bf",
    /* behind enough text for any wide loop */
    "0123456789abcdef0123456789abcdef0123456789abcdef%c3%a4%e2%82%ac0123456789abcdef",
    "0123456789abcdef0123456789abcdef0123456789abcdef%80",
    "0123456789abcdef0123456789abcdef0123456789abcdef0123456%e2%82",
    "%e2%82%ac%e2%82%ac%e2%82%ac%e2%82%ac%e2%82%ac%e2%82%ac%e2%82%ac%e2%82%ac%e2%82%ac%ed%a0%80",
    "%ce%ba%e1%bd%b9%cf%83%ce%bc%ce%b5%ed%a0%80edited",
    "%ce%ba%e1%bd%b9%cf%83%ce%bc%f4%90%80%80",
};

#define UTF8_COUNT (sizeof utf8_payloads / sizeof utf8_payloads[0])

/* As one frame, and as fragments of one byte. */
static void utf8(void) { /* FAULTS row 11 */
    for (size_t i = 0; i < 2 * UTF8_COUNT; i++) {
        const char *name = utf8_payloads[i / 2];
        bool bytewise = i % 2 == 1;
        if (!test_begin("\"%s\"%s", name, bytewise ? " in fragments" : "")) {
            continue;
        }
        wire_buffer payload = {0}, stream = {0}, expected = {0};
        size_t open;
        wire_add(&payload, NULL, 0);
        const char *text = name;
        wire_read_payload(&text, &payload);
        bool valid = first_bad(payload.data, payload.size, &open) == 0 && open == 0;
        add_fragments(&stream, WIRE_TEXT, &payload, bytewise ? 1 : 1000, 0);
        if (valid) {
            wire_describe(&expected, WIRE_TEXT, payload.data, payload.size);
        }
        wire_add_text(&expected, valid ? " /" : "/ close:1007");
        outcome got = run_stream(&stream, &whole);
        CHECK_STR(wire_text(&got.said), wire_text(&expected));
        CHECK_INT(got.result, valid ? MTWS_OK : MTWS_ERR_UTF8);
        compare_cuttings(&stream, &got);
        free_outcome(&got);
        wire_free(&payload);
        wire_free(&stream);
        wire_free(&expected);
        test_end();
    }
}

/* At the first bad byte, within a frame that is not complete; and not one byte earlier. */
static void check_fails_at(const wire_buffer *payload, size_t bad, bool fragments) {
    for (size_t given = bad - 1; given <= bad; given++) {
        wire_buffer stream = {0};
        if (fragments) {
            for (size_t at = 0; at < given; at++) {
                wire_frame(&stream, at == 0 ? WIRE_TEXT : WIRE_CONT, false, payload->data + at, 1);
            }
        } else {
            wire_add_byte(&stream, 0x81);
            wire_add_byte(&stream, (unsigned)payload->size + 20);
            wire_add(&stream, payload->data, given);
        }
        outcome got = run_stream(&stream, &whole);
        CHECK_STR(wire_text(&got.said), given == bad ? "/ close:1007" : "/");
        if (given == bad) {
            CHECK_INT(got.result, MTWS_ERR_UTF8);
        }
        free_outcome(&got);
        wire_free(&stream);
    }
}

static void utf8_fails_fast(void) { /* FAULTS row 11 */
    for (size_t i = 0; i < UTF8_COUNT; i++) {
        wire_buffer payload = {0};
        const char *text = utf8_payloads[i];
        wire_add(&payload, NULL, 0);
        wire_read_payload(&text, &payload);
        size_t open;
        size_t bad = first_bad(payload.data, payload.size, &open);
        if (bad != 0 && test_begin("\"%s\"", utf8_payloads[i])) {
            check_fails_at(&payload, bad, false);
            check_fails_at(&payload, bad, true);
            test_end();
        }
        wire_free(&payload);
    }
}

static void utf8_in_messages(void) {
    static const row rows[] = {
        {"cut between code points", "text-:%ce%ba cont-:%e1%bd%b9 cont:%cf%83",
         "text:%ce%ba%e1%bd%b9%cf%83", NULL, STAYS},
        {"cut within code points", "text-:%ce cont-:%ba%e1 cont-:%bd cont:%b9%cf%83",
         "text:%ce%ba%e1%bd%b9%cf%83", NULL, STAYS},
        {"a Ping within a code point", "text-:%f0%9f ping:%ff cont:%98%80", "text:%f0%9f%98%80",
         "pong:%ff", STAYS},
        {"empty fragments within a code point", "text-:%e2 cont- cont-:%82 cont- cont:%ac",
         "text:%e2%82%ac", NULL, STAYS},
        {"a code point cut by the end", "text:a text:%e2%82", "text:a", "close:1007",
         MTWS_ERR_UTF8},
        {"a code point cut by the end of fragments", "text-:%e2 cont:%82", NULL, "close:1007",
         MTWS_ERR_UTF8},
        {"a code point cut by an empty last fragment", "text-:a%e2%82 cont", NULL, "close:1007",
         MTWS_ERR_UTF8},
        {"a new message begins anew", "text:a bin:%e2%82 text:b", "text:a bin:%e2%82 text:b", NULL,
         STAYS},
        {"a bad second fragment", "text:x text-:a cont-:%80 cont:b", "text:x", "close:1007",
         MTWS_ERR_UTF8},
        {"binary is not looked at", "bin:%ff%fe%80 bin-:%c0 cont:%ed%a0%80",
         "bin:%ff%fe%80 bin:%c0%ed%a0%80", NULL, STAYS},
        {"messages before it are answered", "text:one ping:two bin:three text:%c0%80",
         "text:one bin:three", "pong:two close:1007", MTWS_ERR_UTF8},
    };
    RUN_ROWS(rows);
}

/* ---- Close: sections 5.5.1, 7 ---------------------------------------------------------------- */

static void closing(void) { /* FAULTS rows 12 and 18 */
    static const row rows[] = {
        {"after a message", "text:a close:1000", "text:a", "close:1000", CLEAN},
        {"a second Close", "close:1000 close:1001", NULL, "close:1000", CLEAN},
        {"a Ping behind it", "close:1000 ping:p", NULL, "close:1000", CLEAN},
        {"a Ping before it", "ping:p close:1000", NULL, "pong:p close:1000", CLEAN},
        {"a text behind it", "close:1000 text:a", NULL, "close:1000", CLEAN},
        {"within a fragmented message", "text-:a close:1000 cont:b", NULL, "close:1000", CLEAN},
        {"violations behind it", "close:1000 rsv7.op15:x raw:%ff%ff", NULL, "close:1000", CLEAN},
        {"128 KiB before it", "bin=131072 close:1000", "bin=131072", "close:1000", CLEAN},
        {"empty", "close", NULL, "close", CLEAN},
        {"a code and a reason", "close:1000,goodbye", NULL, "close:1000", CLEAN},
        {"a reason of 123 bytes",
         "close:1000,"
         "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
         "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
         NULL, "close:1000", CLEAN},
        {"a reason in UTF-8", "close:1001,%e2%82%ac%f0%9f%98%80", NULL, "close:1001", CLEAN},
        {"a body of one byte", "text:a body:%03", "text:a", "close:1002", MTWS_ERR_PROTOCOL},
        {"a body of 126 bytes", "body=126", NULL, "close:1002", MTWS_ERR_PROTOCOL},
        {"a reason that is not UTF-8", "close:1000,%ff", NULL, "close:1007", MTWS_ERR_UTF8},
        {"a reason with a surrogate", "close:1000,%ed%a0%80", NULL, "close:1007", MTWS_ERR_UTF8},
        {"a reason cut within a code point", "close:1000,abc%e2%82", NULL, "close:1007",
         MTWS_ERR_UTF8},
        {"a bad reason behind a message", "text:a close:1000,%c0%80", "text:a", "close:1007",
         MTWS_ERR_UTF8},
    };
    RUN_ROWS(rows);
}

static bool may_be_sent(unsigned code) {
    return (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) ||
           (code >= 3000 && code <= 4999);
}

static void close_codes(void) {
    static const unsigned codes[] = {0,    1,    999,  1000, 1001, 1002,  1003, 1004, 1005, 1006,
                                     1007, 1008, 1009, 1010, 1011, 1012,  1013, 1014, 1015, 1016,
                                     1017, 1100, 1999, 2000, 2999, 3000,  3001, 3999, 4000, 4001,
                                     4998, 4999, 5000, 5001, 9999, 32768, 65535};
    for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++) {
        char stream[80], controls[80];
        bool good = may_be_sent(codes[i]);
        snprintf(stream, sizeof stream, "text:a close:%u,why", codes[i]);
        snprintf(controls, sizeof controls, "close:%u", good ? codes[i] : 1002);
        /* 1010 is a clean close too, but one that no retry mends. */
        if (codes[i] != 1010) {
            run_made(stream, "text:a", controls, good ? CLEAN : MTWS_ERR_PROTOCOL, "%u", codes[i]);
        }
    }
}

/* Every code there is, each alone and whole. */
static void all_close_codes(void) { /* FAULTS row 12 */
    for (unsigned code = 0; code < 65536 && !test_failing(); code++) {
        if (!test_sampled()) continue;
        wire_buffer stream = {0};
        char notation[40], expected[40];
        snprintf(notation, sizeof notation, "close:%u", code);
        wire_stream(&stream, notation);
        snprintf(expected, sizeof expected, "/ close:%u", may_be_sent(code) ? code : 1002);
        outcome got = run_stream(&stream, &whole);
        CHECK_STR(wire_text(&got.said), expected);
        CHECK_INT(got.result, may_be_sent(code) ? MTWS_ERR_CLOSED : MTWS_ERR_PROTOCOL);
        free_outcome(&got);
        wire_free(&stream);
    }
}

/* All two-byte headers: what the first two bytes alone say must be said at once. */
static void all_headers(void) {
    for (unsigned header = 0; header < 65536 && !test_failing(); header++) {
        if (!test_sampled()) continue;
        unsigned opcode = header >> 8 & 15, length = header & 127;
        bool final = (header & 0x8000) != 0, control = opcode >= 8;
        bool bad = (header & 0x7080) != 0 || (opcode > 2 && opcode < 8) || opcode > 10 ||
                   opcode == 0 || (control && (!final || length > 125)) ||
                   (opcode == 8 && length == 1);
        if (opcode == 8 && length == 1) {
            continue; /* "a body of one byte" has it; it may wait for the byte */
        }
        wire_buffer stream = {0};
        wire_add_byte(&stream, header >> 8);
        wire_add_byte(&stream, header & 255);
        /* A length over 125 goes on in 2 or 8 bytes: 256 or 65,536. */
        wire_add(&stream, "\1\0", length == 126 ? 2 : 0);
        wire_add(&stream, "\0\0\0\0\0\1\0", length == 127 ? 8 : 0);
        outcome got = run_stream(&stream, &whole);
        const char *none = opcode == 8 ? "/ close" : opcode == 9 ? "/ pong" : "/";
        const char *text = opcode == 1 ? "text /" : "bin /";
        bool whole_message = final && length == 0 && !control;
        bool whole_control = control && length == 0;
        test_context("header %04x", header);
        CHECK_STR(wire_text(&got.said), bad             ? "/ close:1002"
                                        : whole_message ? text
                                        : whole_control ? none
                                                        : "/");
        free_outcome(&got);
        wire_free(&stream);
    }
}

/* ---- what that suite does not see ------------------------------------------------------------ */

/* RFC 6455 section 7.1.1: the server ends TCP first; the client waits for it, within limits. */
static void server_ends_tcp_first(void) {
    static const peer_plan plans[] = {{.keep_open = true}};
    peer p;
    peer_init(&p);
    PEER_PLANS(&p, plans);
    p.options.close_timeout_ms = 2000;
    p.options.max_reconnect_attempts = MTWS_OFF;
    if (peer_open_up(&p)) {
        peer_stream(&p, "close:1000");
        p.server_closed = true;
        peer_advance(&p, 1900);
        CHECK_STR(peer_client_said(&p), "/ close:1000");
        CHECK_UINT(p.closes, 0);
        peer_advance(&p, 200);
        CHECK_UINT(p.closes, 1);
        CHECK_INT(p.last_state, MTWS_STATE_DISCONNECTED);
    }
    peer_finish(&p);
}

/* After a violation: Close, then reading on for 250 ms at most, then the end. */
static void violation_ends_soon(void) {
    static const peer_plan plans[] = {{.no_close = true}};
    peer p;
    peer_init(&p);
    PEER_PLANS(&p, plans);
    p.options.max_reconnect_attempts = MTWS_OFF;
    if (peer_open_up(&p)) {
        peer_stream(&p, "op3");
        peer_advance(&p, 100);
        CHECK_STR(peer_client_said(&p), "/ close:1002");
        CHECK_UINT(p.closes, 0);
        uint64_t read = p.down_at;
        peer_stream(&p, "text:late ping:late");
        peer_advance(&p, 100);
        CHECK(p.down_at > read);
        CHECK_UINT(p.closes, 0);
        peer_advance(&p, 60);
        CHECK_UINT(p.closes, 1);
        CHECK_INT(p.last_state, MTWS_STATE_FAILED);
        CHECK_UINT(peer_count_events(&p, MTWS_EVENT_MESSAGE), 0);
        CHECK_STR(peer_client_said(&p), "/ close:1002");
    }
    peer_finish(&p);
}

/* Ours, then nothing more: no Pong, no message, whatever the server still says. */
static void nothing_behind_our_close(void) {
    static const peer_plan plans[] = {{.no_close = true}};
    peer p;
    peer_init(&p);
    PEER_PLANS(&p, plans);
    if (peer_open_up(&p)) {
        CHECK_INT(mtws_disconnect(p.ws, 1001, "bye"), MTWS_OK);
        peer_run(&p);
        peer_stream(&p, "ping:a text:still ping:b");
        peer_run(&p);
        CHECK_UINT(peer_count_events(&p, MTWS_EVENT_MESSAGE), 1);
        CHECK_INT(mtws_send_text(p.ws, "no"), MTWS_ERR_STATE);
        peer_stream(&p, "close:1001 ping:c");
        peer_end(&p, MTWS_IO_EOF);
        peer_advance(&p, 10000);
        CHECK_STR(peer_client_said(&p), "/ close:1001");
        CHECK_INT(p.last_state, MTWS_STATE_DISCONNECTED);
        CHECK_STR((const char *)p.payloads.data + 2, "bye");
    }
    peer_finish(&p);
}

/* FAULTS row 14, CVE-2026-11586, CVE-2025-5399: a flood of Pings while nothing can be written is
 * bounded, and the latest is answered. */
static void pings_while_blocked(void) {
    peer p;
    peer_init(&p);
    if (peer_open_up(&p)) {
        p.write_budget = 0;
        for (unsigned i = 0; i < 1000; i++) {
            char ping[40];
            snprintf(ping, sizeof ping, "ping:number%u", i);
            peer_stream(&p, ping);
        }
        peer_run(&p);
        CHECK_UINT(p.down_at, p.down.size);
        p.write_budget = SIZE_MAX;
        peer_run(&p);
        size_t pongs = peer_count_frames(&p, WIRE_PONG);
        CHECK_TEXT(pongs >= 1 && pongs < 1000, "%zu Pongs", pongs);
        const peer_frame *last = &p.frames[p.frame_count - 1];
        CHECK_UINT(last->opcode, WIRE_PONG);
        CHECK_UINT(last->size, strlen("number999"));
        CHECK_MEM(p.payloads.data + last->at, "number999", last->size);
        CHECK_INT(p.last_state, MTWS_STATE_CONNECTED);
    }
    peer_finish(&p);
}

/* FAULTS row 13: no memory for a million empty fragments, no poll that takes them all at once. */
static void a_million_empty_fragments(void) {
    peer p;
    peer_init(&p);
    p.options.max_message_size = 1000;
    if (peer_open_up(&p)) {
        wire_buffer stream = {0};
        wire_frame(&stream, WIRE_TEXT, false, "", 0);
        for (unsigned i = 0; i < 1000000; i++) {
            wire_frame(&stream, WIRE_CONT, false, "", 0);
        }
        wire_frame(&stream, WIRE_CONT, true, "end", 3);
        peer_send(&p, stream.data, stream.size);
        uint64_t most = 0;
        for (unsigned i = 0; i < 100000 && p.down_at < p.down.size; i++) {
            peer_poll(&p);
            most = p.poll_read_bytes > most ? p.poll_read_bytes : most;
        }
        peer_run(&p);
        CHECK_TEXT(most <= 1000 + MTWS__READ_AHEAD, "one mtws_poll read %llu bytes",
                   (unsigned long long)most);
        CHECK_UINT(peer_count_events(&p, MTWS_EVENT_MESSAGE), 1);
        CHECK_STR((const char *)p.received.data, "end");
        wire_free(&stream);
    }
    peer_finish(&p);
}

/* stream_messages: parts as they come, the same bytes in the end, of any size. */
static void parts(void) {
    static const size_t reads[] = {0, 1, 7, 1000};
    for (size_t i = 0; i < sizeof reads / sizeof reads[0]; i++) {
        if (!test_begin("reads of %zu", reads[i])) {
            continue;
        }
        peer p;
        peer_init(&p);
        p.options.stream_messages = true;
        p.options.max_message_size = 2000;
        if (peer_open_up(&p)) {
            wire_buffer payload = {0};
            wire_filler(&payload, true, 100000);
            p.read_size = reads[i];
            wire_buffer stream = {0};
            add_fragments(&stream, WIRE_TEXT, &payload, 40000, 1);
            peer_send(&p, stream.data, stream.size);
            peer_stream(&p, "bin:small bin");
            peer_run(&p);
            size_t firsts = 0, lasts = 0;
            for (size_t k = 0; k < p.event_count; k++) {
                const mtws_event *event = &p.events[k].event;
                firsts += event->type == MTWS_EVENT_MESSAGE && event->first;
                lasts += event->type == MTWS_EVENT_MESSAGE && event->last;
            }
            CHECK_UINT(firsts, 3);
            CHECK_UINT(lasts, 3);
            wire_add_text(&payload, "small");
            CHECK_UINT(p.received.size, payload.size);
            CHECK_MEM(p.received.data, payload.data, payload.size);
            CHECK_STR(peer_client_said(&p), "/ pong:p pong:p");
            wire_free(&payload);
            wire_free(&stream);
        }
        peer_finish(&p);
        test_end();
    }
}

int main(int argc, char **argv) {
    static const test_entry tests[] = {
        TEST_ROWS(framing),
        TEST_ROWS(framing_in_997_byte_pieces),
        TEST_ROWS(lengths),
        TEST_ROWS(pings),
        TEST_ROWS(reserved_bits),
        TEST_ROWS(opcodes),
        TEST_ROWS(fragmentation),
        TEST_ROWS(fragments_of_many_sizes),
        TEST_ROWS(sizes),
        TEST_ROWS(round_trips),
        TEST_ROWS(utf8),
        TEST_ROWS(utf8_fails_fast),
        TEST_ROWS(utf8_in_messages),
        TEST_ROWS(closing),
        TEST_ROWS(close_codes),
        TEST(all_close_codes),
        TEST(all_headers),
        TEST(server_ends_tcp_first),
        TEST(violation_ends_soon),
        TEST(nothing_behind_our_close),
        TEST(pings_while_blocked),
        TEST(a_million_empty_fragments),
        TEST_ROWS(parts),
    };
    return TEST_MAIN(tests, argc, argv);
}
