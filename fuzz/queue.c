/* Invariant: whatever is sent, written, refused, confirmed, expired, evicted, cleared and cut off,
 * the outgoing queue does what a plain list of messages does. What is written on a connection is
 * exactly the frames of the messages that wait, in order, each under a masking key that the
 * generator drew for this connection and for no other frame. What the transport may hold does not
 * change. Each message ends in exactly one report, with the right fate; and once all are settled
 * nothing of the room is lost.
 *
 *     clang -g -O1 -fsanitize=fuzzer,address,undefined -o build/queue queue.c
 *     build/queue corpus/queue
 *
 * Input: three bytes for limits and options, then operations (see operate), each with a byte. */
#include "fuzz.h"

enum {
    MESSAGES_MAX = 512,
    PARTS_MAX = 16, /* of one message in a transient queue */
    RING_MAX = 1024,
    ENTRIES_MAX = 24,
    TTL_US = 1000
};

typedef enum state { WAITING, WRITTEN, SETTLED } state;

typedef struct message {
    uint64_t id;
    uint64_t deadline_us;
    size_t parts[PARTS_MAX]; /* sizes of what was added; frames are made of each */
    int part_count;
    bool open; /* parts are still to come */
    unsigned flags;
    state now;
    mtws_result result; /* of a settled one */
    bool left;          /* it was wholly written at least once */
    bool sure;          /* it is delivered as soon as it has left again */
    bool reported;
} message;

/* A frame of a message, and where it lies among the message's bytes on the wire. */
typedef struct place {
    uint8_t opcode;
    bool final;
    size_t size, header_size; /* of the payload, and of what stands before it */
    size_t start;             /* of the frame */
    size_t payload_start;     /* in the message's payload */
} place;

static struct {
    mtws__queue q;
    uint8_t ring[RING_MAX];
    mtws__entry entries[ENTRIES_MAX];
    size_t max_frame_size;
    bool transient, drop_oldest, expires, unconfirmed;

    message list[MESSAGES_MAX];
    size_t count;
    size_t from; /* all before this one are settled */
    uint64_t next_id, now_us;

    bool connected;
    uint32_t connections;
    mtws__random random, shadow; /* the second runs behind the first, to know its keys */
    fuzz_bytes keys;             /* drawn on this connection; a used one is marked in: */
    fuzz_bytes used;
    size_t position; /* bytes of the first waiting message that are written */
    fuzz_bytes held; /* what the transport may hold, from the next byte on */
    uint8_t key[4];  /* of the frame that is being written */
} w;

/* ---- the model -------------------------------------------------------------------------------- */

static uint8_t payload_byte(uint64_t id, size_t at) { return (uint8_t)(id * 31 + at * 7); }

/* The frame that the byte at `at` is in; false: there is none (yet). */
static bool find_frame(const message *m, size_t at, place *p) {
    memset(p, 0, sizeof *p);
    for (int i = 0; i < m->part_count; i++) {
        for (size_t done = 0;;) {
            p->size = mtws__min_size(m->parts[i] - done, w.max_frame_size);
            p->header_size = p->size < 126 ? 6 : 8;
            done += p->size;
            p->final = !m->open && i == m->part_count - 1 && done == m->parts[i];
            p->opcode = p->start == 0 ? MTWS_BINARY : 0;
            if (at < p->start + p->header_size + p->size) return true;
            p->start += p->header_size + p->size;
            p->payload_start += p->size;
            if (done == m->parts[i]) break;
        }
    }
    return false;
}

static size_t wire_size(const message *m) {
    place p;
    CHECK(!find_frame(m, SIZE_MAX, &p));
    return p.start;
}

/* The first message that is not written; count: none. */
static size_t first_waiting(void) {
    size_t i = w.from;
    while (i < w.count && w.list[i].now != WAITING) i++;
    return i;
}

