/* The client against python3-websockets and npm ws: what they send, what they see, how they end.
 *
 * Each test opens a client of its own to a server that runs for the whole program; server.py lists
 * the paths. `make interop` builds and runs it from the folder tests.
 */
#define _DEFAULT_SOURCE
#define MTWS_IMPLEMENTATION
#include "../../mtws.h"

#include "../test.h"
#include "servers.h"

enum { MIB = 1 << 20, WAIT_MS = 30000, BURST = 10000 };

static server servers[SERVER_KINDS];
static uint8_t *sample; /* SAMPLE_SIZE bytes of UTF-8, every length of code point in it */
enum { SAMPLE_SIZE = 4 * MIB };

/* ---- a client with what has happened to it -------------------------------------------------- */

typedef struct session {
    mtws_client *ws;
    server *server;
    int number;           /* of the connection, for the server; see server_saw */
    mtws_event event;     /* the latest */
    uint64_t deadline_ms; /* of the whole test */
    uint64_t delivered;   /* messages */
    uint64_t dropped;
    uint64_t last_id; /* of the latest DELIVERED */
    bool delivered_in_order;
} session;

/* Opens a client of options for the path; userinfo may be "". */
static bool session_begin_as(session *s, server *to, const char *userinfo, const char *path,
                             const mtws_options *options, const mtws_pair *params) {
    char url[512];
    memset(s, 0, sizeof *s);
    s->server = to;
    s->deadline_ms = now_ms() + WAIT_MS;
    s->delivered_in_order = true;
    snprintf(url, sizeof url, "ws://%s127.0.0.1:%d%s", userinfo, to->port, path);
    return CHECK_INT(mtws_create(&s->ws, options), MTWS_OK) &&
           CHECK_INT(mtws_connect(s->ws, url, params), MTWS_OK);
}

static bool session_begin(session *s, server *to, const char *path, const mtws_options *options) {
    return session_begin_as(s, to, "", path, options, NULL);
}

static void session_end(session *s) {
    mtws_destroy(s->ws);
    s->ws = NULL;
}

static void note_delivery(session *s) {
    const mtws_event *e = &s->event;
    if (e->type == MTWS_EVENT_DROPPED) s->dropped += e->id - e->first_id + 1;
    if (e->type != MTWS_EVENT_DELIVERED) return;
    if (e->first_id != s->last_id + 1) s->delivered_in_order = false;
    s->last_id = e->id;
    s->delivered += e->id - e->first_id + 1;
}

/* The next event; false, and a failure, where the test's time is over or nothing will happen. */
static bool session_next(session *s) {
    for (;;) {
        uint64_t now = now_ms();
        if (now >= s->deadline_ms) return FAIL("nothing happened in time");
        int result = mtws_poll(s->ws, &s->event, (int32_t)(s->deadline_ms - now));
        if (result < 0) return FAIL("mtws_poll: %s", mtws_result_text(result));
        if (result == 0) continue;
        note_delivery(s);
        return true;
    }
}

static bool session_until(session *s, mtws_event_type type) {
    do {
        if (!session_next(s)) return false;
    } while (s->event.type != type);
    return true;
}

static bool session_until_state(session *s, mtws_state state) {
    do {
        if (!session_until(s, MTWS_EVENT_STATE)) return false;
    } while (s->event.state != state);
    return true;
}

/* Waits for a text message that is this. */
static bool session_expect(session *s, const char *text) {
    return session_until(s, MTWS_EVENT_MESSAGE) && CHECK_INT(s->event.kind, MTWS_TEXT) &&
           CHECK_STR((const char *)s->event.data, text);
}

/* Closes with 1000 and sees that it is clean. */
static bool session_close(session *s) {
    return CHECK_INT(mtws_disconnect(s->ws, 1000, NULL), MTWS_OK) &&
           session_until_state(s, MTWS_STATE_DISCONNECTED) && CHECK_INT(s->event.result, MTWS_OK) &&
           CHECK_INT(s->event.close_code, 1000);
}

/* UTF-8 of exactly size bytes, so that sizes can be chosen freely. */
static void fill_sample(void) {
    static const char *const points[] = {"a", "\xc3\xa9", "\xe6\xbc\xa2", "\xf0\x9f\x98\x80", "\n"};
    size_t size = 0;
    for (unsigned i = 1; size + 4 <= SAMPLE_SIZE; i = i * 1103515245u + 12345u) {
        const char *point = points[(i >> 16) % 5];
        memcpy(sample + size, point, strlen(point));
        size += strlen(point);
    }
    memset(sample + size, 'z', SAMPLE_SIZE - size);
}

