/* The edges of the api: arguments that are none, limits that are just passed, and transports that
 * answer what they may but hardly do.
 */
#define MTWS_IMPLEMENTATION
#include "../../mtws.h"

#include "../test.h"
#include "peer.h"

#include <math.h>

#define COUNT(list) (sizeof(list) / sizeof((list)[0]))

/* ---- arguments ------------------------------------------------------------------------------- */

static void no_arguments(void) {
    peer p;
    static uint8_t memory[MTWS_MEMORY_SIZE(1000, 1000)];
    mtws_options small;
    mtws_client *ws = (mtws_client *)(void *)memory;
    memset(&small, 0, sizeof small);
    small.max_message_size = small.max_queue_size = 1000;
    CHECK_INT(mtws_create(NULL, &small), MTWS_ERR_ARGUMENT);
    CHECK_INT(mtws_create_in(NULL, &small, memory, sizeof memory), MTWS_ERR_ARGUMENT);
    CHECK_INT(mtws_create_in(&ws, &small, NULL, sizeof memory), MTWS_ERR_ARGUMENT);
    CHECK(ws == NULL);
    small.heartbeat_timeout_ms = -7;
    CHECK_INT(mtws_create_in(&ws, &small, memory, sizeof memory), MTWS_ERR_ARGUMENT);
    mtws_destroy(NULL);
    peer_init(&p);
    if (!peer_open_up(&p)) return;
    CHECK_INT(mtws_set_url(p.ws, NULL, NULL), MTWS_ERR_ARGUMENT);
    CHECK_INT(mtws_set_header(p.ws, NULL, "x"), MTWS_ERR_ARGUMENT);
    CHECK_INT(mtws_send_text(p.ws, NULL), MTWS_ERR_ARGUMENT);
    CHECK_INT(mtws_send_part(p.ws, (mtws_kind)3, "x", 1, true, true, NULL), MTWS_ERR_ARGUMENT);
    CHECK_INT(mtws_send_part(p.ws, MTWS_TEXT, NULL, 1, true, true, NULL), MTWS_ERR_ARGUMENT);
    CHECK(mtws_get_header(p.ws, NULL) == NULL);
    peer_finish(&p);
}

/* A build without TLS says so, and nothing goes out in the clear instead. */
static void without_tls(void) {
    mtws_options o;
    mtws_client *ws;
    mtws_trust *trust;
    memset(&o, 0, sizeof o);
    o.network = MTWS_NETWORK_MANUAL;
    CHECK_INT(mtws_trust_create(&trust, NULL, ""), MTWS_ERR_TLS);
    CHECK(trust == NULL);
    o.server_name = "server.example";
    CHECK_INT(mtws_create(&ws, &o), MTWS_ERR_TLS);
    o.server_name = NULL;
    CHECK_INT(mtws_create(&ws, &o), MTWS_OK);
    CHECK_INT(mtws_connect(ws, "wss://server.example/", NULL), MTWS_ERR_TLS);
    CHECK_INT(mtws_set_trust(ws, NULL), MTWS_ERR_TLS);
    mtws_destroy(ws);
    peer p;
    peer_init(&p);
    p.options.server_name = "server.example";
    CHECK_INT(mtws_create(&ws, &p.options), MTWS_ERR_ARGUMENT);
    CHECK(peer_told(&p, "options.server_name does nothing beside options.transport"));
    p.options.server_name = NULL;
    peer_finish(&p);
}

/* A header's name that is cut for the log is cut between two characters. */
static void long_bad_name(void) {
    char name[80];
    peer p;
    peer_init(&p);
    if (!CHECK(peer_open_up(&p))) return;
    for (size_t size = 60; size < 64; size++) {
        memset(name, 'x', size);
        strcpy(name + size, "\xe2\x82\xac\xe2\x82\xac");
        p.logged.size = 0;
        CHECK_INT(mtws_set_header(p.ws, name, "value"), MTWS_ERR_ARGUMENT);
        test_context("%zu letters", size);
        CHECK(peer_told(&p, "bad_header"));
        CHECK(mtws__utf8_valid((const uint8_t *)wire_text(&p.logged), p.logged.size));
    }
    peer_finish(&p);
}