/* The first message of which no byte is written or in the transport's hands. */
static size_t first_untouched(void) {
    size_t i = first_waiting();
    size_t begun = w.position + w.held.size; /* bytes from the beginning of that one on */
    if (i == w.count || begun == 0) return i;
    for (size_t passed = 0; i < w.count && begun > passed; i++) {
        if (w.list[i].now == WAITING) passed += wire_size(&w.list[i]);
    }
    while (i < w.count && w.list[i].now != WAITING) i++;
    return i;
}

/* The place in the list of the message that the entry is about, or would be. */
static size_t place_of(uint64_t number) {
    if (number >= w.q.end) return w.count;
    if (number < w.q.first) return 0;
    uint64_t id = mtws__queue_entry(&w.q, number)->first_id;
    size_t i = 0;
    while (i < w.count && w.list[i].id < id) i++;
    return i;
}

/* The entry that holds the message, or held it; NULL: it has left the index. */
static const mtws__entry *entry_of(const message *m) {
    for (uint64_t number = w.q.first; number < w.q.end; number++) {
        const mtws__entry *e = mtws__queue_entry(&w.q, number);
        if (e->first_id <= m->id && m->id <= e->id) return e;
    }
    return NULL;
}

static void settle(message *m, mtws_result result) {
    CHECK(m->now != SETTLED);
    m->now = SETTLED;
    m->result = result;
}

/* What a message that has not begun on this connection may meet ... */
static bool may_expire(size_t i, size_t untouched) {
    return i >= untouched && w.list[i].now == WAITING;
}

/* ... and one that never left. */
static bool is_droppable(size_t i, size_t untouched) {
    return may_expire(i, untouched) && !w.list[i].left;
}

/* ---- what is written --------------------------------------------------------------------------- */

/* The key belongs to no other frame: the generator drew it on this connection. */
static void check_key(void) {
    uint64_t blocks = w.random.input[12];
    size_t drawn = (size_t)(blocks * 64 + w.random.used - 64) / 4;
    while (w.used.size < drawn) {
        uint8_t key[4];
        mtws__random_fill(&w.shadow, key, 4);
        fuzz_put(&w.keys, key, 4);
        fuzz_put_byte(&w.used, 0);
    }
    size_t i = 0;
    while (i < drawn && (w.used.data[i] != 0 || memcmp(w.keys.data + 4 * i, w.key, 4) != 0)) i++;
    CHECK(i < drawn);
    w.used.data[i] = 1;
}

/* One byte of the message, at w.position. */
static void check_byte(const message *m, const place *p, uint8_t byte) {
    size_t at = w.position - p->start, key_at = p->header_size - 4;
    if (at == 0) {
        CHECK(byte == (p->final ? 0x80 | p->opcode : p->opcode));
    } else if (at == 1) {
        CHECK(byte == (0x80 | (p->size < 126 ? p->size : 126)));
    } else if (at < key_at) {
        CHECK(byte == (at == 2 ? p->size >> 8 : p->size & 0xff));
    } else if (at < p->header_size) {
        w.key[at - key_at] = byte;
        if (at == p->header_size - 1) check_key();
    } else {
        size_t k = at - p->header_size;
        CHECK((byte ^ w.key[k & 3]) == payload_byte(m->id, p->payload_start + k));
    }
}

/* Bytes that left; messages from `limit` on may not begin. Returns how many messages ended. */
static size_t take_bytes(const uint8_t *data, size_t size, size_t limit) {
    size_t ended = 0;
    place p = {0, false, 0, 0, 0, 0};
    size_t begun = first_untouched();
    for (size_t k = 0; k < size; k++) {
        size_t i = first_waiting();
        CHECK(i < w.count && (i < limit || i < begun));
        message *m = &w.list[i];
        if (w.position == 0 || w.position >= p.start + p.header_size + p.size) {
            CHECK(find_frame(m, w.position, &p));
        } else if (k == 0) {
            find_frame(m, w.position, &p);
        }
        check_byte(m, &p, data[k]);
        w.position++;
        if (m->open || w.position < wire_size(m)) continue;
        w.position = 0;
        m->left = true;
        m->now = WRITTEN;
        if (m->sure) settle(m, MTWS_OK);
        ended++;
    }
    return ended;
}

