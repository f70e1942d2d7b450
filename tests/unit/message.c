/* The room "message": streams of frames, read whole, byte by byte, cut at each place and in random
 * pieces; with and without a program that pauses, whole messages and parts, roomy buffers and tight
 * ones. All ways must lead to the same messages. Streams are written in the notation of wire.h. */
#define MTWS_IMPLEMENTATION
#include "../../mtws.h"

#include "unit.h"

#include "../session/wire.h"

/* ---- one stream in one way ------------------------------------------------------------------- */

typedef struct how {
    size_t max_size;
    size_t spare; /* room beside the largest message; 0: as much as the library takes */
    size_t cut;   /* the first read ends here; 0: nowhere */
    size_t piece; /* later reads; 0: random */
    int budget;
    bool stream, pause;
    size_t small; /* texts of one frame up to this size come whole, among the parts */
} how;

/* The least room beside a message in which everything still gets on: a control frame and a byte. */
enum { TIGHT = 128, PLENTY = 1000000 };

static unit_edge edge;
static uint64_t dice = 10;

typedef struct run {
    mtws__message m;
    const how *way;
    const uint8_t *bytes; /* the stream */
    size_t size, read;
    wire_buffer log;   /* what came out, as wire_describe tells it */
    wire_buffer parts; /* of the message under way */
    mtws_result bad;
    bool ended;
} run;

static void run_read(run *r) {
    uint8_t *to;
    size_t room = mtws__message_room(&r->m, &to), piece = r->way->piece;
    if (!r->m.kept && room == 0) FAIL("no room to read, and nothing to take: %zu read", r->read);
    if (to < r->m.data || room > (size_t)(r->m.data + r->m.capacity - to)) FAIL("room outside");
    if (piece == 0) piece = unit_chance(&dice, 30) ? room : 1 + unit_below(&dice, 300);
    if (r->read == 0 && r->way->cut > 0) piece = r->way->cut;
    if (piece > room) piece = room;
    if (piece > r->size - r->read) piece = r->size - r->read;
    if (piece > 0) memcpy(to, r->bytes + r->read, piece);
    mtws__message_filled(&r->m, piece);
    r->read += piece;
}

static void run_message(run *r) {
    const mtws__message *m = &r->m;
    if (!r->way->stream) CHECK(m->first && m->last && m->payload.size <= m->max_size);
    CHECK_INT(m->first, r->parts.size == 0 && !m->later_part);
    CHECK(m->payload.data >= m->data && m->payload.data + m->payload.size <= m->data + m->capacity);
    CHECK_INT(m->payload.data[m->payload.size], 0);
    wire_add(&r->parts, m->payload.data, m->payload.size);
    if (!m->last) return;
    wire_describe(&r->log, (unsigned)m->kind, r->parts.data, r->parts.size);
    r->parts.size = 0;
}

/* Takes what there is to take of what was read. */
static void run_take(run *r) {
    bool kept = false;
    for (int turns = 0; !r->ended; turns++) {
        int budget = r->way->budget;
        mtws__input input = mtws__message_next(&r->m, &budget);
        CHECK(budget >= 0);
        switch (input) {
        case MTWS__INPUT_MORE: return;
        case MTWS__INPUT_BUSY: CHECK_INT(budget, 0); break;
        case MTWS__INPUT_MESSAGE:
            if (r->way->pause && !kept && unit_chance(&dice, 70)) {
                mtws__message_keep(&r->m);
                for (size_t i = unit_below(&dice, 3); i > 0; i--) run_read(r);
                kept = true;
                break;
            }
            kept = false;
            run_message(r);
            mtws__message_release(&r->m);
            break;
        case MTWS__INPUT_PING:
        case MTWS__INPUT_PONG:
        case MTWS__INPUT_CLOSE:
            wire_describe(&r->log,
                          input == MTWS__INPUT_PING   ? 9
                          : input == MTWS__INPUT_PONG ? 10
                                                      : 8,
                          r->m.payload.data, r->m.payload.size);
            r->ended = input == MTWS__INPUT_CLOSE;
            break;
        case MTWS__INPUT_BAD:
            r->bad = r->m.result;
            r->ended = true;
            CHECK(r->m.text[0] != 0);
            break;
        }
        if (turns > 1000000) {
            FAIL("no end");
            return;
        }
    }
}

