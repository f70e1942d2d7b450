/* Any call at any time: between two polls, and while an event is handled, the program calls whatever
 * the api has, by a seed, with options and a server by that seed too. Checked are the promises that
 * hold whatever comes: what becomes of each message, what it and the server's look like on the other
 * side, the statistics, and that mtws_get_wait announces all that there is to do.
 *
 *     build/session/calls                  the first 400
 *     SEED=1234 build/session/calls        one
 */
#define MTWS_IMPLEMENTATION
#include "../../mtws.h"

#include "../test.h"
#include "peer.h"

#define SEEDS 400
#define IDS 4000 /* messages of one seed, at most */
#define PARTS 8  /* a flag of ours beside those of mtws_send */
#define PLANS 12 /* connections of different kinds */
#define SIZE_MOST 3000

static struct {
    peer p;
    uint64_t state;
    bool trouble; /* plans in which the server does not get what the transport took */
    bool ending;
    /* ours, by id */
    unsigned char flags[IDS], arrived[IDS], fate[IDS];
    uint64_t sent_us[IDS];
    uint64_t confirmed;
    uint64_t part; /* the message that parts are added to, and how much of it there is */
    size_t part_size;
    struct {
        bool waits, part;
        size_t size;
        unsigned flags;
    } refused;
    /* the server's */
    int connection; /* of the last message that arrived ... */
    uint64_t last;  /* ... and its id */
    bool released;
    bool paused, within;
    size_t have; /* of the message in parts */
    uint64_t up, down, arrivals, dropped, failures, received;
} w;

static uint64_t draw(void) {
    w.state ^= w.state << 13;
    w.state ^= w.state >> 7;
    w.state ^= w.state << 17;
    return (w.state * 0x2545f4914f6cdd1du) >> 11;
}

static unsigned below(unsigned n) { return (unsigned)(draw() % n); }
static bool one_in(unsigned n) { return below(n) == 0; }

/* ---- what the server gets ------------------------------------------------------------------- */

/* A message says which it is, and the rest follows from the place. */
static size_t make_message(char *out, uint64_t id, size_t size) {
    size_t used = (size_t)sprintf(out, "id%llu;", (unsigned long long)id);
    for (size_t i = used; i < size; i++) out[i] = (char)('a' + i % 26);
    return size > used ? size : used;
}

static void arrives(peer *p, const peer_message *m) {
    const char *data = (const char *)p->messages_data.data + m->at;
    char whole[SIZE_MOST + 20];
    unsigned long long id = 0;
    if (m->size > 0 && data[0] == '{') return; /* a heartbeat */
    memcpy(whole, data, m->size < 20 ? m->size : 20);
    whole[m->size < 20 ? m->size : 20] = '\0';
    if (!CHECK_TEXT(sscanf(whole, "id%llu;", &id) == 1 && id <= p->last_id, "%s", whole)) return;
    unsigned flags = w.flags[id];
    if ((flags & PARTS) == 0) {
        CHECK_UINT(make_message(whole, id, m->size), m->size);
        CHECK_TEXT(memcmp(whole, data, m->size) == 0, "message %llu is not what was sent", id);
    }
    CHECK_TEXT(w.fate[id] == 0 || (w.fate[id] == 1 && p->options.confirm == MTWS_CONFIRM_NONE),
               "message %llu arrives behind its event", id);
    w.arrivals++;
    w.arrived[id]++;
    if ((flags & (MTWS_ONCE | MTWS_NO_QUEUE | MTWS_FIRST | PARTS)) != 0) {
        CHECK_TEXT(w.arrived[id] == 1, "message %llu arrives twice", id);
    }
    if ((flags & MTWS_FIRST) != 0) return;
    CHECK_TEXT(w.released || !p->options.hold_queue, "message %llu is held", id);
    CHECK_TEXT(m->connection != w.connection || id > w.last, "message %llu behind %llu", id,
               (unsigned long long)w.last);
    w.connection = m->connection;
    w.last = id;
}

static ptrdiff_t count_read(void *context, void *out, size_t size) {
    ptrdiff_t got = peer_read(context, out, size);
    if (got > 0) w.down += (uint64_t)got;
    return got;
}

static ptrdiff_t count_write(void *context, const void *data, size_t size) {
    ptrdiff_t put = peer_write(context, data, size);
    if (put > 0) w.up += (uint64_t)put;
    return put;
}

/* ---- what the program calls ----------------------------------------------------------------- */

