/* States, failures and reconnecting: what follows what, with which cause, and when. Time is
 * virtual, so hours take milliseconds. See peer.h for how the server is told what to do.
 */
#define MTWS_IMPLEMENTATION
#include "../../mtws.h"

#include "../test.h"
#include "peer.h"

#include <errno.h>
#include <math.h>
#include <sys/wait.h>
#include <unistd.h>

#define COUNT(list) (sizeof(list) / sizeof((list)[0]))
#define HOUR_MS UINT64_C(3600000)

/* The answer to the upgrade, line by line. */
#define FIRST "HTTP/1.1 101 Switching Protocols\r\n"
#define UPGRADE "Upgrade: websocket\r\n"
#define CONNECTION "Connection: Upgrade\r\n"
#define ACCEPT "Sec-WebSocket-Accept: %A\r\n"
#define GOOD FIRST UPGRADE CONNECTION ACCEPT

static const peer_plan good = {0};
static const peer_plan refused = {.open_result = MTWS_ERR_CONNECT};

/* ---- the plain courses ----------------------------------------------------------------------- */

/* Moves a world to where each row of "in every state" tests begins. */
typedef enum stage {
    NEW,
    ASKED,
    OPENING,
    UPGRADING,
    OPENED,
    CLOSING,
    LINGERING,
    BETWEEN,
    WAITING,
    RETRYING,
    FAILED,
    ENDED,
    STAGES
} stage;
static const char *const stage_names[STAGES] = {"new",
                                                "connect called",
                                                "opening",
                                                "upgrading",
                                                "connected",
                                                "closing",
                                                "after a violation",
                                                "error heard",
                                                "reconnecting, waiting",
                                                "reconnecting, opening",
                                                "failed",
                                                "disconnected"};
static const peer_plan never_opens = {.open_never = true};
static const peer_plan never_answers = {.no_answer = true};
static const peer_plan never_closes = {.no_close = true};
static const peer_plan fails_then_hangs[] = {{.open_result = MTWS_ERR_CONNECT},
                                             {.open_never = true}};

static const peer_plan *stage_plans(stage at, size_t *count) {
    *count = 1;
    switch (at) {
    case OPENING: return &never_opens;
    case UPGRADING: return &never_answers;
    case CLOSING:
    case LINGERING: return &never_closes;
    case BETWEEN:
    case WAITING:
    case FAILED: return &refused;
    case RETRYING: *count = 2; return fails_then_hangs;
    default: return &good;
    }
}

static void to_stage(peer *p, stage at) {
    p->plans = stage_plans(at, &p->plan_count);
    if (at == FAILED) {
        p->options.max_reconnect_attempts = MTWS_OFF;
    }
    CHECK_INT(mtws_create(&p->ws, &p->options), MTWS_OK);
    if (at == NEW || !CHECK_INT(mtws_connect(p->ws, p->url, NULL), MTWS_OK) || at == ASKED) {
        return;
    }
    if (at == BETWEEN) {
        for (int i = 0; i < 50 && p->last_state != MTWS_STATE_ERROR; i++) {
            peer_poll(p);
        }
        return;
    }
    peer_run(p);
    if (at == CLOSING) {
        CHECK_INT(mtws_disconnect(p->ws, 1000, NULL), MTWS_OK);
        peer_run(p);
    } else if (at == LINGERING) {
        peer_stream(p, "op3");
        peer_run(p);
    } else if (at == RETRYING) {
        peer_advance(p, 2000);
        CHECK_INT(p->connections, 2);
    } else if (at == ENDED) {
        CHECK_INT(mtws_disconnect(p->ws, 1000, NULL), MTWS_OK);
        peer_run(p);
    }
}

static const mtws_state stage_state[STAGES] = {MTWS_STATE_DISCONNECTED, MTWS_STATE_DISCONNECTED,
                                               MTWS_STATE_CONNECTING,   MTWS_STATE_CONNECTING,
                                               MTWS_STATE_CONNECTED,    MTWS_STATE_CONNECTED,
                                               MTWS_STATE_CONNECTED,    MTWS_STATE_ERROR,
                                               MTWS_STATE_RECONNECTING, MTWS_STATE_RECONNECTING,
                                               MTWS_STATE_FAILED,       MTWS_STATE_DISCONNECTED};

/* What each function that depends on the state says in it, and that nothing comes of it but what
 * the event tells. */
static void calls_in_every_state(void) {
    for (int at = 0; at < STAGES; at++) {
        if (!test_begin("%s", stage_names[at])) {
            continue;
        }
        peer p;
        peer_init(&p);
        to_stage(&p, (stage)at);
        CHECK_INT(mtws_get_state(p.ws), stage_state[at]);
        bool resting =
            stage_state[at] == MTWS_STATE_DISCONNECTED || stage_state[at] == MTWS_STATE_FAILED;
        bool retries =
            stage_state[at] == MTWS_STATE_RECONNECTING || stage_state[at] == MTWS_STATE_FAILED;
        bool open = at == OPENED;
        if (at != FAILED) {
            CHECK_INT(mtws_retry_now(p.ws), retries ? MTWS_OK : MTWS_ERR_STATE);
        }
        CHECK_INT(mtws_release_queue(p.ws),
                  stage_state[at] == MTWS_STATE_CONNECTED ? MTWS_OK : MTWS_ERR_STATE);
        CHECK_INT(mtws_send(p.ws, MTWS_TEXT, "a", 1, MTWS_FIRST, NULL),
                  open ? MTWS_OK : MTWS_ERR_STATE);
        CHECK_INT(mtws_send(p.ws, MTWS_TEXT, "a", 1, MTWS_NO_QUEUE, NULL),
                  open ? MTWS_OK : MTWS_ERR_STATE);
        CHECK_INT(mtws_send(p.ws, MTWS_TEXT, "a", 1, 0, NULL),
                  at == CLOSING ? MTWS_ERR_STATE : MTWS_OK);
        CHECK_INT(mtws_connect(p.ws, p.url, NULL), resting ? MTWS_OK : MTWS_ERR_STATE);
        CHECK_INT(mtws_get_state(p.ws), stage_state[at]);
        p.ignore_violations = true; /* ids were given that the harness knows nothing of */
        peer_finish(&p);
        test_end();
    }
}

/* mtws_destroy in every state: the transport is closed, nothing leaks. */
static void destroy_in_every_state(void) {
    for (int at = 0; at < STAGES; at++) {
        if (test_begin("%s", stage_names[at])) {
            peer p;
            peer_init(&p);
            to_stage(&p, (stage)at);
            peer_finish(&p);
            test_end();
        }
    }
}

/* One mtws_disconnect leads to disconnected from everywhere, and nothing follows; a graceful end
 * takes its time, a second call takes none. */
static void disconnect_in_every_state(void) {
    for (int i = 0; i < 2 * STAGES; i++) {
        int at = i / 2;
        bool twice = i % 2 == 1;
        if (!test_begin("%s%s", stage_names[at], twice ? ", twice" : "")) {
            continue;
        }
        peer p;
        peer_init(&p);
        to_stage(&p, (stage)at);
        CHECK_INT(mtws_disconnect(p.ws, 1000, NULL), MTWS_OK);
        if (twice) {
            CHECK_INT(mtws_disconnect(p.ws, 1000, NULL), MTWS_OK);
        }
        if (at == LINGERING) {
            peer_advance(&p, 250);
        }
        peer_run(&p);
        CHECK_INT(p.last_state, MTWS_STATE_DISCONNECTED);
        CHECK(!p.open && !p.opening);
        CHECK(p.idle);
        int connections = p.connections;
        peer_advance(&p, HOUR_MS);
        CHECK_INT(p.connections, connections);
        CHECK_INT(p.last_state, MTWS_STATE_DISCONNECTED);
        /* And it can be used again. */
        p.plans = &good;
        p.plan_count = 1;
        CHECK_INT(mtws_connect(p.ws, p.url, NULL), MTWS_OK);
        peer_run(&p);
        CHECK_INT(p.last_state, MTWS_STATE_CONNECTED);
        peer_finish(&p);
        test_end();
    }
}

static void idle_says_so(void) {
    mtws_event event;
    peer p;
    peer_init(&p);
    CHECK_INT(mtws_create(&p.ws, &p.options), MTWS_OK);
    CHECK_INT(mtws_poll(p.ws, &event, 0), MTWS_ERR_IDLE);
    CHECK_INT(event.type, MTWS_EVENT_NONE);
    CHECK(event.reason != NULL && event.data != NULL);
    CHECK_INT(mtws_poll(p.ws, &event, -1), MTWS_ERR_IDLE);
    CHECK_INT(mtws_poll(p.ws, &event, 1000000), MTWS_ERR_IDLE);
    CHECK_INT(peer_wait(&p).timeout_ms, -1);
    CHECK_INT(mtws_send_text(p.ws, "queued"), MTWS_OK);
    CHECK_INT(mtws_poll(p.ws, &event, 0), MTWS_ERR_IDLE);
    peer_finish(&p);
}

static void connects(void) {
    peer p;
    peer_init(&p);
    peer_open_up(&p);
    CHECK_STR(wire_text(&p.log),
              "disconnected>connecting result 0 code 0 status 0 attempt 1 retry 0 \"\"\n"
              "connecting>connected result 0 code 0 status 0 attempt 1 retry 0 \"\"\n");
    peer_finish(&p);
}

/* A connection is under way for many polls. */
static void opens_slowly(void) {
    static const peer_plan plans[] = {{.open_again = 50}};
    peer p;
    peer_init(&p);
    PEER_PLANS(&p, plans);
    peer_open_up(&p);
    CHECK_STR(peer_states(&p), "connecting connected");
    CHECK_INT(p.connections, 1);
    peer_finish(&p);
}

/* A second mtws_connect before the first mtws_poll replaces the first. */
static void connect_twice(void) {
    peer p;
    peer_init(&p);
    CHECK_INT(mtws_create(&p.ws, &p.options), MTWS_OK);
    CHECK_INT(mtws_connect(p.ws, "ws://first.example/a", NULL), MTWS_OK);
    CHECK_INT(mtws_connect(p.ws, "ws://second.example/b", NULL), MTWS_OK);
    peer_run(&p);
    CHECK_STR(p.opened_host, "second.example");
    CHECK_INT(p.connections, 1);
    CHECK_INT(mtws_connect(p.ws, "ws://third.example/c", NULL), MTWS_ERR_STATE);
    CHECK_STR(peer_states(&p), "connecting connected");
    peer_finish(&p);
}

/* A bad URL changes nothing: the earlier one stays. */
static void connect_badly(void) {
    peer p;
    peer_init(&p);
    CHECK_INT(mtws_create(&p.ws, &p.options), MTWS_OK);
    CHECK_INT(mtws_connect(p.ws, "http://x/", NULL), MTWS_ERR_URL);
    CHECK_INT(peer_poll(&p), MTWS_ERR_IDLE);
    CHECK_INT(mtws_connect(p.ws, "ws://first.example/a", NULL), MTWS_OK);
    CHECK_INT(mtws_connect(p.ws, "http://x/", NULL), MTWS_ERR_URL);
    peer_run(&p);
    CHECK_STR(p.opened_host, "first.example");
    CHECK_INT(p.last_state, MTWS_STATE_CONNECTED);
    peer_finish(&p);
}

/* mtws_disconnect before the first mtws_poll takes the mtws_connect back. */
static void connect_taken_back(void) {
    peer p;
    peer_init(&p);
    CHECK_INT(mtws_create(&p.ws, &p.options), MTWS_OK);
    CHECK_INT(mtws_connect(p.ws, p.url, NULL), MTWS_OK);
    CHECK_INT(mtws_disconnect(p.ws, 0, NULL), MTWS_OK);
    peer_advance(&p, 10000);
    CHECK_INT(p.connections, 0);
    CHECK(p.idle);
    peer_finish(&p);
}

/* ---- failures -------------------------------------------------------------------------------- */

static void attempts_used_up(void) {
    peer p;
    peer_init(&p);
    p.plans = &refused;
    p.options.max_reconnect_attempts = 3;
    peer_start(&p);
    peer_advance(&p, HOUR_MS);
    CHECK_STR(peer_states(&p), "connecting error reconnecting error reconnecting error "
                               "reconnecting error failed");
    CHECK_INT(p.connections, 4);
    int32_t attempt = 0;
    for (size_t i = 1; i < p.event_count; i++) {
        const mtws_event *event = &p.events[i].event;
        attempt += event->state == MTWS_STATE_ERROR;
        CHECK_INT(event->result, MTWS_ERR_CONNECT);
        CHECK_INT(event->attempt, attempt);
        CHECK(p.events[i].reason[0] != '\0');
        if (event->state == MTWS_STATE_RECONNECTING) {
            CHECK_RANGE(event->retry_ms, 250, 30000);
        } else {
            CHECK_INT(event->retry_ms, 0);
        }
    }
    CHECK(p.idle);
    mtws_stats stats;
    mtws_get_stats(p.ws, &stats);
    CHECK_UINT(stats.failures, 4);
    CHECK_UINT(stats.connects, 0);
    peer_finish(&p);
}

/* Attempts that did not open are counted in a row: one that opens begins the row anew. */
static void attempts_are_counted_in_a_row(void) {
    static const peer_plan plans[] = {
        {0}, {.open_result = MTWS_ERR_CONNECT}, {.open_result = MTWS_ERR_CONNECT},
        {0}, {.open_result = MTWS_ERR_CONNECT}, {.open_result = MTWS_ERR_CONNECT},
        {0}};
    peer p;
    peer_init(&p);
    PEER_PLANS(&p, plans);
    p.options.max_reconnect_attempts = 3;
    peer_open_up(&p);
    for (int i = 0; i < 2; i++) {
        peer_end(&p, MTWS_IO_ERROR);
        peer_run(&p);
        CHECK_INT(p.last_state, MTWS_STATE_RECONNECTING);
        CHECK(peer_reach(&p, MTWS_STATE_CONNECTED, 200000));
    }
    CHECK_INT(p.connections, 7);
    peer_finish(&p);
}

static void never_gives_up(void) {
    peer p;
    peer_init(&p);
    p.plans = &refused;
    p.options.max_reconnect_attempts = MTWS_UNLIMITED;
    p.options.logger.level = MTWS_LOG_ERROR;
    peer_start(&p);
    peer_advance(&p, 4 * HOUR_MS);
    CHECK_INT(p.last_state, MTWS_STATE_RECONNECTING);
    CHECK_RANGE(p.connections, 480, 4000);
    p.plans = &good;
    peer_advance(&p, 31000);
    CHECK_INT(p.last_state, MTWS_STATE_CONNECTED);
    peer_finish(&p);
}

/* With MTWS_OFF nothing is tried twice: a clean close ends in disconnected, all else in failed. */
static void without_reconnecting(void) {
    static const struct {
        const char *name;
        peer_plan plan;
        const char *states;
        int result;
    } rows[] = {
        {"refused", {.open_result = MTWS_ERR_CONNECT}, "connecting error failed", MTWS_ERR_CONNECT},
        {"closed cleanly",
         {.then = "close:1000"},
         "connecting connected error disconnected",
         MTWS_ERR_CLOSED},
        {"going away",
         {.then = "close:1001"},
         "connecting connected error disconnected",
         MTWS_ERR_CLOSED},
        {"TCP ends",
         {.end_after_answer = true},
         "connecting connected error failed",
         MTWS_ERR_RESET},
        {"a violation", {.then = "op3"}, "connecting connected error failed", MTWS_ERR_PROTOCOL},
        {"503",
         {.answer = "HTTP/1.1 503 Busy\r\n\r\n"},
         "connecting error failed",
         MTWS_ERR_HTTP_STATUS},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        if (!test_begin("%s", rows[i].name)) {
            continue;
        }
        peer p;
        peer_init(&p);
        p.plans = &rows[i].plan;
        p.options.max_reconnect_attempts = MTWS_OFF;
        peer_start(&p);
        peer_advance(&p, HOUR_MS);
        CHECK_STR(peer_states(&p), rows[i].states);
        CHECK_INT(p.events[p.event_count - 1].event.result, rows[i].result);
        CHECK_INT(p.connections, 1);
        CHECK(p.idle);
        peer_finish(&p);
        test_end();
    }
}

/* What is final at once, what only before a connection has opened, and what is retried. */
typedef enum ending { FINAL, FINAL_AT_FIRST, RETRIED } ending;
typedef struct failure_row {
    const char *name;
    peer_plan plan;
    ending ends;
    int result;
    int status;
} failure_row;

#define STATUS(code, text)                                                                         \
    { .answer = "HTTP/1.1 " code " " text "\r\nContent-Length: 0\r\n\r\n" }