/* Text of the sample cut to size: what would be a cut code point at its end becomes "z". */
static uint8_t *make_text(size_t size) {
    uint8_t *text = malloc(size + 1);
    if (text == NULL) abort();
    memcpy(text, sample, size);
    size_t cut = size;
    while (cut > 0 && (text[cut - 1] & 0xC0) == 0x80) cut--;
    if (cut > 0 && text[cut - 1] >= 0xC0) cut--;
    memset(text + cut, 'z', size - cut);
    text[size] = '\0';
    return text;
}

/* ---- what the server has printed ------------------------------------------------------------ */

/* Compares what the server printed when the session's connection opened: "PATH SUBPROTOCOL
 * EXTENSIONS". The path is one that no other test uses. */
static bool server_saw(session *s, const char *path, const char *what) {
    char line[SERVER_LINE_MAX], want[SERVER_LINE_MAX];
    const char *rest;
    size_t size = strlen(path);
    do {
        if (!server_line(s->server, "open ", line, WAIT_MS)) {
            return FAIL("the server saw no connection to %s", path);
        }
        rest = strchr(line, ' ');
    } while (rest == NULL || strncmp(rest + 1, path, size) != 0 || rest[1 + size] != ' ');
    s->number = atoi(line);
    snprintf(want, sizeof want, "%s %s", path, what);
    return CHECK_STR(rest + 1, want);
}

/* Compares how the connection that server_saw found has ended for the server. reason may be NULL:
 * any. */
static bool server_heard(session *s, unsigned code, const char *reason) {
    char line[SERVER_LINE_MAX], prefix[64];
    snprintf(prefix, sizeof prefix, "closed %d ", s->number);
    if (!CHECK_TEXT(server_line(s->server, prefix, line, WAIT_MS), "the server saw no end")) {
        return false;
    }
    const char *rest = strchr(line, ' ');
    return CHECK_INT(atoi(line), code) &&
           (reason == NULL || CHECK_STR(rest == NULL ? "" : rest + 1, reason));
}

/* ---- messages ------------------------------------------------------------------------------- */

static const size_t sizes[] = {0, 1, 125, 126, 127, 65535, 65536, MIB, SAMPLE_SIZE};
enum { SIZES = sizeof sizes / sizeof sizes[0] };

/* Sends a message, and sees the same one come back and delivered. */
static void echo(server *to, const char *path, mtws_kind kind, size_t size, size_t max_frame_size) {
    session s;
    mtws_options options = {0};
    options.max_message_size = SAMPLE_SIZE;
    options.max_queue_size = 2 * SAMPLE_SIZE;
    options.max_frame_size = max_frame_size;
    options.confirm_delay_ms = 5;
    uint8_t *message = make_text(size);
    if (kind == MTWS_BINARY) {
        for (size_t i = 0; i < size; i++) message[i] = (uint8_t)(message[i] * 31 + i);
    }
    if (session_begin(&s, to, path, &options) &&
        CHECK_INT(mtws_send(s.ws, kind, message, size, 0, NULL), MTWS_OK)) {
        bool back = false;
        while (!(back && s.delivered == 1) && session_next(&s)) {
            if (s.event.type != MTWS_EVENT_MESSAGE) continue;
            CHECK(!back && s.event.first && s.event.last);
            CHECK_INT(s.event.kind, kind);
            CHECK_UINT(s.event.size, size);
            CHECK_MEM(s.event.data, message, s.event.size < size ? s.event.size : size);
            CHECK_INT(s.event.data[s.event.size], 0);
            back = true;
        }
        session_close(&s);
    }
    session_end(&s);
    free(message);
}

static void echoes(void) {
    static const size_t frames[] = {0, 1000, MTWS_WHOLE_MESSAGES};
    for (size_t k = 0; k < SERVER_KINDS; k++) {
        for (size_t i = 0; i < 2 * SIZES; i++) {
            mtws_kind kind = i % 2 == 0 ? MTWS_TEXT : MTWS_BINARY;
            size_t size = sizes[i / 2];
            for (size_t f = 0; f < 3; f++) {
                if (!test_begin("%s, %s of %zu, frames %zu", server_kinds[k].name,
                                kind == MTWS_TEXT ? "text" : "binary", size, f)) {
                    continue;
                }
                echo(&servers[k], "/echo", kind, size, frames[f]);
                test_end();
            }
        }
    }
}

