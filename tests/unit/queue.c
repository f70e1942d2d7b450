/* The room "queue": random lives beside a model that is a plain list of messages. What the queue
 * gives to be written is decoded by a parser of frames of this file's own: each connection's bytes
 * must be valid, masked, and hold exactly the model's messages in order. Every message is reported
 * once, with the fate that the model says. */
#define MTWS_ASSERT(x) ((x) ? (void)0 : assertion_failed(#x, __LINE__))
static void assertion_failed(const char *text, int line);

#define MTWS_IMPLEMENTATION
#include "../../mtws.h"

#include "unit.h"

/* An assertion of the library names the life it fell in. */
static void assertion_failed(const char *text, int line) {
    FAIL("mtws.h:%d asserts %s", line, text);
    abort();
}

/* ---- the model ------------------------------------------------------------------------------- */

enum { MESSAGES_MAX = 4000, RING_MAX = 600, KEYS_MAX = 20000 };

typedef enum fate { WAITING, WRITTEN, DELIVERED, DROPPED } fate;

typedef struct message {
    uint64_t id;
    size_t size; /* of the payload */
    size_t wire_size;
    unsigned opcode;
    unsigned flags;
    uint64_t deadline_us;
    fate fate;
    mtws_result result;
    bool left, sure, reported;
    bool open; /* parts are still to be added */
} message;

/* One connection's bytes, as an independent reading of RFC 6455 section 5 takes them. */
typedef struct wire {
    uint8_t header[14];
    size_t header_have;
    uint64_t frame_left; /* payload of the present frame that is still to come */
    size_t key_at;       /* place in the present payload */
    bool in_frame, in_message, final;
    unsigned opcode;
    size_t size; /* payload of the message so far */
    size_t raw;  /* its wire bytes so far */
} wire;

typedef struct life {
    mtws__queue q;
    mtws__random random;
    uint64_t dice;
    size_t max_frame_size;
    bool connected, expires; /* messages of one queue have deadlines, or none has */
    message messages[MESSAGES_MAX];
    size_t count;
    size_t next; /* the first message that is not wholly written or passed over */
    wire wire;
    size_t offered; /* bytes that the transport was offered and did not take */
    uint8_t held[RING_MAX];
    size_t completed; /* messages that the present write completed */
    uint64_t next_id, now_us, last_deadline_us;
    uint32_t keys[KEYS_MAX];
    size_t key_count;
    uint8_t bytes[RING_MAX];
    mtws__entry entries[12];
} life;

/* The byte at `at` of a message's payload. */
static uint8_t content(uint64_t id, size_t at) {
    uint64_t z = (id * 0x9e3779b97f4a7c15u) ^ (at * 0xc2b2ae3d27d4eb4fu);
    z = (z ^ z >> 29) * 0xbf58476d1ce4e5b9u;
    return (uint8_t)(z >> 32);
}

/* What `size` bytes take on the wire, frame by frame. */
static size_t wire_size_of(size_t size, size_t max_frame_size) {
    size_t total = 0, left = size;
    do {
        size_t part = left < max_frame_size ? left : max_frame_size;
        total += part + 4 + (part > 65535 ? 10 : part > 125 ? 4 : 2);
        left -= part;
    } while (left > 0);
    return total;
}

/* ---- the connection's bytes ------------------------------------------------------------------ */

static bool settled(const message *m) { return m->fate >= DELIVERED; }

/* The number of the entry that holds a message; UINT64_MAX: it is not in the index any more. */
static uint64_t entry_of(const life *l, const message *m) {
    for (uint64_t number = l->q.first; number < l->q.end; number++) {
        const mtws__entry *e = mtws__queue_entry(&l->q, number);
        if (e->first_id <= m->id && m->id <= e->id) return number;
    }
    return UINT64_MAX;
}

/* Messages that are settled before their turn are passed over. */
static void pass_settled(life *l) {
    while (l->next < l->count && settled(&l->messages[l->next])) l->next++;
}

static void wire_header(life *l) {
    wire *w = &l->wire;
    const uint8_t *h = w->header;
    unsigned opcode = h[0] & 15, length = h[1] & 127;
    size_t size_at = 2, size_bytes = length == 126 ? 2 : length == 127 ? 8 : 0;
    uint64_t size = length;
    if (size_bytes > 0) size = 0;
    for (size_t i = 0; i < size_bytes; i++) size = size << 8 | h[size_at + i];
    CHECK_TEXT((h[0] & 0x70) == 0 && (h[1] & 0x80) != 0, "header %02x %02x", h[0], h[1]);
    if (size_bytes == 2) CHECK(size > 125);
    if (size_bytes == 8) CHECK(size > 65535);
    CHECK(size <= l->max_frame_size);
    const uint8_t *key = h + size_at + size_bytes;
    if (l->key_count < KEYS_MAX) {
        l->keys[l->key_count++] =
            (uint32_t)key[0] << 24 | (uint32_t)key[1] << 16 | (uint32_t)key[2] << 8 | key[3];
    }
    pass_settled(l);
    if (!CHECK(l->next < l->count)) return;
    if (w->in_message) CHECK_UINT(opcode, 0);
    else CHECK_UINT(opcode, l->messages[l->next].opcode);
    w->opcode = opcode;
    w->final = (h[0] & 0x80) != 0;
    w->in_message = w->in_frame = true;
    w->frame_left = size;
    w->key_at = 0;
    memmove(w->header, key, 4); /* the key is what is still needed of it */
    w->header_have = 0;
}

