/* What lies over events and around connections: handlers by JSON type, heartbeats in JSON, and the
 * network as the program tells of it.
 */
#define MTWS_IMPLEMENTATION
#include "../../mtws.h"

#include "../test.h"
#include "peer.h"

#define COUNT(list) (sizeof(list) / sizeof((list)[0]))
#define HOUR_MS UINT64_C(3600000)

/* ---- handlers -------------------------------------------------------------------------------- */

static const char *handled; /* the user pointer of the handler that was called last */

static void note(mtws_client *ws, const mtws_event *message, void *user) {
    (void)ws;
    CHECK_INT(message->type, MTWS_EVENT_MESSAGE);
    handled = (const char *)user;
}

static void note_state(mtws_client *ws, const mtws_event *change, void *user) {
    (void)ws;
    CHECK_INT(change->type, MTWS_EVENT_STATE);
    ++*(int *)user;
}

static void dispatch(peer *p, const mtws_event *event) {
    handled = NULL;
    bool taken = mtws_dispatch(p->ws, event);
    if (event->type == MTWS_EVENT_MESSAGE) {
        CHECK_INT(taken, handled != NULL);
    }
}

static void *user(const char *name) { return (void *)(uintptr_t)name; }

/* Which handler takes a text; "other" is the one for all that has no type of its own. */
static void types(void) {
    static const char emoji[] = "\xf0\x9f\x98\x80";
    static const struct {
        const char *text, *handler;
    } rows[] = {
        {"{\"type\":\"a\"}", "a"},
        {" \t\r\n{ \"type\" \n:\t\"a\" } ", "a"},
        {"{\"x\":1,\"type\":\"a\",\"y\":[{\"type\":\"b\"}]}", "a"},
        {"{\"x\":{\"type\":\"b\"},\"type\":\"a\"}", "a"},
        {"{\"type\":\"b\",\"type\":\"a\"}", "a"},
        {"{\"type\":1,\"type\":\"a\"}", "a"},
        {"{\"type\":\"\\u0061\"}", "a"},
        {"{\"ty\\u0070e\":\"a\"}", "a"},
        {"{\"type\":\"a/b\"}", "a/b"},
        {"{\"type\":\"a\\/b\"}", "a/b"},
        {"{\"type\":\"\\ud83d\\ude00\"}", emoji},
        {"{\"type\":\"\xf0\x9f\x98\x80\"}", emoji},
        {"{\"type\":\"\"}", ""},
        {"{\"n\":[-0,1.5,1e5,-2E-3,0.0e+1],\"t\":[true,false,null],\"type\":\"a\"}", "a"},
        {"{\"s\":\"\\\"\\\\\\/\\b\\f\\n\\r\\t}{\",\"type\":\"a\"}", "a"},
        {"{\"o\":{},\"l\":[],\"type\":\"a\"}", "a"},
        {"{\"type\":\"A\"}", "other"},
        {"{\"type\":\"ab\"}", "other"},
        {"{\"type\":\"a \"}", "other"},
        {"{\"Type\":\"a\"}", "other"},
        {"{\"type\":1}", "other"},
        {"{\"type\":null}", "other"},
        {"{\"type\":[\"a\"]}", "other"},
        {"{\"type\":{\"type\":\"a\"}}", "other"},
        {"{\"type\":\"a\",\"type\":1}", "other"},
        {"{\"x\":{\"type\":\"a\"}}", "other"},
        {"[{\"type\":\"a\"}]", "other"},
        {"[\"type\",\"a\"]", "other"},
        {"\"type\"", "other"},
        {"{\"type\":\"a\\u0000\"}", "other"},
        {"{\"type\":\"\\ud83d\"}", "other"},
        {"{\"type\":\"\\ude00\\ud83d\"}", "other"},
        {"", "other"},
        {"{", "other"},
        {"{}", "other"},
        {"{\"type\":\"a\"", "other"},
        {"{\"type\":\"a\",", "other"},
        {"{\"type\":\"a\",}", "other"},
        {"{\"type\":\"a\"}}", "other"},
        {"{\"type\":\"a\"}x", "other"},
        {"{\"type\":\"a\"]", "other"},
        {"{\"type\" \"a\"}", "other"},
        {"{\"type\":\"a\" \"b\":1}", "other"},
        {"{\"x\":01,\"type\":\"a\"}", "other"},
        {"{\"x\":1.,\"type\":\"a\"}", "other"},
        {"{\"x\":-,\"type\":\"a\"}", "other"},
        {"{\"x\":1e,\"type\":\"a\"}", "other"},
        {"{\"x\":+1,\"type\":\"a\"}", "other"},
        {"{\"x\":tru,\"type\":\"a\"}", "other"},
        {"{\"x\":nul,\"type\":\"a\"}", "other"},
        {"{\"x\":\"\\x\",\"type\":\"a\"}", "other"},
        {"{\"x\":\"\\u12g4\",\"type\":\"a\"}", "other"},
        {"{\"x\":\"a\nb\",\"type\":\"a\"}", "other"},
        {"{type:\"a\"}", "other"},
        {"{'type':'a'}", "other"},
        {"hello", "other"},
    };
    static const char *const names[] = {"a", "b", "a/b", emoji, ""};
    for (size_t i = 0; i < COUNT(rows); i++) {
        if (!test_begin("%s", rows[i].text)) {
            continue;
        }
        peer p;
        peer_init(&p);
        p.on_event = dispatch;
        CHECK_INT(mtws_create(&p.ws, &p.options), MTWS_OK);
        for (size_t k = 0; k < COUNT(names); k++) {
            CHECK_INT(mtws_on_message(p.ws, names[k], note, user(names[k])), MTWS_OK);
        }
        CHECK_INT(mtws_on_message(p.ws, NULL, note, user("other")), MTWS_OK);
        if (peer_open_up(&p)) {
            wire_buffer frame = {0};
            size_t size = strlen(rows[i].text);
            wire_frame(&frame, WIRE_TEXT, true, rows[i].text, size);
            peer_send(&p, frame.data, frame.size);
            peer_run(&p);
            CHECK_STR(handled, rows[i].handler);
            /* A binary message has no type, whatever it looks like. */
            frame.size = 0;
            wire_frame(&frame, WIRE_BIN, true, rows[i].text, size);
            peer_send(&p, frame.data, frame.size);
            peer_run(&p);
            CHECK_STR(handled, "other");
            wire_free(&frame);
        }
        peer_finish(&p);
        test_end();
    }
}

