/* Invariant: what a server sends means what a plain reading of RFC 6455 says (messages, control
 * frames, the first violation), whether it comes whole, byte by byte or cut at random, in a buffer
 * with hardly any room beside the largest message, with messages handed over whole or in parts, and
 * with some of them left waiting at first. The buffer never clogs up.
 *
 *     clang -g -O1 -fsanitize=fuzzer,address,undefined -o build/message message.c
 *     build/message -dict=mtws.dict corpus/message
 *
 * Input: a byte for what is random, one for the limits, then the server's bytes. */
#include "reference.h"

typedef struct limits {
    size_t max_size; /* of a message */
    size_t room;     /* beside it */
    bool stream;
    size_t small_size; /* of a text that is handed over whole all the same */
} limits;

typedef enum way { WHOLE, BYTEWISE, CUT } way;
typedef enum step { MORE, WAITING, ENDED } step;

typedef struct run {
    mtws__message m;
    uint64_t seed;
    way how;
    bool under_way;     /* parts of a message were handed over, and not the last */
    fuzz_bytes log;     /* as the reference's */
    fuzz_bytes message; /* the parts so far of the message that is not whole */
    mtws_result result;
    bool closed;
} run;

static void take_message(run *r) {
    mtws__message *m = &r->m;
    CHECK(m->kind == MTWS_TEXT || m->kind == MTWS_BINARY);
    CHECK(m->first == !r->under_way);
    CHECK(m->last || (m->stream && m->payload.size > 0));
    CHECK(m->stream || (m->first && m->payload.size <= m->max_size));
    fuzz_put(&r->message, m->payload.data, m->payload.size);
    CHECK(m->payload.data[m->payload.size] == 0);
    if (m->last) {
        fuzz_put_item(&r->log, m->kind == MTWS_TEXT ? 'T' : 'B', r->message.data, r->message.size);
        r->message.size = 0;
    }
    r->under_way = !m->last;
    mtws__message_release(m);
}

static void take_close(mtws__span body) {
    uint16_t code;
    mtws__span reason;
    mtws_result result = mtws__message_close(body, &code, &reason);
    CHECK(body.size > 0 || (result == MTWS_OK && code == 1005));
    CHECK(body.size != 1 || result == MTWS_ERR_PROTOCOL);
    if (body.size < 2) return;
    bool whole;
    bool text = reference_utf8(body.data + 2, body.size - 2, &whole) == body.size - 2 && whole;
    CHECK(code == body.data[0] * 256 + body.data[1] && reason.size == body.size - 2);
    CHECK(result != MTWS_OK || (text && code >= 1000 && code < 5000));
    CHECK(result != MTWS_ERR_UTF8 || !text);
}

/* Takes what is there. */
static step take_all(run *r) {
    for (;;) {
        int budget = r->how == CUT ? 1 + (int)fuzz_below(&r->seed, 3) : 4096;
        mtws__input input = mtws__message_next(&r->m, &budget);
        const mtws__span *payload = &r->m.payload;
        switch (input) {
        case MTWS__INPUT_MORE: return MORE;
        case MTWS__INPUT_BUSY: CHECK(budget <= 0); break;
        case MTWS__INPUT_PING: fuzz_put_item(&r->log, '9', payload->data, payload->size); break;
        case MTWS__INPUT_PONG: fuzz_put_item(&r->log, ':', payload->data, payload->size); break;
        case MTWS__INPUT_CLOSE:
            fuzz_put_item(&r->log, '8', payload->data, payload->size);
            take_close(*payload);
            r->closed = true;
            return ENDED;
        case MTWS__INPUT_MESSAGE:
            if (r->how == CUT && fuzz_below(&r->seed, 4) == 0) {
                mtws__message_keep(&r->m);
                return WAITING;
            }
            take_message(r);
            break;
        case MTWS__INPUT_BAD:
            r->result = r->m.result;
            CHECK(r->result != MTWS_OK && r->m.text[0] != 0);
            return ENDED;
        }
    }
}

static void read_all(run *r, fuzz_input in) {
    step now = MORE;
    do {
        uint8_t *to;
        size_t room = mtws__message_room(&r->m, &to);
        CHECK(room > 0 || now == WAITING);
        size_t part = r->how == WHOLE      ? in.size
                      : r->how == BYTEWISE ? mtws__min_size(1, in.size)
                                           : fuzz_cut(&r->seed, in.size);
        mtws__span piece = fuzz_take(&in, mtws__min_size(part, room));
        if (piece.size > 0) memcpy(to, piece.data, piece.size);
        mtws__message_filled(&r->m, piece.size);
        now = take_all(r);
    } while (now == WAITING || (now == MORE && in.size > 0));
}

static void check_run(fuzz_input in, const limits *l, way how, uint64_t seed,
                      const reference_stream *expected) {
    run r;
    memset(&r, 0, sizeof r);
    r.how = how;
    r.seed = seed;
    size_t capacity = l->max_size + l->room;
    uint8_t *buffer = (uint8_t *)malloc(capacity + 1);
    CHECK(buffer != NULL);
    mtws__message_start(&r.m, buffer, l->max_size, l->stream);
    r.m.capacity = capacity;
    r.m.small_size = l->small_size;
    read_all(&r, in);
    CHECK(r.result == expected->result && r.closed == expected->closed);
    CHECK(fuzz_same(&r.log, &expected->log));
    if (l->stream && l->small_size == 0 && r.result == MTWS_OK)
        CHECK(fuzz_same(&r.message, &expected->message));
    else CHECK(fuzz_begins(&expected->message, &r.message));
    fuzz_free(&r.log);
    fuzz_free(&r.message);
    free(buffer);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const size_t sizes[8] = {1, 5, 125, 126, 200, 1000, 5000, 70000};
    /* Beside a message that is put together there must be room for a control frame. */
    static const size_t rooms[4] = {127, 300, 5000, MTWS__READ_AHEAD};
    fuzz_input in = {data, size};
    uint64_t seed = fuzz_byte(&in);
    uint8_t limit = fuzz_byte(&in);
    limits l;
    l.max_size = sizes[limit & 7];
    l.room = rooms[limit >> 3 & 3];
    l.stream = (limit & 32) != 0;
    l.small_size = limit & 64 ? 100 : 0;
    reference_stream expected;
    reference_read(&expected, in.data, in.size, l.stream ? SIZE_MAX : l.max_size);
    check_run(in, &l, WHOLE, 0, &expected);
    check_run(in, &l, BYTEWISE, 0, &expected);
    check_run(in, &l, CUT, seed, &expected);
    reference_free(&expected);
    return 0;
}