/* The server sends fragments with Pings in between. */
static void fragments(void) {
    static const struct {
        const char *path;
        size_t size;
    } rows[] = {
        {"/fragments?size=1", 300},     {"/fragments?size=125", 10000},
        {"/fragments?size=126", 126},   {"/fragments?size=997", 65536},
        {"/fragments?size=65536", MIB},
    };
    for (size_t k = 0; k < SERVER_KINDS; k++) {
        for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
            if (!test_begin("%s%s", server_kinds[k].name, rows[i].path)) continue;
            echo(&servers[k], rows[i].path, MTWS_TEXT, rows[i].size, 0);
            echo(&servers[k], rows[i].path, MTWS_BINARY, rows[i].size, 1000);
            test_end();
        }
    }
}

/* A message far over max_message_size comes in parts that make it up. */
static void stream(server *to, const char *path) {
    session s;
    mtws_options options = {0};
    options.max_message_size = 4096;
    options.max_queue_size = 2 * SAMPLE_SIZE;
    options.stream_messages = true;
    if (session_begin(&s, to, path, &options) &&
        CHECK_INT(mtws_send(s.ws, MTWS_BINARY, sample, SAMPLE_SIZE, 0, NULL), MTWS_OK)) {
        size_t got = 0;
        bool last = false;
        while (!last && session_until(&s, MTWS_EVENT_MESSAGE)) {
            CHECK(s.event.first == (got == 0));
            if (!CHECK(s.event.size <= SAMPLE_SIZE - got)) break;
            CHECK_MEM(s.event.data, sample + got, s.event.size);
            got += s.event.size;
            last = s.event.last;
        }
        CHECK_UINT(got, SAMPLE_SIZE);
        session_close(&s);
    }
    session_end(&s);
}

static void streams(void) {
    for (size_t k = 0; k < SERVER_KINDS; k++) {
        if (test_begin("%s, one frame", server_kinds[k].name)) {
            stream(&servers[k], "/echo");
            test_end();
        }
        if (test_begin("%s, fragments", server_kinds[k].name)) {
            stream(&servers[k], "/fragments?size=3001");
            test_end();
        }
    }
}

/* More than the client takes is closed with 1009, which the server hears. */
static void too_big(void) {
    for (size_t k = 0; k < SERVER_KINDS; k++) {
        session s;
        mtws_options options = {0};
        options.max_message_size = 1000;
        options.max_reconnect_attempts = MTWS_OFF;
        if (!test_begin("%s", server_kinds[k].name)) continue;
        if (session_begin(&s, &servers[k], "/echo?too_big", &options) &&
            CHECK_INT(mtws_send(s.ws, MTWS_BINARY, sample, 1001, 0, NULL), MTWS_OK) &&
            session_until_state(&s, MTWS_STATE_FAILED)) {
            CHECK_INT(s.event.result, MTWS_ERR_TOO_BIG);
            if (server_saw(&s, "/echo?too_big", "- -")) server_heard(&s, 1009, NULL);
        }
        session_end(&s);
        test_end();
    }
}

/* ---- bursts --------------------------------------------------------------------------------- */

/* Sends all that fits, from *sent on. */
static void send_numbered(session *s, unsigned *sent, unsigned count) {
    while (*sent < count) {
        char text[NUMBERED_MAX];
        uint64_t id = 0;
        size_t size = numbered(text, *sent + 1);
        mtws_result result = mtws_send(s->ws, MTWS_TEXT, text, size, 0, &id);
        if (result == MTWS_ERR_QUEUE_FULL) return;
        if (!CHECK_INT(result, MTWS_OK) || !CHECK_UINT(id, *sent + 1)) return;
        ++*sent;
    }
}

