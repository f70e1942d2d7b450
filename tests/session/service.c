/* What the client does for a program beside carrying its messages: handlers by type, heartbeats in
 * JSON, and waiting for the network.
 *
 * The server's side of the JSON heartbeats is played here, a millisecond at a time: see serve().
 */
#define MTWS_IMPLEMENTATION
#include "../../mtws.h"

#include "../test.h"
#include "peer.h"

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))
#define HOUR_MS 3600000u

/* ---- handlers: who was called with what ------------------------------------------------------ */

static wire_buffer heard; /* "name(data) ", a line of what handlers were called with */

static const char *heard_text(void) {
    static char text[4096];
    snprintf(text, sizeof text, "%s", wire_text(&heard));
    wire_free(&heard);
    return text;
}

static void hear(mtws_client *ws, const mtws_event *message, void *user) {
    (void)ws;
    wire_print(&heard, "%s(", (const char *)user);
    wire_add(&heard, message->data, message->size);
    wire_add_text(&heard, ") ");
}

static void hear_state(mtws_client *ws, const mtws_event *change, void *user) {
    if (change->type != MTWS_EVENT_STATE || change->state != mtws_get_state(ws)) {
        wire_add_text(&heard, "WRONG ");
    }
    wire_print(&heard, "%s(%s) ", (const char *)user, mtws_state_name(change->state));
}

static char a[] = "a", b[] = "b", other[] = "other", state[] = "state";

/* Hands each event to mtws_dispatch; notes messages that nobody took. */
static void dispatch(peer *p, const mtws_event *event) {
    bool took = mtws_dispatch(p->ws, event);
    if (event->type == MTWS_EVENT_MESSAGE && !took) wire_add_text(&heard, "nobody ");
    if (event->type == MTWS_EVENT_STATE && took) return;
    if (event->type != MTWS_EVENT_MESSAGE && took) wire_add_text(&heard, "WRONG ");
}

/* The server sends a text message of one frame. */
static void server_text_at(peer *p, uint64_t ms, const char *text) {
    wire_buffer out = {0};
    wire_frame(&out, WIRE_TEXT, true, text, strlen(text));
    peer_send_at(p, ms, out.data, out.size);
    wire_free(&out);
}

static void server_text(peer *p, const char *text) { server_text_at(p, 0, text); }

static bool open_dispatching(peer *p) {
    peer_init(p);
    p->on_event = dispatch;
    return peer_open_up(p);
}

static void by_type(void) {
    static const struct {
        const char *text;
        const char *by;
    } rows[] = {
        {"{\"type\":\"a\"}", "a"},
        {"{\"type\":\"b\",\"n\":1}", "b"},
        {" { \"n\" : [1,{}] , \"type\" : \"a\" } ", "a"},
        {"{\"type\":\"\\u0061\"}", "a"},
        {"{\"\\u0074y\\u0070e\":\"b\"}", "b"},
        {"{\"type\":\"a\",\"type\":\"b\"}", "b"},
        {"{\"type\":\"b\",\"in\":{\"type\":\"a\"}}", "b"},
        {"{\"in\":[{\"type\":\"b\"}],\"type\":\"a\"}", "a"},
        {"{\"type\":\"\"}", "empty"},
        {"{\"type\":\"say \\\"\\u00e9\\\"\\n\"}", "escapes"},
        {"{\"type\":\"say \\u0022\xc3\xa9\\\"\\u000a\"}", "escapes"},
        {"{\"type\":\"\\ud83d\\ude00\"}", "smile"},
        {"{\"type\":\"\xf0\x9f\x98\x80\"}", "smile"},
        {"{\"type\":\"A\"}", "other"},
        {"{\"type\":\"c\"}", "other"},
        {"{\"type\":\"ab\"}", "other"},
        {"{\"type\":\"a\\u0000\"}", "other"},
        {"{\"type\":\"\\ud83d\"}", "other"},
        {"{\"type\":1}", "other"},
        {"{\"type\":null}", "other"},
        {"{\"type\":{\"type\":\"a\"}}", "other"},
        {"{\"type\":[\"a\"]}", "other"},
        {"{\"type\":\"a\",\"type\":1}", "other"},
        {"{\"in\":{\"type\":\"a\"}}", "other"},
        {"{\"Type\":\"a\"}", "other"},
        {"{}", "other"},
        {"[{\"type\":\"a\"}]", "other"},
        {"\"a\"", "other"},
        {"a", "other"},
        {"", "other"},
        {"{\"type\":\"a\"", "other"},
        {"{\"type\":\"a\",}", "other"},
        {"{\"type\":\"a\"} x", "other"},
        {"{type:\"a\"}", "other"},
        {"{'type':'a'}", "other"},
        {"\xef\xbb\xbf{\"type\":\"a\"}", "other"},
    };
    static char escapes[] = "escapes", smile[] = "smile", empty[] = "empty";
    for (size_t i = 0; i < COUNT(rows); i++) {
        if (!test_begin("%s", rows[i].text)) continue;
        peer p;
        char expected[300];
        for (int with_other = 0; with_other < 2 && open_dispatching(&p); with_other++) {
            CHECK_INT(mtws_on_message(p.ws, "a", hear, a), MTWS_OK);
            CHECK_INT(mtws_on_message(p.ws, "b", hear, b), MTWS_OK);
            CHECK_INT(mtws_on_message(p.ws, "say \"\xc3\xa9\"\n", hear, escapes), MTWS_OK);
            CHECK_INT(mtws_on_message(p.ws, "\xf0\x9f\x98\x80", hear, smile), MTWS_OK);
            CHECK_INT(mtws_on_message(p.ws, "", hear, empty), MTWS_OK);
            if (with_other) CHECK_INT(mtws_on_message(p.ws, NULL, hear, other), MTWS_OK);
            server_text(&p, rows[i].text);
            peer_run(&p);
            bool nobody = !with_other && strcmp(rows[i].by, "other") == 0;
            snprintf(expected, sizeof expected, "%s(%s) ", rows[i].by, rows[i].text);
            CHECK_STR(heard_text(), nobody ? "nobody " : expected);
            /* The same in a binary message has no type. */
            wire_buffer out = {0};
            wire_frame(&out, WIRE_BIN, true, rows[i].text, strlen(rows[i].text));
            peer_send(&p, out.data, out.size);
            wire_free(&out);
            peer_run(&p);
            snprintf(expected, sizeof expected, "other(%s) ", rows[i].text);
            CHECK_STR(heard_text(), with_other ? expected : "nobody ");
            peer_finish(&p);
        }
        test_end();
    }
}

static void fragments_and_parts(void) {
    peer p;
    if (!open_dispatching(&p)) return;
    mtws_on_message(p.ws, "a", hear, a);
    mtws_on_message(p.ws, NULL, hear, other);
    peer_stream(&p, "text-:{\"ty cont-:pe\":\" ping:x cont:a\"}");
    peer_run(&p);
    CHECK_STR(heard_text(), "a({\"type\":\"a\"}) ");
    peer_finish(&p);

    peer_init(&p);
    p.on_event = dispatch;
    p.options.stream_messages = true;
    if (!peer_open_up(&p)) return;
    mtws_on_message(p.ws, "a", hear, a);
    mtws_on_message(p.ws, NULL, hear, other);
    peer_stream(&p, "text-:{\"type\":\"a\"} cont:%20");
    peer_run(&p);
    CHECK_STR(heard_text(), "other({\"type\":\"a\"}) other( ) ");
    peer_stream(&p, "text-:%20 cont:{\"type\":\"a\"}");
    peer_run(&p);
    CHECK_STR(heard_text(), "other( ) other({\"type\":\"a\"}) ");
    peer_stream(&p, "text:{\"type\":\"a\"}");
    peer_run(&p);
    CHECK_STR(heard_text(), "a({\"type\":\"a\"}) ");
    peer_finish(&p);
}

/* Sends {"type":"<type>"} and gives what was called. */
static const char *called_by(peer *p, const char *type) {
    char text[200];
    snprintf(text, sizeof text, "{\"type\":\"%s\"}", type);
    server_text(p, text);
    peer_run(p);
    char *at = (char *)(uintptr_t)heard_text();
    at[strcspn(at, "( ")] = 0;
    return at;
}

static void registration(void) {
    peer p;
    char type[] = "a";
    static char second[] = "second";
    if (!open_dispatching(&p)) return;
    CHECK_STR(called_by(&p, "a"), "nobody");
    mtws_on_message(p.ws, type, hear, a);
    type[0] = 'z'; /* it was copied */
    CHECK_STR(called_by(&p, "a"), "a");
    CHECK_STR(called_by(&p, "z"), "nobody");
    mtws_on_message(p.ws, "b", hear, b);
    mtws_on_message(p.ws, "c", hear, other);
    mtws_on_message(p.ws, "a", hear, second); /* the last registration wins */
    CHECK_STR(called_by(&p, "a"), "second");
    CHECK_INT(mtws_on_message(p.ws, "a", NULL, NULL), MTWS_OK);
    CHECK_STR(called_by(&p, "a"), "nobody"); /* and none comes back from under it */
    CHECK_STR(called_by(&p, "b"), "b");
    CHECK_STR(called_by(&p, "c"), "other");
    CHECK_INT(mtws_on_message(p.ws, "a", NULL, NULL), MTWS_OK);
    CHECK_INT(mtws_on_message(p.ws, "never", NULL, NULL), MTWS_OK);
    CHECK_STR(called_by(&p, "b"), "b");
    mtws_on_message(p.ws, "c", NULL, NULL);
    mtws_on_message(p.ws, "a", hear, a);
    CHECK_STR(called_by(&p, "a"), "a");
    CHECK_STR(called_by(&p, "b"), "b");
    CHECK_STR(called_by(&p, "c"), "nobody");
    mtws_on_message(p.ws, NULL, hear, other);
    CHECK_STR(called_by(&p, "c"), "other");
    mtws_on_message(p.ws, NULL, hear, second);
    CHECK_STR(called_by(&p, "c"), "second");
    CHECK_STR(called_by(&p, "a"), "a");
    mtws_on_message(p.ws, NULL, NULL, NULL);
    CHECK_STR(called_by(&p, "c"), "nobody");
    mtws_on_message(p.ws, "a", NULL, NULL);
    mtws_on_message(p.ws, "b", NULL, NULL);
    CHECK_STR(called_by(&p, "a"), "nobody");
    peer_finish(&p);
}

static void registration_limits(void) {
    peer p;
    static char names[MTWS_HANDLERS_MAX + 1][16];
    char longest[50];
    memset(longest, 'x', sizeof longest);
    longest[47] = 0;
    if (!open_dispatching(&p)) return;
    for (int i = 0; i <= MTWS_HANDLERS_MAX; i++) snprintf(names[i], sizeof names[i], "t%d", i);
    for (int i = 0; i < MTWS_HANDLERS_MAX; i++) {
        CHECK_INT(mtws_on_message(p.ws, names[i], hear, names[i]), MTWS_OK);
    }
    CHECK_INT(mtws_on_message(p.ws, names[MTWS_HANDLERS_MAX], hear, a), MTWS_ERR_TOO_BIG);
    CHECK_STR(called_by(&p, names[MTWS_HANDLERS_MAX]), "nobody");
    for (int i = 0; i < MTWS_HANDLERS_MAX; i++) CHECK_STR(called_by(&p, names[i]), names[i]);
    /* None of these needs room. */
    CHECK_INT(mtws_on_message(p.ws, NULL, hear, other), MTWS_OK);
    CHECK_INT(mtws_on_message(p.ws, names[5], hear, b), MTWS_OK);
    CHECK_STR(called_by(&p, names[5]), "b");
    CHECK_INT(mtws_on_message(p.ws, names[0], NULL, NULL), MTWS_OK);
    CHECK_INT(mtws_on_message(p.ws, longest, hear, a), MTWS_OK);
    CHECK_STR(called_by(&p, longest), "a");
    CHECK_STR(called_by(&p, names[0]), "other");
    CHECK_STR(called_by(&p, names[MTWS_HANDLERS_MAX - 1]), names[MTWS_HANDLERS_MAX - 1]);
    CHECK_INT(mtws_on_message(p.ws, names[1], NULL, NULL), MTWS_OK);
    longest[47] = 'x';
    longest[48] = 0;
    CHECK_INT(mtws_on_message(p.ws, longest, hear, b), MTWS_ERR_TOO_BIG);
    CHECK_STR(called_by(&p, longest), "other");
    longest[47] = 0;
    CHECK_STR(called_by(&p, longest), "a");
    peer_finish(&p);
}

static void state_handler(void) {
    static const peer_plan plans[] = {{.open_result = MTWS_ERR_CONNECT}, {.open_result = 0}};
    static char second[] = "second";
    peer p;
    peer_init(&p);
    PEER_PLANS(&p, plans);
    p.on_event = dispatch;
    if (!CHECK_INT(mtws_create(&p.ws, &p.options), MTWS_OK)) return;
    mtws_on_state(p.ws, hear_state, a);
    mtws_on_state(p.ws, hear_state, state);
    mtws_on_message(p.ws, NULL, hear, other);
    if (!peer_start(&p)) return;
    CHECK(peer_reach(&p, MTWS_STATE_CONNECTED, 5000));
    CHECK_STR(heard_text(), "state(connecting) state(error) state(reconnecting) state(connected) ");
    mtws_on_state(p.ws, hear_state, second);
    peer_queue_text(&p, "x"); /* DELIVERED is for no handler */
    peer_advance(&p, 1000);
    CHECK_UINT(peer_count_events(&p, MTWS_EVENT_DELIVERED), 1);
    mtws_disconnect(p.ws, 0, NULL);
    peer_run(&p);
    CHECK_STR(heard_text(), "second(disconnected) ");
    mtws_on_state(p.ws, NULL, NULL);
    mtws_connect(p.ws, p.url, NULL);
    CHECK(peer_reach(&p, MTWS_STATE_CONNECTED, 5000));
    CHECK_STR(heard_text(), "");
    peer_finish(&p);
}