#define HTTP_ROW(number, text, ends)                                                               \
    { #number, STATUS(#number, text), ends, MTWS_ERR_HTTP_STATUS, number }

static const failure_row failure_rows[] = {
    HTTP_ROW(401, "Unauthorized", FINAL),
    HTTP_ROW(403, "Forbidden", FINAL),
    HTTP_ROW(410, "Gone", FINAL),
    HTTP_ROW(400, "Bad Request", FINAL_AT_FIRST),
    HTTP_ROW(404, "Not Found", FINAL_AT_FIRST),
    HTTP_ROW(407, "Proxy Authentication Required", FINAL_AT_FIRST),
    HTTP_ROW(426, "Upgrade Required", FINAL_AT_FIRST),
    HTTP_ROW(200, "OK", FINAL_AT_FIRST),
    HTTP_ROW(204, "No Content", FINAL_AT_FIRST),
    HTTP_ROW(301, "Moved Permanently", FINAL_AT_FIRST),
    HTTP_ROW(307, "Temporary Redirect", FINAL_AT_FIRST),
    HTTP_ROW(408, "Request Timeout", RETRIED),
    HTTP_ROW(425, "Too Early", RETRIED),
    HTTP_ROW(429, "Too Many Requests", RETRIED),
    HTTP_ROW(500, "Internal Server Error", RETRIED),
    HTTP_ROW(502, "Bad Gateway", RETRIED),
    HTTP_ROW(503, "Service Unavailable", RETRIED),
    HTTP_ROW(504, "Gateway Timeout", RETRIED),
    {"no HTTP",
     {.answer = "220 mail.example ESMTP\r\n\r\n"},
     FINAL_AT_FIRST,
     MTWS_ERR_HANDSHAKE,
     0},
    {"a wrong accept",
     {.answer = "HTTP/1.1 101 OK\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                "Sec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n\r\n"},
     FINAL_AT_FIRST,
     MTWS_ERR_HANDSHAKE,
     101},
    {"no trust", {.open_result = MTWS_ERR_TLS_TRUST}, FINAL_AT_FIRST, MTWS_ERR_TLS_TRUST, 0},
    {"another name", {.open_result = MTWS_ERR_TLS_NAME}, FINAL_AT_FIRST, MTWS_ERR_TLS_NAME, 0},
    {"a certificate's time", {.open_result = MTWS_ERR_TLS_TIME}, RETRIED, MTWS_ERR_TLS_TIME, 0},
    {"TLS", {.open_result = MTWS_ERR_TLS}, RETRIED, MTWS_ERR_TLS, 0},
    {"a name", {.open_result = MTWS_ERR_RESOLVE}, RETRIED, MTWS_ERR_RESOLVE, 0},
    {"a proxy", {.open_result = MTWS_ERR_PROXY}, RETRIED, MTWS_ERR_PROXY, 0},
    {"open: ERROR", {.open_result = MTWS_IO_ERROR}, RETRIED, MTWS_ERR_CONNECT, 0},
    {"end before the answer", {.answer = "", .end_after_answer = true}, RETRIED, MTWS_ERR_RESET, 0},
    {"end within the answer",
     {.answer = "HTTP/1.1 101 Swi", .end_after_answer = true},
     RETRIED,
     MTWS_ERR_RESET,
     0},
};

static void check_failure(const peer *p, const failure_row *row) {
    const peer_event *error = peer_last_state(p, MTWS_STATE_ERROR);
    if (!CHECK(error != NULL)) {
        return;
    }
    CHECK_INT(error->event.result, row->result);
    CHECK_INT(error->event.http_status, row->status);
    const mtws_event *last = &p->events[p->event_count - 1].event;
    CHECK_INT(last->result, row->result);
    CHECK_INT(last->http_status, row->status);
    CHECK_STR(p->events[p->event_count - 1].reason, error->reason);
}

static void failures_at_first(void) {
    for (size_t i = 0; i < COUNT(failure_rows); i++) {
        if (!test_begin("%s", failure_rows[i].name)) {
            continue;
        }
        peer p;
        peer_init(&p);
        p.plans = &failure_rows[i].plan;
        p.options.max_reconnect_attempts = MTWS_UNLIMITED;
        peer_start(&p);
        peer_run(&p);
        check_failure(&p, &failure_rows[i]);
        CHECK_STR(peer_states(&p), failure_rows[i].ends == RETRIED ? "connecting error reconnecting"
                                                                   : "connecting error failed");
        peer_finish(&p);
        test_end();
    }
}

/* A fleet must outlive a bad deploy: after a first open only what nobody can mend is final. */
static void failures_after_an_open(void) {
    for (size_t i = 0; i < COUNT(failure_rows); i++) {
        const failure_row *row = &failure_rows[i];
        if (!test_begin("%s", row->name)) {
            continue;
        }
        peer_plan plans[2] = {{.then = "close:1000"}, {0}};
        plans[1] = row->plan;
        peer p;
        peer_init(&p);
        PEER_PLANS(&p, plans);
        p.options.max_reconnect_attempts = MTWS_UNLIMITED;
        p.options.initial_reconnect_delay_ms = 300;
        peer_start(&p);
        peer_run(&p);
        CHECK_INT(p.last_state, MTWS_STATE_RECONNECTING);
        p.logged.size = 0;
        peer_advance(&p, 910);
        check_failure(&p, row);
        const mtws_event *last = &p.events[p.event_count - 1].event;
        if (row->ends == FINAL) {
            CHECK_INT(last->state, MTWS_STATE_FAILED);
        } else {
            CHECK_INT(last->state, MTWS_STATE_RECONNECTING);
            bool slow = row->ends == FINAL_AT_FIRST;
            CHECK_RANGE(last->retry_ms, slow ? 22500 : 250, slow ? 30000 : 1350);
            CHECK((strstr(wire_text(&p.logged), "1 ") != NULL) == slow); /* an ERROR in the log */
        }
        peer_finish(&p);
        test_end();
    }
}

/* mtws_connect begins a new life: what failed once for good may fail for good again. */
static void first_open_counts_from_connect(void) {
    static const peer_plan plans[] = {{0}, STATUS("404", "Not Found")};
    peer p;
    peer_init(&p);
    PEER_PLANS(&p, plans);
    peer_open_up(&p);
    CHECK_INT(mtws_disconnect(p.ws, 0, NULL), MTWS_OK);
    peer_advance(&p, 1000);
    CHECK_INT(mtws_connect(p.ws, "ws://elsewhere.example/", NULL), MTWS_OK);
    peer_advance(&p, 1000);
    CHECK_INT(p.last_state, MTWS_STATE_FAILED);
    peer_finish(&p);
}

/* The server's Close, by code: final, retried at the maximum, after a full delay, or soon. */
static void closes_by_the_server(void) {
    static const struct {
        unsigned code;
        int32_t low, high; /* of retry_ms; 0: failed */
    } rows[] = {
        {1000, 500, 3000},    {1001, 500, 3000},    {1002, 22500, 30000}, {1003, 22500, 30000},
        {1007, 22500, 30000}, {1008, 22500, 30000}, {1009, 22500, 30000}, {1010, 0, 0},
        {1011, 500, 3000},    {1012, 1000, 3000},   {1013, 1000, 3000},   {1014, 500, 3000},
        {3000, 500, 3000},    {4000, 500, 3000},    {4999, 500, 3000},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        if (!test_begin("%u", rows[i].code)) {
            continue;
        }
        char close[40];
        snprintf(close, sizeof close, "close:%u,because", rows[i].code);
        for (unsigned seed = 1; seed <= 20; seed++) {
            peer p;
            peer_init(&p);
            p.random = seed;
            if (peer_open_up(&p)) {
                peer_stream(&p, close);
                peer_run(&p);
                const peer_event *last = &p.events[p.event_count - 1];
                CHECK_INT(last->event.result, MTWS_ERR_CLOSED);
                CHECK_INT(last->event.close_code, rows[i].code);
                CHECK_STR(last->reason, "because");
                CHECK_INT(last->event.state,
                          rows[i].high == 0 ? MTWS_STATE_FAILED : MTWS_STATE_RECONNECTING);
                CHECK_RANGE(last->event.retry_ms, rows[i].low, rows[i].high);
            }
            peer_finish(&p);
        }
        test_end();
    }
}

static void close_codes_of_events(void) {
    static const struct {
        const char *name, *stream;
        bool end;
        int result;
        unsigned code;
    } rows[] = {
        {"no code given", "close", false, MTWS_ERR_CLOSED, 1005},
        {"no Close frame", "text:a", true, MTWS_ERR_RESET, 1006},
        {"our 1002", "op5", false, MTWS_ERR_PROTOCOL, 1002},
        {"our 1007", "text:%ff", false, MTWS_ERR_UTF8, 1007},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        if (!test_begin("%s", rows[i].name)) {
            continue;
        }
        peer p;
        peer_init(&p);
        if (peer_open_up(&p)) {
            peer_stream(&p, rows[i].stream);
            if (rows[i].end) {
                peer_end(&p, MTWS_IO_EOF);
            }
            peer_advance(&p, 245);
            const peer_event *error = peer_last_state(&p, MTWS_STATE_ERROR);
            if (CHECK(error != NULL)) {
                CHECK_INT(error->event.result, rows[i].result);
                CHECK_UINT(error->event.close_code, rows[i].code);
            }
        }
        peer_finish(&p);
        test_end();
    }
}

/* A write that fails where the test says so. */
static ptrdiff_t write_may_fail(void *context, const void *data, size_t size) {
    peer *p = (peer *)context;
    if (p->context != NULL) {
        p->end_us = p->now_us;
        p->end_with = MTWS_IO_ERROR;
        return MTWS_IO_ERROR;
    }
    return peer_write(context, data, size);
}

/* What came is read before the end is told, whether a read or a write is the first to hear of it. */
static void last_words(void) { /* FAULTS row 51 */
    static const char *const names[] = {"end of stream", "a read fails", "a write fails"};
    for (int how = 0; how < 3; how++) {
        if (!test_begin("%s", names[how])) continue;
        peer p;
        peer_init(&p);
        p.options.transport.write = write_may_fail;
        p.options.max_reconnect_attempts = MTWS_OFF;
        if (peer_open_up(&p)) {
            for (int i = 0; i < 50; i++) peer_stream(&p, "text:last bin=3000 ping:x");
            peer_stream(&p, "close:1012,bye");
            peer_queue_text(&p, "lost");
            if (how < 2) peer_end(&p, how == 0 ? MTWS_IO_EOF : MTWS_IO_ERROR);
            p.context = how == 2 ? &p : NULL;
            peer_run(&p);
            CHECK_UINT(peer_count_events(&p, MTWS_EVENT_MESSAGE), 100);
            const peer_event *error = peer_last_state(&p, MTWS_STATE_ERROR);
            if (CHECK(error != NULL)) {
                CHECK_INT(error->event.result, MTWS_ERR_CLOSED);
                CHECK_UINT(error->event.close_code, 1012);
                CHECK_STR(error->reason, "bye");
            }
        }
        peer_finish(&p);
        test_end();
    }
}

/* What the transport says of a failure becomes the event's. */
static ptrdiff_t writes_fail(void *context, const void *data, size_t size) {
    (void)context, (void)data, (void)size;
    return MTWS_ERR_TLS;
}

static void results_of_the_transport(void) {
    static const int results[] = {MTWS_IO_ERROR, MTWS_IO_EOF, MTWS_ERR_TLS, MTWS_ERR_TLS_TIME};
    for (size_t i = 0; i < 2 * COUNT(results); i++) {
        int given = results[i / 2];
        bool open = i % 2 == 1;
        if (!test_begin("read: %d, %s", given, open ? "open" : "upgrading")) {
            continue;
        }
        int expected = given < -1000 ? MTWS_ERR_RESET : given;
        peer p;
        peer_init(&p);
        p.plans = open ? &good : &never_answers;
        p.options.max_reconnect_attempts = MTWS_OFF;
        peer_start(&p);
        peer_run(&p);
        peer_end(&p, given);
        peer_run(&p);
        CHECK_INT(p.last_state, MTWS_STATE_FAILED);
        CHECK_INT(p.events[p.event_count - 1].event.result, expected);
        peer_finish(&p);
        test_end();
    }
}

static void result_of_write(void) {
    for (int open = 0; open < 2; open++) {
        if (!test_begin("%s", open ? "open" : "upgrading")) {
            continue;
        }
        peer p;
        peer_init(&p);
        p.options.max_reconnect_attempts = MTWS_OFF;
        if (!open) {
            p.options.transport.write = writes_fail;
            peer_start(&p);
        } else if (peer_open_up(&p)) {
            /* The options are copied, so the hook goes into a second client on the same world. */
            mtws_destroy(p.ws);
            p.ws = NULL;
            p.last_state = MTWS_STATE_DISCONNECTED;
            p.options.transport.write = writes_fail;
            peer_start(&p);
        }
        peer_advance(&p, 1000);
        CHECK_INT(p.events[p.event_count - 1].event.result, MTWS_ERR_TLS);
        CHECK_INT(p.last_state, MTWS_STATE_FAILED);
        peer_finish(&p);
        test_end();
    }
}

/* No entropy, no connection; and it is tried again. */
static void no_entropy(void) { /* FAULTS row 16 */
    peer p;
    peer_init(&p);
    p.random_fails = true;
    p.options.max_reconnect_attempts = MTWS_UNLIMITED;
    peer_start(&p);
    peer_advance(&p, 60000);
    CHECK_INT(p.connections, 0);
    CHECK_INT(p.last_state, MTWS_STATE_RECONNECTING);
    CHECK_INT(p.events[p.event_count - 1].event.result, MTWS_ERR_ENTROPY);
    p.random_fails = false;
    peer_advance(&p, 31000);
    CHECK_INT(p.last_state, MTWS_STATE_CONNECTED);
    p.random_fails = true;
    CHECK_INT(peer_queue_text(&p, "still masked"), MTWS_OK);
    peer_end(&p, MTWS_IO_ERROR);
    peer_advance(&p, 60000);
    CHECK_INT(p.last_state, MTWS_STATE_RECONNECTING);
    CHECK_INT(p.connections, 1);
    peer_finish(&p);
}

/* What nobody else may draw: the key of the upgrade, and what the connection's frames are masked
 * with. */
typedef struct drawn {
    uint8_t key[24], masks[4][4];
} drawn;

static void draw_on_a_connection(peer *p, drawn *out) {
    size_t first = p->frame_count;
    memset(out, 0, sizeof *out);
    if (!CHECK(peer_reach(p, MTWS_STATE_CONNECTED, 60000))) return;
    const char *key = peer_request_header(p, "Sec-WebSocket-Key");
    if (CHECK(key != NULL && strlen(key) == sizeof out->key)) memcpy(out->key, key, 24);
    for (int i = 0; i < 3; i++) peer_queue_text(p, "masked");
    peer_advance(p, 1000); /* and a Ping */
    if (!CHECK(p->frame_count >= first + 4)) return;
    for (size_t i = 0; i < 4; i++) memcpy(out->masks[i], p->frames[first + i].mask, 4);
}

static unsigned equal_draws(const drawn *a, const drawn *b) {
    unsigned equal = memcmp(a->key, b->key, sizeof a->key) == 0;
    for (size_t i = 0; i < 4; i++) {
        for (size_t k = 0; k < 4; k++) equal += memcmp(a->masks[i], b->masks[k], 4) == 0;
    }
    return equal;
}

/* FAULTS row 17: between two attempts the process forks, and both halves go on. Neither draws what
 * the other does, nor what was drawn before. */
static void forked(void) {
    drawn before, parents, childs;
    int ends[2], status = -1;
    peer p;
    peer_init(&p);
    memset(&p.options.random, 0, sizeof p.options.random); /* the system's */
    peer_start(&p);
    draw_on_a_connection(&p, &before);
    peer_end(&p, MTWS_IO_ERROR);
    CHECK(peer_reach(&p, MTWS_STATE_RECONNECTING, 1000));
    if (!CHECK_INT(pipe(ends), 0)) return;
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        draw_on_a_connection(&p, &childs);
        bool whole = write(ends[1], &childs, sizeof childs) == (ssize_t)sizeof childs;
        fflush(stdout);
        _exit(whole && !test_failing() ? 0 : 1);
    }
    close(ends[1]);
    draw_on_a_connection(&p, &parents);
    if (CHECK(child > 0)) {
        CHECK_INT(read(ends[0], &childs, sizeof childs), sizeof childs);
        while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
        }
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
        CHECK_UINT(equal_draws(&parents, &childs), 0);
        CHECK_UINT(equal_draws(&before, &childs), 0);
        CHECK_UINT(equal_draws(&before, &parents), 0);
    }
    close(ends[0]);
    peer_finish(&p);
}

/* ---- delays ---------------------------------------------------------------------------------- */

/* Each delay lies between half of the capped exponential and three times, within 250 ms and the
 * maximum, and is kept. */
static void delays(void) {
    static const struct {
        int32_t initial, max;
        double factor;
    } rows[] = {{0, 0, 0},   {1000, 30000, 1.5}, {100, 5000, 2},      {400, 400, 3},
                {10, 20, 1}, {5000, 1000, 1.5},  {1, INT32_MAX, 1000}};
    for (size_t i = 0; i < COUNT(rows); i++) {
        if (!test_begin("initial %d, max %d, factor %g", (int)rows[i].initial, (int)rows[i].max,
                        rows[i].factor)) {
            continue;
        }
        double initial = rows[i].initial ? rows[i].initial : 1000;
        double max = rows[i].max ? rows[i].max : 30000;
        double factor = rows[i].factor > 0 ? rows[i].factor : 1.5;
        double sums[8] = {0};
        for (unsigned seed = 1; seed <= 40 && !test_failing(); seed++) {
            peer p;
            peer_init(&p);
            p.random = seed;
            p.plans = &refused;
            p.options.max_reconnect_attempts = 8;
            p.options.initial_reconnect_delay_ms = rows[i].initial;
            p.options.max_reconnect_delay_ms = rows[i].max;
            p.options.reconnect_backoff_factor = rows[i].factor;
            peer_start(&p);
            double cap = initial;
            for (size_t k = 0; k < 8; k++) {
                peer_run(&p);
                const mtws_event *event = &p.events[p.event_count - 1].event;
                CHECK_INT(event->state, MTWS_STATE_RECONNECTING);
                double middle = cap < max ? cap : max;
                middle = middle < 250 ? 250 : middle;
                double low = middle < 500 ? 250 : middle / 2 - 1;
                double high = 3 * middle < max ? 3 * middle : max < 250 ? 250 : max;
                CHECK_TEXT(event->retry_ms >= low && event->retry_ms <= high,
                           "delay %zu is %d, expected %g to %g", k, (int)event->retry_ms, low,
                           high);
                sums[k] += event->retry_ms;
                int before = p.connections;
                peer_advance(&p, (uint64_t)event->retry_ms - 1);
                CHECK_INT(p.connections, before);
                p.now_us += 1000;
                peer_run(&p);
                CHECK_INT(p.connections, before + 1);
                cap *= factor;
            }
            peer_finish(&p);
        }
        /* Drawn, not fixed: the mean lies well within the range. */
        if (initial >= 1000) {
            double low = (initial < max ? initial : max) / 2;
            double high = 3 * initial < max ? 3 * initial : max;
            CHECK_RANGE(sums[0] / 40, low + (high - low) * 0.3, low + (high - low) * 0.7);
        }
        test_end();
    }
}

/* RFC 6455 section 7.2.3: clients that lost the same server do not come back together. */
static void delays_differ(void) {
    int32_t seen[50];
    size_t same = 0;
    for (unsigned seed = 0; seed < 50; seed++) {
        peer p;
        peer_init(&p);
        p.random = seed * 77 + 5;
        peer_open_up(&p);
        peer_end(&p, MTWS_IO_ERROR);
        peer_run(&p);
        seen[seed] = p.events[p.event_count - 1].event.retry_ms;
        for (unsigned k = 0; k < seed; k++) {
            same += seen[k] == seen[seed];
        }
        peer_finish(&p);
    }
    CHECK_TEXT(same < 12, "%zu pairs of equal delays among 50", same);
}