/* Secrets with a percent sign in them that is no escape, or that stands for a NUL. */
static void secrets_with_percent(void) {
    static const struct {
        const char *secret, *said, *told;
    } rows[] = {
        {"sesame%4", "open sesame%4", "open ********"},
        {"sesame%4", "open sesame", "open sesame"},
        {"sesame%4", "open sesame!!", "open sesame!!"},
        {"sesame%41", "open sesameA", "open *******"},
        {"sesame%00x", "open sesame", "open sesame"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        mtws_pair headers[] = {{"X-Token", rows[i].secret}, {NULL, NULL}};
        peer p;
        peer_init(&p);
        p.options.headers = headers;
        if (!CHECK(peer_open_up(&p))) return;
        wire_buffer out = {0};
        char body[64] = "\x0f\xa0";
        size_t size = 2 + (size_t)snprintf(body + 2, sizeof body - 2, "%s", rows[i].said);
        wire_frame(&out, WIRE_CLOSE, true, body, size);
        peer_send(&p, out.data, out.size);
        wire_free(&out);
        peer_run(&p);
        test_context("row %zu", i);
        CHECK_STR(peer_last_state(&p, MTWS_STATE_ERROR)->reason, rows[i].told);
        peer_finish(&p);
    }
}

/* Enumerators that don't exist, factors that are no numbers, limits beyond any machine. */
static void bad_options(void) {
    static const struct {
        const char *name;
        mtws_options options;
    } rows[] = {
        {"confirm below", {.confirm = (mtws_confirm_by)-1}},
        {"confirm above", {.confirm = (mtws_confirm_by)3}},
        {"heartbeat below", {.heartbeat = (mtws_heartbeat)-1}},
        {"heartbeat above", {.heartbeat = (mtws_heartbeat)2}},
        {"network below", {.network = (mtws_network)-1}},
        {"network above", {.network = (mtws_network)2}},
        {"level below", {.logger = {.level = (mtws_level)-1}}},
        {"level above", {.logger = {.level = (mtws_level)5}}},
        {"factor above", {.reconnect_backoff_factor = 1000.5}},
        {"factor no number", {.reconnect_backoff_factor = NAN}},
        {"a message beyond memory", {.max_message_size = SIZE_MAX / 2}},
        {"a queue beyond memory", {.max_queue_size = SIZE_MAX / 2}},
        {"both together", {.max_message_size = SIZE_MAX / 5, .max_queue_size = SIZE_MAX / 5}},
    };
    static uint8_t memory[1024];
    for (size_t i = 0; i < COUNT(rows); i++) {
        mtws_client *ws = (mtws_client *)(void *)memory;
        if (!test_begin("%s", rows[i].name)) continue;
        CHECK_UINT(mtws_memory_required(&rows[i].options), 0);
        CHECK_INT(mtws_create(&ws, &rows[i].options), MTWS_ERR_ARGUMENT);
        CHECK_INT(mtws_create_in(&ws, &rows[i].options, memory, sizeof memory), MTWS_ERR_ARGUMENT);
        CHECK(ws == NULL);
        test_end();
    }
}

/* What the request would hold is larger than MTWS_REQUEST_MAX, or a header is none. */
static void texts_too_big(void) {
    static char large[MTWS_REQUEST_MAX + 2];
    mtws_pair headers[] = {{"X-Large", large}, {NULL, NULL}};
    mtws_options options;
    mtws_client *ws;
    memset(large, 'a', sizeof large - 1);
    memset(&options, 0, sizeof options);
    options.subprotocols = large;
    CHECK_INT(mtws_create(&ws, &options), MTWS_ERR_TOO_BIG);
    options.subprotocols = NULL;
    options.headers = headers;
    CHECK_INT(mtws_create(&ws, &options), MTWS_ERR_TOO_BIG);
    headers[0].value = NULL;
    CHECK_INT(mtws_create(&ws, &options), MTWS_ERR_ARGUMENT);
    large[100] = 0;
    headers[0].value = large;
    if (!CHECK_INT(mtws_create(&ws, &options), MTWS_OK)) return;
    large[100] = 'a';
    CHECK_INT(mtws_set_header(ws, "X-More", large), MTWS_ERR_TOO_BIG);
    mtws_destroy(ws);
}

/* drop_oldest is the main queue's: what goes first is refused where its room is full. */
static void first_is_refused(void) {
    peer p;
    uint64_t id;
    int taken = 0;
    peer_init(&p);
    p.options.drop_oldest = true;
    if (!peer_open_up(&p)) return;
    p.write_budget = 0;
    while (mtws_send(p.ws, MTWS_TEXT, "a login", 7, MTWS_FIRST, &id) == MTWS_OK && taken < 10000) {
        taken++;
    }
    CHECK_RANGE(taken, 10, 9999);
    CHECK_INT(mtws_send(p.ws, MTWS_TEXT, "a login", 7, MTWS_FIRST, &id), MTWS_ERR_QUEUE_FULL);
    mtws_destroy(p.ws);
    p.ws = NULL;
    peer_finish(&p);
}

static void retry_is_due_at_once(void) {
    static const peer_plan forbidden = {.answer = "HTTP/1.1 403 Forbidden\r\n\r\n"};
    peer p;
    peer_init(&p);
    p.plans = &forbidden;
    peer_start(&p);
    peer_run(&p);
    CHECK_INT(p.last_state, MTWS_STATE_FAILED);
    CHECK_INT(peer_wait(&p).timeout_ms, -1);
    CHECK_INT(mtws_retry_now(p.ws), MTWS_OK);
    CHECK_INT(peer_wait(&p).timeout_ms, 0);
    peer_run(&p);
    CHECK_INT(p.connections, 2);
    peer_finish(&p);
}

/* A wake-up outlasts the polls that hand over events instead: the first that has none takes it. */
static void wakes_behind_events(void) {
    peer p;
    peer_init(&p);
    p.options.wakeable = true;
    if (!CHECK_INT(mtws_create(&p.ws, &p.options), MTWS_OK)) return;
    if (!CHECK_INT(mtws_connect(p.ws, p.url, NULL), MTWS_OK)) return;
    while (peer_poll(&p) == 1) {
    }
    CHECK_INT(p.last_state, MTWS_STATE_CONNECTED);
    peer_stream(&p, "text:one text:two");
    CHECK_INT(mtws_wake(p.ws), MTWS_OK);
    mtws_wait wait;
    mtws_get_wait(p.ws, &wait);
    CHECK_INT(wait.count, 1);
    struct pollfd woken = {wait.fds[0].fd, POLLIN, 0};
    for (int i = 0; i < 2; i++) {
        CHECK_INT(peer_poll(&p), 1);
        CHECK_INT(poll(&woken, 1, 0), 1);
    }
    CHECK_INT(peer_poll(&p), 0);
    CHECK_INT(poll(&woken, 1, 0), 0);
    peer_finish(&p);
}

/* options.debug writes to stderr, where no logger is set. */
static void debug_to_stderr(void) {
    mtws_options options;
    mtws_client *ws;
    mtws_event event;
    char text[2000];
    FILE *file = tmpfile();
    if (!CHECK(file != NULL)) return;
    fflush(stderr);
    int saved = dup(STDERR_FILENO);
    dup2(fileno(file), STDERR_FILENO);
    memset(&options, 0, sizeof options);
    options.debug = true;
    options.max_reconnect_attempts = MTWS_OFF;
    if (mtws_create(&ws, &options) == MTWS_OK) {
        mtws_connect(ws, "ws://user:canary@127.0.0.1:1/", NULL); /* nobody listens there */
        while (mtws_poll(ws, &event, 15000) == 1) {
        }
        mtws_destroy(ws);
    }
    fflush(stderr);
    dup2(saved, STDERR_FILENO);
    close(saved);
    rewind(file);
    text[fread(text, 1, sizeof text - 1, file)] = 0;
    fclose(file);
    CHECK(strstr(text, "mtws info: attempt: ") != NULL);
    CHECK(strstr(text, "mtws warning: state: connecting -> error: ") != NULL);
    CHECK(strstr(text, "canary") == NULL);
}

/* ---- transports ------------------------------------------------------------------------------ */

/* Over the peer's own: each second read and write give 0, and reads give one byte at a time. */
typedef struct odd {
    peer p;
    bool zero_read, zero_write;
    bool zeros, bytes;
    int fds, timeout_ms; /* of wait */
    bool ticks;          /* a wait takes a millisecond of the peer's time */
    bool write_error;
    int open_result;
} odd;

static int odd_open(void *ctx, const char *host, uint16_t port, bool tls) {
    odd *o = (odd *)ctx;
    int result = peer_open(&o->p, host, port, tls);
    return o->open_result != 0 ? o->open_result : result;
}

static ptrdiff_t odd_read(void *ctx, void *out, size_t capacity) {
    odd *o = (odd *)ctx;
    o->zero_read = o->zeros && !o->zero_read;
    return o->zero_read ? 0 : peer_read(&o->p, out, o->bytes ? 1 : capacity);
}

static ptrdiff_t odd_write(void *ctx, const void *data, size_t size) {
    odd *o = (odd *)ctx;
    if (o->write_error) return MTWS_IO_ERROR;
    o->zero_write = o->zeros && !o->zero_write;
    return o->zero_write ? 0 : peer_write(&o->p, data, size);
}

static void odd_wait(void *ctx, bool want_read, bool want_write, mtws_wait *out) {
    odd *o = (odd *)ctx;
    peer_transport_wait(&o->p, want_read, want_write, out);
    if (o->ticks) o->p.now_us += 1000;
    if (o->timeout_ms > 0 && out->timeout_ms < 0) out->timeout_ms = o->timeout_ms;
    while (out->count < o->fds) {
        out->fds[out->count].fd = 1000 + out->count;
        out->fds[out->count++].want_read = true;
    }
}

static void odd_close(void *ctx) { peer_transport_close(&((odd *)ctx)->p); }

static void odd_init(odd *o) {
    memset(o, 0, sizeof *o);
    peer_init(&o->p);
    mtws_transport transport = {odd_open, odd_read, odd_write, odd_wait, odd_close, o};
    o->p.options.transport = transport;
}

/* Nothing moved: the same as AGAIN. */
static void zero_bytes(void) {
    odd o;
    odd_init(&o);
    o.zeros = true;
    if (!CHECK(peer_open_up(&o.p))) return;
    peer_queue_text(&o.p, "zero");
    peer_stream(&o.p, "text:back ping:now");
    peer_advance(&o.p, 2000);
    CHECK_UINT(o.p.settled, 1);
    CHECK_UINT(peer_count_events(&o.p, MTWS_EVENT_MESSAGE), 1);
    CHECK_UINT(peer_count_frames(&o.p, WIRE_PONG), 1);
    CHECK_INT(o.p.last_state, MTWS_STATE_CONNECTED);
    peer_finish(&o.p);
}

/* Reads of a byte each: a step takes only so many, and the rest is not forgotten. */
static void many_short_reads(void) {
    odd o;
    odd_init(&o);
    o.bytes = true;
    if (!CHECK(peer_open_up(&o.p))) return;
    peer_stream(&o.p, "text=1000 ping:now");
    peer_run(&o.p);
    CHECK_UINT(peer_count_events(&o.p, MTWS_EVENT_MESSAGE), 1);
    CHECK_UINT(peer_count_frames(&o.p, WIRE_PONG), 1);
    peer_finish(&o.p);
}

/* What a transport without descriptors has is found by polls that wait, too. */
static void read_by_waiting_polls(void) {
    odd o;
    odd_init(&o);
    if (!CHECK(peer_open_up(&o.p))) return;
    mtws_event e;
    o.ticks = true;
    o.timeout_ms = 1;
    for (int i = 0; i < 5; i++) CHECK_INT(mtws_poll(o.p.ws, &e, 3), 0);
    peer_stream(&o.p, "text:here");
    CHECK_INT(mtws_poll(o.p.ws, &e, 3), 1);
    CHECK_INT(e.type, MTWS_EVENT_MESSAGE);
    o.ticks = false;
    o.timeout_ms = 0;
    peer_finish(&o.p);
}

/* A server that refuses before it has read the request, and closes: what it says comes in more
 * pieces than one call reads, and is heard to its end. */
static const char early_refusal[] =
    "HTTP/1.1 403 Forbidden\r\nX: 0123456789012345678901234567890123456789012345678901234567890123"
    "0123456789012345678901234567890123456789012345678901234567890123\r\n\r\n";

typedef struct early {
    size_t at;
    bool asked;
} early;

static int early_open(void *ctx, const char *host, uint16_t port, bool tls) {
    (void)ctx, (void)host, (void)port, (void)tls;
    return 0;
}

static ptrdiff_t early_read(void *ctx, void *out, size_t capacity) {
    early *e = (early *)ctx;
    (void)capacity;
    if (e->at == sizeof early_refusal - 1) return MTWS_IO_EOF;
    memcpy(out, early_refusal + e->at++, 1);
    return 1;
}

static ptrdiff_t early_write(void *ctx, const void *data, size_t size) {
    early *e = (early *)ctx;
    (void)data, (void)size;
    if (e->asked) return MTWS_IO_ERROR;
    e->asked = true;
    return 10;
}

static void early_wait(void *ctx, bool want_read, bool want_write, mtws_wait *out) {
    (void)ctx, (void)want_write;
    if (want_read) out->timeout_ms = 0;
}

static void early_close(void *ctx) { (void)ctx; }

static void refused_before_it_has_asked(void) {
    early server = {0, false};
    mtws_options o;
    mtws_client *ws;
    mtws_event e;
    memset(&o, 0, sizeof o);
    mtws_transport transport = {early_open, early_read,  early_write,
                                early_wait, early_close, &server};
    o.transport = transport;
    CHECK_INT(mtws_create(&ws, &o), MTWS_OK);
    CHECK_INT(mtws_connect(ws, "ws://server.example/", NULL), MTWS_OK);
    int result = 0;
    uint16_t status = 0;
    for (int i = 0; i < 100 && result != MTWS_ERR_IDLE; i++) {
        result = mtws_poll(ws, &e, 0);
        if (result == 1 && e.state == MTWS_STATE_ERROR) status = e.http_status;
    }
    CHECK_UINT(status, 403);
    CHECK_INT(mtws_get_state(ws), MTWS_STATE_FAILED);
    mtws_destroy(ws);
}

/* The end comes, behind a Close or without one, or nothing can be written any more, while a message
 * waits for a paused program that disconnects: the time for that runs out, and is not exceeded. */
static void ends_while_paused_and_stopping(void) {
    static const peer_plan silent[] = {{.no_close = true}};
    for (int how = 0; how < 3; how++) {
        odd o;
        odd_init(&o);
        if (how == 1) PEER_PLANS(&o.p, silent);
        if (!CHECK(peer_open_up(&o.p))) return;
        test_context("how %d", how);
        mtws_set_paused(o.p.ws, true);
        peer_stream(&o.p, "text:held");
        peer_run(&o.p);
        CHECK_INT(mtws_disconnect(o.p.ws, 1000, NULL), MTWS_OK);
        if (how == 2) o.write_error = true;
        else peer_end(&o.p, MTWS_IO_EOF);
        peer_advance(&o.p, 4000);
        CHECK_INT(o.p.last_state, MTWS_STATE_CONNECTED);
        peer_advance(&o.p, 1500);
        CHECK_INT(o.p.last_state, MTWS_STATE_DISCONNECTED);
        const peer_event *end = peer_last_state(&o.p, MTWS_STATE_DISCONNECTED);
        if (CHECK(end != NULL)) {
            CHECK_INT(end->event.result, how == 0 ? MTWS_OK : MTWS_ERR_RESET);
            CHECK_UINT(end->event.close_code, how == 0 ? 1000 : 1006);
        }
        peer_finish(&o.p);
    }
}

/* mtws_disconnect again, between the end of the connection and the event that tells of it. */
static void disconnect_on_the_last_event(peer *p, const mtws_event *event) {
    if (event->type != MTWS_EVENT_DROPPED) return;
    CHECK_INT(event->state, MTWS_STATE_CONNECTED);
    CHECK_INT(mtws_disconnect(p->ws, 1000, NULL), MTWS_OK);
}

static void disconnect_behind_the_end(void) {
    static const peer_plan plans[] = {{.no_pong = true}};
    peer p;
    peer_init(&p);
    PEER_PLANS(&p, plans);
    p.on_event = disconnect_on_the_last_event;
    if (!CHECK(peer_open_up(&p))) return;
    CHECK_INT(peer_queue(&p, MTWS_TEXT, "now or never", 12, MTWS_NO_QUEUE), MTWS_OK);
    CHECK_INT(mtws_disconnect(p.ws, 1000, NULL), MTWS_OK);
    peer_advance(&p, 6000);
    CHECK_UINT(peer_count_events(&p, MTWS_EVENT_DROPPED), 1);
    CHECK_INT(p.last_state, MTWS_STATE_DISCONNECTED);
    CHECK_UINT(peer_last_state(&p, MTWS_STATE_DISCONNECTED)->event.close_code, 1000);
    CHECK(p.idle);
    peer_finish(&p);
}

/* A Ping that waits for room is not followed by another that asks again, however long it waits. */
static void one_ping_waits(void) {
    peer p;
    peer_init(&p);
    p.options.heartbeat_interval_ms = MTWS_OFF;
    if (!CHECK(peer_open_up(&p))) return;
    peer_queue_text(&p, "asked about");
    peer_run(&p);
    CHECK_UINT(p.message_count, 1);
    p.write_budget = 0;
    peer_advance(&p, 60000);
    CHECK_UINT(peer_count_frames(&p, WIRE_PING), 0);
    p.write_budget = SIZE_MAX;
    peer_advance(&p, 200);
    CHECK_UINT(peer_count_frames(&p, WIRE_PING), 1);
    CHECK_UINT(p.settled, 1);
    peer_finish(&p);
}

/* A server that answers each Ping before it has it, while nothing can be written: what waits does
 * not grow beyond its room, and a Close still fits. */
static void pongs_ahead_of_their_pings(void) {
    peer p;
    peer_init(&p);
    p.ignore_violations = true; /* the peer would take its own Pongs for wrong */
    p.options.heartbeat_interval_ms = 1000;
    p.options.heartbeat_timeout_ms = 60000;
    if (!CHECK(peer_open_up(&p))) return;
    peer_advance(&p, 1100);
    const peer_frame *ping = NULL;
    for (size_t i = 0; i < p.frame_count; i++) {
        if (p.frames[i].opcode == WIRE_PING) ping = &p.frames[i];
    }
    if (!CHECK(ping != NULL) || !CHECK_UINT(ping->size, MTWS__PING_SIZE)) return;
    uint8_t payload[MTWS__PING_SIZE], filler[MTWS__CONTROL_MAX] = {0};
    memcpy(payload, p.payloads.data + ping->at, sizeof payload);
    uint64_t sequence = mtws__load_big(payload + 8, 8);
    p.write_budget = 0;
    for (size_t size = sizeof filler; size > 0; size--) { /* until Pongs fill all they may */
        for (int i = 0; i < (size == sizeof filler ? 40 : 1); i++) {
            wire_buffer out = {0};
            wire_frame(&out, WIRE_PING, true, filler, size);
            peer_send(&p, out.data, out.size);
            wire_free(&out);
        }
    }
    peer_run(&p);
    for (int i = 0; i < 30; i++) {
        wire_buffer out = {0};
        peer_advance(&p, 1000);
        mtws__store_big(payload + 8, 8, ++sequence);
        wire_frame(&out, WIRE_PONG, true, payload, sizeof payload);
        peer_send(&p, out.data, out.size);
        wire_free(&out);
        peer_run(&p);
    }
    CHECK_INT(p.last_state, MTWS_STATE_CONNECTED);
    peer_stream(&p, "close:1000");
    peer_run(&p);
    p.write_budget = SIZE_MAX;
    peer_advance(&p, 100);
    CHECK_UINT(peer_count_frames(&p, WIRE_CLOSE), 1);
    CHECK_RANGE(peer_count_frames(&p, WIRE_PING), 4, 12);
    CHECK_INT(peer_last_state(&p, MTWS_STATE_ERROR)->event.result, MTWS_ERR_CLOSED);
    p.bad.size = 0;
    peer_finish(&p);
}

/* open may give an error of its own, or a number that is none. */
static void odd_openings(void) {
    static const struct {
        int open, result;
    } rows[] = {{5, MTWS_ERR_CONNECT},
                {MTWS_IO_EOF, MTWS_ERR_CONNECT},
                {MTWS_IO_ERROR, MTWS_ERR_CONNECT},
                {MTWS_ERR_TLS_TIME, MTWS_ERR_TLS_TIME},
                {MTWS_ERR_RESOLVE, MTWS_ERR_RESOLVE}};
    for (size_t i = 0; i < COUNT(rows); i++) {
        odd o;
        odd_init(&o);
        o.open_result = rows[i].open;
        peer_start(&o.p);
        peer_run(&o.p);
        test_context("open gives %d", rows[i].open);
        CHECK_INT(o.p.last_state, MTWS_STATE_RECONNECTING);
        CHECK_INT(peer_last_state(&o.p, MTWS_STATE_ERROR)->event.result, rows[i].result);
        peer_finish(&o.p);
    }
}

/* A transport that fills the list: what the client itself would wait for has no place there, and
 * the earlier of two timeouts counts. */
static void full_wait_list(void) {
    static const int timeouts[] = {60000, 70, 0};
    for (size_t i = 0; i < COUNT(timeouts); i++) {
        odd o;
        odd_init(&o);
        o.p.options.wakeable = true;
        o.p.options.heartbeat_interval_ms = 5000;
        if (!peer_open_up(&o.p)) return;
        o.fds = MTWS_WAIT_MAX;
        o.timeout_ms = timeouts[i];
        mtws_wait wait;
        mtws_get_wait(o.p.ws, &wait);
        CHECK_INT(wait.count, MTWS_WAIT_MAX);
        CHECK_INT(wait.fds[MTWS_WAIT_MAX - 1].fd, 1000 + MTWS_WAIT_MAX - 1);
        CHECK_INT(wait.timeout_ms, timeouts[i] == 70 ? 70 : 5000);
        o.fds = o.timeout_ms = 0;
        mtws_get_wait(o.p.ws, &wait);
        CHECK_INT(wait.count, 1); /* mtws_wake's */
        o.p.bad.size = 0;         /* which the peer takes for a mistake */
        peer_finish(&o.p);
    }
}

/* ---- frames ---------------------------------------------------------------------------------- */

/* Pings while nothing can be written: the room for Pongs fills, the latest one waits for room, and
 * it may be empty; a Close that is made meanwhile fits. */
static void pongs_wait_for_room(void) {
    for (int stops = 0; stops < 3; stops++) {
        peer p;
        peer_init(&p);
        if (!peer_open_up(&p)) return;
        p.write_budget = 0;
        for (int i = 0; i < 40; i++)
            peer_stream(&p, "ping:0123456789012345678901234567890123456789"
                            "012345678901234567890123456789");
        peer_stream(&p, "ping");
        peer_run(&p);
        if (stops == 1) {
            CHECK_INT(mtws_disconnect(p.ws, 1000, NULL), MTWS_OK);
            peer_advance(&p, 4500);
        } else if (stops == 2) { /* the server closes; the Pong that waits is for nobody then */
            peer_stream(&p, "close:1000");
            peer_run(&p);
        }
        size_t before = peer_count_frames(&p, WIRE_PONG);
        p.write_budget = SIZE_MAX;
        peer_advance(&p, 100);
        size_t pongs = peer_count_frames(&p, WIRE_PONG) - before;
        test_context("stops %d", stops);
        CHECK_RANGE(pongs, 10, 40);
        const peer_frame *last = NULL;
        for (size_t i = 0; i < p.frame_count; i++) {
            if (p.frames[i].opcode == WIRE_PONG) last = &p.frames[i];
        }
        if (stops == 0 && CHECK(last != NULL)) CHECK_UINT(last->size, 0);
        CHECK_UINT(peer_count_frames(&p, WIRE_CLOSE), stops > 0);
        if (stops == 2) CHECK_INT(p.frames[p.frame_count - 1].opcode, WIRE_CLOSE);
        peer_finish(&p);
    }
}

/* Heartbeats in JSON are short, and their timestamp is no string: others are the program's. */
static void hardly_heartbeats(void) {
    static const char *const texts[] = {
        "{\"type\":\"heartbeat\",\"timestamp\":\"now\"}",
        "{\"type\":\"heartbeat\",\"timestamp\":1,\"more\":\"%s\"}",
        "{\"type\":\"heartbeat\",\"timestamp\":1,\"more\":[%s]}",
    };
    for (size_t i = 0; i < COUNT(texts); i++) {
        char filler[700], text[800];
        peer p;
        peer_init(&p);
        p.options.heartbeat = MTWS_HEARTBEAT_JSON;
        if (!peer_open_up(&p)) return;
        memset(filler, i == 2 ? '1' : 'x', sizeof filler);
        filler[sizeof filler - 1] = 0;
        size_t size = (size_t)snprintf(text, sizeof text, texts[i], filler);
        wire_buffer out = {0};
        wire_frame(&out, WIRE_TEXT, true, text, size);
        peer_send(&p, out.data, out.size);
        wire_free(&out);
        peer_run(&p);
        test_context("text %zu", i);
        CHECK_UINT(peer_count_events(&p, MTWS_EVENT_MESSAGE), 1);
        CHECK_UINT(p.message_count, 0); /* and none is answered */
        peer_finish(&p);
    }
}

/* Text that is wrong in the last byte of a full buffer: what comes behind it is read and thrown away
 * all the same, so that no reset destroys our Close. */
static void wrong_in_a_full_buffer(void) {
    static const peer_plan plans[] = {{.keep_open = true}};
    static uint8_t bytes[40000];
    peer p;
    peer_init(&p);
    p.options.stream_messages = true;
    p.options.max_message_size = 1;
    p.ignore_violations = true;
    PEER_PLANS(&p, plans);
    if (!peer_open_up(&p)) return;
    peer_stream(&p, "cut30000.text=30000"); /* its header alone */
    peer_run(&p);
    CHECK_UINT(p.down_at, p.down.size);
    memset(bytes, 'a', sizeof bytes);
    bytes[p.options.max_message_size + 16384 - 1] = 0xff;
    peer_send(&p, bytes, sizeof bytes);
    for (int i = 0; i < 5; i++) peer_poll(&p);
    CHECK_STR(peer_client_said(&p), "/ close:1007");
    CHECK_UINT(p.down_at, p.down.size);
    CHECK(peer_wait(&p).timeout_ms > 0);
    CHECK_INT(p.last_state, MTWS_STATE_CONNECTED);
    peer_advance(&p, 250);
    CHECK_INT(peer_last_state(&p, MTWS_STATE_ERROR) != NULL, 1);
    peer_finish(&p);
}

/* Answers of 1xx that fill the buffer, so that nothing more can be read in the same call. */
static void full_of_early_answers(void) {
    static char answer[60000];
    peer p;
    peer_init(&p);
    p.options.max_message_size = 1;
    char *at = answer;
    for (int i = 0; i < 4; i++) {
        at += sprintf(at, "HTTP/1.1 103 Early Hints\r\n");
        for (int k = 0; k < 100; k++) at += sprintf(at, "Link: %0100d\r\n", k);
        at += sprintf(at, "\r\n");
    }
    strcpy(at, PEER_ANSWER);
    peer_plan plan = {0};
    plan.answer = answer;
    p.plans = &plan;
    if (!peer_start(&p)) return;
    peer_run(&p);
    CHECK_INT(p.last_state, MTWS_STATE_CONNECTED);
    peer_finish(&p);
}

/* A server that neither answers our Close nor stops sending, and a program that takes longer for
 * each message than the next one does: the end comes all the same. */
static void sends_on(peer *p, const mtws_event *event) {
    if (event->type != MTWS_EVENT_MESSAGE) return;
    p->now_us += 10000;
    peer_stream(p, "text:more text:more");
}

static void disconnect_under_a_flood(void) {
    static const peer_plan plans[] = {{.no_close = true}};
    peer p;
    peer_init(&p);
    PEER_PLANS(&p, plans);
    p.on_event = sends_on;
    if (!peer_open_up(&p)) return;
    peer_stream(&p, "text:one");
    CHECK_INT(mtws_disconnect(p.ws, 1000, NULL), MTWS_OK);
    uint64_t start_us = p.now_us;
    while (p.last_state != MTWS_STATE_DISCONNECTED && p.now_us < start_us + 20000000) peer_poll(&p);
    CHECK_RANGE((p.now_us - start_us) / 1000, 5000, 6020);
    CHECK_INT(p.last_state, MTWS_STATE_DISCONNECTED);
    const peer_event *end = peer_last_state(&p, MTWS_STATE_DISCONNECTED);
    if (CHECK(end != NULL)) CHECK_INT(end->event.result, MTWS_ERR_TIMEOUT);
    peer_finish(&p);
}

/* The server's Close came in time and lies behind more frames than one step takes: a program that
 * is a little late hears it. When it is a second late the message before it is not handed over. */
static void disconnected_behind_many_frames(void) {
    static const peer_plan plans[] = {{.no_close = true}};
    for (int late = 0; late < 2; late++) {
        test_context("late %d", late);
        peer p;
        peer_init(&p);
        PEER_PLANS(&p, plans);
        if (!peer_open_up(&p)) return;
        CHECK_INT(mtws_disconnect(p.ws, 1000, NULL), MTWS_OK);
        peer_run(&p);
        peer_stream(&p, "text-:a");
        for (int i = 0; i < 5000; i++) peer_stream(&p, "cont-");
        peer_stream(&p, "cont:b close:1000");
        p.now_us += late ? 6000000 : 5500000;
        peer_run(&p);
        const peer_event *end = peer_last_state(&p, MTWS_STATE_DISCONNECTED);
        if (CHECK(end != NULL)) CHECK_INT(end->event.result, MTWS_OK);
        CHECK_UINT(p.received.size, late ? 0 : 2);
        peer_finish(&p);
    }
}

/* What is sent while messages are handed over one after the other leaves after 1 ms, although there
 * are more of them. */
static void replies_leave_in_time(void) {
    peer p;
    mtws_event event;
    peer_init(&p);
    if (!peer_open_up(&p)) return;
    for (int i = 0; i < 200; i++) peer_stream(&p, "text:one");
    int handed = 0;
    peer_run(&p);
    for (int i = 0; i < 200; i++) peer_stream(&p, "text:two");
    while (mtws_poll(p.ws, &event, 0) == 1) {
        if (event.type != MTWS_EVENT_MESSAGE) continue;
        handed++;
        if (handed == 1) CHECK_INT(mtws_send_text(p.ws, "a reply"), MTWS_OK);
        if (p.message_count > 0) break;
        p.now_us += 100;
    }
    CHECK_RANGE(handed, 2, 40);
    CHECK_UINT(p.message_count, 1);
    mtws_destroy(p.ws);
    p.ws = NULL;
    peer_finish(&p);
}

int main(int argc, char **argv) {
    static const test_entry tests[] = {
        TEST(no_arguments),
        TEST_ROWS(bad_options),
        TEST(texts_too_big),
        TEST(first_is_refused),
        TEST(retry_is_due_at_once),
        TEST(wakes_behind_events),
        TEST(debug_to_stderr),
        TEST(without_tls),
        TEST(long_bad_name),
        TEST(secrets_with_percent),
        TEST(zero_bytes),
        TEST(read_by_waiting_polls),
        TEST(refused_before_it_has_asked),
        TEST(ends_while_paused_and_stopping),
        TEST(disconnect_behind_the_end),
        TEST(one_ping_waits),
        TEST(pongs_ahead_of_their_pings),
        TEST(many_short_reads),
        TEST(odd_openings),
        TEST(full_wait_list),
        TEST(pongs_wait_for_room),
        TEST(hardly_heartbeats),
        TEST(wrong_in_a_full_buffer),
        TEST(full_of_early_answers),
        TEST(disconnect_under_a_flood),
        TEST(disconnected_behind_many_frames),
        TEST(replies_leave_in_time),
    };
    return TEST_MAIN(tests, argc, argv);
}