static void send_one(size_t size, unsigned flags) {
    static char data[SIZE_MOST + 20];
    if (w.p.last_id + 2 >= IDS) return;
    size = make_message(data, w.p.last_id + 1, size);
    mtws_kind kind = one_in(2) ? MTWS_TEXT : MTWS_BINARY;
    mtws_result result = peer_queue(&w.p, kind, data, size, flags);
    if (result == MTWS_ERR_QUEUE_FULL) {
        w.refused.waits = true;
        w.refused.part = false;
        w.refused.size = size;
        w.refused.flags = flags;
    }
    if (result != MTWS_OK) return;
    if (w.p.options.at_most_once) flags |= MTWS_ONCE;
    w.flags[w.p.last_id] = (unsigned char)flags;
    w.sent_us[w.p.last_id] = w.p.now_us;
}

static void send_part(void) {
    static char data[SIZE_MOST];
    bool first = w.part == 0 ? !one_in(20) : one_in(20), last = one_in(3);
    size_t size = below(300);
    uint64_t id = 0;
    if (w.p.last_id + 2 >= IDS) return;
    for (size_t i = 0; i < size; i++) data[i] = (char)('a' + (w.part_size + i) % 26);
    if (first) size = make_message(data, w.p.last_id + 1, size);
    mtws_result result = mtws_send_part(w.p.ws, MTWS_TEXT, data, size, first, last, &id);
    if (result == MTWS_ERR_QUEUE_FULL) w.refused.waits = w.refused.part = true;
    if (result == MTWS_ERR_RESET) w.part = 0;
    if (result != MTWS_OK) return;
    if (first) {
        w.part = ++w.p.last_id;
        w.part_size = 0;
        w.flags[w.part] = PARTS;
    }
    CHECK_UINT(id, w.part);
    w.part_size += size;
    if (last) w.part = 0;
}

static void check_stats(bool settled) {
    mtws_stats s;
    uint64_t again = 0;
    mtws_get_stats(w.p.ws, &s);
    CHECK_UINT(s.failures, w.failures);
    CHECK_UINT(s.dropped, w.dropped);
    CHECK_UINT(s.messages_received, w.received);
    CHECK_UINT(s.bytes_sent, w.up);
    CHECK_UINT(s.bytes_received, w.down);
    CHECK(s.unconfirmed_messages <= s.queued_messages);
    if (settled) CHECK_UINT(s.queued_messages, w.p.last_id - w.p.settled);
    if (w.trouble) return;
    for (uint64_t id = 1; id <= w.p.last_id; id++)
        again += w.arrived[id] > 1 ? w.arrived[id] - 1u : 0;
    CHECK_UINT(s.messages_sent, w.arrivals);
    CHECK_UINT(s.resent, again);
}

static void confirm(void) {
    uint64_t id = one_in(2) ? w.p.last_id : below((unsigned)w.p.last_id + 2);
    if (mtws_confirm(w.p.ws, id) == MTWS_OK && id > w.confirmed) w.confirmed = id;
}

static void call(void) {
    static const unsigned flags[] = {0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7};
    mtws_client *ws = w.p.ws;
    mtws_wait wait;
    switch (below(22)) {
    case 0: mtws_get_wait(ws, &wait); break;
    case 1:
        if (one_in(4)) mtws_disconnect(ws, one_in(3) ? 3000 : 1000, one_in(2) ? NULL : "bye");
        break;
    case 2: mtws_retry_now(ws); break;
    case 3: mtws_set_url(ws, one_in(2) ? "ws://u:p@other.example/?t=abcdef" : w.p.url, NULL); break;
    case 4: mtws_set_header(ws, one_in(2) ? "X-A" : "X-B", one_in(3) ? NULL : "value"); break;
    case 5: mtws_set_paused(ws, w.paused = one_in(2)); break;
    case 6:
        if (one_in(3)) mtws_clear_queue(ws);
        break;
    case 7:
    case 8:
        if (mtws_release_queue(ws) == MTWS_OK) w.released = true;
        break;
    case 9:
    case 10: confirm(); break;
    case 11: mtws_set_network(ws, !one_in(4)); break;
    case 12:
    case 13: mtws_connect(ws, w.p.url, NULL); break;
    case 14: check_stats(false); break;
    case 15:
    case 16: send_part(); break;
    default: send_one(one_in(10) ? below(SIZE_MOST) : below(60), flags[below(11)]); break;
    }
}

/* ---- what the program hears ------------------------------------------------------------------ */