/* Nesting is followed to a limit, without recursion; beyond it there is no type. */
static void nesting(void) {
    static const size_t depths[] = {1, 100, 1000, 100000};
    for (size_t i = 0; i < COUNT(depths); i++) {
        wire_buffer text = {0}, frame = {0};
        wire_add_text(&text, "{\"x\":");
        for (size_t k = 0; k < depths[i]; k++) {
            wire_add_text(&text, k % 2 ? "{\"y\":" : "[");
        }
        wire_add_text(&text, "1");
        for (size_t k = depths[i]; k-- > 0;) {
            wire_add_text(&text, k % 2 ? "}" : "]");
        }
        wire_add_text(&text, ",\"type\":\"a\"}");
        wire_frame(&frame, WIRE_TEXT, true, text.data, text.size);
        peer p;
        peer_init(&p);
        p.on_event = dispatch;
        CHECK_INT(mtws_create(&p.ws, &p.options), MTWS_OK);
        CHECK_INT(mtws_on_message(p.ws, "a", note, user("a")), MTWS_OK);
        if (peer_open_up(&p)) {
            peer_send(&p, frame.data, frame.size);
            peer_run(&p);
            CHECK_STR(handled, depths[i] <= 100 ? "a" : NULL);
            CHECK_UINT(peer_count_events(&p, MTWS_EVENT_MESSAGE), 1);
        }
        wire_free(&text);
        wire_free(&frame);
        peer_finish(&p);
    }
}