/* What mtws_dispatch says to events that it was not made from. */
static void dispatch_results(void) {
    peer p;
    mtws_event event;
    if (!open_dispatching(&p)) return;
    memset(&event, 0, sizeof event);
    event.reason = "";
    event.data = (const uint8_t *)"{\"type\":\"a\"}";
    event.size = strlen((const char *)event.data);
    event.kind = MTWS_TEXT;
    event.first = event.last = true;
    mtws_on_message(p.ws, "a", hear, a);
    static const mtws_event_type types[] = {MTWS_EVENT_NONE, MTWS_EVENT_STATE, MTWS_EVENT_DELIVERED,
                                            MTWS_EVENT_DROPPED, MTWS_EVENT_WRITABLE};
    for (size_t i = 0; i < COUNT(types); i++) {
        event.type = types[i];
        CHECK(!mtws_dispatch(p.ws, &event));
    }
    event.type = MTWS_EVENT_MESSAGE;
    CHECK(mtws_dispatch(p.ws, &event));
    event.last = false;
    CHECK(!mtws_dispatch(p.ws, &event));
    event.first = false, event.last = true;
    CHECK(!mtws_dispatch(p.ws, &event));
    mtws_on_message(p.ws, NULL, hear, other);
    CHECK(mtws_dispatch(p.ws, &event));
    CHECK_STR(heard_text(), "a({\"type\":\"a\"}) other({\"type\":\"a\"}) ");
    peer_finish(&p);
}

/* ---- handlers: what they call ---------------------------------------------------------------- */

/* Calls everything that does no I/O; the message stays as it was, and a NUL behind it. */
static void busy_handler(mtws_client *ws, const mtws_event *message, void *user) {
    peer *p = (peer *)user;
    mtws_stats stats;
    mtws_options options;
    mtws_wait wait;
    uint64_t hash = wire_hash(message->data, message->size);
    CHECK_INT(peer_queue(p, message->kind, message->data, message->size, 0), MTWS_OK);
    CHECK_INT(peer_queue(p, MTWS_TEXT, "first", 5, MTWS_FIRST), MTWS_OK);
    mtws_get_stats(ws, &stats);
    mtws_get_options(ws, &options);
    mtws_get_wait(ws, &wait);
    CHECK_INT(wait.timeout_ms, 0);
    CHECK_INT(mtws_set_network(ws, true), MTWS_OK);
    CHECK_INT(mtws_set_header(ws, "X-Heard", "yes"), MTWS_OK);
    CHECK_INT(mtws_on_message(ws, "busy", NULL, NULL), MTWS_OK);
    CHECK_INT(mtws_on_message(ws, "b", hear, b), MTWS_OK);
    CHECK_INT(mtws_connect(ws, p->url, NULL), MTWS_ERR_STATE);
    CHECK_INT(mtws_retry_now(ws), MTWS_ERR_STATE);
    CHECK_UINT(wire_hash(message->data, message->size), hash);
    CHECK_INT(message->data[message->size], 0);
    wire_add_text(&heard, "busy ");
}

static void handler_calls_anything(void) {
    peer p;
    if (!open_dispatching(&p)) return;
    mtws_on_message(p.ws, "busy", busy_handler, &p);
    peer_stream(&p, "text:{\"type\":\"busy\"} text:{\"type\":\"busy\"} text:{\"type\":\"b\"}");
    peer_run(&p);
    CHECK_STR(heard_text(), "busy nobody b({\"type\":\"b\"}) ");
    CHECK_STR(peer_client_said(&p), "text:first text:{\"type\":\"busy\"} /");
    peer_finish(&p);
}

static void closing_handler(mtws_client *ws, const mtws_event *message, void *user) {
    peer *p = (peer *)user;
    peer_queue(p, message->kind, message->data, message->size, 0);
    CHECK_INT(mtws_disconnect(ws, 4000, "enough"), MTWS_OK);
    CHECK_INT(mtws_send_text(ws, "late"), MTWS_ERR_STATE);
    CHECK_INT(message->data[message->size], 0);
    wire_add_text(&heard, "closing ");
}

static void handler_disconnects(void) {
    peer p;
    if (!open_dispatching(&p)) return;
    mtws_on_message(p.ws, "bye", closing_handler, &p);
    mtws_on_message(p.ws, NULL, hear, other);
    peer_stream(&p, "text:{\"type\":\"bye\"} text:more");
    peer_advance(&p, 1000);
    CHECK_STR(heard_text(), "closing other(more) ");
    CHECK_STR(peer_client_said(&p), "text:{\"type\":\"bye\"} / close:4000");
    CHECK_INT(p.last_state, MTWS_STATE_DISCONNECTED);
    CHECK(p.idle);
    peer_finish(&p);
}

/* Ends at once where the first call was graceful. */
static void twice_closing_handler(mtws_client *ws, const mtws_event *message, void *user) {
    (void)user;
    CHECK_INT(mtws_disconnect(ws, 0, NULL), MTWS_OK);
    CHECK_INT(mtws_disconnect(ws, 0, NULL), MTWS_OK);
    CHECK_INT(message->data[message->size], 0);
}

static void handler_disconnects_at_once(void) {
    peer p;
    if (!open_dispatching(&p)) return;
    mtws_on_message(p.ws, NULL, twice_closing_handler, NULL);
    peer_stream(&p, "text:one text:two");
    peer_run(&p);
    CHECK_INT(p.last_state, MTWS_STATE_DISCONNECTED);
    CHECK_UINT(peer_count_events(&p, MTWS_EVENT_MESSAGE), 1);
    peer_finish(&p);
}

/* A program that starts again whenever it hears that it is over. */
static void tireless_handler(mtws_client *ws, const mtws_event *change, void *user) {
    peer *p = (peer *)user;
    if (change->state == MTWS_STATE_FAILED) {
        wire_add_text(&heard, "failed ");
        CHECK_INT(mtws_retry_now(ws), MTWS_OK);
    } else if (change->state == MTWS_STATE_DISCONNECTED) {
        wire_add_text(&heard, "disconnected ");
        CHECK_INT(mtws_connect(ws, "ws://other.example/", NULL), MTWS_OK);
    } else if (change->state == MTWS_STATE_CONNECTED) {
        wire_print(&heard, "connected:%s ", p->opened_host);
        CHECK_INT(mtws_disconnect(ws, 0, NULL), MTWS_OK);
    }
}

static void handler_connects(void) {
    static const peer_plan plans[] = {{.open_result = MTWS_ERR_CONNECT},
                                      {.open_result = 0},
                                      {.open_never = true}};
    peer p;
    peer_init(&p);
    PEER_PLANS(&p, plans);
    p.options.max_reconnect_attempts = MTWS_OFF;
    p.on_event = dispatch;
    if (!CHECK_INT(mtws_create(&p.ws, &p.options), MTWS_OK)) return;
    mtws_on_state(p.ws, tireless_handler, &p);
    if (!peer_start(&p)) return;
    peer_run(&p);
    CHECK_STR(heard_text(), "failed connected:server.example disconnected ");
    CHECK_STR(p.opened_host, "other.example");
    CHECK_INT(p.connections, 3);
    CHECK_INT(p.last_state, MTWS_STATE_CONNECTING);
    peer_finish(&p);
}

/* A handler that pumps: what comes behind the message is handled within it. */
static void pumping_handler(mtws_client *ws, const mtws_event *message, void *user) {
    mtws_event event;
    wire_print(&heard, "%s%.*s ", (const char *)user, (int)message->size,
               (const char *)message->data);
    while (mtws_poll(ws, &event, 0) == 1) mtws_dispatch(ws, &event);
}

static void handler_polls(void) {
    peer p;
    static char pumped[] = ">";
    if (!open_dispatching(&p)) return;
    mtws_on_message(p.ws, NULL, pumping_handler, pumped);
    peer_stream(&p, "text:1 text:2 text:3");
    peer_run(&p);
    CHECK_STR(heard_text(), ">1 >2 >3 ");
    peer_finish(&p);
}

/* ---- handlers: destroy ----------------------------------------------------------------------- */

typedef struct ender {
    peer *p;
    mtws_state at;
    int calls;
} ender;

static void destroying_message_handler(mtws_client *ws, const mtws_event *message, void *user) {
    ender *e = (ender *)user;
    (void)message;
    e->calls++;
    mtws_send_text(ws, "never sent");
    e->p->ws = NULL;
    mtws_destroy(ws);
}

static void destroying_state_handler(mtws_client *ws, const mtws_event *change, void *user) {
    ender *e = (ender *)user;
    if (change->state != e->at) return;
    e->calls++;
    e->p->ws = NULL;
    mtws_destroy(ws);
}

/* Pumps until the client is gone: here peer_run would go on with it. */
static void pump(peer *p, uint64_t limit_ms) {
    uint64_t end_us = p->now_us + limit_ms * 1000;
    while (p->ws != NULL && p->now_us < end_us) {
        mtws_event event;
        int result = mtws_poll(p->ws, &event, 0);
        if (result == 1) CHECK(mtws_dispatch(p->ws, &event) || event.type != MTWS_EVENT_STATE);
        if (result == MTWS_ERR_IDLE) return;
        if (result == 0) p->now_us += 10000;
    }
}

static void handler_destroys_in_state(void) {
    static const peer_plan good[] = {{.open_result = 0}};
    static const peer_plan refused[] = {{.open_result = MTWS_ERR_CONNECT}};
    static const peer_plan lost[] = {{.end_after_answer = true}};
    static const struct {
        mtws_state at;
        const peer_plan *plan;
        int32_t attempts;
        bool offline, closes;
    } rows[] = {
        {MTWS_STATE_CONNECTING, good, 0, false, false},
        {MTWS_STATE_CONNECTED, good, 0, false, false},
        {MTWS_STATE_CONNECTED, lost, 0, false, false},
        {MTWS_STATE_ERROR, refused, 0, false, false},
        {MTWS_STATE_ERROR, lost, 0, false, false},
        {MTWS_STATE_RECONNECTING, refused, 0, false, false},
        {MTWS_STATE_RECONNECTING, lost, 0, false, false},
        {MTWS_STATE_WAITING_FOR_NETWORK, good, 0, true, false},
        {MTWS_STATE_FAILED, refused, MTWS_OFF, false, false},
        {MTWS_STATE_FAILED, lost, MTWS_OFF, false, false},
        {MTWS_STATE_DISCONNECTED, good, 0, false, true},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        if (!test_begin("%s, row %zu", mtws_state_name(rows[i].at), i)) continue;
        peer p;
        ender e = {&p, rows[i].at, 0};
        peer_init(&p);
        p.plans = rows[i].plan;
        p.options.max_reconnect_attempts = rows[i].attempts;
        p.options.network = MTWS_NETWORK_MANUAL;
        if (!CHECK_INT(mtws_create(&p.ws, &p.options), MTWS_OK)) return;
        mtws_on_state(p.ws, destroying_state_handler, &e);
        if (rows[i].closes) mtws_on_message(p.ws, NULL, closing_handler, &p);
        if (rows[i].offline) mtws_set_network(p.ws, false);
        mtws_send_text(p.ws, "queued");
        if (peer_start(&p)) {
            pump(&p, 500);
            if (rows[i].closes && p.ws != NULL) {
                mtws_disconnect(p.ws, 0, NULL);
                pump(&p, 5000);
            }
            CHECK(p.ws == NULL);
            CHECK_INT(e.calls, 1);
            CHECK(!p.open && !p.opening);
        }
        wire_free(&heard);
        peer_finish(&p);
        test_end();
    }
}

static void handler_destroys_on_message(void) {
    for (int kind = 0; kind < 3; kind++) {
        peer p;
        ender e = {&p, MTWS_STATE_CONNECTED, 0};
        test_context("kind %d", kind);
        peer_init(&p);
        p.options.stream_messages = kind == 2;
        if (!peer_open_up(&p)) return;
        mtws_on_message(p.ws, kind == 0 ? "a" : NULL, destroying_message_handler, &e);
        peer_stream(&p, kind == 0   ? "text:{\"type\":\"a\"} text:{\"type\":\"a\"}"
                        : kind == 1 ? "bin:x bin:y"
                                    : "bin-:x cont:y");
        pump(&p, 1000);
        CHECK(p.ws == NULL);
        CHECK_INT(e.calls, 1);
        CHECK(!p.open);
        peer_finish(&p);
    }
}

/* ---- heartbeats in JSON: the server ---------------------------------------------------------- */

enum { INTERVAL = 1000, TIMEOUT = 400, BEATS_MAX = 256 };

typedef struct world {
    peer p;
    bool mute;         /* heartbeats are not answered */
    bool frozen;       /* the wall clock stands still */
    uint32_t delay_ms; /* of an answer */
    size_t seen;       /* of the client's messages */
    uint64_t stamps[BEATS_MAX], times_us[BEATS_MAX];
    size_t beats, answers; /* of the client: heartbeats, and answers to ours */
    char original[64];     /* what the latest answer repeats */
    uint64_t answer_stamp;
    wire_buffer rest; /* its other messages, a line each */
} world;