/* A frame has ended; perhaps its message has. */
static void wire_frame_end(life *l) {
    wire *w = &l->wire;
    message *m = &l->messages[l->next];
    w->in_frame = false;
    if (!w->final) {
        CHECK(m->open || w->size < m->size || m->size == 0 || (m->flags & MTWS_NO_QUEUE) != 0);
        return;
    }
    CHECK(!m->open);
    CHECK_UINT(w->size, m->size);
    CHECK_UINT(w->raw, m->wire_size);
    m->fate = m->sure ? DELIVERED : WRITTEN;
    m->left = true;
    l->completed++;
    l->next++;
    w->in_message = false;
    w->size = w->raw = 0;
}

static void wire_byte(life *l, uint8_t byte) {
    wire *w = &l->wire;
    w->raw++;
    if (!w->in_frame) {
        w->header[w->header_have++] = byte;
        size_t length = w->header_have < 2 ? 0 : w->header[1] & 127u;
        size_t whole = 6 + (length == 126 ? 2u : length == 127 ? 8u : 0);
        if (w->header_have < 2 || w->header_have < whole) return;
        wire_header(l);
    } else {
        uint8_t plain = byte ^ w->header[w->key_at++ % 4];
        const message *m = &l->messages[l->next];
        if (plain != content(m->id, w->size)) {
            FAIL("message %d: byte %zu is %02x", (int)m->id, w->size, plain);
        }
        w->size++;
        w->frame_left--;
    }
    if (w->in_frame && w->frame_left == 0) wire_frame_end(l);
}

/* What the model takes for begun: bytes of it are on the wire, or in the transport's hands. */
static bool begun(const life *l, size_t number) {
    if (number < l->next) return true;
    size_t place = 0; /* of its first byte, from the cursor on */
    for (size_t i = l->next; i < number; i++) {
        if (settled(&l->messages[i])) continue;
        place += l->messages[i].wire_size - (i == l->next ? l->wire.raw : 0);
    }
    return (number == l->next && l->wire.raw > 0) ||
           (!settled(&l->messages[number]) && place < l->offered);
}

/* ---- what can happen ------------------------------------------------------------------------- */

static mtws__random *masks(life *l) { return l->connected ? &l->random : NULL; }

static void add_frames(life *l, message *m, unsigned opcode, size_t size, bool last) {
    uint8_t data[RING_MAX];
    for (size_t i = 0; i < size; i++) data[i] = content(m->id, m->size + i);
    mtws__queue_frames(&l->q, (uint8_t)opcode, last, data, size, l->max_frame_size, masks(l));
    m->size += size;
    m->wire_size += wire_size_of(size, l->max_frame_size);
}

static void do_append(life *l) {
    size_t limit = unit_chance(&l->dice, 70) ? 30 : l->q.ring.capacity;
    size_t size = unit_below(&l->dice, limit + 1);
    size_t wire_size = mtws__queue_wire_size(size, l->max_frame_size);
    CHECK(wire_size >= wire_size_of(size, l->max_frame_size));
    if (!mtws__queue_fits(&l->q, wire_size) || l->count == MESSAGES_MAX) return;
    if (l->q.transient && !l->connected) return;
    message *m = &l->messages[l->count];
    memset(m, 0, sizeof *m);
    m->id = l->next_id;
    /* Some ids go to other queues. */
    l->next_id += unit_chance(&l->dice, 80) ? 1 : 1 + unit_below(&l->dice, 3);
    m->opcode = unit_chance(&l->dice, 50) ? MTWS_TEXT : MTWS_BINARY;
    if (l->q.transient) m->flags = MTWS_FIRST;
    else if (unit_chance(&l->dice, 15)) m->flags = MTWS_ONCE;
    else if (l->connected && unit_chance(&l->dice, 10)) m->flags = MTWS_NO_QUEUE;
    m->deadline_us = UINT64_MAX;
    if (l->expires) {
        l->last_deadline_us += unit_below(&l->dice, 100);
        if (l->last_deadline_us < l->now_us) l->last_deadline_us = l->now_us;
        m->deadline_us = l->last_deadline_us;
    }
    mtws__queue_append(&l->q, m->id, m->flags, m->deadline_us);
    l->count++;
    add_frames(l, m, m->opcode, size, true);
}

/* A message in parts: one at a time, in a transient queue, and alone in it. */
static void do_part(life *l) {
    message *m = l->count > 0 ? &l->messages[l->count - 1] : NULL;
    bool first = m == NULL || !m->open;
    size_t size = unit_below(&l->dice, 40);
    bool last = unit_chance(&l->dice, 30);
    size_t wire_size = wire_size_of(size, l->max_frame_size);
    if (!l->connected || l->count == MESSAGES_MAX || (first && l->q.next < l->q.end) ||
        !mtws__queue_fits(&l->q, wire_size))
        return;
    if (first) {
        m = &l->messages[l->count++];
        memset(m, 0, sizeof *m);
        m->id = l->next_id++;
        m->opcode = MTWS_BINARY;
        m->flags = MTWS_NO_QUEUE;
        m->deadline_us = UINT64_MAX;
        mtws__queue_append(&l->q, m->id, m->flags, m->deadline_us);
    }
    m->open = !last;
    mtws__queue_entry(&l->q, l->q.end - 1)->open = !last;
    add_frames(l, m, first ? m->opcode : 0, size, last);
}

/* The bytes that end the frame the connection is in; 0 between frames. */
static size_t rest_of_frame(const life *l) {
    const wire *w = &l->wire;
    if (w->in_frame) return (size_t)w->frame_left;
    if (w->header_have == 0) return 0;
    size_t have;
    uint64_t at = l->q.cursor - w->header_have;
    uint8_t header[14], length;
    have = sizeof header < l->q.ring.tail - at ? sizeof header : (size_t)(l->q.ring.tail - at);
    /* A transient queue has freed the front of the header: what is known of it is in the wire's
     * copy. */
    memcpy(header, w->header, w->header_have);
    mtws__ring_load(&l->q.ring, l->q.cursor, header + w->header_have, have - w->header_have);
    length = header[1] & 127;
    size_t size = length == 126 ? (size_t)header[2] << 8 | header[3] : length;
    return (length == 126 ? 8 : 6) + size - w->header_have;
}

