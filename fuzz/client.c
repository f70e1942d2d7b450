/* Invariant: whatever the server sends, the transport does and the program asks for,
 *   - a step of the client calls its transport a bounded number of times, by the transport's rules,
 *     and does not ask to be called again at once where nothing moves;
 *   - states follow each other as the manual draws them, within mtws_poll alone;
 *   - what is handed over is what the server's bytes mean, and it stays there until the next poll;
 *   - what the client writes is RFC 6455's: frames masked, nothing behind a Close, Pongs that answer
 *     Pings, messages whole, in order, and as often as they may come;
 *   - each message that was taken ends in one event that tells the truth, as soon as the server
 *     behaves again;
 *   - no log and no reason shows a credential; each opening of the transport is closed once.
 *
 *     clang -g -O1 -fsanitize=fuzzer,address,undefined -o build/client client.c
 *     build/client -dict=mtws.dict corpus/client
 *     FUZZ_TRACE=1 build/client an-input          prints the client's log and its events
 *
 * Input: four bytes for what is random, one for how often calls go wrong, six for options; then a
 * script (see play): what the server sends after the upgrade, and what the program does. */
#include "peer.h"

enum { EVENTS_MAX = 4096, SPINS_MAX = 32, PATIENCE = 1500 };

static struct {
    fuzz_input script;
    mtws_state state;
    mtws_event event;
    bool handlers;
    bool cleared, paused;
    uint64_t part_id; /* of the message that parts are added to; 0: none */
    size_t part_size;
    mtws_kind part_kind;
    bool refused;        /* WRITABLE is to come, for a message of: */
    size_t refused_size; /* 0: nothing that can be tried again */
    uint32_t spins;
    uint64_t spin_moved;
} p;

/* ---- what the program does ------------------------------------------------------------------------ */

static bool is_resting(void) {
    return p.state == MTWS_STATE_DISCONNECTED || p.state == MTWS_STATE_FAILED;
}

/* The size is what is wanted of the payload; the smallest holds the id. */
static mtws_result send_message(size_t size, mtws_kind kind, unsigned flags) {
    uint8_t data[4096];
    uint64_t id = 0;
    if (w.next_id > SENT_MAX) return MTWS_ERR_STATE;
    make_payload(data, w.next_id, 0, size, kind);
    mtws_result result = mtws_send(w.ws, kind, data, size, flags, &id);
    if (result == MTWS_ERR_QUEUE_FULL) {
        p.refused = true;
        p.refused_size = flags == 0 ? size : 0;
    }
    if (result != MTWS_OK) return result;
    CHECK(id == w.next_id);
    sent *s = &w.list[w.next_id++];
    memset(s, 0, sizeof *s);
    s->kind = kind;
    s->size = size;
    s->flags = flags | (w.options.at_most_once ? MTWS_ONCE : 0u);
    s->connection = w.connection;
    return result;
}

static void send_part(size_t size, bool last) {
    uint8_t data[4096];
    uint64_t id = 0;
    bool first = p.part_id == 0;
    mtws_kind kind = size % 2 == 0 ? MTWS_TEXT : MTWS_BINARY;
    if (first && w.next_id > SENT_MAX) return;
    if (!first) kind = p.part_kind;
    make_payload(data, first ? w.next_id : p.part_id, first ? 0 : p.part_size, size, kind);
    const void *bytes = size > 0 ? data : NULL;
    mtws_result result = mtws_send_part(w.ws, kind, bytes, size, first, last, &id);
    if (result == MTWS_ERR_QUEUE_FULL) {
        p.refused = true;
        p.refused_size = 0;
    }
    if (result == MTWS_ERR_RESET) p.part_id = 0;
    if (result != MTWS_OK) return;
    if (first) {
        CHECK(id == w.next_id);
        memset(&w.list[id], 0, sizeof w.list[id]);
        w.list[id].parts = true;
        w.list[id].kind = p.part_kind = kind;
        w.list[id].connection = w.connection;
        w.next_id++;
    }
    CHECK(first || id == p.part_id);
    w.list[id].size += size;
    p.part_size = w.list[id].size;
    p.part_id = last ? 0 : id;
}