/* Bytes of the frame that has begun and is not whole on the wire. */
static size_t frame_rest(void) {
    place p;
    size_t i = first_waiting();
    if (i == w.count || w.position == 0 || !find_frame(&w.list[i], w.position, &p)) return 0;
    return p.start == w.position ? 0 : p.start + p.header_size + p.size - w.position;
}

/* What is to be written, with what the transport may hold at its beginning. */
static mtws__span peek(uint64_t number, bool one_frame) {
    size_t limit = place_of(number);
    size_t rest = frame_rest();
    CHECK((rest > 0) == (w.q.cursor < mtws__queue_boundary(&w.q)));
    one_frame = one_frame && rest > 0;
    mtws__span span = mtws__queue_peek(&w.q, number, one_frame, &w.random);
    CHECK(span.size >= w.held.size);
    CHECK(w.held.size == 0 || memcmp(span.data, w.held.data, w.held.size) == 0);
    if (one_frame) CHECK(span.size > 0 && span.size <= mtws__max_u64(rest, w.held.size));
    size_t i = first_waiting();
    bool any =
        i < w.count && (i < limit || i < first_untouched()) && w.position < wire_size(&w.list[i]);
    CHECK((span.size > 0) == any);
    CHECK(one_frame || mtws__queue_has_output(&w.q, number) == any);
    return span;
}

/* Entries from `limit` on may not begin. */
static void write_some(uint64_t limit, bool one_frame, size_t most) {
    if (!w.connected) return;
    mtws__span span = peek(limit, one_frame);
    if (span.size == 0) return;
    size_t size = mtws__min_size(span.size, most);
    size_t ended = take_bytes(span.data, size, place_of(limit));
    w.held.size = 0;
    CHECK(mtws__queue_wrote(&w.q, size) == ended);
    if (ended == 0 || !w.unconfirmed) return;
    mtws__queue_confirm(&w.q, w.q.next);
    for (size_t i = w.from; i < w.count; i++) {
        if (w.list[i].now == WRITTEN) settle(&w.list[i], MTWS_OK);
    }
}

/* The transport takes nothing now, but may keep what it was shown. */
static void offer(uint64_t limit, bool one_frame) {
    if (!w.connected) return;
    mtws__span span = peek(limit, one_frame);
    if (span.size == 0) return;
    w.held.size = 0;
    fuzz_put(&w.held, span.data, span.size);
    mtws__queue_offer(&w.q, span.size);
}

/* ---- what is sent ------------------------------------------------------------------------------ */

static mtws__random *masks(void) { return w.connected ? &w.random : NULL; }

static void add_frames(message *m, size_t size, bool last) {
    uint8_t data[RING_MAX];
    size_t before = 0;
    for (int i = 0; i < m->part_count; i++) before += m->parts[i];
    for (size_t i = 0; i < size; i++) data[i] = payload_byte(m->id, before + i);
    uint8_t opcode = m->part_count == 0 ? (uint8_t)MTWS_BINARY : (uint8_t)MTWS__CONTINUATION;
    m->parts[m->part_count++] = size;
    m->open = !last;
    mtws__queue_entry(&w.q, w.q.end - 1)->open = !last;
    mtws__queue_frames(&w.q, opcode, last, data, size, w.max_frame_size, masks());
}