static void registering(void) {
    peer p;
    peer_init(&p);
    p.on_event = dispatch;
    int changes = 0;
    CHECK_INT(mtws_create(&p.ws, &p.options), MTWS_OK);
    CHECK_INT(mtws_on_state(p.ws, note_state, &changes), MTWS_OK);
    if (peer_open_up(&p)) {
        CHECK_INT(changes, 2);
        peer_stream(&p, "text:{\"type\":\"a\"}");
        peer_run(&p);
        CHECK_STR(handled, NULL);
        CHECK_INT(mtws_on_message(p.ws, "a", note, user("first")), MTWS_OK);
        CHECK_INT(mtws_on_message(p.ws, "a", note, user("second")), MTWS_OK);
        peer_stream(&p, "text:{\"type\":\"a\"}");
        peer_run(&p);
        CHECK_STR(handled, "second");
        char type[60] = "a";
        CHECK_INT(mtws_on_message(p.ws, type, note, user("third")), MTWS_OK);
        memset(type, 'x', sizeof type);
        peer_stream(&p, "text:{\"type\":\"a\"}");
        peer_run(&p);
        CHECK_STR(handled, "third");
        CHECK_INT(mtws_on_message(p.ws, "a", NULL, NULL), MTWS_OK);
        CHECK_INT(mtws_on_message(p.ws, "never", NULL, NULL), MTWS_OK);
        peer_stream(&p, "text:{\"type\":\"a\"}");
        peer_run(&p);
        CHECK_STR(handled, NULL);
        for (int i = 0; i < MTWS_HANDLERS_MAX; i++) {
            snprintf(type, sizeof type, "type%d", i);
            CHECK_INT(mtws_on_message(p.ws, type, note, user("many")), MTWS_OK);
        }
        CHECK_INT(mtws_on_message(p.ws, "one more", note, user("x")), MTWS_ERR_TOO_BIG);
        CHECK_INT(mtws_on_message(p.ws, "type3", note, user("again")), MTWS_OK);
        CHECK_INT(mtws_on_message(p.ws, NULL, note, user("other")), MTWS_OK);
        CHECK_INT(mtws_on_message(p.ws, "type5", NULL, NULL), MTWS_OK);
        CHECK_INT(mtws_on_message(p.ws, "one more", note, user("more")), MTWS_OK);
        peer_stream(&p, "text:{\"type\":\"type3\"}");
        peer_run(&p);
        CHECK_STR(handled, "again");
        peer_stream(&p, "text:{\"type\":\"one%20more\"}");
        peer_run(&p);
        CHECK_STR(handled, "more");
        peer_stream(&p, "text:{\"type\":\"type5\"}");
        peer_run(&p);
        CHECK_STR(handled, "other");
        CHECK_INT(mtws_on_state(p.ws, NULL, NULL), MTWS_OK);
        peer_end(&p, MTWS_IO_ERROR);
        peer_run(&p);
        CHECK_INT(changes, 2);
    }
    peer_finish(&p);

    peer_init(&p);
    char type[60];
    memset(type, 'x', sizeof type);
    CHECK_INT(mtws_create(&p.ws, &p.options), MTWS_OK);
    type[48] = '\0';
    CHECK_INT(mtws_on_message(p.ws, type, note, NULL), MTWS_ERR_TOO_BIG);
    type[47] = '\0';
    CHECK_INT(mtws_on_message(p.ws, type, note, NULL), MTWS_OK);
    mtws_event none;
    mtws_poll(p.ws, &none, 0);
    CHECK(!mtws_dispatch(p.ws, &none));
    peer_finish(&p);
}

/* ---- a handler may call anything ------------------------------------------------------------- */

typedef enum action {
    DESTROY,
    DISCONNECT,
    TWICE,
    CONNECT,
    RETRY,
    CLEAR,
    RENAME,
    SEND,
    REMOVE,
    ACTIONS
} action;
static const char *const action_names[ACTIONS] = {"mtws_destroy",          "mtws_disconnect",
                                                  "mtws_disconnect twice", "disconnect, connect",
                                                  "mtws_retry_now",        "mtws_clear_queue",
                                                  "mtws_set_url",          "mtws_send",
                                                  "mtws_on_message NULL"};

typedef struct plot {
    action what;
    int when; /* at which event */
    int seen;
    mtws_client **ws;
} plot;

static void act(mtws_client *ws, plot *plan) {
    if (plan->seen++ != plan->when) {
        return;
    }
    switch (plan->what) {
    case DESTROY:
        mtws_destroy(ws);
        *plan->ws = NULL;
        break;
    case TWICE:
        mtws_disconnect(ws, 1001, "x");
        mtws_disconnect(ws, 1001, "x");
        break;
    case CONNECT:
        mtws_disconnect(ws, 0, NULL);
        mtws_disconnect(ws, 0, NULL);
        mtws_connect(ws, "ws://other.example/", NULL);
        break;
    case DISCONNECT: mtws_disconnect(ws, 0, NULL); break;
    case RETRY: mtws_retry_now(ws); break;
    case CLEAR: mtws_clear_queue(ws); break;
    case RENAME: mtws_set_url(ws, "ws://other.example/?token=fresh", NULL); break;
    case SEND: mtws_send(ws, MTWS_TEXT, "from a handler", 14, 0, NULL); break;
    case REMOVE:
        mtws_on_message(ws, "a", NULL, NULL);
        mtws_on_message(ws, NULL, NULL, NULL);
        mtws_on_state(ws, NULL, NULL);
        break;
    case ACTIONS: break;
    }
}

static void act_on_message(mtws_client *ws, const mtws_event *message, void *plan) {
    (void)message;
    act(ws, (plot *)plan);
}

static void act_on_state(mtws_client *ws, const mtws_event *change, void *plan) {
    (void)change;
    act(ws, (plot *)plan);
}