/* As fast as the queue allows; every echo and every DELIVERED in its place. */
static void burst(server *to, size_t max_queue_size) {
    session s;
    mtws_options options = {0};
    unsigned sent = 0, back = 0;
    options.max_queue_size = max_queue_size;
    if (session_begin(&s, to, "/echo", &options)) {
        s.deadline_ms = now_ms() + 60000;
        send_numbered(&s, &sent, BURST);
        while ((back < BURST || s.delivered < BURST) && session_next(&s)) {
            if (s.event.type == MTWS_EVENT_WRITABLE) send_numbered(&s, &sent, BURST);
            if (s.event.type == MTWS_EVENT_MESSAGE) {
                char text[NUMBERED_MAX];
                size_t size = numbered(text, ++back);
                if (!CHECK_UINT(s.event.size, size) || !CHECK_MEM(s.event.data, text, size)) break;
            }
            if (test_failing()) break;
        }
        CHECK_UINT(sent, BURST);
        CHECK_UINT(back, BURST);
        CHECK_UINT(s.delivered, BURST);
        CHECK_UINT(s.dropped, 0);
        CHECK(s.delivered_in_order);
        session_close(&s);
    }
    session_end(&s);
}

static void bursts(void) {
    for (size_t k = 0; k < SERVER_KINDS; k++) {
        if (test_begin("%s, all in the queue", server_kinds[k].name)) {
            burst(&servers[k], 2 * MIB);
            test_end();
        }
        if (test_begin("%s, a small queue", server_kinds[k].name)) {
            burst(&servers[k], 16384);
            test_end();
        }
    }
}

/* ---- the upgrade ---------------------------------------------------------------------------- */

static void subprotocols(void) {
    static const struct {
        const char *offered, *chosen;
    } rows[] = {
        {NULL, ""},
        {"chat", "chat"},
        {"chat, superchat", "superchat"},
        {"x, chat, y", "chat"},
    };
    for (size_t k = 0; k < SERVER_KINDS; k++) {
        for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
            session s;
            char path[64], saw[64];
            mtws_options options = {0};
            const char *offered = rows[i].offered, *chosen = rows[i].chosen;
            if (!test_begin("%s, %s", server_kinds[k].name, offered ? offered : "none")) continue;
            options.subprotocols = offered;
            snprintf(path, sizeof path, "/echo?subprotocol=%zu", i);
            snprintf(saw, sizeof saw, "%s -", *chosen ? chosen : "-");
            if (session_begin(&s, &servers[k], path, &options) &&
                session_until_state(&s, MTWS_STATE_CONNECTED)) {
                CHECK_STR(mtws_get_subprotocol(s.ws), chosen);
                server_saw(&s, path, saw);
                session_close(&s);
            }
            session_end(&s);
            test_end();
        }
    }
}

/* Looks for a whole line in a text of lines. */
static bool has_line(const char *text, const char *line) {
    size_t size = strlen(line);
    for (const char *at = strstr(text, line); at != NULL; at = strstr(at + 1, line)) {
        bool begins = at == text || at[-1] == '\n';
        if (begins && (at[size] == '\n' || at[size] == '\0')) return true;
    }
    return false;
}

/* What the server sees of the request, with everything set that can be. */
static void headers(void) {
    static const mtws_pair fields[] = {
        {"Authorization", "Bearer abc.def-ghi"},
        {"Cookie", "a=1; b=2"},
        {"Origin", "http://example.com"},
        {"User-Agent", "interop/1"},
        {"X-Empty", ""},
        {NULL, NULL},
    };
    static const mtws_pair params[] = {
        {"plain", "abc"},
        {"a b&c=d", "\xc3\xa9/?#%+"},
        {"empty", ""},
        {NULL, NULL},
    };
    static const char *const lines[] = {
        "/headers?q=1&plain=abc&a%20b%26c%3Dd=%C3%A9%2F%3F%23%25%2B&empty=",
        "authorization: Bearer abc.def-ghi",
        "cookie: a=1; b=2",
        "origin: http://example.com",
        "user-agent: interop/1",
        "upgrade: websocket",
        "connection: Upgrade",
        "sec-websocket-version: 13",
    };
    for (size_t k = 0; k < SERVER_KINDS; k++) {
        session s;
        char host[64];
        mtws_options options = {0};
        options.headers = fields;
        if (!test_begin("%s", server_kinds[k].name)) continue;
        if (session_begin_as(&s, &servers[k], "", "/headers?q=1", &options, params) &&
            session_until(&s, MTWS_EVENT_MESSAGE)) {
            const char *text = (const char *)s.event.data;
            for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
                CHECK_TEXT(has_line(text, lines[i]), "no line \"%s\" in:\n%s", lines[i], text);
            }
            snprintf(host, sizeof host, "host: 127.0.0.1:%d", servers[k].port);
            CHECK_TEXT(has_line(text, host), "no line \"%s\"", host);
            CHECK(strstr(text, "\nx-empty:") != NULL);
            CHECK(strstr(text, "sec-websocket-extensions") == NULL);
            session_close(&s);
        }
        session_end(&s);
        test_end();
    }
}