/* Opens, then closes at once, for ever: delays still grow. */
static void opens_and_closes(void) { /* FAULTS row 33 */
    static const peer_plan plans[] = {{.then = "text:hello close:1000"}};
    peer p;
    peer_init(&p);
    PEER_PLANS(&p, plans);
    p.options.max_reconnect_attempts = 3; /* each opens, so it is never used up */
    peer_start(&p);
    peer_advance(&p, HOUR_MS);
    CHECK_INT(p.last_state, MTWS_STATE_RECONNECTING);
    CHECK_RANGE(p.connections, 120, 400);
    peer_finish(&p);
}

/* Connected for stable_ms, and a heartbeat answered: delays and attempts begin anew. */
static void stable_connections(void) {
    static const struct {
        const char *name;
        uint64_t connected_ms;
        int32_t interval_ms, confirm_delay_ms;
        bool no_pong, anew;
    } rows[] = {
        {"long enough", 11000, 2000, 0, false, true},
        {"too short", 9000, 2000, 0, false, false},
        {"long enough, no heartbeat answered yet", 11000, 20000, 0, false, false},
        {"long enough, heartbeats off", 11000, MTWS_OFF, 0, false, true},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        if (!test_begin("%s", rows[i].name)) {
            continue;
        }
        peer_plan plans[] = {{.open_result = MTWS_ERR_CONNECT},
                             {.open_result = MTWS_ERR_CONNECT},
                             {.open_result = MTWS_ERR_CONNECT},
                             {.no_pong = rows[i].no_pong},
                             {0}};
        peer p;
        peer_init(&p);
        PEER_PLANS(&p, plans);
        p.options.stable_ms = 10000;
        p.options.heartbeat_interval_ms = rows[i].interval_ms;
        p.options.initial_reconnect_delay_ms = 300;
        p.options.reconnect_backoff_factor = 100;
        p.options.max_reconnect_delay_ms = 1000000;
        peer_start(&p);
        CHECK(peer_reach(&p, MTWS_STATE_CONNECTED, 10 * HOUR_MS));
        peer_advance(&p, rows[i].connected_ms);
        peer_end(&p, MTWS_IO_ERROR);
        peer_run(&p);
        const mtws_event *event = &p.events[p.event_count - 1].event;
        CHECK_INT(event->state, MTWS_STATE_RECONNECTING);
        CHECK_INT(event->attempt, rows[i].anew ? 0 : 4);
        if (rows[i].anew) {
            CHECK_RANGE(event->retry_ms, 250, 900);
        } else {
            CHECK_RANGE(event->retry_ms, 1000, 1000000);
        }
        peer_finish(&p);
        test_end();
    }
}

/* Retry-After of a 429 or 503 only ever lengthens a delay. The world's wall clock says
 * Tue, 14 Nov 2023 23:36:40 GMT at the start. */
static void retry_after(void) { /* FAULTS row 30 */
    static const struct {
        const char *status, *value;
        uint32_t low, high;
    } rows[] = {
        {"503", "7", 7000, 9500},
        {"429", "7", 7000, 9500},
        {"503", "0", 500, 3000},
        {"503", "1", 1000, 3500},
        {"503", "600", 600000, 660000},
        {"503", "99999999", 3600000, 3960000},
        {"503", "99999999999999999999999999999999999999", 3600000, 3960000},
        {"503", "18446744073709551616", 3600000, 3960000},
        {"503", "-5", 500, 3000},
        {"503", "1e3", 500, 3000},
        {"503", "7.5", 500, 3000},
        {"503", "7 seconds", 500, 3000},
        {"503", "soon", 500, 3000},
        {"503", "", 500, 3000},
        {"503", "Tue, 14 Nov 2023 23:37:40 GMT", 60000, 66000},
        {"429", "Tue, 14 Nov 2023 23:46:40 GMT", 600000, 660000},
        {"503", "Tue, 14 Nov 2023 23:36:39 GMT", 500, 3000},
        {"503", "Thu, 01 Jan 1970 00:00:00 GMT", 500, 3000},
        {"503", "Fri, 31 Dec 9999 23:59:59 GMT", 3600000, 3960000},
        {"503", "Tue, 14 Foo 2023 23:37:40 GMT", 500, 3000},
        {"503", "Tue, 14 Nov 2023 23:37:4x GMT", 500, 3000},
        {"503", "Tue, 14 Nov 2023 23:x7:40 GMT", 500, 3000},
        {"503", "Tue, 99 Nov 2023 99:99:99 GMT", 500, 3000},
        {"503", "Tuesday, 14-Nov-23 23:37:40 GMT", 60000, 66000}, /* RFC 9110 section 5.6.7 */
        {"503", "Tue Nov 14 23:37:40 2023", 60000, 66000},
        {"500", "7", 500, 3000},
        {"408", "7", 500, 3000},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        if (!test_begin("%s, \"%s\"", rows[i].status, rows[i].value)) {
            continue;
        }
        char answer[200];
        snprintf(answer, sizeof answer, "HTTP/1.1 %s X\r\nRetry-After: %s\r\n\r\n", rows[i].status,
                 rows[i].value);
        peer_plan plan = {.answer = answer};
        int32_t least = INT32_MAX, most = 0;
        for (unsigned seed = 1; seed <= 10; seed++) {
            peer p;
            peer_init(&p);
            p.random = seed;
            p.plans = &plan;
            p.unix_offset_ms = 1700005000000 - 5000000; /* now_us begins at 5,000 s */
            peer_start(&p);
            peer_run(&p);
            const mtws_event *event = &p.events[p.event_count - 1].event;
            CHECK_INT(event->state, MTWS_STATE_RECONNECTING);
            CHECK_RANGE(event->retry_ms, rows[i].low, rows[i].high);
            if (event->retry_ms < least) least = event->retry_ms;
            if (event->retry_ms > most) most = event->retry_ms;
            peer_advance(&p, (uint64_t)event->retry_ms - 1);
            CHECK_INT(p.connections, 1);
            peer_advance(&p, 1);
            CHECK_INT(p.connections, 2);
            peer_finish(&p);
        }
        /* Drawn: clients that hear the same don't come back together. */
        CHECK_TEXT((uint32_t)(most - least) > (rows[i].high - rows[i].low) / 4, "%d to %d",
                   (int)least, (int)most);
        test_end();
    }
}

/* ---- what a program does about it ------------------------------------------------------------ */

static void retry_now(void) {
    static const peer_plan plans[] = {{.open_result = MTWS_ERR_CONNECT},
                                      {.open_result = MTWS_ERR_CONNECT},
                                      {.open_result = MTWS_ERR_CONNECT},
                                      {.open_result = MTWS_ERR_CONNECT},
                                      {0}};
    peer p;
    peer_init(&p);
    PEER_PLANS(&p, plans);
    p.options.max_reconnect_attempts = 2;
    peer_start(&p);
    peer_run(&p);
    for (int i = 2; i <= 3; i++) {
        CHECK_INT(p.last_state, MTWS_STATE_RECONNECTING);
        CHECK_INT(mtws_retry_now(p.ws), MTWS_OK);
        CHECK_INT(peer_wait(&p).timeout_ms, 0);
        peer_run(&p);
        CHECK_INT(p.connections, i);
    }
    CHECK_INT(p.last_state, MTWS_STATE_FAILED);
    CHECK_INT(mtws_retry_now(p.ws), MTWS_OK);
    peer_run(&p);
    CHECK_INT(p.connections, 4);
    CHECK_INT(p.last_state, MTWS_STATE_RECONNECTING); /* the count began anew */
    CHECK_INT(p.events[p.event_count - 1].event.attempt, 1);
    CHECK_INT(mtws_retry_now(p.ws), MTWS_OK);
    peer_run(&p);
    CHECK_INT(p.last_state, MTWS_STATE_CONNECTED);
    CHECK_INT(mtws_retry_now(p.ws), MTWS_ERR_STATE);
    peer_finish(&p);
}

/* A fresh token for each attempt, given when reconnecting is heard. */
static void fresh_token(peer *p, const mtws_event *event) {
    int *count = (int *)p->context;
    if (event->type == MTWS_EVENT_STATE && event->state == MTWS_STATE_RECONNECTING) {
        char text[40];
        snprintf(text, sizeof text, "Bearer number-%d", ++*count);
        CHECK_INT(mtws_set_header(p->ws, "Authorization", text), MTWS_OK);
        snprintf(text, sizeof text, "number %d", *count);
        mtws_pair params[] = {{"token", text}, {NULL, NULL}};
        CHECK_INT(mtws_set_url(p->ws, "ws://other.example:8080/path?a=b", params), MTWS_OK);
    }
}

static void tokens_between_attempts(void) {
    static const peer_plan plans[] = {{.then = "close:1000"},
                                      STATUS("503", "Busy"),
                                      {.then = "close:1001"},
                                      {0}};
    static const mtws_pair headers[] = {{"authorization", "Bearer number-0"},
                                        {"Cookie", "a=b"},
                                        {NULL, NULL}};
    static const char *const lines[] = {"GET /path?a=b&token=number%201 HTTP/1.1",
                                        "GET /path?a=b&token=number%202 HTTP/1.1",
                                        "GET /path?a=b&token=number%203 HTTP/1.1"};
    int count = 0;
    peer p;
    peer_init(&p);
    PEER_PLANS(&p, plans);
    p.options.headers = headers;
    p.context = &count;
    peer_start(&p);
    peer_run(&p);
    CHECK_STR(peer_request_header(&p, "Authorization"), "Bearer number-0");
    p.on_event = fresh_token;
    fresh_token(&p, &p.events[p.event_count - 1].event);
    for (int i = 0; i < 3; i++) {
        peer_advance(&p, (uint64_t)p.events[p.event_count - 1].event.retry_ms);
        CHECK_INT(p.connections, i + 2);
        char bearer[40];
        snprintf(bearer, sizeof bearer, "Bearer number-%d", i + 1);
        CHECK_STR(peer_request_header(&p, "Authorization"), bearer);
        CHECK_STR(peer_request_header(&p, "Cookie"), "a=b");
        CHECK_STR(peer_request_header(&p, "Host"), "other.example:8080");
        CHECK(strncmp(wire_text(&p.request), lines[i], strlen(lines[i])) == 0);
        CHECK_STR(p.opened_host, "other.example");
        CHECK_UINT(p.opened_port, 8080);
    }
    CHECK_INT(p.last_state, MTWS_STATE_CONNECTED);
    peer_finish(&p);
}

static void headers_come_and_go(void) {
    static const mtws_pair headers[] = {{"X-One", "1"},
                                        {"x-two", "2"},
                                        {"X-Three", "3"},
                                        {NULL, NULL}};
    peer p;
    peer_init(&p);
    p.options.headers = headers;
    CHECK_INT(mtws_create(&p.ws, &p.options), MTWS_OK);
    CHECK_INT(mtws_set_header(p.ws, "X-TWO", NULL), MTWS_OK);
    CHECK_INT(mtws_set_header(p.ws, "x-one", "first"), MTWS_OK);
    CHECK_INT(mtws_set_header(p.ws, "X-Four", "4"), MTWS_OK);
    CHECK_INT(mtws_set_header(p.ws, "X-Absent", NULL), MTWS_OK);
    CHECK_INT(mtws_set_header(p.ws, "User-Agent", "mine/1"), MTWS_OK);
    peer_start(&p);
    peer_run(&p);
    CHECK_STR(peer_request_header(&p, "X-One"), "first");
    CHECK_STR(peer_request_header(&p, "X-Two"), NULL);
    CHECK_STR(peer_request_header(&p, "X-Three"), "3");
    CHECK_STR(peer_request_header(&p, "X-Four"), "4");
    CHECK_STR(peer_request_header(&p, "User-Agent"), "mine/1");
    CHECK_INT(mtws_set_header(p.ws, "Host", "virtual.example"), MTWS_OK);
    peer_end(&p, MTWS_IO_ERROR);
    CHECK(peer_reach(&p, MTWS_STATE_RECONNECTING, 1000));
    CHECK(peer_reach(&p, MTWS_STATE_CONNECTED, 2000));
    CHECK_STR(peer_request_header(&p, "Host"), "virtual.example");
    CHECK_STR(p.opened_host, "server.example");
    peer_finish(&p);
}

/* mtws_disconnect: what is queued goes out and is confirmed, then Close, then the server's. */
static void disconnects_gracefully(void) {
    static const peer_plan plans[] = {{.latency_ms = 50}};
    peer p;
    peer_init(&p);
    PEER_PLANS(&p, plans);
    if (peer_start(&p) && CHECK(peer_reach(&p, MTWS_STATE_CONNECTED, 1000))) {
        peer_queue_text(&p, "one");
        peer_queue_text(&p, "two");
        CHECK_INT(mtws_disconnect(p.ws, 4321, "that is all"), MTWS_OK);
        CHECK_INT(mtws_send_text(p.ws, "no"), MTWS_ERR_STATE);
        peer_stream(&p, "text:late");
        peer_run(&p);
        CHECK_INT(p.last_state, MTWS_STATE_CONNECTED);
        CHECK_UINT(p.message_count, 2);
        peer_advance(&p, 300);
        CHECK_STR(peer_client_said(&p), "text:one text:two / close:4321");
        CHECK_STR((const char *)p.payloads.data + p.frames[p.frame_count - 1].at + 2,
                  "that is all");
        CHECK_UINT(peer_count_events(&p, MTWS_EVENT_MESSAGE), 1);
        const mtws_event *last = &p.events[p.event_count - 1].event;
        CHECK_INT(last->state, MTWS_STATE_DISCONNECTED);
        CHECK_INT(last->result, MTWS_OK);
        CHECK_UINT(last->close_code, 4321);
        CHECK_UINT(p.settled, 2);
        CHECK(p.events[p.event_count - 1].time_us - p.events[1].time_us <= 150000);
    }
    peer_finish(&p);
}

/* A message waits for a program that paused, and never comes back to it: what the server said
 * behind it, the Pong and the Close, still counts at the end. Where it does, the message is its. */
static void disconnects_while_paused(void) {
    for (int resumed = 0; resumed < 2; resumed++) {
        peer p;
        peer_init(&p);
        p.options.close_timeout_ms = 3000;
        if (peer_open_up(&p)) {
            mtws_set_paused(p.ws, true);
            peer_stream(&p, "text:waits");
            peer_advance(&p, 100);
            peer_queue_text(&p, "mine");
            uint64_t start = p.now_us;
            CHECK_INT(mtws_disconnect(p.ws, 1000, NULL), MTWS_OK);
            peer_advance(&p, 100);
            CHECK_INT(p.last_state, MTWS_STATE_CONNECTED);
            if (resumed) mtws_set_paused(p.ws, false);
            CHECK(peer_reach(&p, MTWS_STATE_DISCONNECTED, 10000));
            CHECK_RANGE((p.now_us - start) / 1000, 0, resumed ? 200 : 3000);
            const mtws_event *last = &p.events[p.event_count - 1].event;
            CHECK_INT(last->result, MTWS_OK);
            CHECK_UINT(last->close_code, 1000);
            CHECK_UINT(peer_count_events(&p, MTWS_EVENT_MESSAGE), (size_t)resumed);
            CHECK_UINT(peer_count_events(&p, MTWS_EVENT_DELIVERED), 1);
        }
        peer_finish(&p);
    }
}

/* All within close_timeout_ms, whatever the server does; what was not confirmed stays queued. */
static void disconnect_takes_its_time_at_most(void) { /* FAULTS row 40 */
    static const struct {
        const char *name;
        peer_plan plan;
        bool blocked, hold;
        int result;
    } rows[] = {
        {"no Pong, no Close", {.no_pong = true, .no_close = true}, false, false, MTWS_ERR_TIMEOUT},
        {"no Pong", {.no_pong = true}, false, false, MTWS_OK},
        {"no Close", {.no_close = true}, false, false, MTWS_ERR_TIMEOUT},
        {"TCP is kept open", {.keep_open = true}, false, false, MTWS_OK},
        {"nothing can be written", {0}, true, false, MTWS_ERR_TIMEOUT},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        if (!test_begin("%s", rows[i].name)) {
            continue;
        }
        peer p;
        peer_init(&p);
        p.plans = &rows[i].plan;
        p.options.close_timeout_ms = 3000;
        if (peer_open_up(&p)) {
            p.write_budget = rows[i].blocked ? 0 : SIZE_MAX;
            peer_queue_text(&p, "kept");
            uint64_t start = p.now_us;
            CHECK_INT(mtws_disconnect(p.ws, 0, NULL), MTWS_OK);
            CHECK(peer_reach(&p, MTWS_STATE_DISCONNECTED, 10000));
            CHECK_RANGE((p.now_us - start) / 1000, 0, 3000);
            const mtws_event *last = &p.events[p.event_count - 1].event;
            CHECK_INT(last->result, rows[i].result);
            bool delivered = !rows[i].plan.no_pong && !rows[i].blocked;
            CHECK_UINT(peer_count_events(&p, MTWS_EVENT_DELIVERED), delivered);
            CHECK_UINT(peer_count_events(&p, MTWS_EVENT_DROPPED), 0);
            p.write_budget = SIZE_MAX;
            p.plans = &good;
            size_t before = p.message_count;
            CHECK_INT(mtws_connect(p.ws, p.url, NULL), MTWS_OK);
            peer_advance(&p, 1000);
            CHECK_UINT(p.message_count - before, !delivered);
            CHECK_UINT(peer_count_events(&p, MTWS_EVENT_DELIVERED), 1);
        }
        peer_finish(&p);
        test_end();
    }
}