/* Makes room by dropping the oldest, or nothing. */
static bool evict(size_t need) {
    size_t untouched = first_untouched();
    bool slot = w.q.end - w.q.first >= w.q.capacity;
    uint64_t stays = w.q.next < w.q.end ? mtws__queue_entry(&w.q, w.q.next)->start : w.q.ring.tail;
    size_t kept = (size_t)(stays - w.q.ring.head);
    for (size_t i = first_waiting(); i < w.count; i++) {
        bool stay = w.list[i].now == WAITING && !is_droppable(i, untouched);
        if (stay) kept += wire_size(&w.list[i]);
    }
    bool made = mtws__queue_evict(&w.q, need, MTWS_ERR_QUEUE_FULL);
    bool over = false;
    for (size_t i = w.from; i < w.count; i++) {
        const mtws__entry *e = entry_of(&w.list[i]);
        bool gone = e == NULL || e->fate >= MTWS__DELIVERED;
        if (w.list[i].now == SETTLED) continue;
        if (gone) {
            CHECK(made && !over && is_droppable(i, untouched));
            settle(&w.list[i], MTWS_ERR_QUEUE_FULL);
        } else if (is_droppable(i, untouched)) {
            over = true;
        }
    }
    if (!slot) CHECK(made == (w.q.ring.capacity - kept >= need));
    else CHECK(!made || w.q.ring.capacity - kept >= need);
    CHECK(made == mtws__queue_fits(&w.q, need));
    return made;
}

static void send_message(size_t size, unsigned flags, bool last) {
    message made;
    if (w.count == MESSAGES_MAX || (w.transient && !w.connected)) return;
    if (w.count > 0 && w.list[w.count - 1].open) return;
    memset(&made, 0, sizeof made);
    made.parts[0] = size;
    made.part_count = 1;
    size_t need = mtws__queue_wire_size(size, w.max_frame_size);
    /* Only the last frame can have a smaller header than was reckoned with. */
    CHECK(need >= wire_size(&made) && need - wire_size(&made) <= 8);
    if (need > w.q.ring.capacity) return;
    if (!mtws__queue_fits(&w.q, need) && (!w.drop_oldest || w.transient || !evict(need))) return;
    if (!w.connected) flags &= MTWS_ONCE;
    made.id = w.next_id++;
    made.deadline_us = w.expires ? w.now_us + TTL_US : UINT64_MAX;
    made.flags = flags;
    made.part_count = 0;
    w.list[w.count] = made;
    mtws__queue_append(&w.q, made.id, flags, made.deadline_us);
    add_frames(&w.list[w.count++], size, last || !w.transient);
}

static void send_part(size_t size, bool last) {
    message *m = w.count > 0 ? &w.list[w.count - 1] : NULL;
    if (!w.connected || m == NULL || !m->open || m->part_count == PARTS_MAX) return;
    if (m->part_count == PARTS_MAX - 1) last = true;
    size_t need = mtws__queue_wire_size(size, w.max_frame_size);
    if (mtws__queue_fits(&w.q, need)) add_frames(m, size, last);
}

/* ---- fates ------------------------------------------------------------------------------------- */

static void confirm(uint64_t upto) {
    size_t stop = place_of(upto);
    mtws__queue_confirm(&w.q, upto);
    for (size_t i = w.from; i < stop; i++) {
        if (w.list[i].now == WRITTEN) settle(&w.list[i], MTWS_OK);
    }
}

static void confirm_id(uint64_t id) {
    size_t untouched = first_untouched();
    mtws__queue_confirm_id(&w.q, id);
    for (size_t i = w.from; i < w.count && w.list[i].id <= id; i++) {
        message *m = &w.list[i];
        if (!m->left || m->now == SETTLED) continue;
        if (m->now == WAITING && i < untouched) m->sure = true;
        else settle(m, MTWS_OK);
    }
}

static void expire(uint64_t passed_us) {
    size_t untouched = first_untouched();
    w.now_us += passed_us;
    mtws__queue_expire(&w.q, w.now_us);
    for (size_t i = w.from; i < w.count; i++) {
        if (may_expire(i, untouched) && w.list[i].deadline_us <= w.now_us) {
            settle(&w.list[i], MTWS_ERR_EXPIRED);
        }
    }
}