static void world_init(world *w) {
    memset(w, 0, sizeof *w);
    peer_init(&w->p);
    w->p.options.heartbeat = MTWS_HEARTBEAT_JSON;
    w->p.options.heartbeat_interval_ms = INTERVAL;
    w->p.options.heartbeat_timeout_ms = TIMEOUT;
}

static void world_finish(world *w) {
    wire_free(&w->rest);
    peer_finish(&w->p);
}

/* One message of the client's: a heartbeat, an answer to one, or another. */
static void world_take(world *w, const peer_message *m) {
    char text[256], again[256];
    unsigned long long stamp = 0;
    const uint8_t *data = w->p.messages_data.data + m->at;
    snprintf(text, sizeof text, "%.*s", (int)m->size, (const char *)data);
    if (m->opcode == WIRE_TEXT &&
        sscanf(text, "{\"type\":\"heartbeat\",\"timestamp\":%llu", &stamp)) {
        snprintf(again, sizeof again, "{\"type\":\"heartbeat\",\"timestamp\":%llu}", stamp);
        CHECK_STR(text, again);
        if (w->beats < BEATS_MAX) {
            w->stamps[w->beats] = stamp;
            w->times_us[w->beats++] = m->time_us;
        }
        if (w->mute || !w->p.open) return;
        snprintf(again, sizeof again,
                 "{\"type\":\"heartbeat_response\",\"timestamp\":%llu,\"originalTimestamp\":%llu}",
                 (unsigned long long)peer_unix_ms(&w->p), stamp);
        server_text_at(&w->p, w->delay_ms, again);
    } else if (m->opcode == WIRE_TEXT && sscanf(text,
                                                "{\"type\":\"heartbeat_response\",\"timestamp\":%"
                                                "llu,\"originalTimestamp\":%63[^}]",
                                                &stamp, w->original) == 2) {
        snprintf(again, sizeof again,
                 "{\"type\":\"heartbeat_response\",\"timestamp\":%llu,\"originalTimestamp\":%s}",
                 stamp, w->original);
        CHECK_STR(text, again);
        w->answer_stamp = stamp;
        w->answers++;
    } else {
        wire_add(&w->rest, data, m->size);
        wire_add_text(&w->rest, "\n");
    }
}

static void world_look(world *w) {
    for (; w->seen < w->p.message_count; w->seen++) world_take(w, &w->p.messages[w->seen]);
}

/* Time passes, with the server looking at what came every millisecond. */
static void serve(world *w, uint64_t ms) {
    for (; ms > 0 && w->p.bad.size == 0; ms--) {
        if (w->frozen) w->p.unix_offset_ms--;
        peer_advance(&w->p, 1);
        world_look(w);
        peer_run(&w->p);
    }
}

static bool world_open(world *w) {
    bool opened = peer_open_up(&w->p);
    world_look(w);
    return opened;
}

/* The heartbeat's failure, or NULL. */
static const peer_event *world_death(const world *w) {
    const peer_event *error = peer_last_state(&w->p, MTWS_STATE_ERROR);
    if (error != NULL) CHECK_INT(error->event.result, MTWS_ERR_HEARTBEAT);
    return error;
}

/* ---- heartbeats in JSON: ours ---------------------------------------------------------------- */

static void beats_each_interval(void) {
    world w;
    world_init(&w);
    w.delay_ms = 37;
    if (!world_open(&w)) return;
    uint64_t opened_us = w.p.now_us;
    serve(&w, 20 * INTERVAL + INTERVAL / 2);
    CHECK_UINT(w.beats, 20);
    for (size_t i = 0; i < w.beats; i++) {
        test_context("heartbeat %zu", i);
        CHECK_UINT(w.times_us[i], opened_us + (i + 1) * INTERVAL * 1000);
        CHECK_INT(w.stamps[i], (int64_t)(w.times_us[i] / 1000) + w.p.unix_offset_ms);
    }
    test_context("%s", "");
    CHECK_UINT(peer_count_events(&w.p, MTWS_EVENT_MESSAGE), 0);
    CHECK_UINT(peer_count_frames(&w.p, WIRE_PING), 0);
    CHECK_UINT(w.rest.size, 0);
    CHECK_INT(w.p.last_state, MTWS_STATE_CONNECTED);
    world_finish(&w);
}

/* The round trip is measured as with Pings. */
static void round_trips(void) {
    static const uint32_t delays[] = {37, 120, 9, 250, 12}, least[] = {37, 37, 9, 9, 9};
    world w;
    mtws_stats stats;
    world_init(&w);
    if (!world_open(&w)) return;
    mtws_get_stats(w.p.ws, &stats);
    CHECK_UINT(stats.rtt_us, 0);
    CHECK_UINT(stats.rtt_min_us, 0);
    uint64_t opened_us = w.p.now_us;
    for (size_t i = 0; i < COUNT(delays); i++) {
        uint64_t asked_us = opened_us + (i + 1) * INTERVAL * 1000;
        w.delay_ms = delays[i];
        serve(&w, (asked_us - w.p.now_us) / 1000 + delays[i] - 1);
        CHECK_UINT(w.beats, i + 1);
        mtws_get_stats(w.p.ws, &stats);
        CHECK_UINT(stats.rtt_us, i == 0 ? 0 : delays[i - 1] * 1000);
        serve(&w, 1);
        mtws_get_stats(w.p.ws, &stats);
        CHECK_UINT(stats.rtt_us, delays[i] * 1000);
        CHECK_UINT(stats.rtt_min_us, least[i] * 1000);
    }
    world_finish(&w);
}

/* Each heartbeat has a timestamp of its own, or an old answer would be taken for a new one. */
static void fresh_timestamps(void) {
    static const struct {
        const char *name;
        bool frozen;
        int64_t jump_ms; /* each 6 seconds */
    } rows[] = {
        {"the wall clock stands still", true, 0},
        {"it jumps back by ten years", false, -315360000000},
        {"it jumps forward by ten years", false, 315360000000},
        {"it jumps back by a second", false, -1000},
        {"it jumps back by three seconds", false, -3000},
        {"it stands still and jumps back", true, -1},
        {"it jumps to before 1970", false, -2208988800000},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        if (!test_begin("%s", rows[i].name)) continue;
        world w;
        world_init(&w);
        w.frozen = rows[i].frozen;
        if (world_open(&w)) {
            for (int k = 0; k < 8; k++) {
                serve(&w, 3 * INTERVAL);
                w.p.unix_offset_ms += k % 2 == 0 ? rows[i].jump_ms : 0;
                /* On a new connection too. */
                if (k % 3 == 2) {
                    peer_end(&w.p, MTWS_IO_ERROR);
                    serve(&w, 2);
                    mtws_retry_now(w.p.ws);
                    serve(&w, 2);
                    CHECK_INT(w.p.last_state, MTWS_STATE_CONNECTED);
                }
            }
            CHECK_TEXT(w.beats >= 21 && w.beats <= 24, "%zu heartbeats", w.beats);
            for (size_t m = 1; m < w.beats; m++) {
                for (size_t n = 0; n < m; n++) {
                    if (w.stamps[m] == w.stamps[n]) {
                        FAIL("heartbeats %zu and %zu both say %llu", n, m,
                             (unsigned long long)w.stamps[n]);
                    }
                }
            }
            CHECK_UINT(w.p.connections, 3);
        }
        world_finish(&w);
        test_end();
    }
}

/* The same answer again does not answer the next heartbeat, whatever the clock says. */
static void stale_answers(void) {
    for (int frozen = 0; frozen < 2; frozen++) {
        world w;
        char text[200];
        world_init(&w);
        w.frozen = frozen == 1;
        test_context("frozen %d", frozen);
        if (!world_open(&w)) return;
        serve(&w, INTERVAL + 50);
        CHECK_UINT(w.beats, 1);
        w.mute = true;
        serve(&w, INTERVAL);
        CHECK_UINT(w.beats, 2);
        snprintf(text, sizeof text,
                 "{\"type\":\"heartbeat_response\",\"timestamp\":1,\"originalTimestamp\":%llu}",
                 (unsigned long long)w.stamps[0]);
        server_text(&w.p, text);
        serve(&w, TIMEOUT);
        CHECK(world_death(&w) != NULL);
        /* Nor does the answer to a heartbeat of the connection before. */
        CHECK(peer_reach(&w.p, MTWS_STATE_CONNECTED, 5000));
        uint64_t old = w.stamps[1];
        serve(&w, INTERVAL + 50);
        CHECK_UINT(w.beats, 3);
        snprintf(text, sizeof text,
                 "{\"type\":\"heartbeat_response\",\"timestamp\":1,\"originalTimestamp\":%llu}",
                 (unsigned long long)old);
        server_text(&w.p, text);
        serve(&w, TIMEOUT);
        CHECK_INT(w.p.last_state, MTWS_STATE_RECONNECTING);
        CHECK_UINT(peer_count_events(&w.p, MTWS_EVENT_MESSAGE), 0);
        world_finish(&w);
    }
}

/* Replaces $T by the timestamp, $+ and $- by its neighbours, $P by the one before it, $W by what
 * equals it in 64 bits. */
static void expand(char *out, size_t size, const char *format, uint64_t stamp, uint64_t before) {
    const uint64_t trillion = 1000000000000u;
    size_t at = 0;
    for (; *format != 0 && at + 32 < size; format++) {
        if (*format != '$') {
            out[at++] = *format;
            continue;
        }
        uint64_t low = stamp % trillion + 73709551616u; /* 2^64 is 18446744073709551616 */
        uint64_t high = 18446744u + stamp / trillion + low / trillion;
        uint64_t value = stamp;
        switch (*++format) {
        case '+': value = stamp + 1; break;
        case '-': value = stamp - 1; break;
        case 'P': value = before; break;
        case 'W':
            at += (size_t)snprintf(out + at, size - at, "%llu%012llu", (unsigned long long)high,
                                   (unsigned long long)(low % trillion));
            continue;
        default: break;
        }
        at += (size_t)snprintf(out + at, size - at, "%llu", (unsigned long long)value);
    }
    out[at] = 0;
}

#define RESPONSE "{\"type\":\"heartbeat_response\",\"timestamp\":5,\"originalTimestamp\":"

static void answers(void) {
    static const struct {
        const char *name;
        const char *text;
        bool counts;
        bool handed; /* to the program */
    } rows[] = {
        {"right", RESPONSE "$T}", true, false},
        {"blanks", "\n{ \"type\" : \"heartbeat_response\" , \"originalTimestamp\" : $T }\t", true,
         false},
        {"another order", "{\"originalTimestamp\":$T,\"type\":\"heartbeat_response\"}", true,
         false},
        {"more members",
         "{\"x\":{\"type\":1},\"type\":\"heartbeat_response\",\"originalTimestamp\":$T}", true,
         false},
        {"escapes", "{\"\\u0074ype\":\"heartbeat\\u005fresponse\",\"original\\u0054imestamp\":$T}",
         true, false},
        {"twice, the last right", RESPONSE "1,\"originalTimestamp\":$T}", true, false},
        {"twice, the last wrong", RESPONSE "$T,\"originalTimestamp\":1}", false, false},
        {"the type twice, the last wrong", RESPONSE "$T,\"type\":\"x\"}", false, true},
        {"one more", RESPONSE "$+}", false, false},
        {"one less", RESPONSE "$-}", false, false},
        {"the one before", RESPONSE "$P}", false, false},
        {"the same modulo 2^64", RESPONSE "$W}", false, false},
        {"a tenfold", RESPONSE "$T0}", false, false},
        {"negative", RESPONSE "-$T}", false, false},
        {"zero", RESPONSE "0}", false, false},
        {"very long", RESPONSE "99999999999999999999999999999999999999999}", false, false},
        {"with a fraction", RESPONSE "$T.5}", false, false},
        {"null", RESPONSE "null}", false, false},
        {"true", RESPONSE "true}", false, false},
        {"an array", RESPONSE "[$T]}", false, false},
        {"an object", RESPONSE "{\"originalTimestamp\":$T}}", false, false},
        {"empty text", RESPONSE "\"\"}", false, false},
        {"missing", "{\"type\":\"heartbeat_response\",\"timestamp\":$T}", false, false},
        {"deeper", "{\"type\":\"heartbeat_response\",\"x\":{\"originalTimestamp\":$T}}", false,
         false},
        {"in other letters", "{\"type\":\"heartbeat_response\",\"originaltimestamp\":$T}", false,
         false},
        {"a leading zero is no JSON", RESPONSE "0$T}", false, true},
        {"no JSON at its end", RESPONSE "$T}}", false, true},
        {"another type", "{\"type\":\"heartbeat_responses\",\"originalTimestamp\":$T}", false,
         true},
        {"a type in other letters", "{\"type\":\"Heartbeat_Response\",\"originalTimestamp\":$T}",
         false, true},
        {"no type", "{\"originalTimestamp\":$T}", false, true},
        {"a type that is deeper", "{\"x\":" RESPONSE "$T}}", false, true},
        {"in an array", "[" RESPONSE "$T}]", false, true},
        {"the number alone", "$T", false, true},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        if (!test_begin("%s", rows[i].name)) continue;
        for (size_t read_size = 0; read_size < 2; read_size++) {
            world w;
            char text[300];
            world_init(&w);
            test_context("read size %zu", read_size);
            w.p.read_size = read_size;
            if (!world_open(&w)) break;
            serve(&w, INTERVAL + INTERVAL / 2);
            w.mute = true;
            serve(&w, INTERVAL / 2 + 50);
            if (!CHECK_UINT(w.beats, 2)) break;
            expand(text, sizeof text, rows[i].text, w.stamps[1], w.stamps[0]);
            server_text(&w.p, text);
            serve(&w, INTERVAL - 100);
            const peer_event *death = world_death(&w);
            CHECK_INT(death == NULL, rows[i].counts);
            if (death != NULL) {
                uint64_t took = death->time_us - w.times_us[1];
                CHECK_TEXT(took >= TIMEOUT * 1000 && took <= (TIMEOUT + 51) * 1000,
                           "dead after %llu us", (unsigned long long)took);
            }
            CHECK_UINT(peer_count_events(&w.p, MTWS_EVENT_MESSAGE), rows[i].handed);
            world_finish(&w);
        }
        test_end();
    }
}