static void disconnect_arguments(void) {
    static const struct {
        unsigned code;
        const char *reason;
        int result;
    } rows[] = {
        {999, NULL, MTWS_ERR_ARGUMENT},
        {1004, NULL, MTWS_ERR_ARGUMENT},
        {1005, NULL, MTWS_ERR_ARGUMENT},
        {1006, NULL, MTWS_ERR_ARGUMENT},
        {1015, NULL, MTWS_ERR_ARGUMENT},
        {1016, NULL, MTWS_ERR_ARGUMENT},
        {2999, NULL, MTWS_ERR_ARGUMENT},
        {5000, NULL, MTWS_ERR_ARGUMENT},
        {1000, "\xff", MTWS_ERR_UTF8},
        {1000, "\xed\xa0\x80", MTWS_ERR_UTF8},
        {1000, "", MTWS_OK},
        {0, NULL, MTWS_OK},
        {4999, "x", MTWS_OK},
    };
    peer p;
    peer_init(&p);
    CHECK_INT(mtws_create(&p.ws, &p.options), MTWS_OK);
    for (size_t i = 0; i < COUNT(rows); i++) {
        test_context("code %u", rows[i].code);
        CHECK_INT(mtws_disconnect(p.ws, (uint16_t)rows[i].code, rows[i].reason), rows[i].result);
    }
    char reason[200];
    memset(reason, 'a', sizeof reason);
    reason[124] = '\0';
    CHECK_INT(mtws_disconnect(p.ws, 1000, reason), MTWS_ERR_ARGUMENT);
    reason[123] = '\0';
    CHECK_INT(mtws_disconnect(p.ws, 1000, reason), MTWS_OK);
    peer_finish(&p);
}

/* ---- time ------------------------------------------------------------------------------------ */