/* Userinfo becomes Basic authorization, percent-decoded; a wrong one is refused for good. */
static void authorization(void) {
    static const struct {
        const char *userinfo;
        mtws_state end;
    } rows[] = {
        {"user:p%40ss@", MTWS_STATE_CONNECTED},
        {"us%65r:p%40ss@", MTWS_STATE_CONNECTED},
        {"user:wrong@", MTWS_STATE_FAILED},
        {"", MTWS_STATE_FAILED},
    };
    for (size_t k = 0; k < SERVER_KINDS; k++) {
        for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
            session s;
            if (!test_begin("%s, \"%s\"", server_kinds[k].name, rows[i].userinfo)) continue;
            if (session_begin_as(&s, &servers[k], rows[i].userinfo, "/private", NULL, NULL) &&
                session_until_state(&s, rows[i].end) && rows[i].end == MTWS_STATE_FAILED) {
                CHECK_INT(s.event.result, MTWS_ERR_HTTP_STATUS);
                CHECK_INT(s.event.http_status, 401);
                CHECK(strstr(s.event.reason, "wrong") == NULL);
            }
            session_end(&s);
            test_end();
        }
    }
}

/* A message in the packet of the 101 is handed over behind CONNECTED. */
static void greeting(void) {
    for (size_t k = 0; k < SERVER_KINDS; k++) {
        session s;
        if (!test_begin("%s", server_kinds[k].name)) continue;
        if (session_begin(&s, &servers[k], "/greet", NULL) &&
            session_until_state(&s, MTWS_STATE_CONNECTED) && session_next(&s)) {
            CHECK_INT(s.event.type, MTWS_EVENT_MESSAGE);
            CHECK_STR((const char *)s.event.data, "welcome");
            CHECK_INT(mtws_send_text(s.ws, "thanks"), MTWS_OK);
            session_expect(&s, "thanks");
            session_close(&s);
        }
        session_end(&s);
        test_end();
    }
}

/* Refusals: what is final at once, and what is tried again. */
static void refusals(void) {
    static const struct {
        int code;
        mtws_state end;
    } rows[] = {
        {301, MTWS_STATE_FAILED},       {302, MTWS_STATE_FAILED},
        {401, MTWS_STATE_FAILED},       {403, MTWS_STATE_FAILED},
        {404, MTWS_STATE_FAILED},       {410, MTWS_STATE_FAILED},
        {408, MTWS_STATE_RECONNECTING}, {429, MTWS_STATE_RECONNECTING},
        {500, MTWS_STATE_RECONNECTING}, {502, MTWS_STATE_RECONNECTING},
        {503, MTWS_STATE_RECONNECTING},
    };
    for (size_t k = 0; k < SERVER_KINDS; k++) {
        for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
            session s;
            char path[64];
            if (!test_begin("%s, %d", server_kinds[k].name, rows[i].code)) continue;
            snprintf(path, sizeof path, "/status?code=%d", rows[i].code);
            if (session_begin(&s, &servers[k], path, NULL) &&
                session_until_state(&s, MTWS_STATE_ERROR)) {
                CHECK_INT(s.event.result, MTWS_ERR_HTTP_STATUS);
                CHECK_INT(s.event.http_status, rows[i].code);
                CHECK(session_next(&s) && s.event.type == MTWS_EVENT_STATE);
                CHECK_INT(s.event.state, rows[i].end);
                CHECK_INT(s.event.http_status, rows[i].code);
            }
            session_end(&s);
            test_end();
        }
    }
}

/* 503 with Retry-After, twice, and then the server has time. */
static void retry_after(void) {
    for (size_t k = 0; k < SERVER_KINDS; k++) {
        session s;
        mtws_options options = {0};
        options.initial_reconnect_delay_ms = 250;
        if (!test_begin("%s", server_kinds[k].name)) continue;
        uint64_t start = now_ms();
        if (session_begin(&s, &servers[k], "/busy?count=2&retry=1", &options)) {
            for (int i = 0; i < 2 && session_until_state(&s, MTWS_STATE_RECONNECTING); i++) {
                CHECK_INT(s.event.http_status, 503);
                CHECK(s.event.retry_ms >= 1000 && s.event.retry_ms <= 4000);
            }
            if (session_until_state(&s, MTWS_STATE_CONNECTED)) {
                CHECK(now_ms() - start >= 2000);
                session_close(&s);
            }
        }
        session_end(&s);
        test_end();
    }
}