static void hears_message(const mtws_event *e) {
    const uint8_t *data = e->data;
    size_t size = e->size;
    bool first = e->first, last = e->last, right = true;
    CHECK(!w.paused);
    CHECK_INT(first, !w.within);
    if (!w.p.options.stream_messages) CHECK(first && last);
    if (first) w.have = 0;
    for (size_t i = 0; i < size; i++) right &= data[i] == 'A' + (w.have + i) % 26;
    CHECK(right);
    w.have += size;
    w.within = !last;
    w.received += last;
    uint64_t hash = wire_hash(data, size);
    for (unsigned i = below(3); i > 0; i--) call();
    CHECK_TEXT(wire_hash(data, size) == hash, "a call has changed a message that is handed over");
}

static void hears_fate(const mtws_event *e) {
    mtws_confirm_by by = w.p.options.confirm;
    bool delivered = e->type == MTWS_EVENT_DELIVERED;
    for (uint64_t id = e->first_id; id <= e->id && id < IDS; id++) {
        uint64_t ttl_us = (uint64_t)w.p.options.queue_ttl_ms * 1000;
        test_context("message %llu", (unsigned long long)id);
        w.fate[id] = delivered ? 1 : 2;
        w.dropped += !delivered;
        if (delivered && by == MTWS_CONFIRM_PONG) CHECK(w.arrived[id] > 0);
        if (delivered && by == MTWS_CONFIRM_PROGRAM) CHECK(id <= w.confirmed);
        if (!delivered && !e->written) CHECK_UINT(w.arrived[id], 0);
        if (e->result == MTWS_ERR_EXPIRED) CHECK(w.p.now_us >= w.sent_us[id] + ttl_us);
        if (e->result == MTWS_ERR_QUEUE_FULL) CHECK(w.p.options.drop_oldest && !e->written);
    }
}

static void hears(peer *p, const mtws_event *e) {
    if (e->type == MTWS_EVENT_MESSAGE) hears_message(e);
    if (e->type == MTWS_EVENT_DELIVERED || e->type == MTWS_EVENT_DROPPED) hears_fate(e);
    if (e->type == MTWS_EVENT_WRITABLE) {
        CHECK(w.refused.waits);
        w.refused.waits = false;
        if (!w.refused.part && !w.ending) send_one(w.refused.size, w.refused.flags);
        CHECK_TEXT(!w.refused.waits, "WRITABLE, and then it is refused again");
    }
    if (e->type != MTWS_EVENT_STATE) return;
    if (e->state == MTWS_STATE_ERROR) w.failures++;
    w.within = false;
    w.released = false;
    for (unsigned i = below(3); i > 0 && !w.ending; i--) call();
    (void)p;
}

/* ---- the server ------------------------------------------------------------------------------ */

/* One message, in fragments of which some are empty, and Pings between. */
static void fragments(wire_buffer *to, unsigned opcode, size_t size) {
    static uint8_t data[SIZE_MOST];
    for (size_t i = 0; i < size; i++) data[i] = (uint8_t)('A' + i % 26);
    size_t at = 0;
    for (int i = 0;; i++) {
        size_t part = one_in(5) && i < 20 ? 0 : 1 + below(1000);
        if (part > size - at) part = size - at;
        bool final = at + part == size && (i > 20 || one_in(2));
        wire_frame(to, i == 0 ? opcode : WIRE_CONT, final, data + at, part);
        if (final) return;
        at += part;
        if (one_in(3)) wire_stream(to, "ping:x");
    }
}

static void server_says(peer *p) {
    static const char *const ends[] = {"close:1000,bye", "close:1009",  "body:a",
                                       "close",          "rsv4.text:x", "text:%ff%ff"};
    wire_buffer bytes = {0};
    unsigned opcode = one_in(2) ? WIRE_TEXT : WIRE_BIN;
    if (!p->open || !p->upgraded || p->server_closed) return;
    switch (below(12)) {
    case 0:
    case 1:
    case 2: fragments(&bytes, opcode, below(100)); break;
    case 3:
    case 4: fragments(&bytes, opcode, below(SIZE_MOST)); break;
    case 5: wire_stream(&bytes, "ping:hello"); break;
    case 6: wire_stream(&bytes, "pong:unasked"); break;
    case 7:
        if (p->options.heartbeat != MTWS_HEARTBEAT_JSON) break;
        wire_stream(&bytes, "text:{\"type\":\"heartbeat\",\"timestamp\":123}");
        break;
    case 8:
        for (int i = 0; i < 100; i++) wire_stream(&bytes, "ping:0123456789");
        break;
    case 9:
        if (one_in(5)) wire_stream(&bytes, ends[below(6)]);
        break;
    case 10:
        if (one_in(8)) peer_end(p, one_in(2) ? MTWS_IO_EOF : MTWS_IO_ERROR);
        break;
    default: break;
    }
    if (bytes.size > 0 && p->end_us == PEER_NEVER) {
        peer_send_at(p, one_in(3) ? below(50) : 0, bytes.data, bytes.size);
    }
    wire_free(&bytes);
}