static run run_stream(const wire_buffer *stream, const how *way) {
    run r;
    memset(&r, 0, sizeof r);
    r.way = way;
    r.bytes = stream->data;
    r.size = stream->size;
    size_t spare = way->spare > 0 ? way->spare : (size_t)MTWS__READ_AHEAD;
    size_t capacity = way->max_size + spare;
    uint8_t *data = unit_edge_room(edge, capacity + 1);
    memset(data, 0xdd, capacity + 1);
    mtws__message_start(&r.m, data, way->max_size, way->stream);
    CHECK_UINT(r.m.capacity, way->max_size + MTWS__READ_AHEAD);
    r.m.capacity = capacity;
    r.m.small_size = way->small;
    while (!r.ended && r.read < r.size && !test_failing()) {
        run_read(&r);
        run_take(&r);
    }
    return r;
}

static void run_end(run *r) {
    wire_free(&r->log);
    wire_free(&r->parts);
}

static bool run_check(const wire_buffer *stream, const how *way, const char *expected,
                      mtws_result bad) {
    if (!test_sampled()) return !test_failing();
    run r = run_stream(stream, way);
    test_context("max %zu, spare %zu, cut %zu, piece %zu, budget %d%s%s", way->max_size, way->spare,
                 way->cut, way->piece, way->budget, way->stream ? ", parts" : "",
                 way->pause ? ", paused" : "");
    CHECK_STR(wire_text(&r.log), expected);
    CHECK_INT(r.bad, bad);
    /* A violation is told with the byte that makes it certain. */
    if (bad != MTWS_OK && way->piece == 1 && way->cut == 0 && !way->pause)
        CHECK_UINT(r.read, r.size);
    test_context("%s", "");
    run_end(&r);
    return !test_failing();
}

/* The same for every way to read it. */
static void run_every_way(const wire_buffer *stream, size_t max_size, const char *expected,
                          mtws_result bad) {
    for (int kind = 0; kind < 8 && !test_failing(); kind++) {
        how way = {max_size, 0, 0, stream->size + 1, PLENTY, false, false, 0};
        way.stream = (kind & 1) != 0;
        way.pause = (kind & 2) != 0;
        if ((kind & 4) != 0) way.spare = TIGHT;
        if (way.stream && bad == MTWS_ERR_TOO_BIG) continue; /* parts know no limit */
        run_check(stream, &way, expected, bad);
        way.budget = 1;
        run_check(stream, &way, expected, bad);
        way.piece = 1;
        run_check(stream, &way, expected, bad);
        way.piece = 0;
        for (int i = 0; i < 5; i++) run_check(stream, &way, expected, bad);
        way.piece = stream->size;
        size_t step = stream->size > 700 ? stream->size / 100 : 1;
        for (way.cut = 1; way.cut < stream->size && !test_failing(); way.cut += step) {
            run_check(stream, &way, expected, bad);
        }
    }
}

/* ---- streams --------------------------------------------------------------------------------- */

#define PROTOCOL MTWS_ERR_PROTOCOL
#define UTF8 MTWS_ERR_UTF8
#define TOO_BIG MTWS_ERR_TOO_BIG