/* One write: peek, and the transport takes some of it, all, or nothing yet. */
static void do_write(life *l) {
    if (!l->connected) return;
    bool one_frame = unit_chance(&l->dice, 25);
    uint64_t limit = unit_chance(&l->dice, 70) ? UINT64_MAX : l->q.live + unit_below(&l->dice, 5);
    bool has_output = mtws__queue_has_output(&l->q, limit);
    size_t rest = rest_of_frame(l);
    mtws__span span = mtws__queue_peek(&l->q, limit, one_frame, &l->random);
    pass_settled(l);
    CHECK(span.size >= l->offered || span.data + span.size == l->q.ring.data + l->q.ring.capacity);
    size_t held = span.size < l->offered ? span.size : l->offered;
    CHECK_MEM(span.data, l->held, held);
    CHECK_UINT(mtws__queue_boundary(&l->q) - l->q.cursor, rest);
    if (one_frame) {
        CHECK(span.size <= (rest > l->offered ? rest : l->offered));
        CHECK_INT(span.size > 0, rest > 0 || l->offered > 0);
    } else {
        CHECK_INT(span.size > 0, has_output);
        /* What may be written can be written: nothing is ever stuck. */
        bool waits = l->next < l->count && !l->messages[l->next].open;
        uint64_t number = waits ? entry_of(l, &l->messages[l->next]) : l->q.next;
        if (waits && (limit > number || begun(l, l->next))) CHECK(span.size > 0);
        if (waits && limit <= number && !begun(l, l->next)) CHECK_UINT(span.size, 0);
    }
    if (span.size == 0 || test_failing()) return;
    if (unit_chance(&l->dice, 20)) {
        mtws__queue_offer(&l->q, span.size);
        if (span.size > l->offered) {
            memcpy(l->held, span.data, span.size);
            l->offered = span.size;
        }
        return;
    }
    size_t size = unit_chance(&l->dice, 40) ? span.size : 1 + unit_below(&l->dice, span.size);
    l->offered = 0;
    l->completed = 0;
    for (size_t i = 0; i < size && !test_failing(); i++) wire_byte(l, span.data[i]);
    CHECK_UINT(mtws__queue_wrote(&l->q, size), l->completed);
    pass_settled(l);
    CHECK_INT(mtws__queue_mid_message(&l->q),
              l->next < l->count && begun(l, l->next) && !settled(&l->messages[l->next]));
}

static void do_confirm(life *l) {
    if (!l->connected) return;
    uint64_t live = l->q.live, upto = live + unit_below(&l->dice, (size_t)(l->q.next - live) + 1);
    for (size_t i = 0; i < l->count; i++) {
        message *m = &l->messages[i];
        if (m->fate == WRITTEN && entry_of(l, m) < upto) m->fate = DELIVERED;
    }
    mtws__queue_confirm(&l->q, upto);
}

static void do_confirm_id(life *l) {
    if (l->next_id == 1) return;
    uint64_t id = 1 + unit_below(&l->dice, (size_t)l->next_id);
    if (unit_chance(&l->dice, 50)) id = l->next_id;
    bool were_begun[MESSAGES_MAX];
    for (size_t i = 0; i < l->count; i++) were_begun[i] = begun(l, i);
    mtws__queue_confirm_id(&l->q, id);
    for (size_t i = 0; i < l->count; i++) {
        message *m = &l->messages[i];
        if (m->id > id || !m->left || settled(m)) continue;
        if (m->fate == WAITING && were_begun[i]) m->sure = true;
        else m->fate = DELIVERED;
    }
    pass_settled(l);
}

static void drop(message *m, mtws_result result) {
    m->fate = DROPPED;
    m->result = result;
}

/* Dropped messages have given their room back: what is left to write lies without a gap. */
static void check_no_gap(life *l) {
    size_t waiting = 0;
    for (size_t i = l->next; i < l->count; i++) {
        if (!settled(&l->messages[i])) waiting += l->messages[i].wire_size;
    }
    CHECK_UINT(l->q.ring.tail - l->q.cursor, waiting - l->wire.raw);
}

static void do_clear(life *l) {
    bool all = !l->connected && unit_chance(&l->dice, 50);
    mtws__queue_clear(&l->q, MTWS_ERR_CLEARED, all);
    for (size_t i = l->count; i-- > 0;) {
        message *m = &l->messages[i];
        if (!settled(m) && (all || (m->fate == WAITING && !begun(l, i)))) drop(m, MTWS_ERR_CLEARED);
    }
    pass_settled(l);
    check_no_gap(l);
}

static void do_expire(life *l) {
    bool dropped = false;
    l->now_us += unit_below(&l->dice, 150);
    mtws__queue_expire(&l->q, l->now_us);
    for (size_t i = l->count; i-- > 0;) {
        message *m = &l->messages[i];
        if (m->fate != WAITING || begun(l, i) || m->deadline_us > l->now_us) continue;
        drop(m, MTWS_ERR_EXPIRED);
        dropped = true;
    }
    pass_settled(l);
    if (dropped) check_no_gap(l);
    /* The timer is that of the first message which can still expire. One that rings too early costs
     * a wake-up; one that rings at once for ever costs the CPU. */
    uint64_t rings = UINT64_MAX;
    for (size_t i = l->count; i-- > 0;) {
        const message *m = &l->messages[i];
        if (m->fate == WAITING && !begun(l, i)) rings = m->deadline_us;
    }
    CHECK_UINT(mtws__queue_expiry_us(&l->q), rings);
    CHECK(rings > l->now_us);
}