/* An answer comes as servers happen to send it. */
static void answers_in_frames(void) {
    static const struct {
        const char *name;
        unsigned opcode;
        size_t fragment; /* 0: one frame */
        bool stream;
        bool counts;
    } rows[] = {
        {"text", WIRE_TEXT, 0, false, true},
        {"text in fragments", WIRE_TEXT, 7, false, true},
        {"text in fragments of a byte", WIRE_TEXT, 1, false, true},
        {"binary", WIRE_BIN, 0, false, false},
        {"text, parts being handed over", WIRE_TEXT, 0, true, true},
    };
    static const size_t reads[] = {0, 1, 2, 60};
    for (size_t i = 0; i < COUNT(rows) * COUNT(reads); i++) {
        size_t r = i / COUNT(reads), read_size = reads[i % COUNT(reads)];
        if (!test_begin("%s, %zu bytes a read", rows[r].name, read_size)) continue;
        world w;
        world_init(&w);
        w.mute = true;
        w.p.options.stream_messages = rows[r].stream;
        w.p.read_size = read_size;
        if (world_open(&w)) {
            serve(&w, INTERVAL + 1);
            char text[200];
            wire_buffer out = {0};
            expand(text, sizeof text, RESPONSE "$T}", w.stamps[0], 0);
            size_t size = strlen(text), step = rows[r].fragment == 0 ? size : rows[r].fragment;
            for (size_t at = 0; at < size; at += step) {
                bool last = size - at <= step;
                wire_frame(&out, at == 0 ? rows[r].opcode : (unsigned)WIRE_CONT, last, text + at,
                           last ? size - at : step);
            }
            peer_send(&w.p, out.data, out.size);
            wire_free(&out);
            serve(&w, INTERVAL - 100);
            CHECK_INT(world_death(&w) == NULL, rows[r].counts);
            CHECK_UINT(peer_count_events(&w.p, MTWS_EVENT_MESSAGE), !rows[r].counts);
        }
        world_finish(&w);
        test_end();
    }
}

static void dead_after_the_timeout(void) {
    world w;
    world_init(&w);
    w.mute = true;
    w.p.options.max_reconnect_attempts = MTWS_UNLIMITED;
    if (!world_open(&w)) return;
    uint64_t opened_us = w.p.now_us;
    serve(&w, INTERVAL + TIMEOUT - 1);
    CHECK_INT(w.p.last_state, MTWS_STATE_CONNECTED);
    serve(&w, 1);
    const peer_event *death = world_death(&w);
    if (!CHECK(death != NULL)) return;
    CHECK_UINT(death->time_us, opened_us + (INTERVAL + TIMEOUT) * 1000);
    CHECK_UINT(death->event.close_code, 1006);
    CHECK_INT(w.p.last_state, MTWS_STATE_RECONNECTING);
    CHECK(!w.p.open);
    CHECK(strstr(death->reason, "heartbeat") != NULL);
    w.mute = false;
    CHECK(peer_reach(&w.p, MTWS_STATE_CONNECTED, 5000));
    serve(&w, 10 * INTERVAL);
    CHECK_INT(w.p.last_state, MTWS_STATE_CONNECTED);
    CHECK_INT(w.p.connections, 2);
    world_finish(&w);
}

/* A server that talks and never answers: signs of life extend the deadline, four timeouts at most.
 * Pongs answer Pings, not this. */
static void talk_is_no_answer(void) {
    static const char *const talk[] = {"text:hello", "ping:x", "pong:x", "text-:a cont:b"};
    for (size_t i = 0; i < COUNT(talk); i++) {
        world w;
        world_init(&w);
        test_context("%s", talk[i]);
        w.mute = true;
        if (!world_open(&w)) return;
        while (w.p.now_us < 5000000000u + 10000000u &&
               peer_last_state(&w.p, MTWS_STATE_ERROR) == NULL) {
            peer_stream(&w.p, talk[i]);
            peer_queue_text(&w.p, "question"); /* which Pongs confirm */
            serve(&w, 100);
        }
        const peer_event *death = world_death(&w);
        if (CHECK(death != NULL) && CHECK(w.beats > 0)) {
            uint64_t took = death->time_us - w.times_us[0];
            CHECK_TEXT(took > TIMEOUT * 1000 && took <= 4 * TIMEOUT * 1000, "dead after %llu us",
                       (unsigned long long)took);
        }
        CHECK(peer_count_events(&w.p, MTWS_EVENT_DELIVERED) > 0);
        world_finish(&w);
    }
}

/* Four may be open at once; the answer to a later one answers those before it. */
static void four_at_most(void) {
    world w;
    char text[200];
    world_init(&w);
    w.p.options.heartbeat_interval_ms = 100;
    w.p.options.heartbeat_timeout_ms = 60000;
    w.mute = true;
    if (!world_open(&w)) return;
    serve(&w, 5000);
    CHECK_UINT(w.beats, 4);
    expand(text, sizeof text, RESPONSE "$T}", w.stamps[2], 0);
    server_text(&w.p, text);
    serve(&w, 1000);
    CHECK_UINT(w.beats, 7);
    /* An answer to what was answered with it says nothing new. */
    expand(text, sizeof text, RESPONSE "$T}", w.stamps[0], 0);
    server_text(&w.p, text);
    serve(&w, 1000);
    CHECK_UINT(w.beats, 7);
    CHECK_INT(w.p.last_state, MTWS_STATE_CONNECTED);
    world_finish(&w);
}

static void confirm_pings_go_on(void) {
    world w;
    world_init(&w);
    if (!world_open(&w)) return;
    for (int i = 0; i < 5; i++) {
        peer_queue_text(&w.p, "confirm me");
        serve(&w, 500);
        CHECK_UINT(peer_count_events(&w.p, MTWS_EVENT_DELIVERED), i + 1);
        CHECK_UINT(peer_count_frames(&w.p, WIRE_PING), i + 1);
    }
    CHECK_UINT(w.beats, 2);
    world_finish(&w);
}

/* Pings that are not answered are not judged where heartbeats are in JSON. */
static void unanswered_pings(void) {
    static const peer_plan plans[] = {{.no_pong = true}};
    world w;
    world_init(&w);
    PEER_PLANS(&w.p, plans);
    if (!world_open(&w)) return;
    peer_queue_text(&w.p, "never confirmed");
    serve(&w, 10 * INTERVAL);
    CHECK_INT(w.p.last_state, MTWS_STATE_CONNECTED);
    CHECK_UINT(peer_count_events(&w.p, MTWS_EVENT_DELIVERED), 0);
    CHECK_UINT(w.beats, 10);
    world_finish(&w);
}

/* Delays start small again where the connection was open for stable_ms, and a heartbeat
 * answered. */
static void stability(void) {
    static const struct {
        const char *name;
        int32_t interval_ms;
        bool answered;
        uint64_t open_ms;
        int32_t attempt; /* of the next attempt */
    } rows[] = {
        {"long enough, answered", 1000, true, 2500, 1},
        {"long enough, not answered", 1000, false, 2500, 2},
        {"too short, answered", 200, true, 1900, 2},
        {"long enough, no heartbeats", MTWS_OFF, false, 2500, 1},
        {"too short, no heartbeats", MTWS_OFF, false, 1900, 2},
        {"long enough, none was due", 5000, true, 2500, 2},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        if (!test_begin("%s", rows[i].name)) continue;
        world w;
        world_init(&w);
        w.p.options.heartbeat_interval_ms = rows[i].interval_ms;
        w.p.options.heartbeat_timeout_ms = 60000;
        w.p.options.stable_ms = 2000;
        w.mute = !rows[i].answered;
        if (world_open(&w)) {
            serve(&w, rows[i].open_ms);
            peer_queue_text(&w.p, "a Pong is no answer to a heartbeat in JSON");
            serve(&w, rows[i].open_ms < 2000 ? 50 : 500);
            peer_end(&w.p, MTWS_IO_ERROR);
            CHECK(peer_reach(&w.p, MTWS_STATE_RECONNECTING, 100));
            CHECK(peer_reach(&w.p, MTWS_STATE_CONNECTED, 5000));
            const peer_event *connected = peer_last_state(&w.p, MTWS_STATE_CONNECTED);
            CHECK_INT(connected->event.attempt, rows[i].attempt);
        }
        world_finish(&w);
        test_end();
    }
}

/* Nobody polled for ten minutes: what came is read, the peer is asked, and only then judged. */
static void after_a_gap(void) {
    for (int alive = 0; alive < 2; alive++) {
        world w;
        world_init(&w);
        test_context("alive %d", alive);
        if (!world_open(&w)) return;
        serve(&w, INTERVAL);
        w.mute = alive == 0;
        peer_sleep(&w.p, 600000);
        uint64_t woke_us = w.p.now_us;
        serve(&w, 1);
        CHECK_UINT(w.beats, 2);
        serve(&w, TIMEOUT - 10);
        CHECK_INT(w.p.last_state, MTWS_STATE_CONNECTED);
        serve(&w, 50);
        CHECK_INT(w.p.last_state, alive ? MTWS_STATE_CONNECTED : MTWS_STATE_RECONNECTING);
        const peer_event *death = peer_last_state(&w.p, MTWS_STATE_ERROR);
        if (death != NULL) CHECK(death->time_us - woke_us <= (TIMEOUT + 2) * 1000);
        world_finish(&w);
    }
}

static void heartbeats_off(void) {
    world w;
    if (!test_sampled()) return;
    world_init(&w);
    w.p.options.heartbeat_interval_ms = MTWS_OFF;
    if (!world_open(&w)) return;
    serve(&w, 60 * INTERVAL);
    CHECK_UINT(w.beats, 0);
    CHECK_INT(peer_wait(&w.p).timeout_ms, -1);
    server_text(&w.p, "{\"type\":\"heartbeat\",\"timestamp\":1}"); /* is answered all the same */
    serve(&w, 10);
    CHECK_UINT(w.answers, 1);
    CHECK_INT(w.p.last_state, MTWS_STATE_CONNECTED);
    world_finish(&w);
}

/* ---- heartbeats in JSON: the server's -------------------------------------------------------- */

static void server_heartbeats(void) {
    static const struct {
        const char *stamp;
        bool answered;
    } rows[] = {
        {"0", true},
        {"1700000000000", true},
        {"-1", true},
        {"1700000000000.25", true},
        {"1.7e12", true},
        {"-1.5E-3", true},
        {"123456789012345678901234567890", true},
        {"12345678901234567890123456789012", true},
        {"123456789012345678901234567890123", false}, /* 33 bytes: not taken for a timestamp */
        {"{}", false},
        {"[1]", false},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        if (!test_begin("%s", rows[i].stamp)) continue;
        static const char *const formats[] = {
            "{\"type\":\"heartbeat\",\"timestamp\":%s}",
            " { \"timestamp\" : %s , \"type\" : \"heartbeat\" } ",
            "{\"\\u0074ype\":\"he\\u0061rtbeat\",\"x\":{\"timestamp\":5},\"timestamp\":%s}",
            "{\"type\":\"heartbeat\",\"timestamp\":7,\"timestamp\":%s}",
        };
        for (size_t k = 0; k < COUNT(formats); k++) {
            world w;
            char text[200];
            world_init(&w);
            if (!world_open(&w)) break;
            serve(&w, 123);
            snprintf(text, sizeof text, formats[k], rows[i].stamp);
            test_context("%s", text);
            server_text(&w.p, text);
            peer_run(&w.p); /* at once */
            world_look(&w);
            CHECK_UINT(w.answers, rows[i].answered);
            if (rows[i].answered) {
                CHECK_STR(w.original, rows[i].stamp);
                CHECK_UINT(w.answer_stamp, peer_unix_ms(&w.p));
            }
            serve(&w, 2000);
            CHECK_UINT(w.answers, rows[i].answered);
            CHECK_UINT(peer_count_events(&w.p, MTWS_EVENT_MESSAGE), !rows[i].answered);
            CHECK_UINT(w.beats, 2);
            world_finish(&w);
        }
        test_end();
    }
}