/* A bad one ends with the byte that makes it certain. */
static const struct {
    const char *stream, *expected;
    mtws_result bad;
    size_t max_size; /* 0: a million */
} streams[] = {
    {"text:Hello", "text:Hello", 0, 0},
    {"text bin", "text bin", 0, 0},
    {"text:a bin:%ff%00 text:b", "text:a bin:%ff%00 text:b", 0, 0},
    {"text=125 text=126 text=127 bin=128", "text=125 text=126 text=127 bin=128", 0, 0},
    {"text=65535 bin=65536 text:x", "text=65535 bin=65536 text:x", 0, 0},
    {"text-:Hel cont:lo", "text:Hello", 0, 0},
    {"text-:H cont-:e cont-:l cont-:l cont:o", "text:Hello", 0, 0},
    {"bin-:%ff cont-:%fe cont:%fd bin-:a cont:b", "bin:%ff%fe%fd bin:ab", 0, 0},
    {"text- cont", "text", 0, 0},
    {"text- cont- cont- cont text:x", "text text:x", 0, 0},
    {"text-:a cont- cont- cont:b cont-", "text:ab", PROTOCOL, 0},
    {"text-:abc cont", "text:abc", 0, 0},
    {"text- cont:abc", "text:abc", 0, 0},
    {"bin-=70000 cont-=1 cont=70000", NULL, 0, 0},
    /* control frames, between messages and within them */
    {"ping pong ping:a pong:b", "ping pong ping:a pong:b", 0, 0},
    {"ping=125 text:a pong=125", "ping=125 text:a pong=125", 0, 0},
    {"text-:a ping:x cont:b", "ping:x text:ab", 0, 0},
    {"text-:a ping:x pong:y cont-:b ping:z cont:c text:d", "ping:x pong:y ping:z text:abc text:d",
     0, 0},
    {"bin- ping ping cont-=300 ping=125 cont- pong cont:x", NULL, 0, 0},
    {"text-:%e2 ping:%ff cont-:%82 pong:%fe cont:%ac", "ping:%ff pong:%fe text:%e2%82%ac", 0, 0},
    /* Close ends it, whatever comes behind */
    {"text:a close:1000,bye text:b", "text:a close:1000", 0, 0},
    {"close rsv1.text:b", "close", 0, 0},
    {"text-:a close:1001", "close:1001", 0, 0},
    /* UTF-8 cut anywhere */
    {"text:%ce%ba%e1%bd%b9%f0%9f%98%80", "text:%ce%ba%e1%bd%b9%f0%9f%98%80", 0, 0},
    {"text-:%f0 cont-:%9f cont-:%98 cont:%80", "text:%f0%9f%98%80", 0, 0},
    {"text-:%f0%9f cont- cont:%98%80", "text:%f0%9f%98%80", 0, 0},
    {"bin-:%f0 cont:%9f", "bin:%f0%9f", 0, 0},
    /* section 5.2: reserved bits, opcodes; behind something that is fine */
    {"text:a cut1.rsv1.text", "text:a", PROTOCOL, 0},
    {"cut1.rsv2.bin", "", PROTOCOL, 0},
    {"text:a cut1.rsv4.ping", "text:a", PROTOCOL, 0},
    {"cut1.rsv7.close", "", PROTOCOL, 0},
    {"text-:a cut1.rsv1.cont", "", PROTOCOL, 0},
    {"ping:a cut1.op3", "ping:a", PROTOCOL, 0},
    {"cut1.op4", "", PROTOCOL, 0},
    {"cut1.op5-", "", PROTOCOL, 0},
    {"cut1.op6", "", PROTOCOL, 0},
    {"cut1.op7", "", PROTOCOL, 0},
    {"cut1.op11", "", PROTOCOL, 0},
    {"cut1.op12", "", PROTOCOL, 0},
    {"cut1.op13-", "", PROTOCOL, 0},
    {"cut1.op14", "", PROTOCOL, 0},
    {"cut1.op15", "", PROTOCOL, 0},
    /* sections 5.1, 5.2, 5.5: masks, lengths, control frames */
    {"text:a cut5.masked.text:b", "text:a", PROTOCOL, 0},
    {"cut4.masked.ping", "", PROTOCOL, 0},
    {"cut1.long16.text:a", "", PROTOCOL, 0},
    {"cut125.long16.bin=125", "", PROTOCOL, 0},
    {"cut1.long64.bin:a", "", PROTOCOL, 0},
    {"cut65535.long64.bin=65535", "", PROTOCOL, 0},
    {"raw:%82%7f%80", "", PROTOCOL, 0},
    {"text:a raw:%82%7f%ff", "text:a", PROTOCOL, 0},
    {"cut128.ping=126", "", PROTOCOL, 0},
    {"cut128.pong=126", "", PROTOCOL, 0},
    {"cut128.close=126", "", PROTOCOL, 0},
    {"cut1.ping-", "", PROTOCOL, 0},
    {"text-:a cut1.pong-", "", PROTOCOL, 0},
    {"cut1.close-", "", PROTOCOL, 0},
    /* section 5.4 */
    {"cont", "", PROTOCOL, 0},
    {"cont-", "", PROTOCOL, 0},
    {"cut3.cont:abc", "", PROTOCOL, 0},
    {"text:a cont", "text:a", PROTOCOL, 0},
    {"text-:a cont:b cont-", "text:ab", PROTOCOL, 0},
    {"text-:a text", "", PROTOCOL, 0},
    {"text-:a cut1.bin:b", "", PROTOCOL, 0},
    {"text- ping:x bin-", "ping:x", PROTOCOL, 0},
    /* section 8.1: at the first bad byte, within a frame that has not ended */
    {"text:%ff", "", UTF8, 0},
    {"text:a cut3.text:ab%ffxyz", "text:a", UTF8, 0},
    {"cut1.text:%c0%80", "", UTF8, 0},
    {"cut1.text:%e0%9f%bf", "", UTF8, 0},
    {"cut1.text:%ed%a0%80", "", UTF8, 0},
    {"cut2.text:%f0%8f%bf%bf", "", UTF8, 0},
    {"cut2.text:%f4%90%80%80", "", UTF8, 0},
    {"cut3.text:%f5%80%80%80", "", UTF8, 0},
    {"cut5.text:%f8%88%80%80%80x", "", UTF8, 0},
    {"text:%80", "", UTF8, 0},
    {"cut2.text:%c3()x", "", UTF8, 0},
    {"text-:%e2%82 cut1.cont:%c0%80", "", UTF8, 0},
    {"text-:%f0 cont-:%9f ping:a cut1.cont:%c0%80", "ping:a", UTF8, 0},
    {"text:%e2%82", "", UTF8, 0},
    {"text:%c3", "", UTF8, 0},
    {"text-:%c3 cont", "", UTF8, 0},
    {"text-:a cont-:%f0%9f cont:%98", "", UTF8, 0},
    {"text-:%c3 cont:%a9 text:%a9", "text:%c3%a9", UTF8, 0}, /* each message begins anew */
    /* section 10.4, FAULTS rows 1 to 3, CVE-2020-27813 */
    {"text=10 bin=10 text-=5 cont-=5 cont", "text=10 bin=10 text:abcdeabcde", 0, 10},
    {"bin:a", "bin:a", 0, 1},
    {"cut11.text=11", "", TOO_BIG, 10},
    {"text=10 cut11.text=11", "text=10", TOO_BIG, 10},
    {"text-=10 cut1.cont:a", "", TOO_BIG, 10},
    {"text-=6 cont-=4 cut1.cont-:a", "", TOO_BIG, 10},
    {"text-=6 cut5.cont=5", "", TOO_BIG, 10},
    {"bin-:a raw:%80%7f%7f%ff%ff%ff%ff%ff%ff%ff", "", TOO_BIG, 10},
    {"bin-=10 raw:%80%7f%7f%ff%ff%ff%ff%ff%ff%ff", "", TOO_BIG, 10},
    {"bin-:a raw:%80%7f%00%00%00%00%ff%ff%ff%ff", "", TOO_BIG, 0},
    {"bin-:a raw:%80%7f%00%00%00%01%00%00%00%00", "", TOO_BIG, 0},
    {"raw:%82%7f%7f%ff%ff%ff%ff%ff%ff%ff", "", TOO_BIG, 0},
};