/* Room for another message: the oldest that never left are dropped, as few as that takes. */
static void do_evict(life *l) {
    if (l->q.transient) return;
    size_t size = unit_below(&l->dice, l->q.ring.capacity);
    size_t wire_size = mtws__queue_wire_size(size, l->max_frame_size), victims = 0, freed = 0,
           last = 0;
    size_t had = mtws__ring_free(&l->q.ring), holes = l->q.holes;
    bool slot = l->q.end - l->q.first < l->q.capacity;
    if (wire_size > l->q.ring.capacity || mtws__queue_fits(&l->q, wire_size)) return;
    bool were_begun[MESSAGES_MAX];
    for (size_t i = 0; i < l->count; i++) were_begun[i] = begun(l, i);
    bool made = mtws__queue_evict(&l->q, wire_size, MTWS_ERR_QUEUE_FULL);
    bool spared = false;
    size_t could = had;
    for (size_t i = 0; i < l->count; i++) {
        message *m = &l->messages[i];
        if (m->fate != WAITING || m->left || were_begun[i]) continue;
        could += m->wire_size;
        uint64_t number = entry_of(l, m);
        bool gone =
            number == UINT64_MAX || mtws__queue_entry(&l->q, number)->fate >= MTWS__DELIVERED;
        if (gone) {
            CHECK(!spared); /* the oldest */
            drop(m, MTWS_ERR_QUEUE_FULL);
            last = m->wire_size;
            freed += last;
            victims++;
        }
        spared = spared || !gone;
    }
    pass_settled(l);
    CHECK_INT(mtws__queue_fits(&l->q, wire_size), made);
    if (!made) CHECK_UINT(victims, 0);
    if (made) check_no_gap(l);
    if (slot && could >= wire_size) CHECK(made); /* it never gives up too early */
    /* As few, where it is bytes that are needed; a slot may take a second one, to be joined
     * with. */
    if (made && slot && holes == 0 && victims > 0) CHECK(had + freed - last < wire_size);
}