/* What must be refused, and change nothing. */
static void misuse(uint8_t argument) {
    uint64_t id = 77;
    mtws_kind odd = (mtws_kind)3;
    switch (argument % 8) {
    case 0:
        CHECK(mtws_send(w.ws, MTWS_TEXT, "\xed\xa0\x80", 3, 0, &id) != MTWS_OK && id == 77);
        break;
    case 1: CHECK(mtws_send(w.ws, odd, "x", 1, 0, &id) == MTWS_ERR_ARGUMENT); break;
    case 2: CHECK(mtws_send(w.ws, MTWS_TEXT, "x", 1, 8, &id) == MTWS_ERR_ARGUMENT); break;
    case 3: CHECK(mtws_disconnect(w.ws, 1005, NULL) == MTWS_ERR_ARGUMENT); break;
    case 4: CHECK(mtws_set_header(w.ws, "Upgrade", "x") == MTWS_ERR_ARGUMENT); break;
    case 5: CHECK(mtws_set_header(w.ws, "X", "a\r\nb") == MTWS_ERR_ARGUMENT); break;
    case 6: CHECK(mtws_set_url(w.ws, "ws://a/\n", NULL) == MTWS_ERR_URL); break;
    case 7: CHECK(mtws_wake(w.ws) == MTWS_ERR_STATE); break;
    }
}

static void look(void) {
    mtws_stats stats;
    mtws_options options;
    uint64_t open = 0;
    for (uint64_t id = 1; id < w.next_id; id++) open += !w.list[id].settled;
    mtws_get_stats(w.ws, &stats);
    mtws_get_options(w.ws, &options);
    CHECK(stats.queued_messages <= open && stats.unconfirmed_messages <= stats.queued_messages);
    CHECK(stats.bytes_received + stats.bytes_sent == w.moved && stats.dropped == w.dropped);
    CHECK(options.max_message_size == w.options.max_message_size);
    const char *header = mtws_get_header(w.ws, "Retry-After");
    CHECK(header == NULL || strlen(header) < MTWS_ANSWER_MAX);
    CHECK(strlen(mtws_get_subprotocol(w.ws)) < 16);
}

static void set_target(uint8_t argument) {
    static const mtws_pair params[] = {{"token", "q-secret-11"}, {NULL, NULL}};
    const char *url = argument % 2 == 0 ? "ws://me:u-secret-22@one.example/a"
                                        : "wss://me:u-secret-22@two.example:444?x=y";
    mtws_result result = is_resting() && argument % 4 < 2 ? mtws_connect(w.ws, url, params)
                                                          : mtws_set_url(w.ws, url, params);
    CHECK(result == MTWS_OK || result == MTWS_ERR_STATE);
}

static void destroy(void) {
    w.stopped = true; /* what is not handed over yet never will be */
    mtws_destroy(w.ws);
    w.ws = NULL;
}

static void disconnect(uint8_t argument) {
    static const uint16_t codes[4] = {0, 1000, 1001, 4999};
    w.stopped = true;
    CHECK(mtws_disconnect(w.ws, codes[argument % 4], argument & 4 ? "bye \xc3\xa4" : NULL) ==
          MTWS_OK);
}