static void each_stream(void) {
    for (size_t i = 0; i < UNIT_COUNT(streams); i++) {
        if (!test_begin("%s", streams[i].stream)) continue;
        wire_buffer stream = {NULL, 0, 0}, expected = {NULL, 0, 0};
        wire_stream(&stream, streams[i].stream);
        if (streams[i].expected != NULL) {
            wire_describe_items(&expected, streams[i].expected);
        } else { /* too long for the notation: what one read of everything gives */
            how way = {1000000, 0, 0, stream.size, PLENTY, false, false, 0};
            run r = run_stream(&stream, &way);
            wire_add_text(&expected, wire_text(&r.log));
            CHECK(r.log.size > 0 && r.bad == MTWS_OK);
            run_end(&r);
        }
        size_t max_size = streams[i].max_size == 0 ? 1000000 : streams[i].max_size;
        run_every_way(&stream, max_size, wire_text(&expected), streams[i].bad);
        wire_free(&stream);
        wire_free(&expected);
        test_end();
    }
}

/* Long messages in fragments of each size, by their content. */
static void fragments_of_each_size(void) {
    static const size_t sizes[] = {1,    2,    63,    64,    125,   126,  127,
                                   1300, 4096, 16383, 16384, 65535, 65536};
    wire_buffer content = {NULL, 0, 0};
    wire_filler(&content, true, 100000);
    for (size_t i = 0; i < UNIT_COUNT(sizes); i++) {
        if (!test_begin("%zu bytes", sizes[i])) continue;
        wire_buffer stream = {NULL, 0, 0}, expected = {NULL, 0, 0};
        size_t at = 0;
        while (at < content.size) {
            size_t part = content.size - at < sizes[i] ? content.size - at : sizes[i];
            wire_frame(&stream, at == 0 ? WIRE_TEXT : WIRE_CONT, at + part == content.size,
                       content.data + at, part);
            at += part;
        }
        wire_describe(&expected, WIRE_TEXT, content.data, content.size);
        for (int kind = 0; kind < 8; kind++) {
            how way = {
                content.size, (kind & 1) != 0 ? TIGHT : 0, 0, 0, PLENTY, (kind & 2) != 0, false, 0};
            way.pause = (kind & 4) != 0;
            for (int k = 0; k < 3; k++) run_check(&stream, &way, wire_text(&expected), MTWS_OK);
            way.piece = 997;
            run_check(&stream, &way, wire_text(&expected), MTWS_OK);
        }
        wire_free(&stream);
        wire_free(&expected);
        test_end();
    }
    wire_free(&content);
}