/* Every key that was written is another, and none is 0. */
static int by_value(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

static void check_keys(life *l) {
    qsort(l->keys, l->key_count, sizeof l->keys[0], by_value);
    for (size_t i = 0; i < l->key_count; i++) {
        CHECK(l->keys[i] != 0);
        if (i > 0) CHECK(l->keys[i] != l->keys[i - 1]);
    }
}

static void do_open(life *l) {
    if (l->connected) return;
    mtws__queue_begin(&l->q);
    memset(&l->wire, 0, sizeof l->wire);
    l->connected = true;
}

/* The connection dies. */
static void do_reset(life *l) {
    if (!l->connected) return;
    mtws__queue_reset(&l->q, MTWS_ERR_RESET);
    l->connected = false;
    l->offered = 0;
    memset(&l->wire, 0, sizeof l->wire);
    for (size_t i = 0; i < l->count; i++) {
        message *m = &l->messages[i];
        m->open = false;
        if (settled(m)) continue;
        bool bound = l->q.transient || (m->flags & (MTWS_NO_QUEUE | MTWS_FIRST)) != 0;
        bool once = (m->flags & MTWS_ONCE) != 0 && m->fate == WRITTEN;
        if (bound || once) drop(m, MTWS_ERR_RESET);
        else m->fate = m->sure ? DELIVERED : WAITING;
    }
    l->next = 0;
    pass_settled(l);
}

static void do_compact(life *l) {
    if (!l->q.transient) mtws__queue_compact(&l->q);
}

/* One event: all messages of its range have met the same fate, and no earlier event told of it. */
static bool do_report(life *l) {
    mtws__range range;
    bool due = false;
    for (size_t i = 0; i < l->count; i++) {
        due = due || (settled(&l->messages[i]) && !l->messages[i].reported);
    }
    bool got = mtws__queue_report(&l->q, &range);
    CHECK_INT(got, due);
    if (!got) return false;
    size_t found = 0;
    CHECK(range.first_id <= range.id);
    for (size_t i = 0; i < l->count; i++) {
        message *m = &l->messages[i];
        if (m->id < range.first_id || m->id > range.id) continue;
        found++;
        CHECK(!m->reported);
        CHECK_INT(m->fate, range.result == MTWS_OK ? DELIVERED : DROPPED);
        CHECK_INT(m->fate == DROPPED ? m->result : MTWS_OK, range.result);
        if (m->fate == DROPPED) CHECK_INT(m->left, range.left);
        m->reported = true;
    }
    CHECK_UINT(found, range.id - range.first_id + 1); /* no id of another queue */
    return true;
}

/* What can be counted agrees at each moment. */
static void check_counts(life *l) {
    size_t open = 0, written = 0;
    for (size_t i = 0; i < l->count; i++) {
        const message *m = &l->messages[i];
        written += m->fate == WRITTEN;
        if (settled(m)) continue;
        open++;
        uint64_t number = entry_of(l, m);
        if (!CHECK(number != UINT64_MAX)) return;
        CHECK_UINT(mtws__queue_entry(&l->q, number)->first_id, m->id);
        CHECK_UINT(mtws__queue_entry(&l->q, number)->id, m->id);
    }
    CHECK_UINT(mtws__queue_unsettled(&l->q), open);
    CHECK_UINT(mtws__queue_unconfirmed(&l->q), written);
    CHECK(mtws__ring_used(&l->q.ring) <= l->q.ring.capacity);
    CHECK(l->q.end - l->q.first <= l->q.capacity);
    CHECK(l->q.first <= l->q.live && l->q.live <= l->q.next && l->q.next <= l->q.end);
}

/* In the end everything leaves, is confirmed and reported, and all room is back. */
static void finish(life *l) {
    do_open(l);
    if (l->count > 0 && l->messages[l->count - 1].open) {
        do_reset(l);
        do_open(l);
    }
    for (int i = 0; i < 100000 && !test_failing(); i++) {
        pass_settled(l);
        if (l->next == l->count) break;
        do_write(l);
    }
    CHECK_UINT(l->next, l->count);
    mtws__queue_confirm(&l->q, l->q.next);
    for (size_t i = 0; i < l->count; i++) {
        if (l->messages[i].fate == WRITTEN) l->messages[i].fate = DELIVERED;
    }
    while (!test_failing() && do_report(l)) {
    }
    for (size_t i = 0; i < l->count; i++) CHECK(l->messages[i].reported);
    CHECK(mtws__queue_fits(&l->q, l->q.ring.capacity));
    CHECK_UINT(l->q.first, l->q.end);
    CHECK_UINT(l->q.holes, 0);
    CHECK_UINT(l->q.unreported, 0);
    CHECK_UINT(mtws__queue_unsettled(&l->q), 0);
    check_keys(l);
}

static void start(life *l, uint64_t seed, bool transient) {
    memset(l, 0, sizeof *l);
    l->dice = seed;
    l->next_id = 1;
    uint8_t key[32];
    unit_fill(&l->dice, key, sizeof key);
    mtws__random_seed(&l->random, key);
    static const size_t frames[] = {1, 7, 20, 125, 126, 200, MTWS_WHOLE_MESSAGES};
    l->max_frame_size = frames[unit_below(&l->dice, UNIT_COUNT(frames))];
    l->expires = !transient && unit_chance(&l->dice, 60);
    size_t size = unit_chance(&l->dice, 80) ? 20 + unit_below(&l->dice, 150)
                                            : 20 + unit_below(&l->dice, RING_MAX - 20);
    /* The ring lies in its room's end, so that a sanitizer sees a byte too far. */
    mtws__queue_open(&l->q, l->bytes + RING_MAX - size, size, l->entries,
                     2 + unit_below(&l->dice, UNIT_COUNT(l->entries) - 1), transient);
}

typedef void step(life *l);

static void live(uint64_t seed, bool transient, bool parts, int steps) {
    static life l;
    start(&l, seed, transient);
    /* How often each thing happens is drawn for each life: some are all writing, some all dying. */
    static step *const all[] = {do_append, do_write, do_confirm, do_confirm_id, do_clear,
                                do_expire, do_evict, do_reset,   do_open,       do_compact};
    static const unsigned polls[] = {2, 10, 30};
    unsigned weights[UNIT_COUNT(all)], sum = 0, polled = polls[unit_below(&l.dice, 3)];
    for (size_t i = 0; i < UNIT_COUNT(all); i++) {
        weights[i] = 1 + (unsigned)unit_below(&l.dice, i < 3 ? 40 : 8);
        if (i > 2 && unit_chance(&l.dice, 30)) weights[i] = i == 8 ? 1 : 0;
        if (parts && all[i] == do_clear) weights[i] = 0; /* parts are left alone */
        sum += weights[i];
    }
    for (int i = 0; i < steps && !test_failing(); i++) {
        size_t dice = unit_below(&l.dice, sum), which = 0;
        while (dice >= weights[which]) dice -= weights[which++];
        test_context("seed %d, step %d, action %zu", (int)seed, i, which);
        if (which == 0 && parts) do_part(&l);
        else all[which](&l);
        if (unit_chance(&l.dice, polled)) do_report(&l);
        check_counts(&l);
    }
    test_context("seed %d, in the end", (int)seed);
    if (!test_failing()) finish(&l);
}

static void random_lives(void) {
    for (uint64_t seed = 1; seed <= 15000 && !test_failing(); seed++) {
        if (test_sampled()) live(seed, false, false, 150);
    }
    for (uint64_t seed = 1; seed <= 100 && !test_failing(); seed++) {
        if (test_sampled()) live(seed << 20, false, false, 2500);
    }
}

static void random_lives_that_keep_nothing(void) {
    for (uint64_t seed = 1; seed <= 3000 && !test_failing(); seed++) {
        if (test_sampled()) live(seed, true, false, 150);
    }
}

static void random_lives_in_parts(void) {
    for (uint64_t seed = 1; seed <= 3000 && !test_failing(); seed++) {
        if (test_sampled()) live(seed, true, true, 150);
    }
}

/* ---- single things --------------------------------------------------------------------------- */

static void wire_sizes(void) {
    static const struct {
        size_t size, max_frame_size, wire_size;
    } rows[] = {
        {0, 65536, 6},
        {1, 65536, 7},
        {125, 65536, 131},
        {126, 65536, 134},
        {65535, 65536, 65543},
        {65536, 65536, 65550},
        {65537, 65536, 65537 + 28},
        {200000, 65536, 200000 + 56},
        {10, 1, 70},
        {10, 3, 10 + 24},
        {12, 3, 12 + 24},
        {0, MTWS_WHOLE_MESSAGES, 6},
        {1000000, MTWS_WHOLE_MESSAGES, 1000014},
        {SIZE_MAX, MTWS_WHOLE_MESSAGES, SIZE_MAX},
        {SIZE_MAX - 14, MTWS_WHOLE_MESSAGES, SIZE_MAX},
        {SIZE_MAX - 13, MTWS_WHOLE_MESSAGES, SIZE_MAX},
        {SIZE_MAX, 1, SIZE_MAX},
        {SIZE_MAX / 7, 1, SIZE_MAX / 7 * 7},
        {SIZE_MAX / 7 + 1, 1, SIZE_MAX},
        {SIZE_MAX / 2, 2, SIZE_MAX},
    };
    for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
        test_context("%zu in frames of %zu", rows[i].size, rows[i].max_frame_size);
        CHECK_UINT(mtws__queue_wire_size(rows[i].size, rows[i].max_frame_size), rows[i].wire_size);
    }
    /* The last of several frames may have a shorter header than is reckoned, never a longer one. */
    for (size_t size = 0; size < 300000; size += 1 + size / 50) {
        for (size_t frame = 1; frame < 70000; frame += 1 + frame / 3) {
            if (!test_sampled()) continue;
            size_t got = mtws__queue_wire_size(size, frame), exact = wire_size_of(size, frame);
            test_context("%zu in frames of %zu", size, frame);
            CHECK(got >= exact && got <= exact + 8);
            if (size <= frame) CHECK_UINT(got, exact);
        }
    }
}