/* The life in which it happens: refusals, messages, a violation, resets, sends, all states. */
static int live(action what, int when) {
    static const peer_plan plans[] = {{.open_again = 2},
                                      {.open_result = MTWS_ERR_CONNECT},
                                      {.answer = "HTTP/1.1 503 Busy\r\n\r\n"},
                                      {.then = "text:{\"type\":\"a\"} text:x op3"},
                                      {.then = "text:{\"type\":\"a\"} close:1001"},
                                      {.answer = "HTTP/1.1 403 No\r\n\r\n"},
                                      {0}};
    plot plan = {what, when, 0, NULL};
    peer p;
    peer_init(&p);
    PEER_PLANS(&p, plans);
    p.options.network = MTWS_NETWORK_MANUAL;
    plan.ws = &p.ws;
    CHECK_INT(mtws_create(&p.ws, &p.options), MTWS_OK);
    CHECK_INT(mtws_on_message(p.ws, "a", act_on_message, &plan), MTWS_OK);
    CHECK_INT(mtws_on_message(p.ws, NULL, act_on_message, &plan), MTWS_OK);
    CHECK_INT(mtws_on_state(p.ws, act_on_state, &plan), MTWS_OK);
    CHECK_INT(mtws_send_text(p.ws, "queued"), MTWS_OK);
    CHECK_INT(mtws_connect(p.ws, p.url, NULL), MTWS_OK);
    for (int step = 0; step < 3000 && p.ws != NULL; step++) {
        mtws_event event;
        int result = mtws_poll(p.ws, &event, 0);
        if (result == 1) {
            mtws_dispatch(p.ws, &event);
            continue;
        }
        if (step == 300 && p.upgraded && p.open) {
            peer_stream(&p, "text:{\"type\":\"a\"} bin:y ping:z");
        } else if (step == 400 && p.upgraded && p.open) {
            peer_end(&p, MTWS_IO_ERROR);
        } else if (step == 1500 || step == 1600) {
            mtws_set_network(p.ws, step == 1600);
        }
        p.now_us += 20000;
        peer_readable(&p);
    }
    int seen = plan.seen;
    p.ignore_violations = true; /* this loop keeps none of the harness's books */
    peer_finish(&p);
    return seen;
}

static void anything_from_a_handler(void) {
    for (int what = 0; what < ACTIONS; what++) {
        if (!test_begin("%s", action_names[what])) {
            continue;
        }
        int events = live((action)what, -1);
        CHECK_RANGE(events, 15, 60);
        for (int when = 0; when < events; when++) {
            test_context("at event %d", when);
            CHECK(live((action)what, when) > when);
        }
        test_end();
    }
}

/* How a life gets to each state, and to a message while the client closes or is about to. */
typedef struct place {
    const char *name;
    mtws_state at; /* the state that is heard; CONNECTED with a message: then */
    const peer_plan *plan;
    int32_t attempts;
    bool offline, stops;
    const char *message;
} place;

static const peer_plan plan_good = {0};
static const peer_plan plan_refused = {.open_result = MTWS_ERR_CONNECT};
static const peer_plan plan_mute = {.no_close = true};
static const place places[] = {
    {"connecting", MTWS_STATE_CONNECTING, &plan_good, 0, false, false, NULL},
    {"connected", MTWS_STATE_CONNECTED, &plan_good, 0, false, false, NULL},
    {"error", MTWS_STATE_ERROR, &plan_refused, 0, false, false, NULL},
    {"reconnecting", MTWS_STATE_RECONNECTING, &plan_refused, 0, false, false, NULL},
    {"waiting_for_network", MTWS_STATE_WAITING_FOR_NETWORK, &plan_good, 0, true, false, NULL},
    {"failed", MTWS_STATE_FAILED, &plan_refused, MTWS_OFF, false, false, NULL},
    {"disconnected", MTWS_STATE_DISCONNECTED, &plan_good, 0, false, true, NULL},
    {"a message", MTWS_STATE_CONNECTED, &plan_good, 0, false, false, "text:x"},
    {"a message while closing", MTWS_STATE_CONNECTED, &plan_mute, 0, false, true, "text:x"},
    {"a message before a violation", MTWS_STATE_CONNECTED, &plan_good, 0, false, false,
     "text:x op3"},
};

typedef struct turn {
    peer *p;
    const place *where;
    action what;
    int calls;
    mtws_result connected; /* what mtws_connect said */
} turn;

static void take_turn(mtws_client *ws, turn *t) {
    if (t->calls++ > 0) return;
    switch (t->what) {
    case DESTROY:
        t->p->ws = NULL;
        mtws_destroy(ws);
        break;
    case DISCONNECT:
    case TWICE:
        CHECK_INT(mtws_disconnect(ws, 1001, "x"), MTWS_OK);
        if (t->what == TWICE) CHECK_INT(mtws_disconnect(ws, 1001, "x"), MTWS_OK);
        break;
    default: t->connected = mtws_connect(ws, "ws://other.example/", NULL); break;
    }
}

static void turn_on_state(mtws_client *ws, const mtws_event *change, void *user) {
    turn *t = (turn *)user;
    if (t->where->message == NULL && change->state == t->where->at) take_turn(ws, t);
}