/* ---- random streams beside the list of what they hold ---------------------------------------- */

static void random_message(wire_buffer *stream, wire_buffer *expected, size_t max_size) {
    static uint8_t data[70000], control[125];
    bool text = unit_chance(&dice, 50);
    size_t size = unit_chance(&dice, 20) ? max_size : unit_below(&dice, max_size + 1), at = 0;
    if (unit_chance(&dice, 40) && size > 40) size = unit_below(&dice, 40);
    for (size_t i = 0; i < size; i++)
        data[i] = (uint8_t)(unit_random(&dice) & (text ? 0x7f : 0xff));
    /* An accent here and there, so that code points are cut as well. */
    for (size_t i = 0; text && i + 2 <= size; i += 7 + unit_below(&dice, 50)) {
        memcpy(data + i, "\xc3\xa9", 2);
    }
    bool first = true, final = false;
    while (!final) {
        size_t part = unit_chance(&dice, 40) ? size - at : unit_below(&dice, size - at + 1);
        final = at + part == size && unit_chance(&dice, 80);
        wire_frame(stream,
                   !first ? WIRE_CONT
                   : text ? WIRE_TEXT
                          : WIRE_BIN,
                   final, data + at, part);
        at += part;
        first = false;
        if (final || !unit_chance(&dice, 20)) continue;
        size_t control_size = unit_below(&dice, sizeof control + 1);
        unsigned opcode = unit_chance(&dice, 50) ? WIRE_PING : WIRE_PONG;
        unit_fill(&dice, control, control_size);
        wire_frame(stream, opcode, true, control, control_size);
        wire_describe(expected, opcode, control, control_size);
    }
    wire_describe(expected, text ? WIRE_TEXT : WIRE_BIN, data, size);
}

static void random_streams(void) {
    static const size_t limits[] = {1, 3, 20, 130, 1000, 4095, 5000, 20000, 66000};
    for (int round = 0; round < 600 && !test_failing(); round++) {
        if (!test_sampled()) continue;
        wire_buffer stream = {NULL, 0, 0}, expected = {NULL, 0, 0};
        size_t max_size = limits[unit_below(&dice, UNIT_COUNT(limits))];
        size_t target = 1000 + unit_below(&dice, max_size > 4000 ? 200000 : 20000);
        while (stream.size < target) random_message(&stream, &expected, max_size);
        how way = {max_size, 0, 0, 0, PLENTY, false, false, 0};
        static const size_t spares[] = {0, TIGHT, TIGHT + 1, 200, 4095, 4097, 5000};
        way.spare = spares[unit_below(&dice, UNIT_COUNT(spares))];
        way.stream = unit_chance(&dice, 40);
        way.pause = unit_chance(&dice, 40);
        if (unit_chance(&dice, 50)) way.small = unit_below(&dice, max_size < 100 ? max_size : 100);
        way.budget = unit_chance(&dice, 30) ? 1 + (int)unit_below(&dice, 5) : PLENTY;
        if (unit_chance(&dice, 20)) way.piece = stream.size; /* always to the brim */
        run_check(&stream, &way, wire_text(&expected), MTWS_OK);
        if (test_failing()) FAIL("round %d", round);
        wire_free(&stream);
        wire_free(&expected);
    }
}

static mtws__input next(mtws__message *m) {
    int budget = PLENTY;
    return mtws__message_next(m, &budget);
}

static void put(mtws__message *m, const void *bytes, size_t size) {
    uint8_t *to;
    size_t room = mtws__message_room(m, &to);
    if (!CHECK(room >= size)) return;
    memcpy(to, bytes, size);
    mtws__message_filled(m, size);
}

/* With parts, a short text in one frame comes whole all the same, however it arrives: nothing else
 * does. */