static mtws__random seeded(unsigned with) {
    mtws__random r;
    uint8_t seed[32] = {(uint8_t)with};
    mtws__random_seed(&r, seed);
    return r;
}

/* Writes all that there is to write; returns its size. */
static size_t drain(mtws__queue *q, mtws__random *r, uint8_t *out, size_t room, size_t *pieces) {
    size_t total = 0;
    *pieces = 0;
    for (;;) {
        mtws__span span = mtws__queue_peek(q, UINT64_MAX, false, r);
        if (span.size == 0 || span.size > room - total) return total;
        memcpy(out + total, span.data, span.size);
        total += span.size;
        ++*pieces;
        mtws__queue_wrote(q, span.size);
    }
}

/* Messages from before a connection are masked as they are written, not all at its beginning; the
 * frames of each connection have keys of their own, and what they carry is the same. */
static void masked_anew(void) { /* FAULTS row 15 */
    enum { FRAME = 1000, FRAMES = 300, WIRE = FRAMES * (FRAME + 8) };
    static uint8_t bytes[400000], payload[FRAME * FRAMES], first[WIRE], second[WIRE], third[WIRE];
    mtws__entry entries[4];
    mtws__queue q;
    mtws__random r = seeded(1);
    uint64_t seed = 11;
    size_t pieces;
    unit_fill(&seed, payload, sizeof payload);
    mtws__queue_open(&q, bytes, sizeof bytes, entries, 4, false);
    mtws__queue_append(&q, 1, 0, UINT64_MAX);
    mtws__queue_frames(&q, MTWS_BINARY, true, payload, sizeof payload, FRAME, NULL);
    uint8_t *const out[3] = {first, second, third};
    for (int connection = 0; connection < 3; connection++) {
        mtws__queue_begin(&q);
        mtws__span span = mtws__queue_peek(&q, UINT64_MAX, false, &r);
        CHECK(span.size >= MTWS__MASK_AHEAD && span.size <= MTWS__MASK_AHEAD + FRAME + 8);
        CHECK_UINT(drain(&q, &r, out[connection], WIRE, &pieces), WIRE);
        CHECK(pieces >= WIRE / (MTWS__MASK_AHEAD + FRAME + 8));
        mtws__queue_reset(&q, MTWS_ERR_RESET);
    }
    CHECK_UINT(q.resent, 2);
    for (size_t i = 0; i < FRAMES; i++) {
        size_t at = i * (FRAME + 8);
        test_context("frame %zu", i);
        CHECK(memcmp(first + at + 4, second + at + 4, 4) != 0);
        CHECK(memcmp(second + at + 4, third + at + 4, 4) != 0);
        CHECK(memcmp(first + at + 4, third + at + 4, 4) != 0);
        for (int connection = 0; connection < 3; connection++) {
            const uint8_t *frame = out[connection] + at;
            CHECK_UINT(frame[0], (i == 0 ? 0x02u : 0) | (i == FRAMES - 1 ? 0x80u : 0));
            bool same = true;
            for (size_t k = 0; k < FRAME; k++) {
                same = same && (frame[8 + k] ^ frame[4 + k % 4]) == payload[i * FRAME + k];
            }
            CHECK(same);
        }
    }
}

/* An expired message and then a full index: the one event that waits does not cost another
 * message. */
static void evict_says_what_it_does(void) {
    uint8_t bytes[1000];
    mtws__entry entries[4];
    mtws__queue q;
    mtws__range range;
    mtws__queue_open(&q, bytes, sizeof bytes, entries, 4, false);
    for (uint64_t id = 1; id <= 4; id++) {
        mtws__queue_append(&q, id, 0, id == 1 ? 10 : UINT64_MAX);
        mtws__queue_frames(&q, MTWS_TEXT, true, (const uint8_t *)"ab", 2, 100, NULL);
    }
    mtws__queue_expire(&q, 20);
    mtws__queue_append(&q, 5, 0, UINT64_MAX);
    mtws__queue_frames(&q, MTWS_TEXT, true, (const uint8_t *)"ab", 2, 100, NULL);
    bool made = mtws__queue_evict(&q, 8, MTWS_ERR_QUEUE_FULL);
    CHECK_INT(mtws__queue_fits(&q, 8), made);
    size_t dropped = 0;
    while (mtws__queue_report(&q, &range)) {
        if (range.result == MTWS_ERR_QUEUE_FULL) dropped += (size_t)(range.id - range.first_id + 1);
    }
    CHECK_UINT(dropped, made ? 2 : 0); /* two entries joined give back one slot */
}

/* What a queue that keeps nothing has is gone with the connection, whatever its flags say. */
static void kept_by_nothing(void) {
    uint8_t bytes[64];
    mtws__entry entries[4];
    mtws__queue q;
    mtws__range range;
    mtws__random r = seeded(4);
    mtws__queue_open(&q, bytes, sizeof bytes, entries, 4, true);
    mtws__queue_begin(&q);
    mtws__queue_append(&q, 1, 0, UINT64_MAX);
    mtws__queue_frames(&q, MTWS_TEXT, true, (const uint8_t *)"ab", 2, 100, &r);
    mtws__queue_reset(&q, MTWS_ERR_RESET);
    CHECK(mtws__queue_report(&q, &range));
    CHECK_INT(range.result, MTWS_ERR_RESET);
    CHECK(!mtws__queue_has_output(&q, UINT64_MAX));
    CHECK_UINT(mtws__ring_free(&q.ring), sizeof bytes);
}