static void program(uint8_t what, uint8_t argument) {
    static const size_t sizes[8] = {8, 9, 30, 100, 125, 126, 700, 3000};
    if (w.trace) fprintf(stderr, "           the program: %d, %d\n", what % 16, argument);
    size_t size = sizes[argument & 7];
    switch (what % 16) {
    case 0:
    case 1: send_message(size, argument & 8 ? MTWS_TEXT : MTWS_BINARY, 0); break;
    case 2: send_message(size, MTWS_TEXT, argument >> 3 & 7); break;
    case 3: send_part(p.part_id != 0 && argument & 32 ? 0 : size, (argument & 64) != 0); break;
    case 4: disconnect(argument); break;
    case 5: set_target(argument); break;
    case 6: (void)mtws_retry_now(w.ws); break;
    case 7:
        p.paused = (argument & 1) != 0;
        mtws_set_paused(w.ws, p.paused);
        break;
    case 8:
        p.cleared = true;
        mtws_clear_queue(w.ws);
        break;
    case 9: (void)mtws_release_queue(w.ws); break;
    case 10: {
        uint64_t id = w.next_id - mtws__min_u64(argument % 8, w.next_id);
        if (mtws_confirm(w.ws, id) == MTWS_OK && id > w.confirmed_id) w.confirmed_id = id;
        break;
    }
    case 11: mtws_set_network(w.ws, (argument & 1) != 0); break;
    case 12:
        CHECK(mtws_set_header(w.ws, "Authorization", argument & 1 ? "Bearer h-secret-33" : NULL) ==
              MTWS_OK);
        break;
    case 13: misuse(argument); break;
    case 14: look(); break;
    case 15:
        if (argument < 4) destroy();
        else
            for (int i = 0; i < argument % 32; i++) send_message(8, MTWS_BINARY, 0);
        break;
    }
}

/* What a program does when it hears an event. */
static void act(void) {
    if (w.friendly) return;
    uint8_t what = (uint8_t)fuzz_random(&w.seed), argument = (uint8_t)fuzz_random(&w.seed);
    if (chance(64)) program(what, argument);
}

static void on_message(mtws_client *ws, const mtws_event *event, void *user) {
    CHECK(ws == w.ws && event == &p.event && user == &p);
    act();
}

static void on_state(mtws_client *ws, const mtws_event *event, void *user) {
    on_message(ws, event, user);
}

/* ---- events --------------------------------------------------------------------------------------- */

static void take_state(const mtws_event *e) {
    static const struct {
        mtws_state from, to;
    } legal[] = {
        {MTWS_STATE_DISCONNECTED, MTWS_STATE_CONNECTING},
        {MTWS_STATE_FAILED, MTWS_STATE_CONNECTING},
        {MTWS_STATE_FAILED, MTWS_STATE_RECONNECTING},
        {MTWS_STATE_CONNECTING, MTWS_STATE_CONNECTED},
        {MTWS_STATE_CONNECTING, MTWS_STATE_ERROR},
        {MTWS_STATE_CONNECTED, MTWS_STATE_ERROR},
        {MTWS_STATE_RECONNECTING, MTWS_STATE_CONNECTED},
        {MTWS_STATE_RECONNECTING, MTWS_STATE_ERROR},
        {MTWS_STATE_RECONNECTING, MTWS_STATE_WAITING_FOR_NETWORK},
        {MTWS_STATE_WAITING_FOR_NETWORK, MTWS_STATE_RECONNECTING},
        {MTWS_STATE_ERROR, MTWS_STATE_RECONNECTING},
        {MTWS_STATE_ERROR, MTWS_STATE_WAITING_FOR_NETWORK},
        {MTWS_STATE_ERROR, MTWS_STATE_FAILED},
    };
    CHECK(e->previous == p.state);
    bool found = e->state == MTWS_STATE_DISCONNECTED && e->previous != MTWS_STATE_DISCONNECTED;
    for (size_t i = 0; i < sizeof legal / sizeof legal[0]; i++) {
        found = found || (legal[i].from == e->previous && legal[i].to == e->state);
    }
    CHECK(found);
    p.state = e->state;
    CHECK(e->state != MTWS_STATE_ERROR || (e->result < 0 && e->reason[0] != 0));
    CHECK(e->state != MTWS_STATE_CONNECTED || (e->result == MTWS_OK && w.transport == OPEN));
    CHECK(e->attempt >= 0 && e->retry_ms >= 0 && e->retry_ms <= 3600000 + 360000);
    CHECK(e->retry_ms == 0 || e->state == MTWS_STATE_RECONNECTING);
}