static void short_texts_come_whole(void) {
    static const struct {
        const char *stream;
        unsigned parts; /* of its last message, read byte by byte */
    } rows[] = {
        {"text=1", 1},          {"text=99", 1},
        {"text=100", 1},        {"text=101", 101},
        {"text=126", 126},      {"bin=50", 50},
        {"text-=9 cont=9", 18}, {"text-=9 ping:x cont=9", 18},
        {"ping:x text=50", 1},  {"bin=50 text=50", 1},
    };
    for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
        static uint8_t data[200 + MTWS__READ_AHEAD + 1];
        wire_buffer stream = {NULL, 0, 0};
        mtws__message m;
        unsigned handed = 0;
        wire_stream(&stream, rows[i].stream);
        mtws__message_start(&m, data, 200, true);
        m.small_size = 100;
        test_context("%s", rows[i].stream);
        for (size_t at = 0; at < stream.size; at++) {
            put(&m, stream.data + at, 1);
            mtws__input input = next(&m);
            if (input != MTWS__INPUT_MESSAGE) continue;
            handed = m.first ? 1 : handed + 1;
            mtws__message_release(&m);
            CHECK(next(&m) != MTWS__INPUT_BAD);
        }
        CHECK_UINT(handed, rows[i].parts);
        CHECK(m.last);
        wire_free(&stream);
    }
}

/* ---- where things lie ------------------------------------------------------------------------ */

/* A message in one frame is handed over where it was read, without a copy; the byte behind it comes
 * back. */
static void not_copied(void) {
    static uint8_t data[1000 + MTWS__READ_AHEAD + 1];
    mtws__message m;
    mtws__message_start(&m, data, 1000, false);
    put(&m,
        "\x81\x03"
        "abc\x82\x02xy\x89\x01p\x81\x01z",
        15);
    CHECK_INT(next(&m), MTWS__INPUT_MESSAGE);
    CHECK(m.payload.data == data + 2);
    CHECK_STR((const char *)m.payload.data, "abc");
    mtws__message_release(&m);
    CHECK_UINT(data[5], 0x82);
    CHECK_INT(next(&m), MTWS__INPUT_MESSAGE);
    CHECK(m.payload.data == data + 7);
    CHECK_UINT(m.payload.size, 2);
    mtws__message_release(&m);
    CHECK_INT(next(&m), MTWS__INPUT_PING);
    CHECK(m.payload.data == data + 11);
    CHECK_INT(next(&m), MTWS__INPUT_MESSAGE);
    mtws__message_release(&m);
    CHECK_INT(next(&m), MTWS__INPUT_MORE);
    /* An empty buffer starts at its beginning again. */
    uint8_t *to;
    CHECK_UINT(mtws__message_room(&m, &to), 1000 + MTWS__READ_AHEAD);
    CHECK(to == data);
}

/* A frame that does not fit behind what came before it goes to the front as its header is read, and
 * then fills the buffer where it is. */
static void moved_to_front(void) {
    static uint8_t data[20000 + MTWS__READ_AHEAD + 1], filler[20008];
    mtws__message m;
    mtws__message_start(&m, data, 20000, false);
    memset(filler, 'x', sizeof filler);
    memcpy(filler, "\x82\x7e\x4e\x20", 4);
    memcpy(filler + 20004, "\x81\x7e\x4e\x20", 4); /* the next header is read with the message */
    put(&m, filler, 20008);
    CHECK_INT(next(&m), MTWS__INPUT_MESSAGE);
    mtws__message_release(&m);
    CHECK_INT(next(&m), MTWS__INPUT_MORE);
    uint8_t *to;
    CHECK_UINT(mtws__message_room(&m, &to), 20000 + MTWS__READ_AHEAD);
    CHECK(to == data);
    put(&m, filler + 4, 20000);
    CHECK_INT(next(&m), MTWS__INPUT_MESSAGE);
    CHECK(m.payload.data == data && m.payload.size == 20000);
    mtws__message_release(&m);
}

/* While a message waits, the buffer fills to its last byte, and nothing of it is lost. */
static void kept_while_full(void) {
    enum { MAX = 50, COUNT = 1000 };
    static uint8_t data[MAX + MTWS__READ_AHEAD + 1];
    wire_buffer stream = {NULL, 0, 0};
    mtws__message m;
    uint8_t *to;
    size_t read = 0, room;
    for (unsigned i = 0; i < COUNT; i++) {
        uint8_t content[MAX];
        memset(content, (int)i, sizeof content);
        wire_frame(&stream, WIRE_BIN, true, content, sizeof content);
    }
    mtws__message_start(&m, data, MAX, false);
    for (unsigned i = 0; i < COUNT; i++) {
        test_context("message %u", i);
        for (int k = 0; k < 3; k++) {
            while ((room = mtws__message_room(&m, &to)) > 0 && read < stream.size) {
                size_t piece = room < stream.size - read ? room : stream.size - read;
                memcpy(to, stream.data + read, piece);
                mtws__message_filled(&m, piece);
                read += piece;
            }
            CHECK_INT(next(&m), MTWS__INPUT_MESSAGE);
            if (k < 2) mtws__message_keep(&m);
        }
        CHECK_UINT(m.payload.size, MAX);
        for (size_t k = 0; k < MAX; k++) CHECK_UINT(m.payload.data[k], i % 256);
        CHECK_UINT(m.payload.data[MAX], 0);
        mtws__message_release(&m);
        if (test_failing()) break;
    }
    CHECK_INT(next(&m), MTWS__INPUT_MORE);
    wire_free(&stream);
}