/* A server that takes the request and never answers. */
static void silence(void) {
    for (size_t k = 0; k < SERVER_KINDS; k++) {
        session s;
        mtws_options options = {0};
        options.connect_timeout_ms = 300;
        options.max_reconnect_attempts = MTWS_OFF;
        if (!test_begin("%s", server_kinds[k].name)) continue;
        uint64_t start = now_ms();
        if (session_begin(&s, &servers[k], "/hang", &options) &&
            session_until_state(&s, MTWS_STATE_FAILED)) {
            uint64_t took = now_ms() - start;
            CHECK_INT(s.event.result, MTWS_ERR_TIMEOUT);
            CHECK_TEXT(took >= 299 && took < 15000, "it took %u ms", (unsigned)took);
        }
        session_end(&s);
        test_end();
    }
}

/* ---- the end -------------------------------------------------------------------------------- */

/* The server closes: the program is told the code and the reason, and the server gets its code
 * back, so the closing handshake is whole, and without further attempts ends in DISCONNECTED. */
static void server_closes(void) {
    static const struct {
        unsigned code;
        const char *reason;
        bool ws_only;
    } rows[] = {
        {1000, "", false},     {1000, "done", false}, {1001, "going", false}, {1003, "", false},
        {1008, "", false},     {1011, "oops", false}, {3000, "", false},      {4000, "", false},
        {4999, "last", false}, {1012, "", true},      {1013, "later", true},  {1014, "", true},
    };
    for (size_t k = 0; k < SERVER_KINDS; k++) {
        for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
            session s;
            char path[64];
            mtws_options options = {0};
            options.max_reconnect_attempts = MTWS_OFF;
            if (rows[i].ws_only && strcmp(server_kinds[k].name, "ws") != 0) continue;
            if (!test_begin("%s, %u %s", server_kinds[k].name, rows[i].code, rows[i].reason)) {
                continue;
            }
            snprintf(path, sizeof path, "/close/%u/%s", rows[i].code, rows[i].reason);
            if (session_begin(&s, &servers[k], path, &options) &&
                session_until_state(&s, MTWS_STATE_CONNECTED) &&
                session_until_state(&s, MTWS_STATE_ERROR)) {
                CHECK_INT(s.event.result, MTWS_ERR_CLOSED);
                CHECK_INT(s.event.close_code, rows[i].code);
                CHECK(s.event.reason[0] != '\0');
                if (rows[i].reason[0] != '\0') CHECK_STR(s.event.reason, rows[i].reason);
                session_until_state(&s, MTWS_STATE_DISCONNECTED);
                if (server_saw(&s, path, "- -")) server_heard(&s, rows[i].code, NULL);
            }
            session_end(&s);
            test_end();
        }
    }
}

static void client_closes(void) {
    static const struct {
        uint16_t code;
        const char *reason;
    } rows[] = {
        {1000, ""}, {1000, "caf\xc3\xa9"}, {1001, "away"}, {1008, ""}, {3000, ""}, {4321, "mine"},
    };
    for (size_t k = 0; k < SERVER_KINDS; k++) {
        for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
            session s;
            char path[64];
            if (!test_begin("%s, %u %s", server_kinds[k].name, rows[i].code, rows[i].reason)) {
                continue;
            }
            snprintf(path, sizeof path, "/echo?close=%zu", i);
            if (session_begin(&s, &servers[k], path, NULL) &&
                CHECK_INT(mtws_send_text(s.ws, "before"), MTWS_OK) &&
                session_until_state(&s, MTWS_STATE_CONNECTED) &&
                CHECK_INT(mtws_disconnect(s.ws, rows[i].code, rows[i].reason), MTWS_OK) &&
                session_until_state(&s, MTWS_STATE_DISCONNECTED)) {
                CHECK_INT(s.event.result, MTWS_OK);
                CHECK_INT(s.event.close_code, rows[i].code);
                CHECK_UINT(s.delivered, 1);
                if (server_saw(&s, path, "- -")) server_heard(&s, rows[i].code, rows[i].reason);
            }
            session_end(&s);
            test_end();
        }
    }
}