static void turn_on_message(mtws_client *ws, const mtws_event *message, void *user) {
    (void)message;
    take_turn(ws, (turn *)user);
}

/* Polls for so long, or until the client is gone. */
static void pump_for(peer *p, uint64_t ms) {
    uint64_t end_us = p->now_us + ms * 1000;
    while (p->ws != NULL && p->now_us < end_us) {
        mtws_event event;
        int result = mtws_poll(p->ws, &event, 0);
        if (result == 1) mtws_dispatch(p->ws, &event);
        else p->now_us += 10000;
        peer_readable(p);
    }
}

static void check_turn(peer *p, const turn *t) {
    bool rests = t->where->at == MTWS_STATE_DISCONNECTED || t->where->at == MTWS_STATE_FAILED;
    mtws_event none;
    CHECK_INT(t->calls > 0, 1);
    if (t->what == DESTROY) {
        CHECK(p->ws == NULL);
        CHECK(!p->open && !p->opening);
        return;
    }
    if (t->what != CONNECT) {
        int connections = p->connections;
        CHECK_INT(mtws_get_state(p->ws), MTWS_STATE_DISCONNECTED);
        CHECK(!p->open && !p->opening);
        CHECK_INT(mtws_poll(p->ws, &none, 0), MTWS_ERR_IDLE);
        pump_for(p, 60000);
        CHECK_INT(p->connections, connections); /* nothing follows */
        return;
    }
    CHECK_INT(t->connected, rests ? MTWS_OK : MTWS_ERR_STATE);
    if (rests) CHECK_STR(p->opened_host, "other.example");
    else CHECK(p->connections == 0 || strcmp(p->opened_host, "server.example") == 0);
}

/* FAULTS row 46: destroy, disconnect once and twice, connect, from a handler in each state. */
static void in_every_state(void) {
    static const action actions[] = {DESTROY, DISCONNECT, TWICE, CONNECT};
    for (size_t i = 0; i < COUNT(places) * COUNT(actions); i++) {
        turn t = {NULL, &places[i / COUNT(actions)], actions[i % COUNT(actions)], 0, MTWS_OK};
        const char *what = t.what == CONNECT ? "mtws_connect" : action_names[t.what];
        if (!test_begin("%s at %s", what, t.where->name)) continue;
        peer p;
        peer_init(&p);
        t.p = &p;
        p.plans = t.where->plan;
        p.options.network = MTWS_NETWORK_MANUAL;
        p.options.max_reconnect_attempts = t.where->attempts;
        CHECK_INT(mtws_create(&p.ws, &p.options), MTWS_OK);
        CHECK_INT(mtws_on_state(p.ws, turn_on_state, &t), MTWS_OK);
        CHECK_INT(mtws_on_message(p.ws, NULL, turn_on_message, &t), MTWS_OK);
        if (t.where->offline) mtws_set_network(p.ws, false);
        CHECK_INT(mtws_connect(p.ws, p.url, NULL), MTWS_OK);
        pump_for(&p, 300);
        if (t.where->stops) CHECK_INT(mtws_disconnect(p.ws, 0, NULL), MTWS_OK);
        if (t.where->message != NULL && CHECK(p.open)) peer_stream(&p, t.where->message);
        pump_for(&p, 10000);
        check_turn(&p, &t);
        p.ignore_violations = true; /* this loop keeps none of the harness's books */
        peer_finish(&p);
        test_end();
    }
}

/* ---- heartbeats in JSON ---------------------------------------------------------------------- */

static void json_options(peer *p) {
    p->options.heartbeat = MTWS_HEARTBEAT_JSON;
    p->options.heartbeat_interval_ms = 1000;
    p->options.heartbeat_timeout_ms = 500;
}

/* What the server answers to {"type":"heartbeat","timestamp":T}. */
typedef enum reply { RIGHT, SPACED, OLD, NUMBERLESS, NOTHING, ECHO } reply;

static bool wall_clock_jumps; /* then stamps may be ahead of it, so that each is another */

static void answer_heartbeats(peer *p, const peer_message *message) {
    char text[100], answer[200];
    unsigned long long stamp;
    snprintf(text, sizeof text, "%.*s", (int)(message->size < 90 ? message->size : 90),
             (const char *)p->messages_data.data + message->at);
    if (sscanf(text, "{\"type\":\"heartbeat\",\"timestamp\":%llu}", &stamp) != 1) {
        return;
    }
    CHECK(wall_clock_jumps || stamp == peer_unix_ms(p));
    switch (*(const reply *)p->context) {
    case RIGHT:
        snprintf(answer, sizeof answer,
                 "{\"type\":\"heartbeat_response\",\"timestamp\":%llu,"
                 "\"originalTimestamp\":%llu}",
                 stamp + 5, stamp);
        break;
    case SPACED:
        snprintf(answer, sizeof answer,
                 " { \"originalTimestamp\" : %llu , \"more\" : [ ] ,\n"
                 "\"type\" : \"heartbeat_response\" } ",
                 stamp);
        break;
    case OLD:
        snprintf(answer, sizeof answer,
                 "{\"type\":\"heartbeat_response\",\"timestamp\":%llu,"
                 "\"originalTimestamp\":%llu}",
                 stamp, stamp - 1000);
        break;
    case NUMBERLESS: snprintf(answer, sizeof answer, "{\"type\":\"heartbeat_response\"}"); break;
    case ECHO: snprintf(answer, sizeof answer, "%s", text); break;
    case NOTHING: return;
    }
    wire_buffer frame = {0};
    wire_frame(&frame, WIRE_TEXT, true, answer, strlen(answer));
    peer_send(p, frame.data, frame.size);
    wire_free(&frame);
}