/* Messages that are none of this, and messages of this that nobody asked for. */
static void handed_over_or_not(void) {
    static const struct {
        const char *text;
        bool handed;
    } rows[] = {
        {"{\"type\":\"heartbeats\",\"timestamp\":1}", true},
        {"{\"type\":\"Heartbeat\",\"timestamp\":1}", true},
        {"{\"type\":\"\",\"timestamp\":1}", true},
        {"{\"type\":\"ping\",\"timestamp\":1}", true},
        {"{\"type\":1,\"timestamp\":1}", true},
        {"{\"x\":{\"type\":\"heartbeat\",\"timestamp\":1}}", true},
        {"[{\"type\":\"heartbeat\",\"timestamp\":1}]", true},
        {"{\"type\":\"heartbeat\",\"timestamp\":1", true},
        {"{\"type\":\"heartbeat\",\"timestamp\":01}", true},
        {"{\"type\":\"heartbeat\",\"timestamp\":1}x", true},
        {"heartbeat", true},
        {"", true},
        {"{\"type\":\"heartbeat\",\"timestamp\":1}", false},
        {RESPONSE "1}", false},
        {RESPONSE "1700000000000}", false},
        {"{\"type\":\"heartbeat_response\"}", false},
        {"{\"type\":\"heartbeat_response\",\"originalTimestamp\":null}", false},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        if (!test_begin("%s", rows[i].text)) continue;
        for (int json = 0; json < 2; json++) {
            world w;
            world_init(&w);
            test_context("heartbeat %d", json);
            w.p.options.heartbeat = json ? MTWS_HEARTBEAT_JSON : MTWS_HEARTBEAT_PING;
            if (!world_open(&w)) break;
            for (int k = 0; k < 3; k++) server_text(&w.p, rows[i].text);
            wire_buffer out = {0};
            wire_frame(&out, WIRE_BIN, true, rows[i].text, strlen(rows[i].text));
            peer_send(&w.p, out.data, out.size);
            wire_free(&out);
            serve(&w, 100);
            CHECK_UINT(peer_count_events(&w.p, MTWS_EVENT_MESSAGE),
                       rows[i].handed || !json ? 4 : 1);
            if (!json) CHECK_UINT(w.p.message_count, 0);
            world_finish(&w);
        }
        test_end();
    }
}

/* Among other messages, in one read: these come in order, and of the heartbeats the latest at least
 * is answered. */
static void among_messages(void) {
    world w;
    world_init(&w);
    if (!world_open(&w)) return;
    peer_stream(&w.p, "text:one text:{\"type\":\"heartbeat\",\"timestamp\":1} text:two "
                      "text:{\"type\":\"heartbeat\",\"timestamp\":2} bin:three ping:p "
                      "text:{\"type\":\"heartbeat\",\"timestamp\":3} text:four");
    serve(&w, 10);
    CHECK_UINT(peer_count_events(&w.p, MTWS_EVENT_MESSAGE), 4);
    CHECK_STR(wire_text(&w.p.received), "onetwothreefour");
    CHECK(w.answers >= 1);
    CHECK_STR(w.original, "3");
    /* A flood of them, while we can't write, needs no memory and ends in the latest. */
    w.p.write_budget = 0;
    for (int i = 0; i < 3000; i++) {
        char text[80];
        snprintf(text, sizeof text, "{\"type\":\"heartbeat\",\"timestamp\":%d}", i + 10);
        server_text(&w.p, text);
    }
    serve(&w, 10);
    size_t before = w.answers;
    w.p.write_budget = SIZE_MAX;
    serve(&w, 10);
    CHECK_TEXT(w.answers > before && w.answers <= before + 3, "%zu answers", w.answers - before);
    CHECK_STR(w.original, "3009");
    CHECK_UINT(peer_count_events(&w.p, MTWS_EVENT_MESSAGE), 4);
    world_finish(&w);
}

/* The program takes its time with a message, and then an answer and a heartbeat of ours are both to
 * be made: there is room for one at a time, and neither waits for the other's sake. */
static void takes_a_millisecond(peer *p, const mtws_event *event) {
    if (event->type == MTWS_EVENT_MESSAGE) p->now_us += 1000;
}

static void both_at_once(void) {
    world w;
    world_init(&w);
    w.p.on_event = takes_a_millisecond;
    if (!world_open(&w)) return;
    serve(&w, INTERVAL - 1);
    peer_stream(&w.p, "text:{\"type\":\"heartbeat\",\"timestamp\":1} text:x");
    peer_run(&w.p);
    world_look(&w);
    CHECK_UINT(w.answers, 1);
    CHECK_UINT(w.beats, 1);
    CHECK_UINT(peer_count_events(&w.p, MTWS_EVENT_MESSAGE), 1);
    world_finish(&w);
}

/* ---- heartbeats in JSON: where they go ------------------------------------------------------- */

typedef enum ending { GOES_ON, WE_CLOSE, SERVER_CLOSES, VIOLATION, ENDINGS } ending;

static const char sent_text[] =
    "The first message is long enough for several fragments of its own.";
static const char sent_binary[] =
    "The second follows it at once, and is cut in the same way as that.";

/* Two messages, with room for `budget` bytes to be written: meanwhile a heartbeat of ours gets due,
 * one of the server's and a Ping come in; then something ends it, and there is room again, at once
 * or for a few bytes at a time. */
static void stalled(world *w, size_t budget, ending how) {
    world_init(w);
    w->p.options.max_frame_size = 16;
    w->p.options.heartbeat_timeout_ms = 60000;
    w->p.options.max_reconnect_attempts = MTWS_OFF;
    if (!world_open(w)) return;
    peer_queue(&w->p, MTWS_TEXT, sent_text, strlen(sent_text), 0);
    peer_queue(&w->p, MTWS_BINARY, sent_binary, strlen(sent_binary), 0);
    w->p.write_budget = budget;
    peer_run(&w->p);
    peer_stream(&w->p, "text:{\"type\":\"heartbeat\",\"timestamp\":77} ping:p");
    peer_advance(&w->p, INTERVAL + 5);
    if (how == WE_CLOSE) CHECK_INT(mtws_disconnect(w->p.ws, 0, NULL), MTWS_OK);
    if (how == SERVER_CLOSES) peer_stream(&w->p, "close:1000");
    if (how == VIOLATION) peer_stream(&w->p, "op3");
    peer_advance(&w->p, 5);
    w->p.write_budget = SIZE_MAX;
    w->p.write_size = budget % 2 == 0 ? 3 : 0;
    w->p.write_pause = budget % 4 == 0;
    serve(w, how == GOES_ON ? INTERVAL + 200 : 1000);
}

static void check_stalled(world *w, ending how) {
    char both[300];
    snprintf(both, sizeof both, "%s\n%s\n", sent_text, sent_binary);
    size_t sent = w->rest.size;
    CHECK_TEXT(strncmp(both, wire_text(&w->rest), sent) == 0, "the server got:\n%s",
               wire_text(&w->rest));
    if (how == GOES_ON || how == WE_CLOSE) CHECK_UINT(sent, strlen(both));
    CHECK(w->beats <= (how == GOES_ON ? 2 : 1) && w->answers <= 1);
    if (w->answers > 0) CHECK_STR(w->original, "77");
    if (how == GOES_ON) {
        CHECK(w->beats >= 1);
        CHECK_UINT(w->answers, 1);
        CHECK_INT(w->p.last_state, MTWS_STATE_CONNECTED);
        CHECK_UINT(w->p.settled, 2);
        CHECK_UINT(peer_count_events(&w->p, MTWS_EVENT_DROPPED), 0);
    } else {
        CHECK(w->p.client_closed);
        CHECK_INT(w->p.last_state, how == VIOLATION ? MTWS_STATE_FAILED : MTWS_STATE_DISCONNECTED);
    }
    CHECK_UINT(w->p.bad.size, 0);
}

static void stalls_at_every_byte(void) {
    static const char *const names[ENDINGS] = {"goes on", "we close", "the server closes",
                                               "a violation"};
    world w;
    for (int how = 0; how < ENDINGS; how++) {
        if (!test_begin("%s", names[how])) continue;
        stalled(&w, SIZE_MAX, GOES_ON);
        size_t most = w.p.up_total - w.p.upgrade_size;
        world_finish(&w);
        CHECK_TEXT(most > 350 && most < 700, "%zu bytes", most);
        for (size_t budget = 0; budget <= most && !test_failing(); budget++) {
            if (!test_sampled()) continue;
            test_context("room for %zu bytes", budget);
            stalled(&w, budget, (ending)how);
            check_stalled(&w, (ending)how);
            world_finish(&w);
        }
        test_end();
    }
}

/* Bytes leave one at a time, with and without an AGAIN behind each, for many intervals. */
static void byte_by_byte(void) {
    for (int pause = 0; pause < 2; pause++) {
        world w;
        world_init(&w);
        test_context("pause %d", pause);
        w.p.options.max_frame_size = 16;
        w.p.options.heartbeat_interval_ms = 20;
        w.p.options.heartbeat_timeout_ms = 1000;
        if (!world_open(&w)) return;
        w.p.write_size = 1;
        w.p.write_pause = pause == 1;
        char all[20 * sizeof sent_text + 1] = "";
        for (int i = 0; i < 20; i++) {
            CHECK_INT(peer_queue_text(&w.p, sent_text), MTWS_OK);
            strcat(strcat(all, sent_text), "\n");
            server_text(&w.p, "{\"type\":\"heartbeat\",\"timestamp\":1}");
            peer_stream(&w.p, "ping:x");
            serve(&w, 50);
        }
        serve(&w, 500);
        CHECK_STR(wire_text(&w.rest), all);
        CHECK_TEXT(w.beats > 60 && w.beats <= 75, "%zu heartbeats", w.beats);
        CHECK_UINT(w.answers, 20);
        CHECK_INT(w.p.last_state, MTWS_STATE_CONNECTED);
        CHECK_INT(w.p.connections, 1);
        world_finish(&w);
    }
}

/* An answer that leaves a byte at a time, in more writes than one step makes: the Pong to a Ping
 * that comes meanwhile waits for its end. */
static void pings_within_an_answer(void) {
    wire_buffer stream = {0};
    wire_stream(&stream,
                "text:{\"type\":\"heartbeat\",\"timestamp\":12345678901234567890123456789012} "
                "ping:a ping:b text:message");
    for (size_t cut = 1; cut < stream.size; cut++) {
        if (!test_sampled()) continue;
        world w;
        world_init(&w);
        test_context("cut at %zu", cut);
        if (!world_open(&w)) return;
        w.p.write_size = 1;
        w.p.read_cut = cut;
        peer_send(&w.p, stream.data, stream.size);
        serve(&w, 5);
        CHECK_UINT(w.answers, 1);
        CHECK_STR(w.original, "12345678901234567890123456789012");
        CHECK_UINT(peer_count_frames(&w.p, WIRE_PONG), 2);
        CHECK_STR(wire_text(&w.p.received), "message");
        world_finish(&w);
    }
    wire_free(&stream);
}

static void while_the_queue_is_held(void) {
    world w;
    world_init(&w);
    w.p.options.hold_queue = true;
    if (!world_open(&w)) return;
    peer_queue_text(&w.p, "held");
    serve(&w, 5 * INTERVAL + 10);
    CHECK_UINT(w.beats, 5);
    CHECK_STR(wire_text(&w.rest), "");
    server_text(&w.p, "{\"type\":\"heartbeat\",\"timestamp\":5}");
    serve(&w, 10);
    CHECK_UINT(w.answers, 1);
    CHECK_STR(wire_text(&w.rest), "");
    peer_queue(&w.p, MTWS_TEXT, "login", 5, MTWS_FIRST);
    serve(&w, 10);
    CHECK_STR(wire_text(&w.rest), "login\n");
    mtws_release_queue(w.p.ws);
    serve(&w, 200);
    CHECK_STR(wire_text(&w.rest), "login\nheld\n");
    CHECK_UINT(peer_count_events(&w.p, MTWS_EVENT_DELIVERED), 2);
    CHECK_INT(w.p.last_state, MTWS_STATE_CONNECTED);
    world_finish(&w);
}

/* A message in parts is under way for ten intervals: no heartbeat can go between its fragments, and
 * the connection is alive. */
static void within_a_message_in_parts(void) {
    world w;
    uint64_t id = 0;
    world_init(&w);
    if (!world_open(&w)) return;
    serve(&w, INTERVAL / 2);
    CHECK_INT(mtws_send_part(w.p.ws, MTWS_TEXT, "begin ", 6, true, false, &id), MTWS_OK);
    w.p.last_id = id;
    for (int i = 0; i < 20; i++) {
        serve(&w, INTERVAL / 2);
        CHECK_INT(mtws_send_part(w.p.ws, MTWS_TEXT, ".", 1, false, false, NULL), MTWS_OK);
    }
    CHECK_UINT(w.beats, 0);
    CHECK_INT(w.p.last_state, MTWS_STATE_CONNECTED);
    CHECK_INT(mtws_send_part(w.p.ws, MTWS_TEXT, " end", 4, false, true, NULL), MTWS_OK);
    serve(&w, 3 * INTERVAL);
    CHECK_STR(wire_text(&w.rest), "begin .................... end\n");
    CHECK(w.beats >= 3);
    CHECK_INT(w.p.connections, 1);
    world_finish(&w);
}

/* A message takes ten seconds to leave, byte for byte: the link is slow, not dead. Where its first
 * byte has to wait for room the transport holds it, so that a heartbeat that gets due then can't go
 * first. */