/* TCP ends without a word, twice; the message is sent again until it is answered. */
static void broken_off(void) {
    for (size_t k = 0; k < SERVER_KINDS; k++) {
        session s;
        mtws_stats stats;
        mtws_options options = {0};
        options.initial_reconnect_delay_ms = 250;
        if (!test_begin("%s", server_kinds[k].name)) continue;
        if (session_begin(&s, &servers[k], "/drop?count=2", &options) &&
            CHECK_INT(mtws_send_text(s.ws, "persistent"), MTWS_OK)) {
            for (int i = 0; i < 2 && session_until_state(&s, MTWS_STATE_ERROR); i++) {
                CHECK_INT(s.event.result, MTWS_ERR_RESET);
            }
            session_expect(&s, "persistent");
            while (s.delivered < 1 && session_next(&s)) {
            }
            mtws_get_stats(s.ws, &stats);
            CHECK_UINT(stats.connects, 3);
            CHECK_UINT(stats.failures, 2);
            session_close(&s);
        }
        session_end(&s);
        test_end();
    }
}

/* ---- Pings ---------------------------------------------------------------------------------- */

static void server_pings(void) {
    for (size_t k = 0; k < SERVER_KINDS; k++) {
        session s;
        char payload[126], answer[160];
        static const size_t lengths[] = {1, 4, 124, 125};
        if (!test_begin("%s", server_kinds[k].name)) continue;
        if (session_begin(&s, &servers[k], "/ping", NULL)) {
            for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
                memset(payload, 'A' + (int)i, lengths[i]);
                payload[lengths[i]] = '\0';
                snprintf(answer, sizeof answer, "pong %s", payload);
                CHECK_INT(mtws_send_text(s.ws, payload), MTWS_OK);
                if (!session_expect(&s, answer)) break;
            }
            session_close(&s);
        }
        session_end(&s);
        test_end();
    }
}

/* Ten heartbeats are answered, and the connection stays. */
static void heartbeats(void) {
    for (size_t k = 0; k < SERVER_KINDS; k++) {
        session s;
        mtws_stats stats;
        mtws_options options = {0};
        options.heartbeat_interval_ms = 50;
        options.heartbeat_timeout_ms = 2000;
        if (!test_begin("%s", server_kinds[k].name)) continue;
        if (session_begin(&s, &servers[k], "/echo", &options) &&
            session_until_state(&s, MTWS_STATE_CONNECTED)) {
            mtws_get_stats(s.ws, &stats);
            uint64_t before = stats.bytes_sent, wanted = 10 * (6 + MTWS__PING_SIZE);
            while (stats.bytes_sent - before < wanted && now_ms() < s.deadline_ms) {
                if (!CHECK_INT(mtws_poll(s.ws, &s.event, 20), 0)) break;
                mtws_get_stats(s.ws, &stats);
            }
            CHECK_RANGE(stats.bytes_sent - before, wanted, wanted + 6 + MTWS__PING_SIZE);
            CHECK(stats.rtt_us > 0 && stats.rtt_min_us > 0 && stats.rtt_min_us <= stats.rtt_us);
            CHECK_UINT(stats.connects, 1);
            session_close(&s);
        }
        session_end(&s);
        test_end();
    }
}

int main(int argc, char **argv) {
    static const test_entry tests[] = {
        TEST_ROWS(echoes),        TEST_ROWS(fragments),     TEST_ROWS(streams),
        TEST_ROWS(too_big),       TEST_ROWS(bursts),        TEST_ROWS(subprotocols),
        TEST_ROWS(headers),       TEST_ROWS(authorization), TEST_ROWS(greeting),
        TEST_ROWS(refusals),      TEST_ROWS(retry_after),   TEST_ROWS(silence),
        TEST_ROWS(server_closes), TEST_ROWS(client_closes), TEST_ROWS(broken_off),
        TEST_ROWS(server_pings),  TEST_ROWS(heartbeats),
    };
    sample = malloc(SAMPLE_SIZE);
    if (sample == NULL) return 1;
    fill_sample();
    int status = 1;
    bool started = true;
    for (size_t k = 0; k < SERVER_KINDS; k++) {
        started = server_start(&servers[k], &server_kinds[k], 0, NULL) && started;
    }
    if (started) status = TEST_MAIN(tests, argc, argv);
    for (size_t k = 0; k < SERVER_KINDS; k++) server_end(&servers[k], SIGKILL);
    free(sample);
    return status;
}