/* With little in the buffer there is always room for a read that is worth its call, though a byte
 * of the next frame is always there and the buffer is never empty. */
static void worthwhile_reads(void) {
    static uint8_t data[100 + MTWS__READ_AHEAD + 1];
    mtws__message m;
    size_t messages = 0;
    mtws__message_start(&m, data, 100, false);
    put(&m, "\x82", 1);
    for (int i = 0; i < 100000; i++) {
        uint8_t *to;
        size_t room = mtws__message_room(&m, &to);
        if (!CHECK(room >= MTWS__READ_MIN)) return;
        put(&m,
            "\x03"
            "abc\x82",
            5);
        CHECK_INT(next(&m), MTWS__INPUT_MESSAGE);
        mtws__message_release(&m);
        CHECK_INT(next(&m), MTWS__INPUT_MORE);
        messages++;
    }
    CHECK_UINT(messages, 100000);
}

/* ---- work ------------------------------------------------------------------------------------ */

/* FAULTS row 13, CVE-2026-48779: no memory for a fragment without a byte, and a bounded number of
 * frames a call. */
static void a_million_empty_fragments(void) {
    enum { MAX = 100, BUDGET = 4096, FRAMES = 1000000 };
    static uint8_t data[MAX + MTWS__READ_AHEAD + 1];
    mtws__message m;
    size_t made = 0, seen = 0, busy = 0;
    mtws__message_start(&m, data, MAX, false);
    while (made < FRAMES) {
        uint8_t *to;
        size_t room = mtws__message_room(&m, &to) / 2 * 2;
        if (!CHECK(room >= 2)) return;
        for (size_t i = 0; i < room; i += 2, made++) {
            to[i] = made == 0 ? 0x01 : 0x00;
            to[i + 1] = 0;
        }
        mtws__message_filled(&m, room);
        for (;;) {
            int budget = BUDGET;
            mtws__input input = mtws__message_next(&m, &budget);
            seen += (size_t)(BUDGET - budget);
            CHECK_UINT(m.size, 0);
            if (input == MTWS__INPUT_MORE) break;
            CHECK_INT(input, MTWS__INPUT_BUSY);
            CHECK_INT(budget, 0);
            busy++;
        }
        if (test_failing()) return;
    }
    CHECK_UINT(seen, made);
    CHECK(busy >= FRAMES / (2 * BUDGET));
    put(&m, "\x80\x01!", 3);
    CHECK_INT(next(&m), MTWS__INPUT_MESSAGE);
    CHECK_UINT(m.payload.size, 1);
    mtws__message_release(&m);
}

/* Each frame costs one of the budget, whatever it is; with none left nothing is looked at. */
static void budget_counts_frames(void) {
    static uint8_t data[100 + MTWS__READ_AHEAD + 1];
    mtws__message m;
    int budget = 5;
    mtws__message_start(&m, data, 100, false);
    put(&m,
        "\x01\x01"
        "a\x89\x00\x00\x00\x80\x01"
        "b\x8a\x00",
        12);
    CHECK_INT(mtws__message_next(&m, &budget), MTWS__INPUT_PING);
    CHECK_INT(budget, 3);
    CHECK_INT(mtws__message_next(&m, &budget), MTWS__INPUT_MESSAGE);
    CHECK_INT(budget, 1);
    mtws__message_release(&m);
    CHECK_INT(mtws__message_next(&m, &budget), MTWS__INPUT_PONG);
    CHECK_INT(budget, 0);
    CHECK_INT(mtws__message_next(&m, &budget), MTWS__INPUT_BUSY);
    budget = 1;
    CHECK_INT(mtws__message_next(&m, &budget), MTWS__INPUT_MORE);
    CHECK_INT(budget, 1);
}