static void json_heartbeats(void) {
    static const struct {
        const char *name;
        reply answer;
        bool alive;
    } rows[] = {
        {"answered", RIGHT, true},        {"answered, other spaces and order", SPACED, true},
        {"an old stamp", OLD, false},     {"no stamp", NUMBERLESS, false},
        {"not answered", NOTHING, false}, {"its own comes back", ECHO, false},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        if (!test_begin("%s", rows[i].name)) {
            continue;
        }
        reply answer = rows[i].answer;
        peer p;
        peer_init(&p);
        json_options(&p);
        p.on_message = answer_heartbeats;
        p.context = &answer;
        if (peer_open_up(&p)) {
            uint64_t start = p.now_us;
            if (rows[i].alive) {
                peer_advance(&p, 20050);
                CHECK_INT(p.last_state, MTWS_STATE_CONNECTED);
                CHECK_INT(p.connections, 1);
                CHECK_RANGE(p.message_count, 19, 20);
                CHECK_UINT(peer_count_frames(&p, WIRE_PING), 0);
            } else {
                CHECK(peer_reach(&p, MTWS_STATE_RECONNECTING, 10000));
                CHECK_RANGE((p.now_us - start) / 1000, 1500, 3001);
                CHECK_INT(p.events[p.event_count - 1].event.result, MTWS_ERR_HEARTBEAT);
            }
            CHECK_UINT(peer_count_events(&p, MTWS_EVENT_MESSAGE), 0);
        }
        peer_finish(&p);
        test_end();
    }
}

/* The server's own are answered, its stamp as it was written, and not handed over. */
static void json_heartbeats_of_the_server(void) {
    static const struct {
        const char *text, *stamp; /* NULL: a message like any other */
    } rows[] = {
        {"{\"type\":\"heartbeat\",\"timestamp\":12345}", "12345"},
        {" {\"timestamp\" : 0 ,\"type\":\"heartbeat\"}", "0"},
        {"{\"type\":\"heartbeat\",\"timestamp\":1700000000000}", "1700000000000"},
        {"{\"type\":\"heartbeats\",\"timestamp\":12345}", NULL},
        {"{\"kind\":\"heartbeat\",\"timestamp\":12345}", NULL},
        {"[{\"type\":\"heartbeat\",\"timestamp\":12345}]", NULL},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        if (!test_begin("%s", rows[i].text)) {
            continue;
        }
        reply answer = RIGHT;
        peer p;
        peer_init(&p);
        json_options(&p);
        p.on_message = answer_heartbeats;
        p.context = &answer;
        if (peer_open_up(&p)) {
            wire_buffer frame = {0};
            wire_frame(&frame, WIRE_TEXT, true, rows[i].text, strlen(rows[i].text));
            peer_send(&p, frame.data, frame.size);
            peer_run(&p);
            wire_free(&frame);
            if (rows[i].stamp != NULL) {
                char wanted[200];
                snprintf(wanted, sizeof wanted,
                         "{\"type\":\"heartbeat_response\",\"timestamp\":"
                         "%llu,\"originalTimestamp\":%s}",
                         (unsigned long long)peer_unix_ms(&p), rows[i].stamp);
                if (CHECK_UINT(p.message_count, 1)) {
                    CHECK_UINT(p.messages[0].opcode, WIRE_TEXT);
                    CHECK_STR((const char *)p.messages_data.data, wanted);
                }
            }
            CHECK_UINT(peer_count_events(&p, MTWS_EVENT_MESSAGE), rows[i].stamp == NULL);
        }
        peer_finish(&p);
        test_end();
    }
}

/* They take no id and no room, pass a held queue and a blocked message's end, and messages are
 * confirmed by Pings as ever. With Pings as heartbeats such texts are the program's. */