/* A message that was half written when its connection died waits again, and expires like any
 * other. */
static void half_written_expires(void) {
    uint8_t bytes[100];
    mtws__entry entries[4];
    mtws__queue q;
    mtws__range range;
    mtws__random r = seeded(2);
    mtws__queue_open(&q, bytes, sizeof bytes, entries, 4, false);
    mtws__queue_begin(&q);
    mtws__queue_append(&q, 1, 0, 100);
    mtws__queue_frames(&q, MTWS_TEXT, true, (const uint8_t *)"abcd", 4, 100, &r);
    CHECK(mtws__queue_peek(&q, UINT64_MAX, false, &r).size == 10);
    mtws__queue_wrote(&q, 3);
    mtws__queue_expire(&q, 50);
    mtws__queue_expire(&q, 200);
    CHECK(!mtws__queue_report(&q, &range)); /* a frame that has begun must end */
    mtws__queue_reset(&q, MTWS_ERR_RESET);
    mtws__queue_expire(&q, 201);
    if (CHECK(mtws__queue_report(&q, &range))) CHECK_INT(range.result, MTWS_ERR_EXPIRED);
}

/* The timer of expiries does not ring for what can't expire: what is on the wire, or settled. */
static void expiry_time(void) {
    uint8_t bytes[100];
    mtws__entry entries[4];
    mtws__queue q;
    mtws__random r = seeded(3);
    mtws__queue_open(&q, bytes, sizeof bytes, entries, 4, false);
    CHECK_UINT(mtws__queue_expiry_us(&q), UINT64_MAX);
    for (uint64_t id = 1; id <= 3; id++) {
        mtws__queue_append(&q, id, 0, 100 * id);
        mtws__queue_frames(&q, MTWS_TEXT, true, (const uint8_t *)"ab", 2, 100, NULL);
    }
    CHECK_UINT(mtws__queue_expiry_us(&q), 100);
    mtws__queue_expire(&q, 100);
    CHECK_UINT(mtws__queue_expiry_us(&q), 200);
    mtws__queue_begin(&q);
    CHECK(mtws__queue_peek(&q, UINT64_MAX, false, &r).size == 16);
    mtws__queue_wrote(&q, 8);
    CHECK_UINT(mtws__queue_expiry_us(&q), 300);
    mtws__queue_reset(&q, MTWS_ERR_RESET);
    CHECK_UINT(mtws__queue_expiry_us(&q), 200); /* the connection is gone: it waits again */
    mtws__queue_expire(&q, 200);
    CHECK_UINT(mtws__queue_expiry_us(&q), 300);
    mtws__queue_expire(&q, 300);
    CHECK_UINT(mtws__queue_expiry_us(&q), UINT64_MAX);
}

/* Adjacent fates become one range; another reason, another `left` or a missing id parts them. */
static void ranges(void) {
    static const struct {
        uint64_t id;
        mtws_result result;
        bool left;
    } rows[] = {
        {1, MTWS_ERR_RESET, true},    {2, MTWS_ERR_RESET, true},    {3, MTWS_ERR_RESET, false},
        {4, MTWS_ERR_CLEARED, false}, {5, MTWS_ERR_CLEARED, false}, {7, MTWS_ERR_CLEARED, false},
        {8, MTWS_OK, true},           {9, MTWS_OK, false},          {10, MTWS_ERR_RESET, false},
    };
    static const struct {
        uint64_t first_id, id;
        mtws_result result;
        bool left;
    } expected[] = {
        {1, 2, MTWS_ERR_RESET, true},    {3, 3, MTWS_ERR_RESET, false},
        {4, 5, MTWS_ERR_CLEARED, false}, {7, 7, MTWS_ERR_CLEARED, false},
        {8, 9, MTWS_OK, true},           {10, 10, MTWS_ERR_RESET, false},
    };
    uint8_t bytes[200];
    mtws__entry entries[12];
    mtws__queue q;
    mtws__range range;
    mtws__queue_open(&q, bytes, sizeof bytes, entries, 12, false);
    for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
        mtws__entry *e = mtws__queue_append(&q, rows[i].id, 0, UINT64_MAX);
        mtws__queue_frames(&q, MTWS_TEXT, true, (const uint8_t *)"a", 1, 100, NULL);
        e->left = rows[i].left;
    }
    for (size_t i = UNIT_COUNT(rows); i-- > 0;) {
        mtws__entry *e = mtws__queue_entry(&q, i);
        if (rows[i].result != MTWS_OK) {
            mtws__queue_drop(&q, i, rows[i].result);
        } else {
            e->fate = MTWS__DELIVERED;
            q.unreported++;
            q.holes++;
        }
    }
    mtws__queue_settle(&q);
    for (size_t i = 0; i < UNIT_COUNT(expected); i++) {
        test_context("range %zu", i);
        if (!CHECK(mtws__queue_report(&q, &range))) return;
        CHECK_UINT(range.first_id, expected[i].first_id);
        CHECK_UINT(range.id, expected[i].id);
        CHECK_INT(range.result, expected[i].result);
        if (range.result != MTWS_OK) CHECK_INT(range.left, expected[i].left);
    }
    CHECK(!mtws__queue_report(&q, &range));
    CHECK(mtws__queue_fits(&q, 200));
}