static void behind_a_slow_message(void) {
    static const uint32_t waits_ms[] = {0, 990, 1010, 1300};
    static char slow[10001];
    memset(slow, 's', sizeof slow - 1);
    for (size_t i = 0; i < COUNT(waits_ms); i++) {
        if (!test_begin("room after %u ms", (unsigned)waits_ms[i])) continue;
        world w;
        world_init(&w);
        w.p.options.max_frame_size = 1000;
        if (world_open(&w)) {
            w.p.write_budget = 0;
            peer_queue_text(&w.p, slow);
            serve(&w, waits_ms[i]);
            for (int k = 0; k < 13000; k++) {
                w.p.write_budget++;
                serve(&w, 1);
            }
            CHECK_INT(w.p.last_state, MTWS_STATE_CONNECTED);
            CHECK_INT(w.p.connections, 1);
            CHECK_UINT(w.rest.size, sizeof slow);
            CHECK_UINT(peer_count_events(&w.p, MTWS_EVENT_DELIVERED), 1);
            CHECK(w.beats >= 1);
        }
        world_finish(&w);
        test_end();
    }
}

/* Hundreds of messages wait for a slow link, which never takes a whole number of them: heartbeats
 * and answers leave at the end of a message, not of all. */
static void within_a_backlog(void) {
    static const struct {
        size_t room, first_room; /* each 10 ms, and at first; a message is 72 bytes on the wire */
        bool quiet;              /* no heartbeats, no Pings: answers alone */
    } rows[] = {{8, 0, false}, {8, 3, false}, {72, 5, false}, {36, 1, false},
                {7, 0, false}, {72, 5, true}, {36, 1, true},  {8, 3, true}};
    for (size_t i = 0; i < COUNT(rows); i++) {
        bool quiet = rows[i].quiet;
        if (!test_sampled() || !test_begin("%zu bytes, at first %zu%s", rows[i].room,
                                           rows[i].first_room, quiet ? ", quiet" : ""))
            continue;
        world w;
        world_init(&w);
        if (quiet) w.p.options.confirm_delay_ms = w.p.options.heartbeat_interval_ms = MTWS_OFF;
        if (world_open(&w)) {
            w.p.write_budget = rows[i].first_room;
            for (int k = 0; k < 1000; k++) CHECK_INT(peer_queue_text(&w.p, sent_text), MTWS_OK);
            for (int k = 0; k < 1000; k++) {
                if (k % 100 == 50) server_text(&w.p, "{\"type\":\"heartbeat\",\"timestamp\":5}");
                w.p.write_budget += rows[i].room;
                serve(&w, 10);
            }
            CHECK_INT(w.p.last_state, MTWS_STATE_CONNECTED);
            CHECK_INT(w.p.connections, 1);
            CHECK_TEXT(w.answers >= 9, "%zu answers to 10 heartbeats", w.answers);
            if (!quiet) CHECK_TEXT(w.beats >= 8, "%zu heartbeats in ten intervals", w.beats);
            CHECK(w.rest.size > 0 && w.rest.size < 1000 * sizeof sent_text);
        }
        world_finish(&w);
        test_end();
    }
}

/* Pongs and answers that a server makes up from what it has seen: none is for a heartbeat in JSON,
 * and none confirms what it can't know of. */
static void forged_pongs(void) { /* FAULTS row 44 */
    static const peer_plan plans[] = {{.no_pong = true}};
    world w;
    world_init(&w);
    PEER_PLANS(&w.p, plans);
    w.mute = true;
    w.p.options.max_reconnect_attempts = MTWS_OFF;
    if (!world_open(&w)) return;
    peer_queue_text(&w.p, "ask about me");
    serve(&w, INTERVAL + 10);
    CHECK_UINT(w.beats, 1);
    peer_queue_text(&w.p, "unconfirmed");
    peer_run(&w.p);
    const peer_frame *ping = NULL;
    unsigned pings = 0;
    for (size_t i = 0; i < w.p.frame_count; i++) {
        if (w.p.frames[i].opcode == WIRE_PING) ping = &w.p.frames[i], pings++;
    }
    if (!CHECK(ping != NULL && ping->size >= 9 && pings < 6)) return;
    uint8_t payload[125];
    size_t size = ping->size;
    memcpy(payload, w.p.payloads.data + ping->at, size);
    uint8_t first = payload[0], last = payload[size - 1];
    CHECK_UINT(last, pings);
    for (unsigned bit = 0; bit < 256; bit++) {
        for (unsigned sequence = 0; sequence < 8; sequence++) {
            wire_buffer out = {0};
            payload[0] = (uint8_t)(first ^ bit);
            payload[size - 1] = (uint8_t)sequence;
            /* What was really asked has a right answer. */
            if (bit == 0 && sequence >= 1 && sequence <= last) continue;
            wire_frame(&out, WIRE_PONG, true, payload, size);
            peer_send(&w.p, out.data, out.size);
            wire_free(&out);
        }
    }
    peer_run(&w.p);
    CHECK_UINT(w.p.settled, 0);
    serve(&w, TIMEOUT);
    CHECK(world_death(&w) != NULL);
    world_finish(&w);
}

/* Where no Pong judges the peer, one that does not come is asked for again, more and more rarely;
 * the first that does confirms all that was asked about. */
static void asks_again(void) {
    static const uint64_t due_ms[] = {100, 500, 1300, 2900, 6100, 12500, 25300, 50900, 76500};
    for (int json = 0; json < 2; json++) {
        if (!test_sampled() || !test_begin("heartbeats %s", json ? "in JSON" : "off")) continue;
        peer_plan plan = {.no_pong = true};
        world w;
        world_init(&w);
        w.p.plans = &plan;
        w.p.plan_count = 1;
        if (!json) {
            w.p.options.heartbeat = MTWS_HEARTBEAT_PING;
            w.p.options.heartbeat_interval_ms = MTWS_OFF;
        }
        if (!world_open(&w)) return;
        uint64_t opened_us = w.p.now_us;
        peer_queue_text(&w.p, "who knows");
        serve(&w, 80000);
        peer_queue_text(&w.p, "of these?");
        size_t pings = 0;
        for (size_t i = 0; i < w.p.frame_count; i++) {
            if (w.p.frames[i].opcode != WIRE_PING) continue;
            if (pings < COUNT(due_ms)) {
                CHECK_UINT(w.p.frames[i].time_us - opened_us, due_ms[pings] * 1000);
            }
            pings++;
        }
        CHECK_UINT(pings, COUNT(due_ms));
        CHECK_UINT(w.p.settled, 0);
        plan.no_pong = false;
        serve(&w, 30000);
        CHECK_UINT(w.p.settled, 2);
        CHECK_UINT(peer_count_frames(&w.p, WIRE_PING), COUNT(due_ms) + 1);
        /* After an answer it begins anew. */
        plan.no_pong = true;
        peer_queue_text(&w.p, "and this?");
        serve(&w, 1000);
        CHECK_UINT(peer_count_frames(&w.p, WIRE_PING), COUNT(due_ms) + 3);
        plan.no_pong = false;
        serve(&w, 1000);
        CHECK_UINT(w.p.settled, 3);
        serve(&w, 10000);
        CHECK_UINT(peer_count_frames(&w.p, WIRE_PING), COUNT(due_ms) + 4);
        /* Nor is it asked for where it could not be seen. */
        mtws_set_paused(w.p.ws, true);
        server_text(&w.p, "held");
        serve(&w, 100);
        peer_queue_text(&w.p, "and now?");
        serve(&w, 20000);
        CHECK_UINT(peer_count_frames(&w.p, WIRE_PING), COUNT(due_ms) + 5);
        mtws_set_paused(w.p.ws, false);
        serve(&w, 1);
        CHECK_UINT(w.p.settled, 4);
        CHECK_INT(w.p.last_state, MTWS_STATE_CONNECTED);
        world_finish(&w);
        test_end();
    }
}

/* With options.confirm_delay_ms MTWS_OFF only the heartbeats ask, one Ping each. */
static void beats_ask(void) {
    peer_plan plan = {.no_pong = true};
    world w;
    if (!test_sampled()) return;
    world_init(&w);
    w.p.plans = &plan;
    w.p.plan_count = 1;
    w.p.options.confirm_delay_ms = MTWS_OFF;
    if (!world_open(&w)) return;
    peer_queue_text(&w.p, "who knows?");
    serve(&w, INTERVAL / 2);
    CHECK_UINT(peer_count_frames(&w.p, WIRE_PING), 0);
    for (size_t i = 1; i <= 4; i++) {
        serve(&w, INTERVAL);
        CHECK_UINT(peer_count_frames(&w.p, WIRE_PING), i);
        CHECK_UINT(w.beats, i);
    }
    serve(&w, 100 * INTERVAL);
    size_t pings = peer_count_frames(&w.p, WIRE_PING);
    CHECK_TEXT(pings > 4 && pings < 12, "%zu Pings", pings);
    plan.no_pong = false;
    serve(&w, 30 * INTERVAL);
    CHECK_UINT(w.p.settled, 1);
    CHECK_UINT(peer_count_frames(&w.p, WIRE_PING), pings + 1);
    world_finish(&w);
}

/* The link dies in the midst of a long message: that is noticed too. */
static void dead_within_a_message(void) {
    static const peer_plan plans[] = {{.no_pong = true}};
    for (int parts = 0; parts < 2; parts++) {
        world w;
        uint64_t id = 0;
        world_init(&w);
        test_context("parts %d", parts);
        PEER_PLANS(&w.p, plans);
        w.p.options.max_frame_size = 16;
        if (!world_open(&w)) return;
        uint64_t opened_us = w.p.now_us;
        w.mute = true;
        if (parts) {
            CHECK_INT(mtws_send_part(w.p.ws, MTWS_TEXT, "begin", 5, true, false, &id), MTWS_OK);
            w.p.last_id = id;
        } else {
            w.p.write_budget = 40;
            peer_queue_text(&w.p, sent_text);
        }
        serve(&w, INTERVAL + TIMEOUT / 2);
        for (int k = 0; k < 20; k++) {
            char text[100];
            snprintf(text, sizeof text, RESPONSE "%d}", k);
            server_text(&w.p, text);
        }
        serve(&w, 5 * TIMEOUT);
        const peer_event *death = world_death(&w);
        if (CHECK(death != NULL)) {
            uint64_t took = death->time_us - opened_us;
            CHECK_TEXT(took <= (INTERVAL + 4 * TIMEOUT) * 1000, "dead after %llu us",
                       (unsigned long long)took);
        }
        world_finish(&w);
    }
}

/* ---- heartbeats in JSON: closing ------------------------------------------------------------- */

/* Our Close is out and the server takes its time: no heartbeat of ours follows it, none of the
 * server's is answered, and no missing answer counts. */
static void nothing_behind_our_close(void) {
    static const peer_plan plans[] = {{.no_close = true}};
    world w;
    world_init(&w);
    PEER_PLANS(&w.p, plans);
    w.mute = true;
    w.p.options.close_timeout_ms = 5000;
    if (!world_open(&w)) return;
    serve(&w, INTERVAL + TIMEOUT / 2);
    CHECK_UINT(w.beats, 1);
    mtws_disconnect(w.p.ws, 0, NULL);
    serve(&w, 10);
    CHECK(w.p.client_closed);
    server_text(&w.p, "{\"type\":\"heartbeat\",\"timestamp\":5}");
    server_text(&w.p, "ordinary");
    serve(&w, 4000);
    CHECK_UINT(w.beats, 1);
    CHECK_UINT(w.answers, 0);
    CHECK_UINT(peer_count_events(&w.p, MTWS_EVENT_MESSAGE), 1);
    CHECK_INT(w.p.last_state, MTWS_STATE_CONNECTED);
    serve(&w, 1000);
    CHECK_INT(w.p.last_state, MTWS_STATE_DISCONNECTED);
    const peer_event *end = peer_last_state(&w.p, MTWS_STATE_DISCONNECTED);
    if (end != NULL) CHECK_INT(end->event.result, MTWS_ERR_TIMEOUT);
    world_finish(&w);
}

/* A heartbeat that is not answered does not hold up a graceful end; heartbeats go on while the
 * queue is being drained. */
static void while_disconnecting(void) {
    static const peer_plan plans[] = {{.latency_ms = 1500}};
    world w;
    world_init(&w);
    PEER_PLANS(&w.p, plans);
    w.p.options.connect_timeout_ms = 10000;
    w.p.options.heartbeat_timeout_ms = 3000;
    w.p.options.close_timeout_ms = 20000;
    CHECK(peer_start(&w.p) && peer_reach(&w.p, MTWS_STATE_CONNECTED, 5000));
    peer_queue_text(&w.p, "confirmed late");
    mtws_disconnect(w.p.ws, 0, NULL);
    serve(&w, 1400);
    CHECK_UINT(w.beats, 1);
    CHECK_INT(w.p.last_state, MTWS_STATE_CONNECTED);
    serve(&w, 4000);
    CHECK_UINT(peer_count_events(&w.p, MTWS_EVENT_DELIVERED), 1);
    CHECK_INT(w.p.last_state, MTWS_STATE_DISCONNECTED);
    CHECK_UINT(w.beats, 1);
    world_finish(&w);

    world_init(&w);
    w.mute = true;
    if (!world_open(&w)) return;
    serve(&w, INTERVAL + 10);
    CHECK_UINT(w.beats, 1);
    mtws_disconnect(w.p.ws, 0, NULL);
    serve(&w, 2);
    CHECK_INT(w.p.last_state, MTWS_STATE_DISCONNECTED);
    world_finish(&w);
}

/* ---- the network ----------------------------------------------------------------------------- */

static const peer_plan refused_plan[] = {{.open_result = MTWS_ERR_CONNECT}};
static const peer_plan opens_then_refused[] = {{.open_result = 0},
                                               {.open_result = MTWS_ERR_CONNECT}};