static void connect_timeout(void) {
    static const struct {
        const char *name;
        peer_plan plan;
    } rows[] = {
        {"never opens", {.open_never = true}},
        {"never answers", {.no_answer = true}},
        {"answers in part", {.answer = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: web"}},
        {"informs only", {.answer = "HTTP/1.1 100 Continue\r\n\r\n"}},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        if (!test_begin("%s", rows[i].name)) {
            continue;
        }
        peer p;
        peer_init(&p);
        p.plans = &rows[i].plan;
        p.options.max_reconnect_attempts = MTWS_OFF;
        peer_start(&p);
        uint64_t start = p.now_us;
        CHECK(peer_reach(&p, MTWS_STATE_FAILED, 60000));
        CHECK_RANGE((p.now_us - start) / 1000, 20000, 20001);
        CHECK_INT(p.events[p.event_count - 1].event.result, MTWS_ERR_TIMEOUT);
        CHECK(!p.open && !p.opening);
        peer_finish(&p);
        test_end();
    }
}

/* An event loop that sleeps exactly as long as it was told gets the same deadlines. */
static void connect_timeout_of_an_event_loop(void) {
    peer p;
    peer_init(&p);
    p.plans = &never_answers;
    p.options.max_reconnect_attempts = MTWS_OFF;
    peer_start(&p);
    uint64_t start = p.now_us;
    peer_run(&p);
    for (int i = 0; i < 20 && p.last_state != MTWS_STATE_FAILED; i++) {
        int32_t timeout_ms = peer_wait(&p).timeout_ms;
        peer_sleep(&p, timeout_ms < 0 ? 60000 : (uint64_t)timeout_ms);
        peer_run(&p);
    }
    CHECK_RANGE((p.now_us - start) / 1000, 20000, 20001);
    CHECK_INT(p.last_state, MTWS_STATE_FAILED);
    peer_finish(&p);
}

/* One byte a second, both of an endless head and of a right one that takes too long. */
static void one_byte_a_second(void) { /* FAULTS row 25 */
    peer p;
    peer_init(&p);
    p.plans = &never_answers;
    p.options.max_reconnect_attempts = MTWS_OFF;
    peer_start(&p);
    peer_run(&p);
    wire_buffer answer = {0};
    wire_print(&answer,
               "HTTP/1.1 101 OK\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
               "Sec-WebSocket-Accept: %s\r\n\r\n",
               p.accept);
    for (size_t i = 0; i < answer.size; i++) {
        peer_send_at(&p, 1000 * (i + 1), answer.data + i, 1);
    }
    uint64_t start = p.now_us;
    CHECK(peer_reach(&p, MTWS_STATE_FAILED, 200000));
    CHECK_RANGE((p.now_us - start) / 1000, 20000, 20001);
    CHECK_INT(p.events[p.event_count - 1].event.result, MTWS_ERR_TIMEOUT);
    wire_free(&answer);
    peer_finish(&p);
}

/* A server that trickles within an open connection is fine as long as it answers Pings. */
static void trickles_when_open(void) {
    peer p;
    peer_init(&p);
    if (peer_open_up(&p)) {
        wire_buffer stream = {0};
        wire_stream(&stream, "text=100 ping:x text:end");
        for (size_t i = 0; i < stream.size; i++) {
            peer_send_at(&p, 1000 * (i + 1), stream.data + i, 1);
        }
        /* Pongs may not come within a frame: a server that writes so slowly has none to give. */
        p.options.heartbeat_interval_ms = MTWS_OFF;
        mtws_destroy(p.ws);
        p.ws = NULL;
        p.last_state = MTWS_STATE_DISCONNECTED;
        peer_open_up(&p);
        for (size_t i = 0; i < stream.size; i++) {
            peer_send_at(&p, 1000 * (i + 1), stream.data + i, 1);
        }
        peer_advance(&p, 1000 * stream.size + 1000);
        CHECK_UINT(peer_count_events(&p, MTWS_EVENT_MESSAGE), 2);
        CHECK_INT(p.last_state, MTWS_STATE_CONNECTED);
        wire_free(&stream);
    }
    peer_finish(&p);
}

static void heartbeats(void) {
    peer p;
    peer_init(&p);
    p.options.heartbeat_interval_ms = 1000;
    p.options.heartbeat_timeout_ms = 500;
    if (peer_open_up(&p)) {
        peer_advance(&p, 10050);
        CHECK_RANGE(peer_count_frames(&p, WIRE_PING), 9, 10);
        CHECK_INT(p.last_state, MTWS_STATE_CONNECTED);
        mtws_stats stats;
        mtws_get_stats(p.ws, &stats);
        CHECK(stats.rtt_us > 0 && stats.rtt_min_us > 0);
        /* And each payload is its own, or an old Pong could answer a new Ping. */
        for (size_t i = 1; i < p.frame_count; i++) {
            const peer_frame *a = &p.frames[i - 1], *b = &p.frames[i];
            CHECK(a->size != b->size ||
                  memcmp(p.payloads.data + a->at, p.payloads.data + b->at, a->size) != 0);
        }
    }
    peer_finish(&p);
}

static void heartbeats_off(void) {
    static const peer_plan plans[] = {{.no_pong = true}};
    peer p;
    peer_init(&p);
    PEER_PLANS(&p, plans);
    p.options.heartbeat_interval_ms = MTWS_OFF;
    if (peer_open_up(&p)) {
        peer_advance(&p, 8 * HOUR_MS);
        CHECK_UINT(p.frame_count, 0);
        CHECK_INT(p.last_state, MTWS_STATE_CONNECTED);
        CHECK_INT(peer_wait(&p).timeout_ms, -1);
    }
    peer_finish(&p);
}

/* The Ping that a dead peer does not answer, and answers that are none. */
typedef enum answer_kind { SILENCE, WRONG, EMPTY, EARLIER, OTHER_BYTES, BLOCKED } answer_kind;

static void wrong_answers(peer *p, answer_kind kind, const wire_buffer *earlier) {
    for (unsigned i = 0; i < 400; i++) {
        wire_buffer out = {0};
        switch (kind) {
        case WRONG: wire_frame(&out, WIRE_PONG, true, "0123456789abcdef", 16); break;
        case EMPTY: wire_frame(&out, WIRE_PONG, true, "", 0); break;
        case EARLIER: wire_frame(&out, WIRE_PONG, true, earlier->data, earlier->size); break;
        case OTHER_BYTES: wire_frame(&out, WIRE_PING, true, "and you?", 8); break;
        default: break;
        }
        peer_send_at(p, 50 * i, out.data, out.size);
        wire_free(&out);
    }
}

static void dead_links_are_noticed(void) { /* FAULTS rows 39 and 44 */
    static const struct {
        const char *name;
        answer_kind kind;
        uint32_t latest_ms;
    } rows[] = {
        {"silence", SILENCE, 1500},           {"wrong Pongs", WRONG, 3000},
        {"empty Pongs", EMPTY, 3000},         {"an earlier connection's Pong", EARLIER, 3000},
        {"Pings instead", OTHER_BYTES, 3000}, {"nothing can be written", BLOCKED, 3000},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        if (!test_begin("%s", rows[i].name)) {
            continue;
        }
        peer_plan plans[] = {{0}, {.no_pong = true}};
        peer p;
        peer_init(&p);
        PEER_PLANS(&p, plans);
        p.options.heartbeat_interval_ms = 1000;
        p.options.heartbeat_timeout_ms = 500;
        wire_buffer earlier = {0};
        if (peer_open_up(&p)) {
            peer_advance(&p, 1500);
            CHECK_UINT(p.frame_count, 1);
            wire_add(&earlier, p.payloads.data, p.frames[0].size);
            peer_end(&p, MTWS_IO_ERROR);
            peer_run(&p);
            CHECK(peer_reach(&p, MTWS_STATE_CONNECTED, 2000));
            uint64_t start = p.now_us;
            wrong_answers(&p, rows[i].kind, &earlier);
            p.write_budget = rows[i].kind == BLOCKED ? 0 : SIZE_MAX;
            CHECK(peer_reach(&p, MTWS_STATE_RECONNECTING, 20000));
            CHECK_RANGE((p.now_us - start) / 1000, 1500, rows[i].latest_ms + 1);
            CHECK_INT(p.events[p.event_count - 1].event.result, MTWS_ERR_HEARTBEAT);
            CHECK_UINT(p.events[p.event_count - 1].event.close_code, 1006);
        }
        wire_free(&earlier);
        peer_finish(&p);
        test_end();
    }
}

/* A Pong that comes late, but within the timeout, is an answer. */
static void slow_pongs(void) {
    static const peer_plan plans[] = {{.latency_ms = 450}};
    peer p;
    peer_init(&p);
    PEER_PLANS(&p, plans);
    p.options.heartbeat_interval_ms = 1000;
    p.options.heartbeat_timeout_ms = 500;
    peer_start(&p);
    CHECK(peer_reach(&p, MTWS_STATE_CONNECTED, 2000));
    peer_advance(&p, 60000);
    CHECK_INT(p.last_state, MTWS_STATE_CONNECTED);
    CHECK_INT(p.connections, 1);
    mtws_stats stats;
    mtws_get_stats(p.ws, &stats);
    CHECK_RANGE(stats.rtt_us, 450000, 452000);
    peer_finish(&p);
}

/* The machine sleeps for eight hours. */
static void sleeps(void) { /* FAULTS row 35 */
    static const struct {
        const char *name;
        stage at;
        bool dead, ended;
    } rows[] = {
        {"connected, the server is still there", OPENED, false, false},
        {"connected, the server is gone silently", OPENED, true, false},
        {"connected, the server has hung up", OPENED, false, true},
        {"waiting to reconnect", WAITING, false, false},
        {"opening", OPENING, false, false},
        {"upgrading", UPGRADING, false, false},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        if (!test_begin("%s", rows[i].name)) {
            continue;
        }
        peer_plan dead = {.no_pong = true};
        peer p;
        peer_init(&p);
        to_stage(&p, rows[i].at);
        peer_advance(&p, 100);
        int connections = p.connections;
        size_t pings = peer_count_frames(&p, WIRE_PING);
        if (rows[i].dead) {
            p.plan = &dead;
        } else if (rows[i].ended) {
            peer_end(&p, MTWS_IO_EOF);
        }
        p.plans = &good;
        p.plan_count = 1;
        peer_sleep(&p, 8 * HOUR_MS);
        peer_run(&p);
        CHECK_UINT(peer_count_frames(&p, WIRE_PING) - pings, rows[i].at == OPENED);
        CHECK_RANGE(p.connections, connections, connections + 1);
        if (rows[i].at == OPENED && !rows[i].ended) {
            CHECK_INT(p.last_state, MTWS_STATE_CONNECTED);
        }
        peer_advance(&p, 5001);
        CHECK_INT(p.last_state == MTWS_STATE_CONNECTED || p.last_state == MTWS_STATE_RECONNECTING ||
                      rows[i].at == OPENING || rows[i].at == UPGRADING,
                  1);
        if (rows[i].dead) {
            CHECK_INT(peer_last_state(&p, MTWS_STATE_ERROR)->event.result, MTWS_ERR_HEARTBEAT);
        } else if (rows[i].at == OPENED && !rows[i].ended) {
            CHECK_INT(p.connections, 1);
        }
        peer_advance(&p, 60000);
        CHECK_INT(p.last_state, MTWS_STATE_CONNECTED);
        peer_finish(&p);
        test_end();
    }
}

/* ... behind a Ping whose answer is on its way: both machines, and all between, were asleep. */
static void sleeps_behind_a_question(void) {
    static const peer_plan plans[] = {{.latency_ms = 200}, {0}};
    for (int lost = 0; lost < 2; lost++) {
        peer p;
        peer_init(&p);
        PEER_PLANS(&p, plans);
        test_context("lost %d", lost);
        peer_start(&p);
        CHECK(peer_reach(&p, MTWS_STATE_CONNECTED, 1000));
        for (int k = 0; k < 4000 && peer_count_frames(&p, WIRE_PING) == 0; k++) {
            peer_advance(&p, 10);
        }
        CHECK_UINT(peer_count_frames(&p, WIRE_PING), 1);
        size_t under_way = p.arrival_count - p.arrival_at;
        CHECK_UINT(under_way, 1);
        if (lost == 0) p.arrivals[p.arrival_at].due_us += 8 * HOUR_MS * 1000;
        else p.arrival_count = p.arrival_at, p.down.size = p.down_at;
        peer_sleep(&p, 8 * HOUR_MS);
        peer_advance(&p, 10000);
        CHECK_INT(p.last_state, MTWS_STATE_CONNECTED);
        CHECK_INT(p.connections, 1); /* where the answer was lost, the question after it has one */
        peer_finish(&p);
    }
}

/* The program does not poll for a minute: what came meanwhile is read before a deadline judges. */
static void late_polls(void) { /* FAULTS row 36 */
    static const uint64_t lates[] = {5000, 6000, 20000, 60000, 600000};
    for (size_t i = 0; i < COUNT(lates); i++) {
        if (!test_begin("%llu ms", (unsigned long long)lates[i])) {
            continue;
        }
        static const peer_plan plans[] = {{.latency_ms = 100}};
        peer p;
        peer_init(&p);
        PEER_PLANS(&p, plans);
        peer_start(&p);
        CHECK(peer_reach(&p, MTWS_STATE_CONNECTED, 1000));
        for (int round = 0; round < 10; round++) {
            /* Right behind a Ping, whose Pong then lies there unread for so long. */
            size_t pings = peer_count_frames(&p, WIRE_PING);
            for (int k = 0; k < 400 && peer_count_frames(&p, WIRE_PING) == pings; k++) {
                peer_advance(&p, 100);
            }
            CHECK(peer_count_frames(&p, WIRE_PING) > pings);
            peer_stream(&p, "text:meanwhile");
            peer_sleep(&p, lates[i]);
            peer_run(&p);
            CHECK_INT(p.last_state, MTWS_STATE_CONNECTED);
        }
        CHECK_INT(p.connections, 1);
        CHECK_UINT(peer_count_events(&p, MTWS_EVENT_MESSAGE), 10);
        peer_finish(&p);
        test_end();
    }
}

/* ... in each phase that has a deadline: an answer to the upgrade or to our Close that came in time
 * counts, however late it is looked at; and what was slow to open goes on. */
static void late_polls_of_what_came(void) { /* FAULTS row 36 */
    static const struct {
        const char *name;
        peer_plan plan;
        stage at;
        mtws_state ends;
    } rows[] = {
        {"opening", {.open_again = 5}, OPENING, MTWS_STATE_CONNECTED},
        {"the answer to the upgrade", {.no_answer = true}, UPGRADING, MTWS_STATE_CONNECTED},
        {"the answer to our Close", {.no_close = true}, CLOSING, MTWS_STATE_DISCONNECTED},
    };
    static const uint64_t lates[] = {22000, 60000, 8 * HOUR_MS};
    for (size_t i = 0; i < COUNT(rows) * COUNT(lates); i++) {
        size_t row = i % COUNT(rows);
        uint64_t late = lates[i / COUNT(rows)];
        if (!test_begin("%s, %llu ms", rows[row].name, (unsigned long long)late)) continue;
        peer p;
        peer_init(&p);
        p.plans = &rows[row].plan;
        p.options.max_reconnect_attempts = MTWS_OFF;
        peer_start(&p);
        if (rows[row].at == OPENING) peer_poll(&p), peer_poll(&p);
        else peer_run(&p);
        if (rows[row].at == CLOSING) {
            CHECK_INT(mtws_disconnect(p.ws, 1000, NULL), MTWS_OK);
            peer_run(&p);
            peer_stream(&p, "close:1000");
            peer_end(&p, MTWS_IO_EOF);
            p.server_closed = true;
        } else if (rows[row].at == UPGRADING) {
            wire_buffer answer = {0};
            wire_print(&answer, FIRST UPGRADE CONNECTION "Sec-WebSocket-Accept: %s\r\n\r\n",
                       p.accept);
            peer_send(&p, answer.data, answer.size);
            wire_free(&answer);
        }
        CHECK_INT(mtws_get_state(p.ws), stage_state[rows[row].at]);
        p.read_size = 1; /* it takes many reads */
        peer_sleep(&p, late);
        peer_run(&p);
        CHECK_INT(p.last_state, rows[row].ends);
        CHECK_INT(p.events[p.event_count - 1].event.result, MTWS_OK);
        CHECK_INT(p.connections, 1);
        peer_finish(&p);
        test_end();
    }
}

/* Nor does being late each time keep a dead connection for ever. */
static void late_polls_of_a_dead_link(void) {
    static const peer_plan plans[] = {{.no_pong = true}};
    peer p;
    peer_init(&p);
    PEER_PLANS(&p, plans);
    if (peer_open_up(&p)) {
        int rounds = 0;
        for (; rounds < 20 && p.last_state == MTWS_STATE_CONNECTED; rounds++) {
            peer_sleep(&p, 60000);
            peer_run(&p);
        }
        CHECK_RANGE(rounds, 1, 6);
    }
    peer_finish(&p);
}

/* Who waits as long as mtws_get_wait says is not late, although an event that mtws_poll would have
 * handed over next is undone meanwhile. */
static void waits_as_told(void) {
    static const peer_plan plans[] = {{.open_never = true}};
    peer p;
    peer_init(&p);
    PEER_PLANS(&p, plans);
    p.options.max_queue_size = 100;
    p.options.max_reconnect_attempts = MTWS_OFF;
    peer_start(&p);
    peer_run(&p);
    uint64_t begun_us = p.now_us;
    CHECK_INT(peer_queue(&p, MTWS_BINARY, "x", 1, 0), MTWS_OK);
    CHECK_INT(peer_queue(&p, MTWS_BINARY, plans, 94, 0), MTWS_ERR_QUEUE_FULL);
    mtws_clear_queue(p.ws);
    CHECK_INT(peer_poll(&p), 1); /* DROPPED; WRITABLE is left */
    CHECK_INT(peer_queue(&p, MTWS_BINARY, "x", 1, 0), MTWS_OK);
    for (int i = 0; i < 10 && p.last_state == MTWS_STATE_CONNECTING; i++) {
        mtws_wait wait = peer_wait(&p);
        if (!CHECK(wait.timeout_ms > 0)) break;
        peer_sleep(&p, (uint64_t)wait.timeout_ms);
        peer_run(&p);
    }
    CHECK_INT(p.last_state, MTWS_STATE_FAILED);
    CHECK_UINT(p.now_us - begun_us, 20000000);
    peer_finish(&p);
}

/* A server that sends something between any two polls, and no Pong, is noticed too. */
static void talks_and_does_not_answer(void) {
    static const peer_plan plans[] = {{.no_pong = true}};
    peer p;
    peer_init(&p);
    PEER_PLANS(&p, plans);
    p.options.max_reconnect_attempts = MTWS_OFF;
    p.options.heartbeat_interval_ms = 1000;
    p.options.heartbeat_timeout_ms = 500;
    peer_open_up(&p);
    uint64_t opened_us = p.now_us;
    for (int i = 0; i < 200 && p.last_state == MTWS_STATE_CONNECTED; i++) {
        peer_stream(&p, "ping:x");
        peer_sleep(&p, 50);
        peer_poll(&p);
    }
    peer_run(&p);
    CHECK_INT(p.last_state, MTWS_STATE_FAILED);
    CHECK_RANGE(p.now_us - opened_us, 1500000, 3100000);
    peer_finish(&p);
}

/* ... whatever the server sends meanwhile, and in whatever phase. */
static void late_polls_of_a_busy_server(void) {
    static const struct {
        const char *name;
        peer_plan plan;
        const char *sends; /* between two polls */
        bool stops;
        mtws_result result;
    } rows[] = {
        {"messages and no Pong", {.no_pong = true}, "text:x", false, MTWS_ERR_HEARTBEAT},
        {"an answer byte by byte", {.no_answer = true}, NULL, false, MTWS_ERR_TIMEOUT},
        {"Pongs, and parts that never end", {0}, "ping:x", true, MTWS_OK},
        {"no Close, and messages", {.no_close = true}, "text:x", true, MTWS_ERR_TIMEOUT},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        if (!test_begin("%s", rows[i].name)) continue;
        peer p;
        peer_init(&p);
        p.plans = &rows[i].plan;
        p.plan_count = 1;
        p.options.max_reconnect_attempts = MTWS_OFF;
        p.options.heartbeat_interval_ms = 1000;
        peer_start(&p);
        peer_run(&p);
        if (rows[i].stops) {
            if (!rows[i].plan.no_close) {
                mtws_result sent = mtws_send_part(p.ws, MTWS_TEXT, "x", 1, true, false, &p.last_id);
                CHECK_INT(sent, MTWS_OK);
            }
            CHECK_INT(mtws_disconnect(p.ws, 0, NULL), MTWS_OK);
        }
        int rounds = 0;
        for (; rounds < 40 &&
               (p.last_state == MTWS_STATE_CONNECTED || p.last_state == MTWS_STATE_CONNECTING);
             rounds++) {
            if (rows[i].sends != NULL) peer_stream(&p, rows[i].sends);
            else peer_send(&p, &"HTTP/1.1 101 It never ends, this text"[rounds % 30], 1);
            peer_sleep(&p, 25000);
            peer_run(&p);
        }
        CHECK_RANGE(rounds, 1, 7);
        const peer_event *last = peer_last_state(&p, p.last_state);
        if (CHECK(last != NULL)) CHECK_INT(last->event.result, rows[i].result);
        peer_finish(&p);
        test_end();
    }
}

/* The wall clock jumps by ten years, either way, at any time: nothing changes. */
static void clock_life(peer *p, int64_t jump_ms, int when) {
    static const peer_plan plans[] = {{.open_again = 3},
                                      {.answer = "HTTP/1.1 503 X\r\nRetry-After: 9\r\n\r\n"},
                                      {.open_result = MTWS_ERR_CONNECT},
                                      {.then = "text:hello"}};
    peer_init(p);
    PEER_PLANS(p, plans);
    peer_start(p);
    for (int step = 0; step < 60; step++) {
        if (step == when) {
            p->unix_offset_ms += jump_ms;
        }
        if (step == 20) {
            peer_end(p, MTWS_IO_ERROR);
        }
        if (step == 10 || step == 25) {
            peer_queue_text(p, "message");
        }
        peer_advance(p, 1000);
    }
}

static void wall_clock_jumps(void) { /* FAULTS row 34 */
    static const int64_t years = INT64_C(315360000000);
    peer plain;
    clock_life(&plain, 0, 0);
    for (int when = 0; when < 60 && !test_failing(); when += 3) {
        for (int back = 0; back < 2; back++) {
            peer p;
            clock_life(&p, back ? -years : years, when);
            CHECK_STR(wire_text(&p.log), wire_text(&plain.log));
            CHECK_UINT(p.frame_count, plain.frame_count);
            peer_finish(&p);
        }
    }
    CHECK_INT(plain.last_state, MTWS_STATE_CONNECTED);
    peer_finish(&plain);
}

/* The monotonic clock near its end saturates, and stands still there. */
static void clock_near_overflow(void) { /* FAULTS row 37 */
    static const peer_plan plans[] = {{.open_result = MTWS_ERR_CONNECT}, {0}};
    peer p;
    peer_init(&p);
    PEER_PLANS(&p, plans);
    p.now_us = UINT64_MAX - 60000000;
    peer_start(&p);
    peer_advance(&p, 50000);
    CHECK_INT(p.last_state, MTWS_STATE_CONNECTED);
    CHECK_INT(p.connections, 2);
    peer_finish(&p);
}

/* At its very end the clock stands still: nothing is due any more, and bytes still move. */
static uint64_t clock_at_last(void *context) {
    peer *p = (peer *)context;
    return p->context != NULL ? UINT64_MAX : p->now_us;
}

static void clock_at_its_end(void) { /* FAULTS row 37 */
    static const uint64_t left_us[] = {2000000, 1, 1};
    peer p;
    peer_init(&p);
    p.options.clock.now_us = clock_at_last;
    if (!peer_open_up(&p)) return;
    for (size_t i = 0; i < COUNT(left_us); i++) {
        test_context("step %zu", i);
        p.now_us = UINT64_MAX - left_us[i];
        p.context = i == 2 ? &p : NULL;
        for (int k = 0; k < 3; k++) {
            CHECK_INT(peer_queue_text(&p, "out"), MTWS_OK);
            peer_stream(&p, "text:in");
            for (int turn = 0; turn < 10; turn++) peer_poll(&p);
        }
        CHECK(peer_wait(&p).timeout_ms != 0);
        CHECK_INT(p.last_state, MTWS_STATE_CONNECTED);
        CHECK_UINT(p.message_count, 3 * (i + 1));
        CHECK_UINT(peer_count_events(&p, MTWS_EVENT_MESSAGE), 3 * (i + 1));
    }
    CHECK_INT(p.connections, 1);
    peer_end(&p, MTWS_IO_EOF);
    for (int turn = 0; turn < 10; turn++) peer_poll(&p);
    CHECK_INT(p.last_state, MTWS_STATE_RECONNECTING);
    peer_finish(&p);
}

/* What counts attempts, delays and failures stops at its largest number. */
static void attempts_near_overflow(void) { /* FAULTS row 37 */
    peer p;
    peer_init(&p);
    p.plans = &refused;
    p.options.max_reconnect_attempts = MTWS_UNLIMITED;
    peer_start(&p);
    peer_run(&p);
    CHECK_INT(p.last_state, MTWS_STATE_RECONNECTING);
    p.ws->attempt = p.ws->unopened = INT32_MAX - 5;
    p.ws->round = UINT32_MAX - 5;
    size_t seen = p.event_count;
    int32_t attempt = INT32_MAX - 5;
    peer_advance(&p, HOUR_MS);
    CHECK_INT(p.last_state, MTWS_STATE_RECONNECTING);
    CHECK(p.connections > 100);
    for (; seen < p.event_count; seen++) {
        const mtws_event *event = &p.events[seen].event;
        if (event->state == MTWS_STATE_ERROR && attempt < INT32_MAX) attempt++;
        CHECK_INT(event->attempt, attempt);
        if (event->state != MTWS_STATE_RECONNECTING) continue;
        CHECK_RANGE(event->retry_ms, 14999, 30000);
    }
    CHECK_INT(attempt, INT32_MAX);
    p.plans = &good;
    peer_advance(&p, 31000);
    CHECK_INT(p.last_state, MTWS_STATE_CONNECTED);
    CHECK_INT(p.events[p.event_count - 1].event.attempt, INT32_MAX);
    peer_finish(&p);
}

/* ---- the upgrade request --------------------------------------------------------------------- */

static void urls(void) {
    static const struct {
        const char *url, *target, *host, *opened;
        unsigned port;
        bool tls;
        const char *authorization;
    } rows[] = {
        {"ws://a.example", "/", "a.example", "a.example", 80, false, NULL},
        {"ws://a.example/", "/", "a.example", "a.example", 80, false, NULL},
        {"WS://A.Example/Path", "/Path", NULL, "a.example", 80, false, NULL},
        {"ws://a.example:80/x", "/x", "a.example", "a.example", 80, false, NULL},
        {"ws://a.example:8080/x", "/x", "a.example:8080", "a.example", 8080, false, NULL},
        {"wss://a.example/x", "/x", "a.example", "a.example", 443, true, NULL},
        {"wss://a.example:443/x", "/x", "a.example", "a.example", 443, true, NULL},
        {"wss://a.example:80/x", "/x", "a.example:80", "a.example", 80, true, NULL},
        {"ws://a.example:443/x", "/x", "a.example:443", "a.example", 443, false, NULL},
        {"ws://a.example?q=1", "/?q=1", "a.example", "a.example", 80, false, NULL},
        {"ws://a.example/x?", "/x?", "a.example", "a.example", 80, false, NULL},
        {"ws://a.example/x?a=b&c=%20d", "/x?a=b&c=%20d", "a.example", "a.example", 80, false, NULL},
        {"ws://127.0.0.1:9/", "/", "127.0.0.1:9", "127.0.0.1", 9, false, NULL},
        {"ws://[::1]/", "/", "[::1]", "::1", 80, false, NULL},
        {"ws://[2001:db8::1]:8443/y", "/y", "[2001:db8::1]:8443", "2001:db8::1", 8443, false, NULL},
        {"ws://user:pass@a.example/", "/", "a.example", "a.example", 80, false,
         "Basic dXNlcjpwYXNz"},
        {"ws://us%65r:p%40ss@a.example/", "/", "a.example", "a.example", 80, false,
         "Basic dXNlcjpwQHNz"},
        {"ws://user@a.example/", "/", "a.example", "a.example", 80, false, "Basic dXNlcjo="},
        {"ws://:pass@a.example/", "/", "a.example", "a.example", 80, false, "Basic OnBhc3M="},
        {"ws://u:a%3Ab@a.example/", "/", "a.example", "a.example", 80, false, "Basic dTphOmI="},
        {"ws://u:@a.example/", "/", "a.example", "a.example", 80, false, "Basic dTo="},
        {"ws://u:a:b@a.example/", "/", "a.example", "a.example", 80, false, "Basic dTphOmI="},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        if (!test_begin("%s", rows[i].url)) {
            continue;
        }
        peer p;
        peer_init(&p);
        p.url = rows[i].url;
        if (peer_open_up(&p)) {
            char line[100];
            snprintf(line, sizeof line, "GET %s HTTP/1.1\r\n", rows[i].target);
            CHECK_TEXT(strncmp(wire_text(&p.request), line, strlen(line)) == 0, "%.60s",
                       wire_text(&p.request));
            if (rows[i].host != NULL) {
                CHECK_STR(peer_request_header(&p, "Host"), rows[i].host);
            }
            CHECK_STR(p.opened_host, rows[i].opened);
            CHECK_UINT(p.opened_port, rows[i].port);
            CHECK_INT(p.opened_tls, rows[i].tls);
            CHECK_STR(peer_request_header(&p, "Authorization"), rows[i].authorization);
        }
        peer_finish(&p);
        test_end();
    }
}

/* A header of the program's goes before what the URL's userinfo would make. */
static void authorization_of_the_program(void) {
    static const mtws_pair headers[] = {{"AUTHORIZATION", "Bearer mine"}, {NULL, NULL}};
    peer p;
    peer_init(&p);
    p.url = "ws://user:pass@a.example/";
    p.options.headers = headers;
    peer_open_up(&p);
    CHECK_STR(peer_request_header(&p, "Authorization"), "Bearer mine");
    peer_finish(&p);
}

static void params(void) { /* FAULTS row 20 */
    static const struct {
        const char *url;
        mtws_pair pairs[4];
        const char *target;
    } rows[] = {
        {"ws://h/p", {{"a", "b"}, {NULL, NULL}}, "/p?a=b"},
        {"ws://h/p?x=y", {{"a", "b"}, {"c", "d"}, {NULL, NULL}}, "/p?x=y&a=b&c=d"},
        {"ws://h/p?", {{"a", "b"}, {NULL, NULL}}, "/p?a=b"},
        {"ws://h", {{"a", ""}, {NULL, NULL}}, "/?a="},
        {"ws://h",
         {{"k &=?#/+", "v &=?#/+%"}, {NULL, NULL}},
         "/?k%20%26%3D%3F%23%2F%2B=v%20%26%3D%3F%23%2F%2B%25"},
        {"ws://h", {{"crlf", "a\r\nX: y"}, {NULL, NULL}}, "/?crlf=a%0D%0AX%3A%20y"},
        {"ws://h", {{"utf8", "\xc3\xa4"}, {NULL, NULL}}, "/?utf8=%C3%A4"},
        {"ws://h", {{"azAZ09-._~", "azAZ09-._~"}, {NULL, NULL}}, "/?azAZ09-._~=azAZ09-._~"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        if (!test_begin("%s", rows[i].target)) {
            continue;
        }
        peer p;
        peer_init(&p);
        p.url = rows[i].url;
        p.params = rows[i].pairs;
        if (peer_open_up(&p)) {
            char line[200];
            snprintf(line, sizeof line, "GET %s HTTP/1.1\r\n", rows[i].target);
            CHECK_TEXT(strncmp(wire_text(&p.request), line, strlen(line)) == 0, "%.80s",
                       wire_text(&p.request));
        }
        peer_finish(&p);
        test_end();
    }
}

/* Half of a pair is a mistake, and does not end the list in silence. */
static void half_pairs(void) {
    static const mtws_pair rows[][3] = {
        {{NULL, "b"}, {"token", "t"}, {NULL, NULL}},
        {{"a", NULL}, {"token", "t"}, {NULL, NULL}},
        {{"token", "t"}, {NULL, "b"}, {NULL, NULL}},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        peer p;
        peer_init(&p);
        CHECK_INT(mtws_create(&p.ws, &p.options), MTWS_OK);
        CHECK_INT(mtws_connect(p.ws, "ws://h/", rows[i]), MTWS_ERR_ARGUMENT);
        CHECK_INT(mtws_set_url(p.ws, "ws://h/", rows[i]), MTWS_ERR_ARGUMENT);
        mtws_destroy(p.ws);
        p.options.headers = rows[i];
        CHECK_INT(mtws_create(&p.ws, &p.options), MTWS_ERR_ARGUMENT);
        CHECK(peer_told(&p, "bad_header"));
        peer_finish(&p);
    }
}

/* The log says which part of a URL is wrong, and repeats nothing of it. */
static void bad_urls_explained(void) {
    static const struct {
        const char *url, *part;
    } rows[] = {
        {"http://canary/", "ws:// or wss://"},
        {"ws:canary", "\"://\""},
        {"ws://u:<canary>@h/", "password"},
        {"ws://can ary/", "host"},
        {"ws:///canary", "host"},
        {"ws://h:canary/", "port"},
        {"ws://h/canary#", "fragment"},
        {"ws://h/canary|", "path"},
        {"ws://h/?ids=[1]&t=canary", "query"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        test_context("%s", rows[i].url);
        peer p;
        peer_init(&p);
        CHECK_INT(mtws_create(&p.ws, &p.options), MTWS_OK);
        CHECK_INT(mtws_connect(p.ws, rows[i].url, NULL), MTWS_ERR_URL);
        CHECK(peer_told(&p, "1 bad_url: "));
        CHECK(peer_told(&p, rows[i].part));
        CHECK(!peer_told(&p, "canary"));
        peer_finish(&p);
    }
}

/* Nothing that could split the request leaves: refused before connecting, nothing changed. */
static void bad_urls(void) { /* FAULTS row 20 */
    static const char *const urls_of[] = {
        "",
        "a.example",
        "http://a.example/",
        "https://a.example/",
        "ws:a.example",
        "ws:/a.example",
        "ws://",
        "ws:///x",
        "ws://:80/",
        "ws://a b/",
        "ws://a.example/ x",
        "ws://a.example/\r\nX: y",
        "ws://a.example/\n",
        "ws://a.example/\x01",
        "ws://a.example/\x7f",
        "ws://a\r\n.example/",
        "ws://a.example/#fragment",
        "ws://a.example#f",
        "ws://a.example/?q#f",
        "ws://a.example:0/",
        "ws://a.example:65536/",
        "ws://a.example:99999999999999999999/",
        "ws://a.example:8x/",
        "ws://a.example:-1/",
        "ws://u%3Aa@a.example/",
        "ws://u%3aa:b@a.example/",
        "ws://u%0Aa:b@a.example/",
        "ws://u:b%0A@a.example/",
        "ws://:%00@a.example/",
        "ws://[::1/",
        "ws://[]/",
        "ws://[::g]/",
        "ws://::1/",
        "ws://u:p@/",
        "ws://a.example/%",
        "ws://a.example/%2",
        "ws://a.example/%zz",
        "ws://u%0d%0a:p@a.example/",
        "ws://u:p%00@a.example/",
        "ws://a.example/\xc3\xa4",
        "ws://a<b>.example/",
        "ws://a.example/\"",
        " ws://a.example/",
        "ws://a.example/ ",
        "wsx://a.example/",
        "ws//a.example/",
    };
    peer p;
    peer_init(&p);
    CHECK_INT(mtws_create(&p.ws, &p.options), MTWS_OK);
    for (size_t i = 0; i < COUNT(urls_of); i++) {
        test_context("row %zu: %s", i, urls_of[i]);
        CHECK_INT(mtws_connect(p.ws, urls_of[i], NULL), MTWS_ERR_URL);
        CHECK_INT(mtws_set_url(p.ws, urls_of[i], NULL), MTWS_ERR_URL);
    }
    test_context("%s", "");
    CHECK_INT(mtws_connect(p.ws, NULL, NULL), MTWS_ERR_ARGUMENT);
    static const mtws_pair no_value[] = {{"name", NULL}, {NULL, NULL}};
    static const mtws_pair no_name[] = {{"", "value"}, {NULL, NULL}};
    CHECK_INT(mtws_connect(p.ws, p.url, no_value), MTWS_ERR_ARGUMENT);
    CHECK_INT(mtws_connect(p.ws, p.url, no_name), MTWS_ERR_ARGUMENT);
    char *large = (char *)wire_grow(NULL, MTWS_REQUEST_MAX + 100);
    memset(large, 'a', MTWS_REQUEST_MAX + 99);
    large[MTWS_REQUEST_MAX + 99] = '\0';
    memcpy(large, "ws://h/", 7);
    CHECK_INT(mtws_connect(p.ws, large, NULL), MTWS_ERR_TOO_BIG);
    memset(large, 'a', 300);
    memcpy(large, "ws://", 5);
    large[5 + 254] = '\0';
    CHECK_INT(mtws_connect(p.ws, large, NULL), MTWS_ERR_URL); /* a host over 253 bytes */
    large[5 + 253] = '\0';
    CHECK_INT(mtws_connect(p.ws, large, NULL), MTWS_OK);
    CHECK_INT(mtws_disconnect(p.ws, 0, NULL), MTWS_OK);
    free(large);
    CHECK_INT(peer_poll(&p), MTWS_ERR_IDLE);
    CHECK_INT(p.connections, 0);
    peer_finish(&p);
}

static void bad_headers(void) { /* FAULTS rows 20 and 21 */
    static const mtws_pair rows[] = {
        {"", "x"},
        {"a b", "x"},
        {"a:", "x"},
        {"a\r\nb", "x"},
        {"a\n", "x"},
        {"\x01", "x"},
        {"\xc3\xa4", "x"},
        {"a(", "x"},
        {"a", "x\r\ny: z"},
        {"a", "x\n"},
        {"a", "x\r"},
        {"a", "\x01"},
        {"a", "x\x7f"},
        {"a", "\x1b[31m"},
        {"Upgrade", "websocket"},
        {"upgrade", "h2c"},
        {"Connection", "close"},
        {"CONNECTION", "Upgrade"},
        {"Content-Length", "0"},
        {"Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAA=="},
        {"sec-websocket-version", "8"},
        {"Sec-WebSocket-Protocol", "chat"},
        {"Sec-WebSocket-Extensions", "permessage-deflate"},
        {"Sec-WebSocket-Anything", "x"},
        {"Transfer-Encoding", "chunked"},
    };
    peer p;
    peer_init(&p);
    CHECK_INT(mtws_create(&p.ws, &p.options), MTWS_OK);
    for (size_t i = 0; i < COUNT(rows); i++) {
        mtws_pair list[2] = {{NULL, NULL}, {NULL, NULL}};
        list[0] = rows[i];
        test_context("row %zu: %s: %s", i, rows[i].name, rows[i].value);
        CHECK_INT(mtws_set_header(p.ws, rows[i].name, rows[i].value), MTWS_ERR_ARGUMENT);
        mtws_options options = p.options;
        mtws_client *other = p.ws;
        options.headers = list;
        CHECK_INT(mtws_create(&other, &options), MTWS_ERR_ARGUMENT);
        CHECK(other == NULL);
        /* Both named it, less its control characters. */
        char said[80], *c;
        snprintf(said, sizeof said, "bad_header: the header \"%s\" ", rows[i].name);
        for (c = said; *c != '\0'; c++) *c = (unsigned char)*c < 32 ? '?' : *c;
        const char *first = strstr(wire_text(&p.logged), said);
        CHECK_TEXT(first != NULL && strstr(first + 1, said) != NULL, "not twice: %s", said);
        wire_free(&p.logged);
    }
    test_context("%s", "");
    CHECK_INT(mtws_set_header(p.ws, NULL, "x"), MTWS_ERR_ARGUMENT);
    peer_start(&p);
    peer_run(&p);
    CHECK(peer_request_header(&p, "a") == NULL);
    peer_finish(&p);
}

static void too_many_headers(void) {
    peer p;
    peer_init(&p);
    CHECK_INT(mtws_create(&p.ws, &p.options), MTWS_OK);
    char name[40], value[200];
    memset(value, 'v', sizeof value - 1);
    value[sizeof value - 1] = '\0';
    mtws_result result = MTWS_OK;
    int count = 0;
    while (result == MTWS_OK && count < 1000) {
        snprintf(name, sizeof name, "X-%d", count++);
        result = mtws_set_header(p.ws, name, value);
    }
    CHECK_INT(result, MTWS_ERR_TOO_BIG);
    CHECK_RANGE(count, 35, 45);
    /* What did not fit is not there in part, and what was there before can be replaced: its room
     * is the new value's, and where that is too long the old one stays. */
    char other[200], longer[400];
    memset(other, 'o', sizeof other - 1);
    memset(longer, 'l', sizeof longer - 1);
    other[sizeof other - 1] = longer[sizeof longer - 1] = '\0';
    CHECK_INT(mtws_set_header(p.ws, "X-3", other), MTWS_OK);
    CHECK_INT(mtws_set_header(p.ws, "X-4", longer), MTWS_ERR_TOO_BIG);
    CHECK_INT(mtws_set_header(p.ws, "X-1", NULL), MTWS_OK);
    peer_start(&p);
    peer_run(&p);
    CHECK(peer_request_header(&p, name) == NULL);
    CHECK(peer_request_header(&p, "X-1") == NULL);
    CHECK_STR(peer_request_header(&p, "X-2"), value);
    CHECK_STR(peer_request_header(&p, "X-3"), other);
    CHECK_STR(peer_request_header(&p, "X-4"), value);
    CHECK_INT(p.last_state, MTWS_STATE_CONNECTED);
    peer_finish(&p);
}

/* Userinfo leaves in base64, a third longer: what is taken fits the request, whatever else is set. */
static void long_userinfo(void) {
    static const size_t sizes[] = {3000, 6000, 6080, 6090, 6091, 6092, 6093, 6094, 6095,
                                   6096, 6097, 6098, 6099, 6100, 6101, 6120, 6400, 8100};
    char url[9000], value[9000];
    bool taken = true;
    for (size_t i = 0; i < COUNT(sizes); i++) {
        test_context("%zu bytes", sizes[i]);
        peer p;
        peer_init(&p);
        CHECK_INT(mtws_create(&p.ws, &p.options), MTWS_OK);
        memcpy(url, "ws://u:", 7);
        memset(url + 7, 'p', sizes[i]);
        memcpy(url + 7 + sizes[i], "@server.example/", 17);
        mtws_result result = mtws_connect(p.ws, url, NULL);
        CHECK(result == MTWS_OK || result == MTWS_ERR_TOO_BIG);
        CHECK(taken || result == MTWS_ERR_TOO_BIG); /* no longer one fits again */
        taken = result == MTWS_OK;
        /* Every byte that is left goes to a header. */
        size_t size = 0;
        for (size_t step = 8192; taken && step > 0; step /= 2) {
            if (size + step >= sizeof value) continue;
            memset(value, 'v', size + step);
            value[size + step] = '\0';
            if (mtws_set_header(p.ws, "X", value) == MTWS_OK) size += step;
        }
        value[size] = '\0';
        if (taken && size > 0) CHECK_INT(mtws_set_header(p.ws, "X", value), MTWS_OK);
        if (taken) {
            CHECK(peer_reach(&p, MTWS_STATE_CONNECTED, 1000));
            const char *authorization = peer_request_header(&p, "Authorization");
            size_t encoded = (sizes[i] + 2 + 2) / 3 * 4;
            CHECK(authorization != NULL && strlen(authorization) == 6 + encoded);
            CHECK_RANGE(encoded + size, MTWS_REQUEST_MAX - 40, MTWS_REQUEST_MAX);
        }
        peer_finish(&p);
    }
    CHECK(!taken);
}

static void bad_subprotocols(void) { /* FAULTS row 20 */
    static const char *const rows[] = {"a b", "a,,b",  ",a",       "a,",     "a, a",  "a\r\n",
                                       "a;b", "\"a\"", "\xc3\xa4", "a,\x01", "a b, c"};
    for (size_t i = 0; i < COUNT(rows); i++) {
        peer p;
        peer_init(&p);
        p.options.subprotocols = rows[i];
        test_context("row %zu: %s", i, rows[i]);
        CHECK_INT(mtws_create(&p.ws, &p.options), MTWS_ERR_ARGUMENT);
        CHECK_UINT(mtws_memory_required(&p.options), 0);
        peer_finish(&p);
    }
}

/* ---- the answer to the upgrade --------------------------------------------------------------- */

typedef struct answer_row {
    const char *name, *answer;
    int result; /* MTWS_OK: connected */
} answer_row;

static const answer_row answer_rows[] = {
    {"as it should be", GOOD "\r\n", MTWS_OK},
    {"other cases of letters",
     FIRST "UPGRADE: WebSocket\r\nconnection: UPGRADE\r\nsec-websocket-accept: %A\r\n\r\n",
     MTWS_OK},
    {"no reason phrase", "HTTP/1.1 101 \r\n" UPGRADE CONNECTION ACCEPT "\r\n", MTWS_OK},
    {"another order", FIRST ACCEPT CONNECTION UPGRADE "\r\n", MTWS_OK},
    {"no space behind colons",
     FIRST "Upgrade:websocket\r\nConnection:Upgrade\r\nSec-WebSocket-Accept:%A\r\n\r\n", MTWS_OK},
    {"much space around values",
     FIRST "Upgrade: \t websocket \t\r\nConnection:   Upgrade   \r\n"
           "Sec-WebSocket-Accept:\t%A\t\r\n\r\n",
     MTWS_OK},
    {"Connection is a list", FIRST UPGRADE "Connection: keep-alive, Upgrade\r\n" ACCEPT "\r\n",
     MTWS_OK},
    {"Connection on two lines",
     FIRST UPGRADE "Connection: keep-alive\r\nConnection: foo , upgrade,bar\r\n" ACCEPT "\r\n",
     MTWS_OK},
    {"fields besides", GOOD "Date: x\r\nSet-Cookie: a=b\r\nSet-Cookie: c=d\r\nX-Empty:\r\n\r\n",
     MTWS_OK},
    {"bytes over 127 in a value", GOOD "X-Name: caf\xc3\xa9 \xff\r\n\r\n", MTWS_OK},
    {"100 before it", "HTTP/1.1 100 Continue\r\n\r\n" GOOD "\r\n", MTWS_OK},
    {"103 with fields before it",
     "HTTP/1.1 103 Early Hints\r\nLink: x\r\nUpgrade: h2c\r\n\r\n" GOOD "\r\n", MTWS_OK},

    {"accept is wrong",
     FIRST UPGRADE CONNECTION "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
     MTWS_ERR_HANDSHAKE},
    {"accept is absent", FIRST UPGRADE CONNECTION "\r\n", MTWS_ERR_HANDSHAKE},
    {"accept is empty", FIRST UPGRADE CONNECTION "Sec-WebSocket-Accept:\r\n\r\n",
     MTWS_ERR_HANDSHAKE},
    {"accept twice", GOOD ACCEPT "\r\n", MTWS_ERR_HANDSHAKE},
    {"accept twice, one wrong", GOOD "sec-websocket-accept: x\r\n\r\n", MTWS_ERR_HANDSHAKE},
    {"accept with something behind", FIRST UPGRADE CONNECTION "Sec-WebSocket-Accept: %A=\r\n\r\n",
     MTWS_ERR_HANDSHAKE},
    {"accept as a list", FIRST UPGRADE CONNECTION "Sec-WebSocket-Accept: %A, %A\r\n\r\n",
     MTWS_ERR_HANDSHAKE},
    {"Upgrade is absent", FIRST CONNECTION ACCEPT "\r\n", MTWS_ERR_HANDSHAKE},
    {"Upgrade is h2c", FIRST "Upgrade: h2c\r\n" CONNECTION ACCEPT "\r\n", MTWS_ERR_HANDSHAKE},
    {"Upgrade is longer", FIRST "Upgrade: websockets\r\n" CONNECTION ACCEPT "\r\n",
     MTWS_ERR_HANDSHAKE},
    {"Upgrade is shorter", FIRST "Upgrade: websocke\r\n" CONNECTION ACCEPT "\r\n",
     MTWS_ERR_HANDSHAKE},
    {"Connection is absent", FIRST UPGRADE ACCEPT "\r\n", MTWS_ERR_HANDSHAKE},
    {"Connection is close", FIRST UPGRADE "Connection: close\r\n" ACCEPT "\r\n",
     MTWS_ERR_HANDSHAKE},
    {"Connection holds it within a word",
     FIRST UPGRADE "Connection: xUpgrade, Upgraded\r\n" ACCEPT "\r\n", MTWS_ERR_HANDSHAKE},
    {"an extension that was not offered",
     GOOD "Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n", MTWS_ERR_HANDSHAKE},
    {"a subprotocol that was not offered", GOOD "Sec-WebSocket-Protocol: chat\r\n\r\n",
     MTWS_ERR_HANDSHAKE},

    {"a folded line", FIRST UPGRADE CONNECTION "X: a\r\n b\r\n" ACCEPT "\r\n", MTWS_ERR_HANDSHAKE},
    {"a line folded with a tab", FIRST UPGRADE "Connection:\r\n\tUpgrade\r\n" ACCEPT "\r\n",
     MTWS_ERR_HANDSHAKE},
    {"LF alone",
     "HTTP/1.1 101 OK\nUpgrade: websocket\nConnection: Upgrade\nSec-WebSocket-Accept: %A\n\n",
     MTWS_ERR_HANDSHAKE},
    {"LF alone once", FIRST UPGRADE "Connection: Upgrade\n" ACCEPT "\r\n", MTWS_ERR_HANDSHAKE},
    {"LF alone at the end", GOOD "\n", MTWS_ERR_HANDSHAKE},
    {"CR alone", FIRST UPGRADE "Connection: Up\rgrade\r\n" ACCEPT "\r\n", MTWS_ERR_HANDSHAKE},
    {"CR CR LF", FIRST UPGRADE "Connection: Upgrade\r\r\n" ACCEPT "\r\n", MTWS_ERR_HANDSHAKE},
    {"a control character in a value", GOOD "X: a\x01z\r\n\r\n", MTWS_ERR_HANDSHAKE},
    {"a space before a colon", FIRST "Upgrade : websocket\r\n" CONNECTION ACCEPT "\r\n",
     MTWS_ERR_HANDSHAKE},
    {"a space within a name", GOOD "X Y: z\r\n\r\n", MTWS_ERR_HANDSHAKE},
    {"an empty name", GOOD ": z\r\n\r\n", MTWS_ERR_HANDSHAKE},
    {"no colon", GOOD "nonsense\r\n\r\n", MTWS_ERR_HANDSHAKE},
    {"conflicting Content-Length", GOOD "Content-Length: 5\r\nContent-Length: 6\r\n\r\n",
     MTWS_ERR_HANDSHAKE},
    {"conflicting Content-Length of a 404",
     "HTTP/1.1 404 No\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", MTWS_ERR_HANDSHAKE},
    {"a Content-Length that is no number", GOOD "Content-Length: many\r\n\r\n", MTWS_ERR_HANDSHAKE},
    {"HTTP/1.0", "HTTP/1.0 101 OK\r\n" UPGRADE CONNECTION ACCEPT "\r\n", MTWS_ERR_HANDSHAKE},
    {"HTTP/2.0", "HTTP/2.0 101 OK\r\n" UPGRADE CONNECTION ACCEPT "\r\n", MTWS_ERR_HANDSHAKE},
    {"HTTP/0.9", "<html><body>hello</body></html>\r\n\r\n", MTWS_ERR_HANDSHAKE},
    {"http in small letters", "http/1.1 101 OK\r\n" UPGRADE CONNECTION ACCEPT "\r\n",
     MTWS_ERR_HANDSHAKE},
    {"garbage before the status", "\r\n" GOOD "\r\n", MTWS_ERR_HANDSHAKE},
    {"a space before the status", " " GOOD "\r\n", MTWS_ERR_HANDSHAKE},
    {"a status of two digits", "HTTP/1.1 10 OK\r\n" UPGRADE CONNECTION ACCEPT "\r\n",
     MTWS_ERR_HANDSHAKE},
    {"a status of four digits", "HTTP/1.1 1010 OK\r\n" UPGRADE CONNECTION ACCEPT "\r\n",
     MTWS_ERR_HANDSHAKE},
    {"a status of letters", "HTTP/1.1 1o1 OK\r\n" UPGRADE CONNECTION ACCEPT "\r\n",
     MTWS_ERR_HANDSHAKE},
    {"a status of 099", "HTTP/1.1 099 OK\r\n\r\n", MTWS_ERR_HANDSHAKE},
    {"a status of 600", "HTTP/1.1 600 OK\r\n\r\n", MTWS_ERR_HANDSHAKE},
    {"two spaces before the status", "HTTP/1.1  101 OK\r\n" UPGRADE CONNECTION ACCEPT "\r\n",
     MTWS_ERR_HANDSHAKE},
    {"a frame instead", "\x81\x05hello", MTWS_ERR_HANDSHAKE},
    {"TLS instead", "\x15\x03\x01\x02\x02\x46", MTWS_ERR_HANDSHAKE},
};

/* Whole, byte by byte, and cut at each place; the same comes of it. */
static void run_answer(const answer_row *row, size_t read_size, size_t cut) {
    peer_plan plan = {.answer = row->answer, .then = "text:first"};
    peer p;
    peer_init(&p);
    p.plans = &plan;
    p.read_size = read_size;
    p.read_cut = cut;
    p.options.max_reconnect_attempts = MTWS_OFF;
    test_context("reads of %zu, cut at %zu", read_size, cut == SIZE_MAX ? 0 : cut);
    peer_start(&p);
    peer_run(&p);
    if (row->result == MTWS_OK) {
        CHECK_STR(peer_states(&p), "connecting connected");
        CHECK_UINT(peer_count_events(&p, MTWS_EVENT_MESSAGE), 1);
    } else {
        CHECK_STR(peer_states(&p), "connecting error failed");
        CHECK_INT(p.events[p.event_count - 1].event.result, row->result);
        CHECK_UINT(p.frame_count, 0);
    }
    test_context("%s", "");
    peer_finish(&p);
}

static void answers(void) { /* FAULTS rows 19, 22, 23, 27 and 28 */
    for (size_t i = 0; i < COUNT(answer_rows); i++) {
        if (!test_begin("%s", answer_rows[i].name)) {
            continue;
        }
        run_answer(&answer_rows[i], 0, SIZE_MAX);
        run_answer(&answer_rows[i], 1, SIZE_MAX);
        run_answer(&answer_rows[i], 7, SIZE_MAX);
        for (size_t cut = 1; cut < strlen(answer_rows[i].answer) + 25 && !test_failing(); cut++) {
            run_answer(&answer_rows[i], 0, cut);
        }
        test_end();
    }
}

static void a_nul_in_the_answer(void) {
    static const char text[] = GOOD "X: a\0b\r\n\r\n";
    wire_buffer bytes = {0};
    wire_add(&bytes, text, sizeof text - 1);
    peer_plan plan = {.answer_bytes = &bytes};
    peer p;
    peer_init(&p);
    p.plans = &plan;
    p.options.max_reconnect_attempts = MTWS_OFF;
    peer_start(&p);
    peer_run(&p);
    CHECK_INT(p.events[p.event_count - 1].event.result, MTWS_ERR_HANDSHAKE);
    wire_free(&bytes);
    peer_finish(&p);
}

static void subprotocols(void) { /* FAULTS row 19 */
    static const struct {
        const char *offered, *fields, *chosen; /* NULL: refused */
    } rows[] = {
        {"chat, superchat", "", ""},
        {"chat, superchat", "Sec-WebSocket-Protocol: chat\r\n", "chat"},
        {"chat, superchat", "sec-websocket-protocol:  superchat \r\n", "superchat"},
        {"chat,superchat", "Sec-WebSocket-Protocol: superchat\r\n", "superchat"},
        {"chat", "Sec-WebSocket-Protocol: chat\r\n", "chat"},
        {"chat, superchat", "Sec-WebSocket-Protocol: Chat\r\n", NULL},
        {"chat, superchat", "Sec-WebSocket-Protocol: other\r\n", NULL},
        {"chat, superchat", "Sec-WebSocket-Protocol: super\r\n", NULL},
        {"chat, superchat", "Sec-WebSocket-Protocol: chat, superchat\r\n", NULL},
        {"chat, superchat", "Sec-WebSocket-Protocol: chat\r\nSec-WebSocket-Protocol: superchat\r\n",
         NULL},
        {"chat, superchat", "Sec-WebSocket-Protocol: chat\r\nSec-WebSocket-Protocol: chat\r\n",
         NULL},
        {"chat, superchat", "Sec-WebSocket-Protocol:\r\n", NULL},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        if (!test_begin("%s / %zu", rows[i].offered, i)) {
            continue;
        }
        char answer[400];
        snprintf(answer, sizeof answer, "%s%s\r\n", PEER_ANSWER_LINES, rows[i].fields);
        peer_plan plan = {.answer = answer};
        peer p;
        peer_init(&p);
        p.plans = &plan;
        p.options.subprotocols = rows[i].offered;
        p.options.max_reconnect_attempts = MTWS_OFF;
        peer_start(&p);
        peer_run(&p);
        CHECK_STR(peer_request_header(&p, "Sec-WebSocket-Protocol"), rows[i].offered);
        CHECK_INT(p.last_state, rows[i].chosen ? MTWS_STATE_CONNECTED : MTWS_STATE_FAILED);
        CHECK_STR(mtws_get_subprotocol(p.ws), rows[i].chosen ? rows[i].chosen : "");
        peer_finish(&p);
        test_end();
    }
}

/* 1xx answers: eight at most. */
static void informational_answers(void) { /* FAULTS row 26 */
    for (int count = 0; count <= 12; count++) {
        wire_buffer answer = {0};
        for (int i = 0; i < count; i++) {
            wire_add_text(&answer, "HTTP/1.1 102 Processing\r\nX: y\r\n\r\n");
        }
        wire_add_text(&answer, GOOD "\r\n");
        peer_plan plan = {.answer = wire_text(&answer)};
        peer p;
        peer_init(&p);
        p.plans = &plan;
        p.options.max_reconnect_attempts = MTWS_OFF;
        test_context("%d", count);
        peer_start(&p);
        peer_run(&p);
        CHECK_INT(p.last_state, count <= 8 ? MTWS_STATE_CONNECTED : MTWS_STATE_FAILED);
        if (count > 8) {
            CHECK_INT(p.events[p.event_count - 1].event.result, MTWS_ERR_HANDSHAKE);
        } else {
            CHECK(mtws_get_header(p.ws, "X") == NULL);
        }
        wire_free(&answer);
        peer_finish(&p);
    }
}

/* FAULTS row 24, CVE-2023-43669: a head that is too large, has too many fields or never ends. */
static void large_answers(void) {
    static const struct {
        const char *name;
        size_t fields, field_size, read_size;
        int result;
    } rows[] = {
        {"100 fields", 100, 10, 0, MTWS_OK},
        {"124 fields and ours", 124, 10, 0, MTWS_OK},
        {"200 fields", 200, 10, 0, MTWS_ERR_TOO_BIG},
        {"200 fields, byte by byte", 200, 10, 1, MTWS_ERR_TOO_BIG},
        {"15 KiB in one field", 1, 15000, 0, MTWS_OK},
        {"15 KiB in one field, byte by byte", 1, 15000, 1, MTWS_OK},
        {"17 KiB in one field", 1, 17000, 0, MTWS_ERR_TOO_BIG},
        {"17 KiB in ten fields", 10, 1700, 0, MTWS_ERR_TOO_BIG},
        {"64 KiB in one field, byte by byte", 1, 65536, 1, MTWS_ERR_TOO_BIG},
        {"a mebibyte in one field", 1, 1048576, 0, MTWS_ERR_TOO_BIG},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        if (!test_begin("%s", rows[i].name)) {
            continue;
        }
        wire_buffer answer = {0};
        wire_add_text(&answer, GOOD);
        for (size_t k = 0; k < rows[i].fields; k++) {
            wire_print(&answer, "X%zu: ", k);
            wire_filler(&answer, true, rows[i].field_size);
            wire_add_text(&answer, "\r\n");
        }
        wire_add_text(&answer, "\r\n");
        peer_plan plan = {.answer = wire_text(&answer)};
        peer p;
        peer_init(&p);
        p.plans = &plan;
        p.read_size = rows[i].read_size;
        p.options.max_reconnect_attempts = MTWS_OFF;
        peer_start(&p);
        peer_run(&p);
        CHECK_INT(p.last_state,
                  rows[i].result == MTWS_OK ? MTWS_STATE_CONNECTED : MTWS_STATE_FAILED);
        CHECK_INT(p.events[p.event_count - 1].event.result, rows[i].result);
        wire_free(&answer);
        peer_finish(&p);
        test_end();
    }
}

/* mtws_get_header looks into the last answer, a refusal too. */
static void headers_of_the_answer(void) {
    static const peer_plan plans[] = {
        {.answer = "HTTP/1.1 503 Busy\r\nX-Why: tired \r\nx-Why: again\r\nEmpty:\r\n\r\nbody"},
        {.answer = GOOD "Server: good\r\n\r\n"}};
    peer p;
    peer_init(&p);
    PEER_PLANS(&p, plans);
    CHECK_INT(mtws_create(&p.ws, &p.options), MTWS_OK);
    CHECK(mtws_get_header(p.ws, "Server") == NULL);
    peer_start(&p);
    peer_run(&p);
    CHECK_INT(p.last_state, MTWS_STATE_RECONNECTING);
    CHECK_STR(mtws_get_header(p.ws, "X-WHY"), "tired");
    CHECK_STR(mtws_get_header(p.ws, "Empty"), "");
    CHECK_STR(mtws_get_header(p.ws, "Server"), NULL);
    peer_advance(&p, 2000);
    CHECK_STR(mtws_get_header(p.ws, "Server"), "good");
    CHECK_STR(mtws_get_header(p.ws, "X-Why"), NULL);
    peer_finish(&p);
}

/* ---- secrets --------------------------------------------------------------------------------- */

static const mtws_pair secret_headers[] = {{"Authorization", "Bearer CANARY-bearer.CANARY2"},
                                           {"Cookie", "sid=CANARY-cookie; b=CANARY-b"},
                                           {"X-Api-Key", "CANARY-api-key"},
                                           {"Proxy-Authorization", "Basic CANARYproxy=="},
                                           {NULL, NULL}};
static const mtws_pair secret_params[] = {{"token", "CANARY-param"},
                                          {"odd", "CANARY odd/+="},
                                          {NULL, NULL}};

static void secrets_are_kept(void) { /* FAULTS row 31 */
    static const struct {
        const char *name;
        peer_plan plan;
    } rows[] = {
        {"all is well", {0}},
        {"refused", {.open_result = MTWS_ERR_CONNECT}},
        {"no TLS trust", {.open_result = MTWS_ERR_TLS_TRUST}},
        {"never opens", {.open_never = true}},
        {"never answers", {.no_answer = true}},
        {"401", STATUS("401", "Unauthorized CANARY-bearer.CANARY2")},
        {"503 that echoes", STATUS("503", "CANARY-param")},
        {"bad answer that echoes", {.answer = "HTTP/1.1 200 CANARY-query\r\nCANARY-pass\r\n\r\n"}},
        {"no HTTP", {.answer = "CANARY-cookie\r\n\r\n"}},
        {"echoes the query", {.then = "close:4000,no%20CANARY-query%20here"}},
        {"echoes a parameter", {.then = "close:4000,token=CANARY-param"}},
        {"echoes a parameter decoded", {.then = "close:4000,odd%20is%20CANARY%20odd/+=."}},
        {"echoes a parameter encoded", {.then = "close:4000,odd=CANARY%2520odd%252F%252B%253D"}},
        {"echoes the userinfo", {.then = "close:4000,CANARY-user:CANARY-pass@"}},
        {"echoes the userinfo in base64",
         {.then = "close:4000,Basic%20Q0FOQVJZLXVzZXI6Q0FOQVJZLXBhc3NA"}},
        {"echoes the bearer", {.then = "close:4000,<CANARY-bearer.CANARY2>"}},
        {"echoes the cookie", {.then = "close:4000,sid=CANARY-cookie;b=CANARY-b"}},
        {"echoes a key", {.then = "close:4000,CANARY-api-key"}},
        {"a violation", {.then = "op3:CANARY-param"}},
        {"not UTF-8", {.then = "text:CANARY-param%ff"}},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        if (!test_begin("%s", rows[i].name)) {
            continue;
        }
        peer p;
        peer_init(&p);
        p.plans = &rows[i].plan;
        p.url = "ws://CANARY-user:CANARY-pass%40@server.example/p?q=CANARY-query&z=CANARY-z";
        p.params = secret_params;
        /* Without a header of the program's the URL's userinfo makes Authorization. */
        p.options.headers = strstr(rows[i].name, "base64") != NULL ? NULL : secret_headers;
        p.options.max_reconnect_attempts = 2;
        peer_start(&p);
        peer_advance(&p, 100000);
        CHECK_INT(mtws_disconnect(p.ws, 0, NULL), MTWS_OK);
        peer_advance(&p, 10000);
        const char *found = strstr(wire_text(&p.logged), "CANARY");
        CHECK_TEXT(found == NULL, "in the log: %.60s", found);
        found = strstr(wire_text(&p.log), "CANARY");
        CHECK_TEXT(found == NULL, "in a reason: %.60s", found);
        CHECK(!peer_told(&p, "Q0FOQVJZLXVzZXI6Q0FOQVJZLXBhc3NA")); /* the userinfo in base64 */
        peer_finish(&p);
        test_end();
    }
}

/* The token of the connection that is open, while the next one's is set already. */
static void earlier_secrets_are_kept(void) {
    peer p;
    peer_init(&p);
    p.url = "ws://server.example/?token=CANARY-first";
    if (peer_open_up(&p)) {
        CHECK_INT(mtws_set_url(p.ws, "ws://server.example/?token=CANARY-second", NULL), MTWS_OK);
        peer_stream(&p, "close:4000,CANARY-first%20is%20over,%20CANARY-second%20too");
        peer_advance(&p, 5000);
        CHECK(!peer_told(&p, "CANARY"));
    }
    peer_finish(&p);
}

/* The host is named in the reason, although a parameter has the same value. */
static void the_host_is_no_secret(void) {
    static const peer_plan plans[] = {{.open_result = MTWS_ERR_CONNECT}};
    peer p;
    peer_init(&p);
    PEER_PLANS(&p, plans);
    p.url = "ws://server.example/?feed=server.example&rest=server.example%2C+canary";
    peer_start(&p);
    peer_run(&p);
    const peer_event *last = peer_last_state(&p, MTWS_STATE_ERROR);
    CHECK(last != NULL && strstr(last->reason, "server.example, port 80: ") == last->reason);
    peer_finish(&p);
}

/* A secret that is a part of another does not spoil the search for that. */
static void secrets_within_secrets(void) {
    static const mtws_pair headers[] = {{"Authorization", "Bearer CANARY1288CANARY"}, {NULL, NULL}};
    for (int i = 0; i < 2; i++) {
        peer p;
        peer_init(&p);
        p.url = i == 0 ? "ws://server.example/?x=1288" : "ws://u:1288CANARY@server.example/";
        p.options.headers = headers;
        peer_open_up(&p);
        peer_stream(&p, "close:4000,CANARY1288CANARY%20or%201288");
        peer_advance(&p, 1000);
        CHECK(!peer_told(&p, "CANARY"));
        CHECK(i == 1 || !peer_told(&p, "1288"));
        peer_finish(&p);
    }
}

/* Refused arguments are not told either. */
static void secrets_of_bad_arguments(void) {
    static const mtws_pair bad[] = {{"Authorization", "CANARY\r\n"}, {NULL, NULL}};
    peer p;
    peer_init(&p);
    mtws_options options = p.options;
    options.headers = bad;
    CHECK_INT(mtws_create(&p.ws, &options), MTWS_ERR_ARGUMENT);
    CHECK_INT(mtws_create(&p.ws, &p.options), MTWS_OK);
    CHECK_INT(mtws_set_header(p.ws, "Cookie", "CANARY\r\n"), MTWS_ERR_ARGUMENT);
    CHECK_INT(mtws_connect(p.ws, "ws://CANARY:CANARY@h/?CANARY=CANARY#CANARY", NULL), MTWS_ERR_URL);
    CHECK_INT(mtws_set_url(p.ws, "http://CANARY:CANARY@h/", NULL), MTWS_ERR_URL);
    CHECK(!peer_told(&p, "CANARY"));
    peer_finish(&p);
}

/* The server's text for people has no control characters and no end but ours. */
static void reasons_are_clean(void) {
    peer p;
    peer_init(&p);
    if (peer_open_up(&p)) {
        peer_stream(&p, "close:4000,a%0d%0ab%1b[31mc%7fd%00e%09f");
        peer_run(&p);
        const peer_event *error = peer_last_state(&p, MTWS_STATE_ERROR);
        if (CHECK(error != NULL)) {
            for (const char *c = error->reason; *c != '\0'; c++) {
                CHECK(*c >= 32 && *c < 127);
            }
            CHECK_UINT(strlen(error->reason), 16);
        }
    }
    peer_finish(&p);
    /* Those above ASCII as well; what is no control character stays. */
    peer_init(&p);
    if (peer_open_up(&p)) {
        peer_stream(&p, "close:4000,a%c2%9b31mb%c2%80%c2%9f%c2%a0%c3%9b%e2%82%9b");
        peer_run(&p);
        const peer_event *error = peer_last_state(&p, MTWS_STATE_ERROR);
        if (CHECK(error != NULL)) {
            CHECK_STR(error->reason, "a??31mb????\xc2\xa0\xc3\x9b\xe2\x82\x9b");
        }
    }
    peer_finish(&p);
}

/* ---- memory and options ---------------------------------------------------------------------- */

static void log_to_buffer(void *context, mtws_level level, const char *item, const char *text) {
    wire_print((wire_buffer *)context, "%d %s: %s\n", (int)level, item, text);
}

static void bad_options(void) {
    static const struct {
        const char *name;
        mtws_options options;
    } rows[] = {
        {"max_reconnect_attempts", {.max_reconnect_attempts = -3}},
        {"initial_reconnect_delay_ms", {.initial_reconnect_delay_ms = -1}},
        {"initial_reconnect_delay_ms unlimited", {.initial_reconnect_delay_ms = -2}},
        {"max_reconnect_delay_ms", {.max_reconnect_delay_ms = -1}},
        {"reconnect_backoff_factor below 1", {.reconnect_backoff_factor = 0.5}},
        {"reconnect_backoff_factor negative", {.reconnect_backoff_factor = -1}},
        {"reconnect_backoff_factor over 1000", {.reconnect_backoff_factor = 1000.5}},
        {"reconnect_backoff_factor that is none", {.reconnect_backoff_factor = NAN}},
        {"stable_ms", {.stable_ms = -1}},
        {"heartbeat_interval_ms", {.heartbeat_interval_ms = -2}},
        {"heartbeat_timeout_ms", {.heartbeat_timeout_ms = -1}},
        {"connect_timeout_ms", {.connect_timeout_ms = -1}},
        {"close_timeout_ms", {.close_timeout_ms = -1}},
        {"confirm_delay_ms", {.confirm_delay_ms = -2}},
        {"queue_ttl_ms", {.queue_ttl_ms = -2}},
        {"max_redirects", {.max_redirects = -2}},
        {"confirm", {.confirm = (mtws_confirm_by)3}},
        {"heartbeat", {.heartbeat = (mtws_heartbeat)2}},
        {"network", {.network = (mtws_network)2}},
        {"max_message_size", {.max_message_size = SIZE_MAX}},
        {"max_message_size of half", {.max_message_size = SIZE_MAX / 2}},
        {"max_queue_size", {.max_queue_size = SIZE_MAX}},
        {"max_queue_size of nearly all", {.max_queue_size = SIZE_MAX - 100000}},
        {"max_queue_size for no message", {.max_queue_size = 6}},
        {"max_message_size and max_queue_size",
         {.max_queue_size = SIZE_MAX / 5, .max_message_size = SIZE_MAX / 5}},
        {"clock of one half", {.clock = {.now_us = peer_now_us}}},
        {"transport of one half", {.transport = {.open = peer_open, .read = peer_read}}},
        {"logger.level above", {.logger = {.level = (mtws_level)5}}},
        {"logger.level below", {.logger = {.level = (mtws_level)-1}}},
        {"subprotocols", {.subprotocols = "a b"}},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        if (!test_begin("%s", rows[i].name)) {
            continue;
        }
        mtws_client *ws = (mtws_client *)(uintptr_t)1;
        CHECK_UINT(mtws_memory_required(&rows[i].options), 0);
        CHECK_INT(mtws_create(&ws, &rows[i].options), MTWS_ERR_ARGUMENT);
        CHECK(ws == NULL);
        /* The log names it, once. */
        char field[64];
        mtws_options options = rows[i].options;
        wire_buffer log = {0};
        snprintf(field, sizeof field, "1 bad_option: options.%.*s ",
                 (int)strcspn(rows[i].name, " "), rows[i].name);
        options.logger.log = log_to_buffer;
        options.logger.ctx = &log;
        CHECK_INT(mtws_create(&ws, &options), MTWS_ERR_ARGUMENT);
        CHECK_TEXT(log.size > 0 && strncmp(wire_text(&log), field, strlen(field)) == 0,
                   "not \"%s\": %s", field, log.size > 0 ? wire_text(&log) : "nothing");
        CHECK(log.size == 0 || strchr(wire_text(&log), '\n') == wire_text(&log) + log.size - 1);
        wire_free(&log);
        test_end();
    }
}

/* The smallest queue that is taken takes a message. */
static void smallest_queue(void) {
    peer p;
    peer_init(&p);
    p.options.max_queue_size = 7;
    if (peer_open_up(&p)) {
        CHECK_INT(peer_queue_text(&p, "ab"), MTWS_ERR_TOO_BIG);
        for (int i = 0; i < 3; i++) {
            CHECK_INT(peer_queue_text(&p, "a"), MTWS_OK);
            CHECK_INT(peer_queue_text(&p, "b"), MTWS_ERR_QUEUE_FULL);
            peer_advance(&p, 1000);
            CHECK_UINT(p.message_count, (size_t)i + 1);
        }
    }
    peer_finish(&p);
}

/* A program that turns off all that asks is told what comes of it. */
static void nothing_asks(void) {
    for (int i = 0; i < 4; i++) {
        peer p;
        peer_init(&p);
        test_context("row %d", i);
        if (i != 1) p.options.confirm_delay_ms = MTWS_OFF;
        if (i != 2) p.options.heartbeat_interval_ms = MTWS_OFF;
        if (i == 3) p.options.confirm = MTWS_CONFIRM_NONE;
        CHECK_INT(mtws_create(&p.ws, &p.options), MTWS_OK);
        CHECK_INT(peer_told(&p, "nothing_asks"), i == 0);
        peer_finish(&p);
    }
}

static void options_are_resolved(void) {
    peer p;
    peer_init(&p);
    CHECK_INT(mtws_create(&p.ws, &p.options), MTWS_OK);
    mtws_options o;
    mtws_get_options(p.ws, &o);
    CHECK_INT(o.max_reconnect_attempts, 10);
    CHECK_INT(o.initial_reconnect_delay_ms, 1000);
    CHECK_INT(o.max_reconnect_delay_ms, 30000);
    CHECK_INT((int)(o.reconnect_backoff_factor * 10), 15);
    CHECK_INT(o.stable_ms, 30000);
    CHECK_INT(o.heartbeat_interval_ms, 30000);
    CHECK_INT(o.heartbeat_timeout_ms, 5000);
    CHECK_INT(o.connect_timeout_ms, 20000);
    CHECK_INT(o.close_timeout_ms, 5000);
    CHECK_UINT(o.max_message_size, 1048576);
    CHECK_UINT(o.max_queue_size, 1048576);
    CHECK_UINT(o.max_frame_size, 65536);
    CHECK_INT(o.confirm_delay_ms, 100);
    CHECK_INT(o.queue_ttl_ms, MTWS_OFF);
    CHECK(o.user_data == &p && mtws_get_user_data(p.ws) == &p);
    peer_finish(&p);
}

/* In the caller's memory: of exactly the size that is asked for, at any alignment, touching
 * nothing beside it. */
static void memory_of_the_caller(void) {
    for (size_t offset = 0; offset < 17; offset++) {
        peer p;
        peer_init(&p);
        p.options.max_message_size = 1000 + offset;
        p.options.max_queue_size = 3000 + 3 * offset;
        size_t size = mtws_memory_required(&p.options);
        uint8_t *block = (uint8_t *)wire_grow(NULL, size + 64);
        memset(block, 0xa5, size + 64);
        test_context("offset %zu", offset);
        CHECK_INT(mtws_create_in(&p.ws, &p.options, block + offset, size - 1), MTWS_ERR_MEMORY);
        CHECK(p.ws == NULL);
        CHECK_INT(mtws_create_in(&p.ws, &p.options, NULL, size), MTWS_ERR_ARGUMENT);
        if (CHECK_INT(mtws_create_in(&p.ws, &p.options, block + offset, size), MTWS_OK)) {
            p.echo = true;
            peer_open_up(&p);
            peer_stream(&p, "text=1000 bin=1 text=999 bin=500");
            peer_advance(&p, 1000);
            CHECK_STR(peer_client_said(&p) + strlen(peer_client_said(&p)) - 1, "/");
            CHECK_UINT(p.message_count, 4);
        }
        peer_finish(&p);
        for (size_t i = 0; i < size + 64; i++) {
            if (i < offset || i >= offset + size) {
                CHECK_UINT(block[i], 0xa5);
            }
        }
        free(block);
    }
}

static void memory_size_suffices(void) {
    static const size_t sizes[][2] = {{1, 7},         {125, 1000},        {4096, 8192},
                                      {65536, 65536}, {1048576, 1048576}, {16777216, 100},
                                      {7, 16777215}};
    for (size_t i = 0; i < COUNT(sizes); i++) {
        mtws_options o;
        memset(&o, 0, sizeof o);
        o.max_message_size = sizes[i][0];
        o.max_queue_size = sizes[i][1];
        size_t needed = mtws_memory_required(&o);
        size_t given = MTWS_MEMORY_SIZE(sizes[i][0], sizes[i][1]);
        CHECK_TEXT(needed > 0 && needed <= given && given - needed < 32768,
                   "%zu needed, MTWS_MEMORY_SIZE says %zu", needed, given);
    }
    static uint8_t memory[MTWS_MEMORY_SIZE(4096, 8192)];
    mtws_options o;
    mtws_client *ws;
    memset(&o, 0, sizeof o);
    o.max_message_size = 4096;
    o.max_queue_size = 8192;
    CHECK_INT(mtws_create_in(&ws, &o, memory, sizeof memory), MTWS_OK);
    mtws_destroy(ws);
    mtws_destroy(NULL);
}

/* ---- waiting --------------------------------------------------------------------------------- */

static void waits_are_rounded_up(void) {
    peer p;
    peer_init(&p);
    p.plans = &refused;
    peer_start(&p);
    peer_run(&p);
    int32_t retry_ms = p.events[p.event_count - 1].event.retry_ms;
    CHECK_INT(peer_wait(&p).timeout_ms, retry_ms);
    p.now_us += 1;
    CHECK_INT(peer_wait(&p).timeout_ms, retry_ms);
    p.now_us += 999;
    CHECK_INT(peer_wait(&p).timeout_ms, retry_ms - 1);
    p.now_us += (uint64_t)(retry_ms - 1) * 1000 - 1;
    CHECK_INT(peer_wait(&p).timeout_ms, 1);
    peer_run(&p);
    CHECK_INT(p.connections, 1);
    p.now_us += 1;
    CHECK_INT(peer_wait(&p).timeout_ms, 0);
    peer_run(&p);
    CHECK_INT(p.connections, 2);
    peer_finish(&p);
}

static void waits_for_what_is_needed(void) {
    peer p;
    peer_init(&p);
    if (peer_open_up(&p)) {
        CHECK_INT(peer_wait(&p).timeout_ms, 30000);
        CHECK(p.wanted_read && !p.wanted_write);
        peer_queue_text(&p, "x");
        CHECK_INT(peer_wait(&p).timeout_ms, 0);
        p.write_budget = 0;
        peer_run(&p);
        peer_wait(&p);
        CHECK(p.wanted_read && p.wanted_write);
        p.write_budget = SIZE_MAX;
        peer_run(&p);
        peer_wait(&p);
        CHECK(p.wanted_read && !p.wanted_write);
        CHECK_RANGE(peer_wait(&p).timeout_ms, 1, 100); /* until the Ping asks */
    }
    peer_finish(&p);
}

/* An idle client costs no wake-ups beyond its timers. */
static void idle_costs_little(void) {
    peer p;
    peer_init(&p);
    if (peer_open_up(&p)) {
        uint64_t polls = p.polls;
        peer_advance(&p, HOUR_MS);
        CHECK_RANGE(peer_count_frames(&p, WIRE_PING), 119, 121);
        CHECK_RANGE(p.polls - polls, 120, 121 * 4);
    }
    peer_finish(&p);
}

/* Paused: messages wait, nothing spins, Pings are not judged; then all comes at once. */
static void pausing(void) {
    peer p;
    peer_init(&p);
    if (peer_open_up(&p)) {
        CHECK_INT(mtws_set_paused(p.ws, true), MTWS_OK);
        peer_stream(&p, "text:one ping:p text:two");
        peer_advance(&p, 10 * 60000);
        CHECK_UINT(peer_count_events(&p, MTWS_EVENT_MESSAGE), 0);
        CHECK_INT(p.last_state, MTWS_STATE_CONNECTED);
        CHECK_INT(p.connections, 1);
        CHECK_INT(mtws_set_paused(p.ws, false), MTWS_OK);
        peer_run(&p);
        CHECK_UINT(peer_count_events(&p, MTWS_EVENT_MESSAGE), 2);
        CHECK_STR(peer_client_said(&p), "/ pong:p");
        peer_advance(&p, 10 * 60000);
        CHECK_INT(p.connections, 1);
    }
    peer_finish(&p);
}

/* The program was not looking for longer than a heartbeat may take, and the Pong is not here yet:
 * it is judged from where messages are taken again, once. */
static void paused_past_the_deadline(void) {
    for (int silent = 0; silent < 2; silent++) {
        peer p;
        peer_init(&p);
        peer_plan plan = {0};
        plan.no_pong = true;
        p.plans = &plan;
        p.options.heartbeat_interval_ms = 40000;
        p.options.heartbeat_timeout_ms = 500;
        if (peer_open_up(&p)) {
            mtws_set_paused(p.ws, true);
            peer_stream(&p, "text:one");
            peer_advance(&p, 60000);
            CHECK_INT(p.last_state, MTWS_STATE_CONNECTED);
            mtws_set_paused(p.ws, false);
            plan.no_pong = silent;
            peer_run(&p);
            peer_advance(&p, 499);
            CHECK_UINT(peer_count_events(&p, MTWS_EVENT_MESSAGE), 1);
            CHECK_INT(p.last_state, MTWS_STATE_CONNECTED);
            peer_advance(&p, 2);
            CHECK_INT(p.last_state, silent ? MTWS_STATE_RECONNECTING : MTWS_STATE_CONNECTED);
        }
        peer_finish(&p);
    }
}

/* A paused client that nothing waits for notices the end at once; else behind what waits. */
static void the_end_while_paused(void) {
    for (int i = 0; i < 2; i++) {
        peer p;
        peer_init(&p);
        if (peer_open_up(&p)) {
            mtws_set_paused(p.ws, true);
            if (i == 1) peer_stream(&p, "text:one");
            peer_end(&p, MTWS_IO_ERROR);
            peer_advance(&p, 60);
            CHECK_INT(p.last_state, i == 0 ? MTWS_STATE_RECONNECTING : MTWS_STATE_CONNECTED);
            mtws_set_paused(p.ws, false);
            peer_run(&p);
            CHECK_INT(p.last_state, MTWS_STATE_RECONNECTING);
            CHECK_UINT(peer_count_events(&p, MTWS_EVENT_MESSAGE), (size_t)i);
        }
        peer_finish(&p);
    }
}

/* Back-pressure: a paused client reads until its buffer is full, and no further. */
static void pausing_with_a_full_buffer(void) {
    peer p;
    peer_init(&p);
    p.options.max_message_size = 1000;
    if (peer_open_up(&p)) {
        CHECK_INT(mtws_set_paused(p.ws, true), MTWS_OK);
        for (int i = 0; i < 1000; i++) {
            peer_stream(&p, "text=500");
        }
        peer_advance(&p, 120000);
        CHECK_TEXT(p.down_at < 40000, "%zu bytes were read", p.down_at);
        peer_wait(&p);
        CHECK(!p.wanted_read);
        CHECK_INT(mtws_set_paused(p.ws, false), MTWS_OK);
        peer_run(&p);
        CHECK_UINT(peer_count_events(&p, MTWS_EVENT_MESSAGE), 1000);
        CHECK_INT(p.connections, 1);
    }
    peer_finish(&p);
}

/* The same inputs give the same run. */
static void runs_repeat(void) {
    wire_buffer first = {0};
    for (int run = 0; run < 2; run++) {
        peer p;
        clock_life(&p, 0, 0);
        wire_buffer all = {0};
        wire_add_text(&all, wire_text(&p.log));
        wire_add_text(&all, wire_text(&p.logged));
        wire_add_text(&all, wire_text(&p.keys));
        for (size_t i = 0; i < p.frame_count; i++) {
            wire_add(&all, p.frames[i].mask, 4);
        }
        if (run == 0) {
            first = all;
        } else {
            CHECK_UINT(all.size, first.size);
            CHECK_MEM(all.data, first.data, all.size < first.size ? all.size : first.size);
            wire_free(&all);
        }
        peer_finish(&p);
    }
    wire_free(&first);
}

int main(int argc, char **argv) {
    static const test_entry tests[] = {
        TEST(idle_says_so),
        TEST(connects),
        TEST(opens_slowly),
        TEST(connect_twice),
        TEST(connect_badly),
        TEST(connect_taken_back),
        TEST_ROWS(calls_in_every_state),
        TEST_ROWS(destroy_in_every_state),
        TEST_ROWS(disconnect_in_every_state),
        TEST(attempts_used_up),
        TEST(attempts_are_counted_in_a_row),
        TEST(never_gives_up),
        TEST_ROWS(without_reconnecting),
        TEST_ROWS(failures_at_first),
        TEST_ROWS(failures_after_an_open),
        TEST(first_open_counts_from_connect),
        TEST_ROWS(closes_by_the_server),
        TEST_ROWS(close_codes_of_events),
        TEST_ROWS(last_words),
        TEST_ROWS(results_of_the_transport),
        TEST_ROWS(result_of_write),
        TEST(no_entropy),
        TEST(forked),
        TEST_ROWS(delays),
        TEST(delays_differ),
        TEST(opens_and_closes),
        TEST_ROWS(stable_connections),
        TEST_ROWS(retry_after),
        TEST(retry_now),
        TEST(tokens_between_attempts),
        TEST(headers_come_and_go),
        TEST(disconnects_gracefully),
        TEST(disconnects_while_paused),
        TEST_ROWS(disconnect_takes_its_time_at_most),
        TEST(disconnect_arguments),
        TEST_ROWS(connect_timeout),
        TEST(connect_timeout_of_an_event_loop),
        TEST(one_byte_a_second),
        TEST(trickles_when_open),
        TEST(heartbeats),
        TEST(heartbeats_off),
        TEST_ROWS(dead_links_are_noticed),
        TEST(slow_pongs),
        TEST_ROWS(sleeps),
        TEST(sleeps_behind_a_question),
        TEST_ROWS(late_polls_of_a_busy_server),
        TEST(waits_as_told),
        TEST(talks_and_does_not_answer),
        TEST_ROWS(late_polls),
        TEST_ROWS(late_polls_of_what_came),
        TEST(late_polls_of_a_dead_link),
        TEST(wall_clock_jumps),
        TEST(clock_near_overflow),
        TEST(clock_at_its_end),
        TEST(attempts_near_overflow),
        TEST_ROWS(urls),
        TEST(authorization_of_the_program),
        TEST_ROWS(params),
        TEST(half_pairs),
        TEST(bad_urls),
        TEST(bad_urls_explained),
        TEST(bad_headers),
        TEST(too_many_headers),
        TEST(long_userinfo),
        TEST(bad_subprotocols),
        TEST_ROWS(answers),
        TEST(a_nul_in_the_answer),
        TEST_ROWS(subprotocols),
        TEST(informational_answers),
        TEST_ROWS(large_answers),
        TEST(headers_of_the_answer),
        TEST_ROWS(secrets_are_kept),
        TEST(earlier_secrets_are_kept),
        TEST(the_host_is_no_secret),
        TEST(secrets_within_secrets),
        TEST(secrets_of_bad_arguments),
        TEST(reasons_are_clean),
        TEST_ROWS(bad_options),
        TEST(smallest_queue),
        TEST(nothing_asks),
        TEST(options_are_resolved),
        TEST(memory_of_the_caller),
        TEST(memory_size_suffices),
        TEST(waits_are_rounded_up),
        TEST(waits_for_what_is_needed),
        TEST(idle_costs_little),
        TEST(pausing),
        TEST(paused_past_the_deadline),
        TEST(the_end_while_paused),
        TEST(pausing_with_a_full_buffer),
        TEST(runs_repeat),
    };
    return TEST_MAIN(tests, argc, argv);
}