/* A program that sends and never polls: what is dropped for what comes does not fill the index. */
static void evicted_for_ever(void) {
    uint8_t bytes[64];
    mtws__entry entries[4];
    mtws__queue q;
    mtws__range range;
    mtws__queue_open(&q, bytes, sizeof bytes, entries, 4, false);
    for (uint64_t id = 1; id <= 10000; id++) {
        test_context("message %d", (int)id);
        if (!mtws__queue_fits(&q, 8)) CHECK(mtws__queue_evict(&q, 8, MTWS_ERR_QUEUE_FULL));
        if (test_failing()) return;
        mtws__queue_append(&q, id, 0, UINT64_MAX);
        mtws__queue_frames(&q, MTWS_TEXT, true, (const uint8_t *)"ab", 2, 100, NULL);
    }
    CHECK(mtws__queue_report(&q, &range));
    CHECK_UINT(range.first_id, 1);
    CHECK_UINT(range.id, 9996);
    CHECK(!mtws__queue_report(&q, &range));
    CHECK_UINT(mtws__queue_unsettled(&q), 4);
}

/* Where nothing lies before it, the oldest leaves and nothing else moves: a send costs no more. */
static void evicted_where_they_lie(void) {
    uint8_t bytes[64];
    mtws__entry entries[20];
    mtws__queue q;
    mtws__queue_open(&q, bytes, sizeof bytes, entries, 20, false);
    for (uint64_t id = 1; id <= 100; id++) {
        uint64_t place = q.ring.tail;
        test_context("message %d", (int)id);
        if (!mtws__queue_fits(&q, 8)) CHECK(mtws__queue_evict(&q, 8, MTWS_ERR_QUEUE_FULL));
        mtws__queue_append(&q, id, 0, UINT64_MAX);
        mtws__queue_frames(&q, MTWS_TEXT, true, (const uint8_t *)"ab", 2, 100, NULL);
        CHECK_UINT(mtws__queue_entry(&q, q.end - 1)->start, place);
    }
    CHECK_UINT(mtws__queue_unsettled(&q), 8);
}

/* The same behind a message that left and is not confirmed, which keeps the head of the index. */
static void evicted_behind_an_unconfirmed_one(void) {
    uint8_t bytes[64];
    mtws__entry entries[4];
    mtws__queue q;
    mtws__range range;
    mtws__random r = seeded(4);
    mtws__queue_open(&q, bytes, sizeof bytes, entries, 4, false);
    mtws__queue_begin(&q);
    for (uint64_t id = 1; id <= 10000; id++) {
        test_context("message %d", (int)id);
        if (!mtws__queue_fits(&q, 8)) CHECK(mtws__queue_evict(&q, 8, MTWS_ERR_QUEUE_FULL));
        if (test_failing()) return;
        mtws__queue_append(&q, id, 0, UINT64_MAX);
        mtws__queue_frames(&q, MTWS_TEXT, true, (const uint8_t *)"ab", 2, 100, &r);
        if (id > 1) continue;
        CHECK(mtws__queue_peek(&q, UINT64_MAX, false, &r).size == 8);
        CHECK_UINT(mtws__queue_wrote(&q, 8), 1);
    }
    CHECK(mtws__queue_report(&q, &range));
    CHECK_UINT(range.first_id, 2);
    CHECK_INT(range.result, MTWS_ERR_QUEUE_FULL);
    CHECK(range.id >= 9997);
    CHECK(!mtws__queue_report(&q, &range));
    CHECK_UINT(mtws__queue_unconfirmed(&q), 1);
}

/* The caller's mark stays where it is among the messages, when two before it become one entry. */
static void evicted_before_a_mark(void) {
    uint8_t bytes[64];
    mtws__entry entries[4];
    mtws__queue q;
    mtws__random r = seeded(4);
    mtws__queue_open(&q, bytes, sizeof bytes, entries, 4, false);
    mtws__queue_begin(&q);
    for (uint64_t id = 1; id <= 4; id++) {
        mtws__queue_append(&q, id, 0, UINT64_MAX);
        mtws__queue_frames(&q, MTWS_TEXT, true, (const uint8_t *)"ab", 2, 100, &r);
        if (id > 1) continue;
        CHECK(mtws__queue_peek(&q, UINT64_MAX, false, &r).size == 8);
        CHECK_UINT(mtws__queue_wrote(&q, 8), 1);
    }
    q.barrier = q.end; /* behind 4, before 5 */
    for (uint64_t id = 5; id <= 7; id++) {
        test_context("message %d", (int)id);
        CHECK(!mtws__queue_fits(&q, 8));
        CHECK(mtws__queue_evict(&q, 8, MTWS_ERR_QUEUE_FULL));
        mtws__queue_append(&q, id, 0, UINT64_MAX);
        mtws__queue_frames(&q, MTWS_TEXT, true, (const uint8_t *)"ab", 2, 100, &r);
        CHECK(q.barrier > q.first && q.barrier <= q.end);
        CHECK(mtws__queue_entry(&q, q.barrier - 1)->id >= 4);
        CHECK(mtws__queue_entry(&q, q.barrier - 1)->first_id <= 4);
        if (q.barrier < q.end) CHECK(mtws__queue_entry(&q, q.barrier)->id >= 5);
    }
}

int main(int argc, char **argv) {
    static const test_entry tests[] = {
        TEST(wire_sizes),
        TEST(ranges),
        TEST(evicted_for_ever),
        TEST(evicted_where_they_lie),
        TEST(evicted_behind_an_unconfirmed_one),
        TEST(evicted_before_a_mark),
        TEST(kept_by_nothing),
        TEST(evict_says_what_it_does),
        TEST(half_written_expires),
        TEST(expiry_time),
        TEST(masked_anew),
        TEST(random_lives),
        TEST(random_lives_that_keep_nothing),
        TEST(random_lives_in_parts),
    };
    return TEST_MAIN(tests, argc, argv);
}