static void manual(peer *p) {
    peer_init(p);
    p->options.network = MTWS_NETWORK_MANUAL;
    p->options.max_reconnect_attempts = MTWS_UNLIMITED;
}

/* Hours pass: nothing is tried, and nobody has to be woken for it. */
static void check_waits(peer *p) {
    int connections = p->connections;
    uint64_t polls;
    CHECK_INT(p->last_state, MTWS_STATE_WAITING_FOR_NETWORK);
    CHECK_INT(mtws_get_state(p->ws), MTWS_STATE_WAITING_FOR_NETWORK);
    CHECK_INT(peer_wait(p).timeout_ms, -1);
    polls = p->polls;
    peer_advance(p, 10 * HOUR_MS);
    CHECK_TEXT(p->polls - polls < 10, "%llu polls in ten hours",
               (unsigned long long)(p->polls - polls));
    /* Polled without need, nothing changes. */
    for (int i = 0; i < 100; i++) {
        p->now_us += 360000000u;
        CHECK_INT(peer_poll(p), 0);
    }
    CHECK_INT(p->connections, connections);
    CHECK_INT(p->last_state, MTWS_STATE_WAITING_FOR_NETWORK);
    CHECK(!p->open && !p->opening);
}

static void offline_before_connecting(void) {
    for (int repeated = 0; repeated < 3; repeated++) {
        peer p;
        manual(&p);
        test_context("repeated %d", repeated);
        if (!CHECK_INT(mtws_create(&p.ws, &p.options), MTWS_OK)) return;
        CHECK_INT(mtws_set_network(p.ws, false), MTWS_OK);
        if (repeated > 0) mtws_set_network(p.ws, repeated == 1);
        if (repeated > 0) mtws_set_network(p.ws, false);
        if (!peer_start(&p)) return;
        peer_run(&p);
        CHECK_STR(peer_states(&p), "connecting error waiting_for_network");
        const peer_event *error = peer_last_state(&p, MTWS_STATE_ERROR);
        if (error != NULL) CHECK_INT(error->event.result, MTWS_ERR_OFFLINE);
        CHECK_INT(p.connections, 0);
        check_waits(&p);
        mtws_set_network(p.ws, true);
        CHECK_INT(peer_wait(&p).timeout_ms, 0);
        peer_run(&p);
        CHECK_STR(peer_states(&p), "connecting error waiting_for_network reconnecting connected");
        CHECK_INT(p.connections, 1);
        peer_finish(&p);
    }
}

/* It went off on an earlier connection, and nobody said otherwise since. */
static void offline_since_long(void) {
    peer p;
    manual(&p);
    if (!peer_open_up(&p)) return;
    mtws_set_network(p.ws, false);
    peer_advance(&p, 1000);
    CHECK_INT(p.last_state, MTWS_STATE_CONNECTED);
    mtws_disconnect(p.ws, 0, NULL);
    peer_advance(&p, 1000);
    CHECK_INT(p.last_state, MTWS_STATE_DISCONNECTED);
    CHECK_INT(mtws_connect(p.ws, p.url, NULL), MTWS_OK);
    peer_run(&p);
    CHECK_INT(p.connections, 1);
    CHECK_INT(p.last_state, MTWS_STATE_WAITING_FOR_NETWORK);
    mtws_set_network(p.ws, true);
    peer_run(&p);
    CHECK_INT(p.last_state, MTWS_STATE_CONNECTED);
    CHECK_INT(p.connections, 2);
    peer_finish(&p);
}