static void json_heartbeats_and_messages(void) {
    reply answer = RIGHT;
    peer p;
    peer_init(&p);
    json_options(&p);
    p.options.hold_queue = true;
    p.on_message = answer_heartbeats;
    p.context = &answer;
    if (peer_open_up(&p)) {
        CHECK_INT(peer_queue_text(&p, "held"), MTWS_OK);
        peer_advance(&p, 5050);
        CHECK_RANGE(p.message_count, 4, 5);
        CHECK_INT(p.last_state, MTWS_STATE_CONNECTED);
        CHECK_INT(mtws_release_queue(p.ws), MTWS_OK);
        peer_advance(&p, 200);
        CHECK_UINT(p.settled, 1);
        CHECK_RANGE(peer_count_frames(&p, WIRE_PING), 1, 2);
        CHECK_UINT(p.last_id, 1);
    }
    peer_finish(&p);

    peer_init(&p);
    if (peer_open_up(&p)) {
        peer_stream(&p, "text:{\"type\":\"heartbeat\",\"timestamp\":1}");
        peer_run(&p);
        CHECK_UINT(peer_count_events(&p, MTWS_EVENT_MESSAGE), 1);
        CHECK_UINT(p.message_count, 0);
    }
    peer_finish(&p);
}

/* The wall clock jumps between the question and the answer: the answer repeats what was asked. */
static void json_heartbeats_and_the_wall_clock(void) {
    static const peer_plan plans[] = {{.latency_ms = 200}};
    reply answer = RIGHT;
    peer p;
    peer_init(&p);
    PEER_PLANS(&p, plans);
    json_options(&p);
    p.on_message = answer_heartbeats;
    p.context = &answer;
    peer_start(&p);
    CHECK(peer_reach(&p, MTWS_STATE_CONNECTED, 1000));
    wall_clock_jumps = true;
    for (int i = 0; i < 40; i++) {
        p.unix_offset_ms += i % 2 ? 315360000000 : -315360000000;
        peer_advance(&p, 310);
    }
    wall_clock_jumps = false;
    CHECK_INT(p.last_state, MTWS_STATE_CONNECTED);
    CHECK_INT(p.connections, 1);
    peer_finish(&p);
}

/* ---- the network, as the program tells of it ------------------------------------------------- */

static const peer_plan refused = {.open_result = MTWS_ERR_CONNECT};

static void offline_while_connected(void) {
    static const peer_plan plans[] = {{0}, {0}};
    peer p;
    peer_init(&p);
    PEER_PLANS(&p, plans);
    p.options.network = MTWS_NETWORK_MANUAL;
    p.options.max_reconnect_attempts = 2;
    if (peer_open_up(&p)) {
        size_t pings = p.frame_count;
        CHECK_INT(mtws_set_network(p.ws, false), MTWS_OK);
        peer_run(&p);
        CHECK_UINT(p.frame_count, pings + 1); /* asked at once, and nothing is closed */
        peer_advance(&p, HOUR_MS);
        CHECK_INT(p.last_state, MTWS_STATE_CONNECTED);
        CHECK_INT(p.connections, 1);
        peer_end(&p, MTWS_IO_ERROR);
        peer_advance(&p, 24 * HOUR_MS);
        CHECK_STR(peer_states(&p), "connecting connected error waiting_for_network");
        CHECK_INT(p.connections, 1);
        CHECK_INT(peer_wait(&p).timeout_ms, -1);
        peer_queue_text(&p, "meanwhile");
        CHECK_INT(mtws_set_network(p.ws, true), MTWS_OK);
        CHECK_INT(peer_wait(&p).timeout_ms, 0);
        peer_run(&p);
        CHECK_STR(peer_states(&p), "connecting connected error waiting_for_network reconnecting "
                                   "connected");
        peer_advance(&p, 1000);
        CHECK_UINT(p.settled, 1);
    }
    peer_finish(&p);
}

/* Offline attempts are not counted, and delays start small when the network is back. */
static void offline_while_reconnecting(void) {
    peer p;
    peer_init(&p);
    p.plans = &refused;
    p.options.network = MTWS_NETWORK_MANUAL;
    p.options.max_reconnect_attempts = 8;
    peer_start(&p);
    for (int i = 0; i < 5; i++) {
        CHECK(peer_reach(&p, MTWS_STATE_RECONNECTING, 60000));
        CHECK_INT(mtws_set_network(p.ws, false), MTWS_OK);
        peer_advance(&p, HOUR_MS);
        CHECK_INT(p.last_state, MTWS_STATE_WAITING_FOR_NETWORK);
        CHECK_INT(p.events[p.event_count - 1].event.result, MTWS_ERR_OFFLINE);
        int connections = p.connections;
        CHECK_INT(mtws_set_network(p.ws, true), MTWS_OK);
        peer_run(&p);
        CHECK_INT(p.connections, connections + 1);
        CHECK_INT(p.last_state, MTWS_STATE_RECONNECTING);
        CHECK_RANGE(p.events[p.event_count - 1].event.retry_ms, 500, 3000);
    }
    static const peer_plan good = {0};
    p.plans = &good;
    CHECK(peer_reach(&p, MTWS_STATE_CONNECTED, 5000));
    peer_finish(&p);
}