static void take_message(const mtws_event *e) {
    CHECK(e->state == MTWS_STATE_CONNECTED);
    CHECK(e->first == (w.handed_part.size == 0) || w.options.stream_messages);
    CHECK((e->first && e->last) || w.options.stream_messages);
    CHECK(e->data[e->size] == 0);
    fuzz_put(&w.handed_part, e->data, e->size);
    if (!e->last) return;
    char kind = e->kind == MTWS_TEXT ? 'T' : 'B';
    fuzz_put_item(&w.handed, kind, w.handed_part.data, w.handed_part.size);
    w.handed_part.size = 0;
}

/* May a message be dropped for this reason? */
static bool may_drop(const sent *s, mtws_result result) {
    bool bound = (s->flags & (MTWS_NO_QUEUE | MTWS_FIRST)) != 0 || s->parts;
    bool apart = (s->flags & MTWS_FIRST) != 0 || s->parts; /* has room of its own */
    if (result == MTWS_ERR_QUEUE_FULL) return w.options.drop_oldest && !apart && s->got == 0;
    if (result == MTWS_ERR_EXPIRED) return w.options.queue_ttl_ms > 0 && !apart;
    if (result == MTWS_ERR_CLEARED) return p.cleared && !s->parts;
    /* A message that the server always closes for (1003, 1007 to 1009, 1011) is given up, too. */
    return bound || (s->flags & MTWS_ONCE) != 0 || result == MTWS_ERR_CLOSED;
}

static void take_fates(const mtws_event *e) {
    CHECK(e->first_id > 0 && e->first_id <= e->id && e->id < w.next_id);
    for (uint64_t id = e->first_id; id <= e->id; id++) {
        sent *s = &w.list[id];
        CHECK(!s->settled);
        s->settled = true;
        if (e->type == MTWS_EVENT_DELIVERED) {
            CHECK(s->got > 0);
            CHECK(w.options.confirm != MTWS_CONFIRM_PROGRAM || id <= w.confirmed_id);
        } else {
            CHECK(e->result < 0 && e->written == (s->got > 0));
            CHECK(may_drop(s, e->result));
            w.dropped++;
        }
        if (p.part_id == id) p.part_id = 0;
    }
    CHECK(!w.list[e->id].parts == !w.list[e->first_id].parts);
}

static void take_writable(void) {
    CHECK(p.refused);
    p.refused = false;
    if (p.refused_size > 0) {
        CHECK(send_message(p.refused_size, MTWS_BINARY, 0) != MTWS_ERR_QUEUE_FULL);
    }
}

static void dispatch(void) {
    const mtws_event *e = &p.event;
    uint8_t *copy = fuzz_copy(e->data, e->size + 1);
    char reason[512];
    snprintf(reason, sizeof reason, "%s", e->reason);
    if (p.handlers) mtws_dispatch(w.ws, e);
    else act();
    if (w.ws != NULL) {
        CHECK(memcmp(copy, e->data, e->size + 1) == 0 && strcmp(reason, e->reason) == 0);
        CHECK(mtws_get_state(w.ws) == p.state);
    }
    free(copy);
}

static void take_event(void) {
    const mtws_event *e = &p.event;
    if (w.trace) {
        fprintf(stderr, "           event %d, ids %d to %d, %zu bytes: %s\n", (int)e->type,
                (int)e->first_id, (int)e->id, e->size, mtws_result_text(e->result));
    }
    CHECK(e->reason != NULL && e->data != NULL && e->state == mtws_get_state(w.ws));
    check_text(e->reason);
    if (e->type == MTWS_EVENT_STATE) take_state(e);
    CHECK(e->state == p.state);
    switch (e->type) {
    case MTWS_EVENT_MESSAGE: take_message(e); break;
    case MTWS_EVENT_DELIVERED:
    case MTWS_EVENT_DROPPED: take_fates(e); break;
    case MTWS_EVENT_WRITABLE: take_writable(); break;
    default: CHECK(e->type == MTWS_EVENT_STATE); break;
    }
    dispatch();
}