/* A message in parts is left alone, as the client does. */
static void clear(void) {
    if (w.count > 0 && w.list[w.count - 1].open) return;
    bool begun_too = !w.connected && !w.transient;
    size_t untouched = first_untouched();
    mtws__queue_clear(&w.q, MTWS_ERR_CLEARED, begun_too);
    for (size_t i = w.from; i < w.count; i++) {
        bool meant = begun_too || (i >= untouched && w.list[i].now == WAITING);
        if (meant && w.list[i].now != SETTLED) settle(&w.list[i], MTWS_ERR_CLEARED);
    }
}

static void open_connection(void) {
    uint8_t seed[32] = {0};
    if (w.connected) return;
    mtws__store_little32(seed, ++w.connections);
    mtws__random_seed(&w.random, seed);
    mtws__random_seed(&w.shadow, seed);
    w.keys.size = w.used.size = w.held.size = w.position = 0;
    w.connected = true;
    mtws__queue_begin(&w.q);
}

static void lose_connection(void) {
    if (!w.connected) return;
    w.connected = false;
    w.held.size = w.position = 0;
    mtws__queue_reset(&w.q, MTWS_ERR_RESET);
    for (size_t i = w.from; i < w.count; i++) {
        message *m = &w.list[i];
        if (m->now == SETTLED) continue;
        bool bound = (m->flags & (MTWS_NO_QUEUE | MTWS_FIRST)) != 0 || w.transient;
        bool once = (m->flags & MTWS_ONCE) != 0 && m->now == WRITTEN;
        m->open = false;
        if (bound || once) settle(m, MTWS_ERR_RESET);
        else if (m->sure) settle(m, MTWS_OK);
        else m->now = WAITING;
    }
}

/* A message that nobody wants goes with this connection. */
static void poison(void) {
    if (!w.connected || w.q.live == w.q.end) return;
    message *m = &w.list[place_of(w.q.live)];
    mtws__queue_entry(&w.q, w.q.live)->flags |= MTWS_NO_QUEUE;
    m->flags |= MTWS_NO_QUEUE;
}

/* False: there is nothing to report. */
static bool report(void) {
    mtws__range range;
    size_t expected = 0;
    for (size_t i = 0; i < w.count; i++)
        expected += w.list[i].now == SETTLED && !w.list[i].reported;
    bool found = mtws__queue_report(&w.q, &range);
    CHECK(found == (expected > 0));
    if (!found) return false;
    uint64_t id = range.first_id;
    for (size_t i = 0; i < w.count; i++) {
        message *m = &w.list[i];
        if (m->id < range.first_id || m->id > range.id) continue;
        CHECK(m->id == id++);
        CHECK(m->now == SETTLED);
        CHECK(!m->reported);
        CHECK(m->result == range.result);
        CHECK(range.result == MTWS_OK || m->left == range.left);
        m->reported = true;
    }
    CHECK(id == range.id + 1);
    return true;
}

/* ---- all of it --------------------------------------------------------------------------------- */

static void check_all(void) {
    size_t unsettled = 0, unconfirmed = 0, untouched = first_untouched();
    uint64_t expiry_us = UINT64_MAX;
    while (w.from < w.count && w.list[w.from].now == SETTLED) w.from++;
    for (size_t i = w.from; i < w.count; i++) {
        const message *m = &w.list[i];
        unsettled += m->now != SETTLED;
        unconfirmed += m->now == WRITTEN;
        if (may_expire(i, untouched)) expiry_us = mtws__min_u64(expiry_us, m->deadline_us);
    }
    CHECK(mtws__queue_unsettled(&w.q) == unsettled);
    CHECK(mtws__queue_unconfirmed(&w.q) == unconfirmed);
    CHECK(mtws__queue_expiry_us(&w.q) == expiry_us);
    CHECK(mtws__queue_mid_message(&w.q) == (first_waiting() < untouched));
    CHECK(mtws__ring_used(&w.q.ring) <= w.q.ring.capacity);
    CHECK(w.q.end - w.q.first <= w.q.capacity);
}