static void offline_from_the_start(void) {
    peer p;
    peer_init(&p);
    p.options.network = MTWS_NETWORK_MANUAL;
    CHECK_INT(mtws_create(&p.ws, &p.options), MTWS_OK);
    CHECK_INT(mtws_set_network(p.ws, false), MTWS_OK);
    CHECK_INT(peer_poll(&p), MTWS_ERR_IDLE);
    peer_start(&p);
    peer_advance(&p, HOUR_MS);
    CHECK_STR(peer_states(&p), "connecting error waiting_for_network");
    CHECK_INT(p.upgrades, 0);
    CHECK_INT(mtws_retry_now(p.ws), MTWS_OK); /* the program knows better */
    peer_run(&p);
    CHECK_INT(p.connections, 1);
    CHECK_INT(p.last_state, MTWS_STATE_CONNECTED);
    peer_finish(&p);
}

static void offline_and_stopped(void) {
    peer p;
    peer_init(&p);
    p.options.network = MTWS_NETWORK_MANUAL;
    CHECK_INT(mtws_create(&p.ws, &p.options), MTWS_OK);
    CHECK_INT(mtws_set_network(p.ws, false), MTWS_OK);
    peer_start(&p);
    peer_advance(&p, 1000);
    CHECK_INT(mtws_disconnect(p.ws, 0, NULL), MTWS_OK);
    peer_run(&p);
    CHECK_INT(p.last_state, MTWS_STATE_DISCONNECTED);
    CHECK_INT(mtws_set_network(p.ws, true), MTWS_OK);
    peer_advance(&p, HOUR_MS);
    CHECK_INT(p.connections, 0);
    CHECK(p.idle);
    peer_finish(&p);
}

/* What has failed stays failed, and without reconnecting there is nothing to wait for. */
static void offline_and_failed(void) {
    static const peer_plan forbidden = {.answer = "HTTP/1.1 403 No\r\n\r\n"};
    for (int i = 0; i < 2; i++) {
        if (!test_begin("%s", i == 0 ? "403" : "without reconnecting")) {
            continue;
        }
        peer p;
        peer_init(&p);
        p.plans = i == 0 ? &forbidden : &refused;
        p.options.network = MTWS_NETWORK_MANUAL;
        p.options.max_reconnect_attempts = i == 0 ? MTWS_UNLIMITED : MTWS_OFF;
        CHECK_INT(mtws_create(&p.ws, &p.options), MTWS_OK);
        if (i == 1) {
            CHECK_INT(mtws_set_network(p.ws, false), MTWS_OK);
        }
        peer_start(&p);
        peer_advance(&p, 1000);
        CHECK_INT(p.last_state, MTWS_STATE_FAILED);
        int connections = p.connections;
        CHECK_INT(mtws_set_network(p.ws, false), MTWS_OK);
        peer_advance(&p, 1000);
        CHECK_INT(mtws_set_network(p.ws, true), MTWS_OK);
        peer_advance(&p, HOUR_MS);
        CHECK_INT(p.last_state, MTWS_STATE_FAILED);
        CHECK_INT(p.connections, connections);
        peer_finish(&p);
        test_end();
    }
}

/* With AUTO a transport of the program's own is never offline. */
static void own_transports_are_never_offline(void) {
    peer p;
    peer_init(&p);
    p.plans = &refused;
    p.options.max_reconnect_attempts = MTWS_UNLIMITED;
    peer_start(&p);
    CHECK_INT(mtws_set_network(p.ws, false), MTWS_OK);
    peer_advance(&p, HOUR_MS);
    CHECK(peer_last_state(&p, MTWS_STATE_WAITING_FOR_NETWORK) == NULL);
    CHECK(p.connections > 50);
    peer_finish(&p);
}

int main(int argc, char **argv) {
    static const test_entry tests[] = {
        TEST_ROWS(types),
        TEST(nesting),
        TEST(registering),
        TEST_ROWS(anything_from_a_handler),
        TEST_ROWS(in_every_state),
        TEST_ROWS(json_heartbeats),
        TEST_ROWS(json_heartbeats_of_the_server),
        TEST(json_heartbeats_and_messages),
        TEST(json_heartbeats_and_the_wall_clock),
        TEST(offline_while_connected),
        TEST(offline_while_reconnecting),
        TEST(offline_from_the_start),
        TEST(offline_and_stopped),
        TEST_ROWS(offline_and_failed),
        TEST(own_transports_are_never_offline),
    };
    return TEST_MAIN(tests, argc, argv);
}