static void offline_while_connecting(void) {
    static const struct {
        const char *name;
        peer_plan plan;
    } rows[] = {
        {"opening", {.open_never = true}},
        {"the upgrade is not answered", {.no_answer = true}},
        {"half an answer", {.answer = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: web"}},
        {"the answer is late", {.latency_ms = 3000}},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        if (!test_begin("%s", rows[i].name)) continue;
        for (int again = 0; again < 2; again++) {
            peer_plan plans[] = {{.open_result = MTWS_ERR_CONNECT},
                                 rows[i].plan,
                                 {.open_result = 0}};
            peer p;
            manual(&p);
            test_context("while reconnecting: %d", again);
            p.plans = again ? plans : plans + 1;
            p.plan_count = again ? 3 : 2;
            if (!peer_start(&p)) break;
            peer_advance(&p, again ? 1500 : 500);
            CHECK_INT(p.connections, 1 + again);
            CHECK(p.open || p.opening);
            uint64_t closes = p.closes;
            mtws_set_network(p.ws, false);
            CHECK_INT(peer_wait(&p).timeout_ms, 0);
            peer_run(&p);
            CHECK_STR(peer_states(&p),
                      again ? "connecting error reconnecting error waiting_for_network"
                            : "connecting error waiting_for_network");
            CHECK_UINT(p.closes, closes + 1);
            const peer_event *error = peer_last_state(&p, MTWS_STATE_ERROR);
            if (error != NULL) CHECK_INT(error->event.result, MTWS_ERR_OFFLINE);
            check_waits(&p);
            mtws_set_network(p.ws, true);
            peer_run(&p);
            CHECK_INT(p.last_state, MTWS_STATE_CONNECTED);
            CHECK_INT(p.connections, 2 + again);
            peer_finish(&p);
        }
        test_end();
    }
}

/* Between two attempts: there will be none. This move has no failure in it, which the harness's
 * table of moves does not foresee. */
static void offline_between_attempts(void) {
    peer p;
    manual(&p);
    p.plans = refused_plan;
    p.ignore_violations = true;
    if (!peer_start(&p)) return;
    peer_run(&p);
    CHECK_INT(p.last_state, MTWS_STATE_RECONNECTING);
    mtws_set_network(p.ws, false);
    peer_run(&p);
    check_waits(&p);
    CHECK_INT(p.connections, 1);
    const peer_event *waiting = peer_last_state(&p, MTWS_STATE_WAITING_FOR_NETWORK);
    if (waiting != NULL) CHECK_INT(waiting->event.result, MTWS_ERR_OFFLINE);
    p.plans = opens_then_refused;
    mtws_set_network(p.ws, true);
    peer_run(&p);
    const peer_event *back = peer_last_state(&p, MTWS_STATE_RECONNECTING);
    CHECK_INT(back->event.result, MTWS_OK);
    CHECK_STR(back->reason, "the network is back");
    CHECK_INT(p.last_state, MTWS_STATE_CONNECTED);
    CHECK_INT(p.connections, 2);
    peer_finish(&p);
}

/* The connection outlives the news, and its end leads to waiting, whatever ends it. */
static void offline_while_connected(void) {
    static const char *const endings[] = {"reset", "eof", "close:1001", "op3", "heartbeat"};
    for (size_t i = 0; i < COUNT(endings); i++) {
        if (!test_begin("%s", endings[i])) continue;
        static const peer_plan plans[] = {{.no_pong = true}, {.open_result = 0}};
        peer p;
        manual(&p);
        PEER_PLANS(&p, plans);
        p.options.heartbeat_interval_ms = i == 4 ? 0 : MTWS_OFF;
        if (peer_open_up(&p)) {
            mtws_set_network(p.ws, false);
            peer_advance(&p, 4000);
            CHECK_INT(p.last_state, MTWS_STATE_CONNECTED);
            CHECK(p.open);
            if (i == 0) peer_end(&p, MTWS_IO_ERROR);
            else if (i == 1) peer_end(&p, MTWS_IO_EOF);
            else if (i < 4) peer_stream(&p, endings[i]);
            peer_advance(&p, 10000);
            CHECK_STR(peer_states(&p), "connecting connected error waiting_for_network");
            static const int results[] = {MTWS_ERR_RESET, MTWS_ERR_RESET, MTWS_ERR_CLOSED,
                                          MTWS_ERR_PROTOCOL, MTWS_ERR_HEARTBEAT};
            const peer_event *error = peer_last_state(&p, MTWS_STATE_ERROR);
            if (error != NULL) CHECK_INT(error->event.result, results[i]);
            check_waits(&p);
            mtws_set_network(p.ws, true);
            peer_run(&p);
            CHECK_INT(p.last_state, MTWS_STATE_CONNECTED);
            CHECK_INT(p.connections, 2);
        }
        peer_finish(&p);
        test_end();
    }
}

/* Back online: one attempt at once, and where it fails delays start small again. */
static void delays_start_small(void) {
    bool grown = false;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        peer p;
        manual(&p);
        test_context("seed %llu", (unsigned long long)seed);
        p.random = seed;
        p.plans = refused_plan;
        p.options.initial_reconnect_delay_ms = 500;
        p.options.reconnect_backoff_factor = 10;
        p.options.max_reconnect_delay_ms = 100000;
        p.ignore_violations = true; /* see offline_between_attempts */
        if (!peer_start(&p)) return;
        peer_advance(&p, 500000);
        const peer_event *last = peer_last_state(&p, MTWS_STATE_RECONNECTING);
        grown = grown || last->event.retry_ms > 5000;
        mtws_set_network(p.ws, false);
        peer_run(&p);
        peer_advance(&p, HOUR_MS);
        CHECK_INT(p.last_state, MTWS_STATE_WAITING_FOR_NETWORK);
        int connections = p.connections;
        mtws_set_network(p.ws, true);
        peer_run(&p);
        CHECK_INT(p.connections, connections + 1);
        CHECK_INT(p.last_state, MTWS_STATE_RECONNECTING);
        last = peer_last_state(&p, MTWS_STATE_RECONNECTING);
        CHECK_TEXT(last->event.retry_ms >= 250 && last->event.retry_ms <= 1500, "the next in %d ms",
                   (int)last->event.retry_ms);
        peer_finish(&p);
    }
    test_context("%s", "");
    CHECK(grown); /* or the above shows nothing */
}

static void retry_from_waiting(void) {
    peer p;
    manual(&p);
    p.plans = opens_then_refused;
    p.plan_count = 2;
    p.options.max_reconnect_attempts = 2;
    if (!peer_open_up(&p)) return;
    mtws_set_network(p.ws, false);
    peer_run(&p);
    peer_end(&p, MTWS_IO_ERROR);
    peer_run(&p);
    check_waits(&p);
    for (int i = 0; i < 6; i++) { /* not counted, so never used up */
        CHECK_INT(mtws_retry_now(p.ws), MTWS_OK);
        CHECK_INT(peer_wait(&p).timeout_ms, 0);
        peer_run(&p);
        CHECK_INT(p.connections, 2 + i);
        const peer_event *error = peer_last_state(&p, MTWS_STATE_ERROR);
        CHECK_INT(error->event.result, MTWS_ERR_OFFLINE);
        check_waits(&p);
    }
    static const peer_plan good[] = {{.open_result = 0}};
    PEER_PLANS(&p, good); /* the program was wrong: there is a way */
    CHECK_INT(mtws_retry_now(p.ws), MTWS_OK);
    peer_run(&p);
    CHECK_INT(p.last_state, MTWS_STATE_CONNECTED);
    peer_finish(&p);
}

static void disconnect_from_waiting(void) {
    for (int asked = 0; asked < 2; asked++) {
        peer p;
        manual(&p);
        test_context("asked %d", asked);
        if (!CHECK_INT(mtws_create(&p.ws, &p.options), MTWS_OK)) return;
        mtws_set_network(p.ws, false);
        if (!peer_start(&p)) return;
        peer_queue_text(&p, "kept");
        peer_run(&p);
        check_waits(&p);
        if (asked) mtws_retry_now(p.ws);
        CHECK_INT(mtws_disconnect(p.ws, 0, NULL), MTWS_OK);
        CHECK_INT(peer_wait(&p).timeout_ms, 0);
        peer_run(&p);
        CHECK_STR(peer_states(&p), "connecting error waiting_for_network disconnected");
        const peer_event *end = peer_last_state(&p, MTWS_STATE_DISCONNECTED);
        if (end != NULL) CHECK_INT(end->event.result, MTWS_OK);
        CHECK(p.idle);
        mtws_set_network(p.ws, true);
        CHECK_INT(peer_wait(&p).timeout_ms, -1);
        peer_advance(&p, HOUR_MS);
        CHECK_INT(p.last_state, MTWS_STATE_DISCONNECTED);
        CHECK_INT(p.connections, 0);
        CHECK_INT(mtws_retry_now(p.ws), MTWS_ERR_STATE);
        CHECK_INT(mtws_connect(p.ws, p.url, NULL), MTWS_OK);
        peer_advance(&p, 1000);
        CHECK_INT(p.last_state, MTWS_STATE_CONNECTED);
        CHECK_UINT(peer_count_events(&p, MTWS_EVENT_DELIVERED), 1);
        peer_finish(&p);
    }
}

/* Attempts are limited to two: outages don't use them up, real failures do. */
static void attempts_offline_are_not_counted(void) {
    static const peer_plan plans[] = {{.open_result = 0},
                                      {.no_answer = true},
                                      {.open_result = MTWS_ERR_CONNECT}};
    peer p;
    manual(&p);
    PEER_PLANS(&p, plans);
    p.options.max_reconnect_attempts = 2;
    p.ignore_violations = true; /* see offline_between_attempts */
    if (!peer_open_up(&p)) return;
    peer_end(&p, MTWS_IO_ERROR);
    peer_advance(&p, 2000);
    CHECK_INT(p.connections, 2);
    for (int i = 0; i < 5; i++) {
        if (p.last_state != MTWS_STATE_WAITING_FOR_NETWORK) mtws_set_network(p.ws, false);
        peer_run(&p);
        CHECK_INT(p.last_state, MTWS_STATE_WAITING_FOR_NETWORK);
        peer_advance(&p, HOUR_MS);
        mtws_retry_now(p.ws);
        peer_run(&p);
    }
    CHECK_INT(p.last_state, MTWS_STATE_WAITING_FOR_NETWORK);
    CHECK_INT(p.connections, 7);
    mtws_set_network(p.ws, true);
    peer_run(&p); /* the first that counts */
    CHECK_INT(p.connections, 8);
    CHECK_INT(p.last_state, MTWS_STATE_RECONNECTING);
    mtws_set_network(p.ws, false);
    peer_advance(&p, HOUR_MS);
    CHECK_INT(p.last_state, MTWS_STATE_WAITING_FOR_NETWORK);
    mtws_set_network(p.ws, true);
    peer_run(&p); /* the second */
    CHECK_INT(p.connections, 9);
    CHECK_INT(p.last_state, MTWS_STATE_FAILED);
    CHECK(p.idle);
    peer_finish(&p);
}

/* Either news asks for one heartbeat now; nothing is closed. */
static void probes(void) {
    for (int json = 0; json < 2; json++) {
        world w;
        world_init(&w);
        test_context("heartbeat %d", json);
        w.p.options.heartbeat = json ? MTWS_HEARTBEAT_JSON : MTWS_HEARTBEAT_PING;
        w.p.options.network = MTWS_NETWORK_MANUAL;
        w.p.options.heartbeat_interval_ms = 60000;
        if (!world_open(&w)) return;
        for (unsigned i = 1; i <= 6; i++) {
            uint64_t before_us = w.p.now_us;
            mtws_set_network(w.p.ws, i % 3 == 0);
            CHECK_INT(peer_wait(&w.p).timeout_ms, 0);
            peer_run(&w.p);
            world_look(&w);
            CHECK_UINT(json ? w.beats : peer_count_frames(&w.p, WIRE_PING), i);
            CHECK_UINT(json ? w.times_us[i - 1] : w.p.frames[w.p.frame_count - 1].time_us,
                       before_us);
            CHECK_UINT(json ? peer_count_frames(&w.p, WIRE_PING) : w.beats, 0);
            serve(&w, 1000);
            CHECK_UINT(json ? w.beats : peer_count_frames(&w.p, WIRE_PING), i);
        }
        CHECK_STR(peer_states(&w.p), "connecting connected");
        CHECK_UINT(w.p.closes, 0);
        world_finish(&w);
    }
}

static void probe_notices_a_dead_link(void) {
    static const peer_plan plans[] = {{.no_pong = true}};
    for (int online = 0; online < 2; online++) {
        peer p;
        manual(&p);
        PEER_PLANS(&p, plans);
        test_context("online %d", online);
        p.options.heartbeat_interval_ms = 3600000;
        p.options.heartbeat_timeout_ms = 700;
        if (!peer_open_up(&p)) return;
        peer_advance(&p, 10000);
        mtws_set_network(p.ws, online == 1);
        peer_advance(&p, 699);
        CHECK_INT(p.last_state, MTWS_STATE_CONNECTED);
        mtws_set_network(p.ws, online == 1); /* says it again, which gains no time */
        peer_advance(&p, 1);
        CHECK_UINT(peer_count_frames(&p, WIRE_PING), 1);
        const peer_event *error = peer_last_state(&p, MTWS_STATE_ERROR);
        if (CHECK(error != NULL)) CHECK_INT(error->event.result, MTWS_ERR_HEARTBEAT);
        CHECK_INT(p.last_state, online ? MTWS_STATE_RECONNECTING : MTWS_STATE_WAITING_FOR_NETWORK);
        peer_finish(&p);
    }
}

/* With heartbeats off there is nothing to ask with, and nothing happens. */
static void no_probe_without_heartbeats(void) {
    peer p;
    manual(&p);
    p.options.heartbeat_interval_ms = MTWS_OFF;
    if (!peer_open_up(&p)) return;
    mtws_set_network(p.ws, false);
    peer_advance(&p, 60000);
    mtws_set_network(p.ws, true);
    peer_advance(&p, 60000);
    CHECK_UINT(p.frame_count, 0);
    CHECK_STR(peer_states(&p), "connecting connected");
    peer_finish(&p);
}

/* Given up is given up; what follows from mtws_retry_now knows of the network. */
static void failed_stays_failed(void) {
    peer p;
    manual(&p);
    p.plans = refused_plan;
    p.options.max_reconnect_attempts = 2;
    if (!peer_start(&p)) return;
    CHECK(peer_reach(&p, MTWS_STATE_FAILED, 100000));
    int connections = p.connections;
    CHECK_INT(connections, 3);
    for (int i = 0; i < 6; i++) {
        mtws_set_network(p.ws, i % 3 == 1);
        CHECK_INT(peer_wait(&p).timeout_ms, -1);
        peer_advance(&p, HOUR_MS);
        CHECK_INT(p.last_state, MTWS_STATE_FAILED);
    }
    CHECK_INT(p.connections, connections);
    CHECK(p.idle);
    CHECK_INT(mtws_retry_now(p.ws), MTWS_OK);
    peer_run(&p);
    CHECK_INT(p.last_state, MTWS_STATE_WAITING_FOR_NETWORK);
    CHECK_TEXT(p.connections <= connections + 1, "%d attempts", p.connections - connections);
    peer_finish(&p);
}

/* Where nothing is tried again, being offline changes nothing. */
static void reconnecting_off(void) {
    peer p;
    manual(&p);
    p.options.max_reconnect_attempts = MTWS_OFF;
    if (!peer_open_up(&p)) return;
    mtws_set_network(p.ws, false);
    peer_run(&p);
    peer_end(&p, MTWS_IO_ERROR);
    peer_run(&p);
    CHECK_STR(peer_states(&p), "connecting connected error failed");
    peer_finish(&p);
}

static void automatic_is_never_offline(void) {
    static const peer_plan plans[] = {{.open_result = MTWS_ERR_CONNECT},
                                      {.open_never = true},
                                      {.no_answer = true},
                                      {.open_result = 0}};
    peer p;
    peer_init(&p);
    PEER_PLANS(&p, plans);
    p.options.connect_timeout_ms = 1000;
    if (!CHECK_INT(mtws_create(&p.ws, &p.options), MTWS_OK)) return;
    mtws_options options;
    mtws_get_options(p.ws, &options);
    CHECK_INT(options.network, MTWS_NETWORK_AUTO);
    CHECK_INT(mtws_set_network(p.ws, false), MTWS_OK);
    if (!peer_start(&p)) return;
    for (int i = 0; i < 200 && p.last_state != MTWS_STATE_CONNECTED; i++) {
        mtws_set_network(p.ws, false);
        peer_advance(&p, 100);
    }
    CHECK_STR(peer_states(&p), "connecting error reconnecting error reconnecting error "
                               "reconnecting connected");
    CHECK_INT(p.connections, 4);
    mtws_set_network(p.ws, false);
    peer_run(&p);
    CHECK_UINT(peer_count_frames(&p, WIRE_PING), 1);
    CHECK(p.open);
    peer_end(&p, MTWS_IO_ERROR);
    CHECK(peer_reach(&p, MTWS_STATE_RECONNECTING, 1000));
    CHECK(peer_reach(&p, MTWS_STATE_CONNECTED, 60000));
    peer_finish(&p);
}

/* Messages are taken while waiting, live as long as they may, and flow when the network is back. */
static void sending_while_waiting(void) {
    peer p;
    manual(&p);
    p.options.queue_ttl_ms = 60000;
    if (!CHECK_INT(mtws_create(&p.ws, &p.options), MTWS_OK)) return;
    mtws_set_network(p.ws, false);
    if (!peer_start(&p)) return;
    peer_run(&p);
    CHECK_INT(peer_queue_text(&p, "too old"), MTWS_OK);
    CHECK_INT(peer_queue(&p, MTWS_TEXT, "x", 1, MTWS_NO_QUEUE), MTWS_ERR_STATE);
    peer_advance(&p, 30000);
    CHECK_INT(peer_queue_text(&p, "in time"), MTWS_OK);
    peer_advance(&p, 29999);
    CHECK_UINT(peer_count_events(&p, MTWS_EVENT_DROPPED), 0);
    peer_advance(&p, 2);
    CHECK_UINT(peer_count_events(&p, MTWS_EVENT_DROPPED), 1);
    CHECK_INT(p.last_state, MTWS_STATE_WAITING_FOR_NETWORK);
    CHECK_INT(p.connections, 0);
    mtws_set_network(p.ws, true);
    peer_advance(&p, 1000);
    CHECK_STR(peer_client_said(&p), "text:in%20time /");
    CHECK_UINT(peer_count_events(&p, MTWS_EVENT_DELIVERED), 1);
    peer_finish(&p);
}

/* The news comes while events are being handed over. */
static void set_offline_at_error(peer *p, const mtws_event *event) {
    if (event->type == MTWS_EVENT_STATE && event->state == MTWS_STATE_ERROR) {
        mtws_set_network(p->ws, *(const bool *)p->context);
    }
}

static void news_in_the_midst_of_a_failure(void) {
    bool online = false;
    peer p;
    manual(&p);
    p.context = &online;
    p.on_event = set_offline_at_error;
    if (!peer_open_up(&p)) return;
    peer_end(&p, MTWS_IO_ERROR);
    peer_run(&p);
    CHECK_STR(peer_states(&p), "connecting connected error waiting_for_network");
    check_waits(&p);
    mtws_set_network(p.ws, true);
    peer_run(&p);
    CHECK_INT(p.last_state, MTWS_STATE_CONNECTED);
    mtws_set_network(p.ws, false);
    peer_run(&p);
    online = true;
    peer_end(&p, MTWS_IO_ERROR);
    peer_run(&p);
    CHECK_INT(p.last_state, MTWS_STATE_RECONNECTING);
    CHECK(peer_reach(&p, MTWS_STATE_CONNECTED, 5000));
    peer_finish(&p);
}

/* Going offline does not spoil a graceful end. */
static void closing_while_offline(void) {
    static const peer_plan plans[] = {{.latency_ms = 300}};
    peer p;
    manual(&p);
    PEER_PLANS(&p, plans);
    if (!peer_start(&p) || !CHECK(peer_reach(&p, MTWS_STATE_CONNECTED, 1000))) return;
    peer_queue_text(&p, "last words");
    mtws_disconnect(p.ws, 0, NULL);
    peer_advance(&p, 100);
    mtws_set_network(p.ws, false);
    peer_advance(&p, 2000);
    CHECK_STR(peer_states(&p), "connecting connected disconnected");
    CHECK_STR(peer_client_said(&p), "text:last%20words / close:1000");
    const peer_event *end = peer_last_state(&p, MTWS_STATE_DISCONNECTED);
    if (end != NULL) CHECK_INT(end->event.result, MTWS_OK);
    peer_finish(&p);
}

int main(int argc, char **argv) {
    static const test_entry tests[] = {
        TEST_ROWS(by_type),
        TEST(fragments_and_parts),
        TEST(registration),
        TEST(registration_limits),
        TEST(state_handler),
        TEST(dispatch_results),
        TEST(handler_calls_anything),
        TEST(handler_disconnects),
        TEST(handler_disconnects_at_once),
        TEST(handler_connects),
        TEST(handler_polls),
        TEST_ROWS(handler_destroys_in_state),
        TEST(handler_destroys_on_message),
        TEST(beats_each_interval),
        TEST(round_trips),
        TEST_ROWS(fresh_timestamps),
        TEST(stale_answers),
        TEST_ROWS(answers),
        TEST_ROWS(answers_in_frames),
        TEST(dead_after_the_timeout),
        TEST(talk_is_no_answer),
        TEST(four_at_most),
        TEST(confirm_pings_go_on),
        TEST(unanswered_pings),
        TEST_ROWS(stability),
        TEST(after_a_gap),
        TEST(heartbeats_off),
        TEST_ROWS(server_heartbeats),
        TEST_ROWS(handed_over_or_not),
        TEST(among_messages),
        TEST(both_at_once),
        TEST_ROWS(stalls_at_every_byte),
        TEST(byte_by_byte),
        TEST(pings_within_an_answer),
        TEST(while_the_queue_is_held),
        TEST(within_a_message_in_parts),
        TEST_ROWS(behind_a_slow_message),
        TEST_ROWS(within_a_backlog),
        TEST(forged_pongs),
        TEST_ROWS(asks_again),
        TEST(beats_ask),
        TEST(dead_within_a_message),
        TEST(nothing_behind_our_close),
        TEST(while_disconnecting),
        TEST(offline_before_connecting),
        TEST(offline_since_long),
        TEST_ROWS(offline_while_connecting),
        TEST(offline_between_attempts),
        TEST_ROWS(offline_while_connected),
        TEST(delays_start_small),
        TEST(retry_from_waiting),
        TEST(disconnect_from_waiting),
        TEST(attempts_offline_are_not_counted),
        TEST(probes),
        TEST(probe_notices_a_dead_link),
        TEST(no_probe_without_heartbeats),
        TEST(failed_stays_failed),
        TEST(reconnecting_off),
        TEST(automatic_is_never_offline),
        TEST(sending_while_waiting),
        TEST(news_in_the_midst_of_a_failure),
        TEST(closing_while_offline),
    };
    return TEST_MAIN(tests, argc, argv);
}