/* ---- a life ---------------------------------------------------------------------------------- */

static void draw_plans(peer_plan *plans) {
    memset(plans, 0, PLANS * sizeof *plans);
    for (int i = 0; i < PLANS - 1; i++) {
        peer_plan *plan = &plans[i];
        if (one_in(4)) plan->open_again = (int)below(4);
        if (one_in(6)) plan->open_result = MTWS_IO_ERROR;
        if (one_in(10)) plan->answer = "HTTP/1.1 503 No\r\nRetry-After: 0\r\n\r\n";
        if (one_in(30)) plan->answer = "HTTP/1.1 401 No\r\n\r\n";
        if (one_in(8)) plan->then = "text:ABCDE ping:z";
        if (one_in(2)) plan->latency_ms = below(80);
        plan->no_pong = one_in(10);
        plan->no_close = one_in(6);
        plan->keep_open = one_in(6);
        if (!one_in(3)) continue;
        plan->die_at = 200 + below(5000);
        plan->die_unseen = one_in(2) ? below(100) : 0;
        plan->die_deaf = one_in(2);
        w.trouble = true;
    }
}

static void draw_options(mtws_options *o) {
    int32_t attempts[] = {0, MTWS_UNLIMITED, MTWS_UNLIMITED, MTWS_OFF, 1, 3};
    int32_t intervals[] = {MTWS_OFF, 0, 100, 2000};
    int32_t delays[] = {0, 0, 1, MTWS_OFF};
    size_t frames[] = {0, MTWS_WHOLE_MESSAGES, 1, 100};
    mtws_confirm_by by[] = {MTWS_CONFIRM_PONG, MTWS_CONFIRM_PONG, MTWS_CONFIRM_PROGRAM,
                            MTWS_CONFIRM_NONE};
    o->logger.level = MTWS_LOG_ERROR;
    o->max_reconnect_attempts = attempts[below(6)];
    o->network = one_in(2) ? MTWS_NETWORK_MANUAL : MTWS_NETWORK_AUTO;
    o->at_most_once = one_in(4);
    o->hold_queue = one_in(3);
    o->stream_messages = one_in(3);
    o->drop_oldest = one_in(3);
    o->confirm = by[below(4)];
    o->confirm_delay_ms = delays[below(4)];
    o->heartbeat = one_in(3) ? MTWS_HEARTBEAT_JSON : MTWS_HEARTBEAT_PING;
    o->heartbeat_interval_ms = intervals[below(4)];
    o->heartbeat_timeout_ms = one_in(2) ? 50 + (int32_t)below(500) : 0;
    o->queue_ttl_ms = one_in(3) ? 1 + (int32_t)below(1000) : 0;
    o->max_frame_size = frames[below(4)];
    o->max_queue_size = one_in(2) ? 100 + below(4000) : 0;
    o->max_message_size = one_in(3) ? 1 + below(3000) : 0;
    o->close_timeout_ms = one_in(2) ? 100 + (int32_t)below(1000) : 0;
    o->initial_reconnect_delay_ms = 1 + (int32_t)below(300);
    o->max_reconnect_delay_ms = 1 + (int32_t)below(1000);
    o->stable_ms = 1 + (int32_t)below(3000);
    int32_t *numbers[] = {&o->initial_reconnect_delay_ms,
                          &o->max_reconnect_delay_ms,
                          &o->heartbeat_interval_ms,
                          &o->heartbeat_timeout_ms,
                          &o->connect_timeout_ms,
                          &o->confirm_delay_ms,
                          &o->queue_ttl_ms,
                          &o->stable_ms};
    if (one_in(3)) *numbers[below(8)] = one_in(2) ? INT32_MAX : 1;
    o->transport.read = count_read;
    o->transport.write = count_write;
}