/* Where writing may go: 0 and the like ends what has begun, and no more. */
static uint64_t limit_of(uint8_t argument) {
    return argument < 64 ? w.q.next + argument % 4 : w.q.end;
}

static void operate(uint8_t what, uint8_t argument) {
    static const size_t sizes[8] = {0, 1, 5, 20, 60, 125, 126, 300};
    size_t size = sizes[argument & 7];
    switch (what % 16) {
    case 0:
    case 1:
    case 2: send_message(size, argument >> 3 & 7, (argument & 64) != 0); break;
    case 3: send_part(size, (argument & 64) != 0); break;
    case 4:
    case 5: write_some(limit_of(argument), false, argument % 16 == 0 ? SIZE_MAX : argument); break;
    case 6: write_some(limit_of(argument), true, argument % 16 == 0 ? SIZE_MAX : argument); break;
    case 7: offer(limit_of(argument), (argument & 1) != 0); break;
    case 8: confirm(w.connected ? w.q.next - mtws__min_u64(argument % 4, w.q.next) : 0); break;
    case 9: confirm_id(w.next_id - mtws__min_u64(argument, w.next_id)); break;
    case 10: open_connection(); break;
    case 11: lose_connection(); break;
    case 12: expire((uint64_t)argument * TTL_US / 64); break;
    case 13:
        for (int i = 0; i <= argument % 4; i++) report();
        break;
    case 14: w.next_id += argument % 3; break;
    case 15:
        if (argument % 4 == 0) clear();
        else if (argument % 4 == 1) poison();
        break;
    }
}

static void start(fuzz_input *in) {
    static const size_t frames[8] = {1, 7, 60, 125, 126, 200, MTWS_WHOLE_MESSAGES, 65536};
    uint8_t options = fuzz_byte(in);
    size_t ring = 8 + (size_t)fuzz_byte(in) * 4;
    uint8_t rest = fuzz_byte(in);
    mtws__queue q;
    fuzz_bytes keys = w.keys, used = w.used, held = w.held;
    memset(&w, 0, sizeof w);
    w.keys = keys;
    w.used = used;
    w.held = held;
    w.held.size = 0;
    w.transient = (options & 3) == 3;
    w.drop_oldest = (options & 4) != 0;
    w.expires = (options & 8) != 0 && !w.transient;
    w.unconfirmed = (options & 16) != 0;
    w.max_frame_size = frames[rest & 7];
    w.next_id = 1;
    mtws__queue_open(&q, w.ring, mtws__min_size(ring, RING_MAX), w.entries, 2 + (rest >> 3) % 16,
                     w.transient);
    w.q = q;
}

/* A patient server: everything is settled, and nothing is left behind. */
static void finish(void) {
    open_connection();
    for (int i = 0; i < PARTS_MAX + 2 && w.count > 0 && w.list[w.count - 1].open; i++) {
        while (mtws__queue_has_output(&w.q, UINT64_MAX)) write_some(UINT64_MAX, false, SIZE_MAX);
        confirm(w.q.next);
        while (report()) check_all();
        send_part(0, true);
    }
    while (first_waiting() < w.count) {
        uint64_t before = w.q.cursor;
        write_some(UINT64_MAX, false, SIZE_MAX);
        CHECK(w.q.cursor > before);
    }
    confirm(w.q.next);
    while (report()) check_all();
    for (size_t i = 0; i < w.count; i++) CHECK(w.list[i].now == SETTLED && w.list[i].reported);
    CHECK(mtws__ring_used(&w.q.ring) == 0 && w.q.holes == 0 && w.q.unreported == 0);
    CHECK(w.q.first == w.q.end && w.q.carry.id == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    fuzz_input in = {data, size};
    start(&in);
    while (in.size > 0) {
        uint8_t what = fuzz_byte(&in);
        operate(what, fuzz_byte(&in));
        check_all();
    }
    finish();
    return 0;
}