/* Nothing is left to do now: then the client must not ask to be called again at once, unless bytes
 * move or frames are worked off; and it must wait for what it will have to do. */
static void check_wait(void) {
    mtws_wait wait;
    w.want_read = w.want_write = false;
    mtws_get_wait(w.ws, &wait);
    CHECK(wait.timeout_ms >= -1 && wait.count == 0);
    if (wait.timeout_ms != 0 || w.moved != p.spin_moved) p.spins = 0;
    p.spin_moved = w.moved;
    CHECK(++p.spins < SPINS_MAX);
    if (wait.timeout_ms == 0 || w.transport != OPEN) return;
    CHECK(w.want_read || w.read_at == w.in.size || p.paused);
    CHECK(w.want_write || w.held.size == 0 || w.writing_ended);
}

static void pump(void) {
    for (int events = 0; w.ws != NULL; events++) {
        CHECK(events < EVENTS_MAX);
        w.reads = w.writes = w.opens = 0;
        memset(&p.event, 0xa5, sizeof p.event);
        int result = mtws_poll(w.ws, &p.event, 0);
        CHECK(result == 1 || result == 0 || result == MTWS_ERR_IDLE);
        CHECK(result == 1 || p.event.type == MTWS_EVENT_NONE);
        CHECK(result != MTWS_ERR_IDLE || is_resting());
        if (result == 1) {
            take_event();
            continue;
        }
        CHECK(mtws_get_state(w.ws) == p.state);
        if (result == 0) check_wait();
        return;
    }
}

/* ---- the script ----------------------------------------------------------------------------------- */

static void pass_us(uint64_t us) {
    w.now_us += us;
    w.unix_ms += us / 1000;
    p.spins = 0;
}

/* Lets the time pass that the client asks for. False: it asks for none. */
static bool pass_wait(void) {
    mtws_wait wait;
    mtws_get_wait(w.ws, &wait);
    if (wait.timeout_ms < 0) return false;
    pass_us((uint64_t)wait.timeout_ms * 1000);
    return true;
}

static void end_stream(uint8_t how) {
    static const int endings[4] = {MTWS_IO_EOF, MTWS_IO_ERROR, MTWS_ERR_TLS, MTWS_ERR_RESET};
    if (w.transport != OPEN) return;
    if (how & 4) w.writing_ended = true;
    if (!(how & 8)) w.ending = endings[how & 3];
}

/* A Close that may repeat a secret. */
static void serve_close(mtws__span body, size_t secret) {
    fuzz_bytes all = {NULL, 0, 0};
    fuzz_put(&all, body.data, mtws__min_size(body.size, 100));
    if (secret < sizeof secrets / sizeof secrets[0] && all.size >= 2) {
        fuzz_put(&all, secrets[secret], strlen(secrets[secret]));
    }
    serve_frame(0x88, all.data, all.size);
    fuzz_free(&all);
}

/* Pings are answered: all, the oldest, the newest, or wrongly. */
static void answer_pings(uint8_t how) {
    if (w.ping_count == 0) return;
    switch (how % 4) {
    case 0:
        while (w.ping_count > 0) serve_pong(0);
        break;
    case 1: serve_pong(0); break;
    case 2: serve_pong(w.ping_count - 1); break;
    case 3:
        w.pings[0][how % 16] ^= 1;
        serve_pong(0);
        break;
    }
}

/* One line of the script: a byte for what it is, one for how, and often bytes that the server
 * sends. */