/* Time passes in which mtws_get_wait promised that there is nothing to do: there is nothing. */
static void wait_is_honest(peer *p) {
    peer_run(p);
    for (unsigned i = below(4); i > 0; i--) call();
    mtws_wait wait = peer_wait(p);
    uint64_t most = wait.timeout_ms < 0 ? 40000000 : (uint64_t)wait.timeout_ms * 1000;
    peer_readable(p);
    if (p->arrival_at < p->arrival_count && p->arrivals[p->arrival_at].due_us - p->now_us < most) {
        most = p->arrivals[p->arrival_at].due_us - p->now_us;
    }
    if (p->end_us > p->now_us && p->end_us - p->now_us < most) most = p->end_us - p->now_us;
    if (most < 3000) return;
    p->now_us += 1 + draw() % (most - 2001);
    uint64_t moved = peer_moved(p);
    CHECK_TEXT(peer_poll(p) != 1 && peer_moved(p) == moved, "work that no wait announced");
}

static void pass_time(peer *p) {
    switch (below(8)) {
    case 0:
        peer_run(p);
        if (p->bad.size == 0) check_stats(true);
        break;
    case 1: peer_advance(p, below(300)); break;
    case 2: wait_is_honest(p); break;
    case 3:
        if (one_in(5)) peer_advance(p, below(5000));
        else if (one_in(5)) peer_sleep(p, below(4000));
        break;
    default: peer_poll(p); break;
    }
}

static void end_of_life(peer *p) {
    w.ending = true;
    p->write_budget = SIZE_MAX;
    mtws_set_paused(p->ws, w.paused = false);
    for (int i = 0; i < 2; i++) CHECK_INT(mtws_disconnect(p->ws, 0, NULL), MTWS_OK);
    peer_run(p);
    CHECK_INT(mtws_clear_queue(p->ws), MTWS_OK);
    peer_run(p);
    CHECK_INT(p->last_state, MTWS_STATE_DISCONNECTED);
    CHECK_UINT(p->settled, p->last_id);
    CHECK(p->idle && !p->open);
    check_stats(true);
    mtws_stats s;
    mtws_get_stats(p->ws, &s);
    CHECK_UINT(s.queued_messages + s.queued_bytes + s.unconfirmed_messages, 0);
}

static void one_life(uint64_t seed) {
    static peer_plan plans[PLANS];
    static const uint64_t clocks[] = {0, 5000000000u, UINT64_MAX - 1000000000000u};
    peer *p = &w.p;
    memset(&w, 0, sizeof w);
    w.state = seed * 0x9e3779b97f4a7c15u + 1;
    for (int i = 0; i < 8; i++) draw();
    peer_init(p);
    draw_options(&p->options);
    draw_plans(plans);
    PEER_PLANS(p, plans);
    p->now_us = clocks[below(3)];
    p->on_event = hears;
    p->on_message = arrives;
    if (one_in(3)) p->read_size = 1 + below(200);
    if (one_in(3)) p->write_size = 1 + below(200);
    p->write_pause = one_in(4);
    /* Memory of exactly the size that is asked for, aligned to nothing. */
    size_t size = mtws_memory_required(&p->options), off = below(32);
    uint8_t *memory = (uint8_t *)wire_grow(NULL, size + off);
    CHECK_INT(mtws_create_in(&p->ws, &p->options, memory + off, size), MTWS_OK);
    if (CHECK(p->ws != NULL) && peer_start(p)) {
        for (unsigned i = 100 + below(200); i > 0 && p->bad.size == 0; i--) {
            for (unsigned k = below(5); k > 0; k--) call();
            if (one_in(2)) server_says(p);
            if (one_in(8)) p->write_budget = one_in(3) ? below(400) : SIZE_MAX;
            pass_time(p);
        }
        if (p->bad.size == 0) end_of_life(p);
    }
    peer_finish(p);
    free(memory);
}

static void lives(void) {
    const char *seed = getenv("SEED");
    unsigned long long first = seed != NULL ? strtoull(seed, NULL, 10) : 1;
    for (unsigned long long i = 0; i < (seed != NULL ? 1 : SEEDS); i += 10) {
        if (!test_begin("SEED=%llu and so on", first + i)) continue;
        for (unsigned long long k = 0; k < (seed != NULL ? 1 : 10); k++) one_life(first + i + k);
        test_end();
    }
}

int main(int argc, char **argv) {
    static const test_entry tests[] = {TEST_ROWS(lives)};
    return TEST_MAIN(tests, argc, argv);
}