/* Parts of a frame of 2^63 - 1 bytes, of which some come. */
static void parts_of_a_huge_frame(void) {
    static uint8_t data[10 + MTWS__READ_AHEAD + 1], piece[5000];
    mtws__message m;
    size_t got = 0;
    mtws__message_start(&m, data, 10, true);
    put(&m, "\x82\x7f\x7f\xff\xff\xff\xff\xff\xff\xff", 10);
    CHECK_INT(next(&m), MTWS__INPUT_MORE);
    for (int i = 0; i < 100; i++) {
        memset(piece, i, sizeof piece);
        put(&m, piece, sizeof piece);
        CHECK_INT(next(&m), MTWS__INPUT_MESSAGE);
        CHECK_INT(m.first, i == 0);
        CHECK(!m.last);
        CHECK_UINT(m.payload.size, sizeof piece);
        CHECK_MEM(m.payload.data, piece, sizeof piece);
        got += m.payload.size;
        mtws__message_release(&m);
        CHECK_INT(next(&m), MTWS__INPUT_MORE);
    }
    CHECK_UINT(m.frame_left, (uint64_t)INT64_MAX - got);
}

/* ---- bodies of Close ------------------------------------------------------------------------- */

static mtws_result close_of(const void *body, size_t size, uint16_t *code, mtws__span *reason) {
    mtws__span span;
    span.data = (const uint8_t *)body;
    span.size = size;
    return mtws__message_close(span, code, reason);
}

static void every_close_code(void) { /* FAULTS row 12 */
    for (unsigned value = 0; value < 65536; value++) {
        uint8_t body[5] = {(uint8_t)(value >> 8), (uint8_t)value, 'b', 'y', 'e'};
        bool registered =
            value >= 1000 && value <= 1014 && value != 1004 && value != 1005 && value != 1006;
        bool allowed = registered || (value >= 3000 && value < 5000);
        mtws_result expected = allowed ? MTWS_OK : MTWS_ERR_PROTOCOL;
        uint16_t code = 0;
        mtws__span reason;
        test_context("code %u", value);
        CHECK_INT(close_of(body, 2, &code, &reason), expected);
        CHECK_UINT(code, value);
        CHECK_UINT(reason.size, 0);
        CHECK_INT(close_of(body, 5, &code, &reason), expected);
        CHECK(reason.size == 3 && memcmp(reason.data, "bye", 3) == 0);
        body[3] = 0xff; /* a bad code is told before a bad reason */
        CHECK_INT(close_of(body, 5, &code, &reason), allowed ? MTWS_ERR_UTF8 : MTWS_ERR_PROTOCOL);
    }
}

static void close_bodies(void) {
    static const struct {
        const char *reason;
        mtws_result result;
    } rows[] = {
        {"a", MTWS_OK},           {"\xe2\x82\xac", MTWS_OK},       {"\xe2\x82", MTWS_ERR_UTF8},
        {"a\xff", MTWS_ERR_UTF8}, {"\xed\xa0\x80", MTWS_ERR_UTF8}, {"\xc0\x80", MTWS_ERR_UTF8},
    };
    uint16_t code;
    mtws__span reason;
    CHECK_INT(close_of("", 0, &code, &reason), MTWS_OK);
    CHECK_UINT(code, 1005);
    CHECK_UINT(reason.size, 0);
    for (unsigned value = 0; value < 256; value++) {
        uint8_t byte = (uint8_t)value;
        CHECK_INT(close_of(&byte, 1, &code, &reason), MTWS_ERR_PROTOCOL);
    }
    for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
        char body[64] = "\x03\xe8";
        strcat(body, rows[i].reason);
        test_context("row %zu", i);
        CHECK_INT(close_of(body, strlen(body), &code, &reason), rows[i].result);
    }
    char longest[125];
    memset(longest, 'x', sizeof longest);
    memcpy(longest, "\x0f\xa0", 2);
    CHECK_INT(close_of(longest, sizeof longest, &code, &reason), MTWS_OK);
    CHECK_UINT(code, 4000);
    CHECK_UINT(reason.size, 123);
}

int main(int argc, char **argv) {
    static const test_entry tests[] = {
        TEST_ROWS(each_stream),
        TEST_ROWS(fragments_of_each_size),
        TEST(random_streams),
        TEST(short_texts_come_whole),
        TEST(not_copied),
        TEST(moved_to_front),
        TEST(kept_while_full),
        TEST(worthwhile_reads),
        TEST(a_million_empty_fragments),
        TEST(budget_counts_frames),
        TEST(parts_of_a_huge_frame),
        TEST(every_close_code),
        TEST(close_bodies),
    };
    edge = unit_edge_open(1100000);
    return TEST_MAIN(tests, argc, argv);
}