static void play(void) {
    static const uint64_t times_us[8] = {
        1000, 50000, 260000, 1000000, 5000000, 40000000, UINT64_C(3600000000), 0};
    uint8_t what = fuzz_byte(&p.script), how = fuzz_byte(&p.script);
    mtws__span bytes = {NULL, 0};
    if (what % 16 <= 4 || what % 16 == 7) bytes = fuzz_take(&p.script, how);
    if (w.ending != 0 && what % 16 <= 7) return;
    switch (what % 16) {
    case 0: serve(bytes.data, bytes.size); break;
    case 1: serve_frame(0x81, bytes.data, bytes.size); break;
    case 2: serve_frame(0x82, bytes.data, bytes.size); break;
    case 3: serve_frame(what >> 4 & 0x83, bytes.data, bytes.size); break;
    case 4: serve_frame(0x89, bytes.data, mtws__min_size(bytes.size, 125)); break;
    case 5: answer_pings(how); break;
    case 6: serve_beat_answer(); break;
    case 7: serve_close(bytes, what >> 4); break;
    case 8: end_stream(how); break;
    case 9:
        pass_us(times_us[how & 7]);
        if (how == 255) w.unix_ms ^= UINT64_C(1) << 38;
        break;
    case 10: (void)pass_wait(); break;
    case 11:
        w.blocked = (how & 1) != 0;
        w.faults = how & 0x3e;
        break;
    default: program(how, fuzz_byte(&p.script)); break;
    }
}

static void start(void) {
    static const int32_t attempts[4] = {0, MTWS_UNLIMITED, MTWS_OFF, 2};
    static const size_t messages[4] = {1, 20, 300, 5000};
    static const size_t queues[4] = {200, 600, 3000, 40000};
    static const size_t frames[4] = {0, 7, 125, MTWS_WHOLE_MESSAGES};
    static const mtws_transport transport = {hook_open, hook_read,  hook_write,
                                             hook_wait, hook_close, &w};
    mtws_options *o = &w.options;
    for (int i = 0; i < 4; i++) w.seed = w.seed << 8 | fuzz_byte(&p.script);
    w.faults = fuzz_byte(&p.script) & 0x7f;
    uint8_t a = fuzz_byte(&p.script), b = fuzz_byte(&p.script), c = fuzz_byte(&p.script);
    uint8_t d = fuzz_byte(&p.script), e = fuzz_byte(&p.script), f = fuzz_byte(&p.script);
    o->stream_messages = (a & 1) != 0;
    o->drop_oldest = (a & 2) != 0;
    o->at_most_once = (a & 4) != 0;
    o->hold_queue = (a & 8) != 0;
    o->heartbeat = a & 16 ? MTWS_HEARTBEAT_JSON : MTWS_HEARTBEAT_PING;
    o->network = a & 32 ? MTWS_NETWORK_MANUAL : MTWS_NETWORK_AUTO;
    o->queue_ttl_ms = a & 64 ? 3000 : 0;
    p.handlers = (a & 128) != 0;
    o->confirm = (mtws_confirm_by)(b % 3);
    o->max_reconnect_attempts = attempts[b >> 2 & 3];
    o->confirm_delay_ms = b & 16 ? 1 : b & 32 ? MTWS_OFF : 0;
    o->heartbeat_interval_ms = b & 64 ? 2000 : b & 128 ? MTWS_OFF : 0;
    bool never = o->heartbeat_interval_ms == MTWS_OFF || o->heartbeat == MTWS_HEARTBEAT_JSON;
    if (never && o->confirm_delay_ms == MTWS_OFF) o->confirm_delay_ms = 0;
    o->max_message_size = messages[c & 3];
    o->max_queue_size = queues[c >> 2 & 3];
    o->max_frame_size = frames[c >> 4 & 3];
    o->subprotocols = c & 64 ? "soap, chat" : NULL;
    o->stable_ms = c & 128 ? 1 : 0;
    w.now_us = d & 1 ? fuzz_random(&w.seed) >> (d >> 2 & 31) >> 2 : 0;
    w.unix_ms = d & 2 ? UINT64_C(1700000000000) : 0;
    o->reconnect_backoff_factor = e & 1 ? 1.0 : 0;
    o->initial_reconnect_delay_ms = e & 2 ? 1 : 0;
    o->max_reconnect_delay_ms = e & 4 ? 300 : 0;
    o->heartbeat_timeout_ms = e & 8 ? 100 : 0;
    o->connect_timeout_ms = e & 16 ? 100 : 0;
    o->close_timeout_ms = e & 32 ? 100 : 0;
    o->logger.log = hook_log;
    o->logger.level =
        f & 4 || w.trace ? MTWS_LOG_DEBUG : MTWS_LOG_ERROR; /* texts take their time */
    o->transport = transport;
    o->clock.now_us = hook_now_us;
    o->clock.unix_ms = hook_unix_ms;
    o->random.fill = hook_fill;
    CHECK(mtws_create(&w.ws, o) == MTWS_OK);
    mtws_get_options(w.ws, o);
    mtws_on_state(w.ws, on_state, &p);
    mtws_on_message(w.ws, "a", on_message, &p);
    mtws_on_message(w.ws, f & 1 ? NULL : "type", on_message, &p);
    if (f & 2) program(12, 1);
    program(5, f);
}

/* ---- the end -------------------------------------------------------------------------------------- */

static bool all_settled(void) {
    uint64_t id = 1;
    while (id < w.next_id && w.list[id].settled) id++;
    return id == w.next_id;
}

/* What a program does that wants its messages to arrive. */
static void persist(void) {
    if (p.state == MTWS_STATE_DISCONNECTED) program(5, 0);
    if (p.state == MTWS_STATE_FAILED) program(6, 0);
    if (p.state != MTWS_STATE_CONNECTED) return;
    program(9, 0);
    if (p.part_id != 0) send_part(ID_SIZE, true);
    if (w.next_id > 1) program(10, 1);
}

/* The connection of the moment breaks, and from then on the server and the transport behave: each
 * message is settled, and a graceful end is one. */
static void settle(void) {
    w.friendly = true;
    w.early.size = 0;
    w.faults = 0;
    w.blocked = false;
    program(7, 0);
    mtws_set_network(w.ws, true);
    end_stream(0);
    int idle = 0; /* rounds in a row in which the client had nothing to wait for */
    pump();
    for (int i = 0; i < PATIENCE && w.ws != NULL && !all_settled(); i++) {
        persist();
        pump();
        if (w.ws == NULL || all_settled()) break;
        idle = pass_wait() ? 0 : idle + 1;
        CHECK(idle < 4);
    }
    if (w.ws == NULL) return;
    CHECK(all_settled());
    disconnect(0);
    for (int i = 0; i < 20 && p.state != MTWS_STATE_DISCONNECTED; i++) {
        pump();
        if (w.ws == NULL) return;
        (void)pass_wait();
    }
    CHECK(p.state == MTWS_STATE_DISCONNECTED);
}

static void forget_run(void) {
    fuzz_bytes kept[] = {w.held, w.request, w.in,    w.early,  w.stream,
                         w.wire, w.message, w.pongs, w.handed, w.handed_part};
    for (size_t i = 0; i < sizeof kept / sizeof kept[0]; i++) free(kept[i].data);
    memset(&w, 0, sizeof w);
    memset(&p, 0, sizeof p);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    p.script.data = data;
    p.script.size = size;
    w.next_id = 1;
    w.trace = getenv("FUZZ_TRACE") != NULL;
    start();
    pump();
    while (p.script.size > 0 && w.ws != NULL) {
        play();
        if (w.ws != NULL) pump();
    }
    if (w.ws != NULL) settle();
    if (w.ws != NULL) destroy();
    CHECK(w.opened == w.closed && w.transport == SHUT);
    forget_run();
    return 0;
}
