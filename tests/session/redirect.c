/* Redirects: where they lead, which are not followed, what goes along, and that they are part of
 * one attempt. FAULTS row 29 names CVE-2022-27776: credentials that followed to another port.
 */
#define MTWS_IMPLEMENTATION
#include "../../mtws.h"

#include "../test.h"
#include "peer.h"

#define COUNT(list) (sizeof(list) / sizeof((list)[0]))

static const mtws_pair credentials[] = {{"Authorization", "Bearer CANARY"},
                                        {"Cookie", "id=CANARY"},
                                        {"X-Api-Key", "CANARY"},
                                        {"Host", "virtual.example"},
                                        {"Origin", "https://page.example"},
                                        {"User-Agent", "tester"},
                                        {NULL, NULL}};

/* "http://host:80/x" becomes an answer that leads there. In a buffer that is used again. */
static const char *leads_to(int status, const char *location) {
    static char text[8][20000];
    static unsigned next;
    char *out = text[next++ % 8];
    snprintf(out, sizeof text[0],
             "HTTP/1.1 %d Moved\r\nLocation: %s\r\nContent-Length: 4\r\n\r\nbody", status,
             location);
    return out;
}

static const char *first_line(const peer *p) {
    static char line[9000];
    const char *text = wire_text(&p->request);
    snprintf(line, sizeof line, "%.*s", (int)strcspn(text, "\r"), text);
    return line;
}

/* ---- where it leads --------------------------------------------------------------------------- */

static void followed(void) { /* FAULTS row 29 */
    static const struct {
        int status;
        const char *url, *location;
        const char *host;
        unsigned port;
        bool tls;
        const char *target, *host_field;
        bool foreign; /* no credentials go there */
    } rows[] = {
        {301, "ws://server.example/a/b?c", "/x", "server.example", 80, false, "/x", NULL, false},
        {302, "ws://server.example/a/b?c", "x?y=z", "server.example", 80, false, "/a/x?y=z", NULL,
         false},
        {303, "ws://server.example/a/b?c", "?d", "server.example", 80, false, "/a/b?d", NULL,
         false},
        {307, "ws://server.example/a/b?c", "../../x/", "server.example", 80, false, "/x/", NULL,
         false},
        {308, "ws://server.example/a/b?c", "ws://SERVER.example:80/x#f", "server.example", 80,
         false, "/x", NULL, false},
        {302, "ws://server.example", "http://server.example?q", "server.example", 80, false, "/?q",
         NULL, false},
        {302, "ws://server.example/a", "//other.example/x", "other.example", 80, false, "/x",
         "other.example", true},
        {302, "ws://server.example/a", "ws://other.example", "other.example", 80, false, "/",
         "other.example", true},
        {302, "ws://server.example/a", "ws://server.example:81/a", "server.example", 81, false,
         "/a", "server.example:81", true},
        {302, "ws://server.example/a", "ws://www.server.example/a", "www.server.example", 80, false,
         "/a", "www.server.example", true},
        {302, "ws://server.example/a", "wss://server.example/a", "server.example", 443, true, "/a",
         "server.example", true},
        {302, "ws://server.example:443/a", "wss://server.example/a", "server.example", 443, true,
         "/a", "server.example", true},
        {302, "ws://server.example/a", "https://server.example:8443/a", "server.example", 8443,
         true, "/a", "server.example:8443", true},
        {302, "wss://server.example/a", "https://server.example:443/b", "server.example", 443, true,
         "/b", NULL, false},
        {302, "wss://server.example/a", "b", "server.example", 443, true, "/b", NULL, false},
        {302, "ws://server.example/a", "ws://[fd00::1]:8080/", "fd00::1", 8080, false, "/",
         "[fd00::1]:8080", true},
        {302, "ws://[fd00::1]:8080/x/y", "z", "fd00::1", 8080, false, "/x/z", NULL, false},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        for (int userinfo = 0; userinfo < 2; userinfo++) {
            if (!test_begin("%d from %s to %s%s", rows[i].status, rows[i].url, rows[i].location,
                            userinfo ? ", userinfo" : ""))
                continue;
            peer_plan plans[] = {{0}, {.then = "text:welcome"}};
            peer p;
            char url[100], *slashes;
            peer_init(&p);
            PEER_PLANS(&p, plans);
            plans[0].answer = leads_to(rows[i].status, rows[i].location);
            snprintf(url, sizeof url, "%s", rows[i].url);
            if (userinfo) {
                slashes = strstr(url, "//") + 2;
                snprintf(slashes, sizeof url - (size_t)(slashes - url), "user:CANARY@%s",
                         strstr(rows[i].url, "//") + 2);
            }
            p.url = url;
            p.options.headers = userinfo ? NULL : credentials;
            p.options.subprotocols = "chat";
            p.options.max_redirects = 1;
            peer_open_up(&p);
            peer_run(&p);
            CHECK_STR(peer_states(&p), "connecting connected");
            CHECK_INT(p.connections, 2);
            CHECK_UINT(p.closes, 1);
            CHECK_STR(p.opened_host, rows[i].host);
            CHECK_UINT(p.opened_port, rows[i].port);
            CHECK_INT(p.opened_tls, rows[i].tls);
            char line[200];
            snprintf(line, sizeof line, "GET %s HTTP/1.1", rows[i].target);
            CHECK_STR(first_line(&p), line);
            bool foreign = rows[i].foreign;
            CHECK_INT(strstr(wire_text(&p.request), "CANARY") == NULL, foreign || userinfo);
            CHECK_INT(peer_request_header(&p, "Authorization") == NULL, foreign);
            CHECK_INT(peer_request_header(&p, "Cookie") == NULL, foreign || userinfo);
            CHECK_STR(peer_request_header(&p, "Sec-WebSocket-Protocol"), "chat");
            if (!userinfo) {
                CHECK_STR(peer_request_header(&p, "Host"),
                          foreign ? rows[i].host_field : "virtual.example");
                CHECK_STR(peer_request_header(&p, "Origin"), "https://page.example");
                CHECK_STR(peer_request_header(&p, "User-Agent"), "tester");
            }
            CHECK_UINT(peer_count_events(&p, MTWS_EVENT_MESSAGE), 1);
            CHECK(!peer_told(&p, "CANARY"));
            CHECK(mtws_get_header(p.ws, "Location") == NULL);
            peer_finish(&p);
            test_end();
        }
    }
}

static void not_followed(void) { /* FAULTS row 29 */
    static char long_location[9000];
    static const struct {
        const char *name, *url, *answer; /* "%s" for one that is too long */
        int32_t max_redirects;
        const char *reason;
    } rows[] = {
        {"not asked for", "ws://h/", "302\r\nLocation: /x", 0, "options.max_redirects"},
        {"off", "ws://h/", "302\r\nLocation: /x", MTWS_OFF, "options.max_redirects"},
        {"wss to ws", "wss://h/", "302\r\nLocation: ws://h/", 5, "from wss:// to ws://"},
        {"wss to http", "wss://h/", "302\r\nLocation: http://h/", 5, "from wss:// to ws://"},
        {"no Location", "ws://h/", "302\r\nX: y", 5, "without a Location"},
        {"two Locations", "ws://h/", "302\r\nLocation: /x\r\nLocation: /x", 5, "with two"},
        {"with userinfo", "ws://h/", "302\r\nLocation: ws://u:p@h/", 5, "userinfo"},
        {"with empty userinfo", "ws://h/", "302\r\nLocation: ws://@h/", 5, "userinfo"},
        {"another scheme", "ws://h/", "302\r\nLocation: ftp://h/", 5, "is invalid"},
        {"a script", "ws://h/", "302\r\nLocation: javascript:alert(1)", 5, "is invalid"},
        {"no host", "ws://h/", "302\r\nLocation: ws:///x", 5, "is invalid"},
        {"a space", "ws://h/", "302\r\nLocation: /a b", 5, "is invalid"},
        {"not ASCII", "ws://h/", "302\r\nLocation: /\xc3\xa9", 5, "is invalid"},
        {"a bad port", "ws://h/", "302\r\nLocation: //h:99999/", 5, "is invalid"},
        {"300", "ws://h/", "300\r\nLocation: /x", 5, "with 300"},
        {"304", "ws://h/", "304\r\nLocation: /x", 5, "with 304"},
        {"305", "ws://h/", "305\r\nLocation: /x", 5, "with 305"},
        {"201", "ws://h/", "201\r\nLocation: /x", 5, "with 201"},
        {"404", "ws://h/", "404\r\nLocation: /x", 5, "with 404"},
        {"too long", "ws://h/", "302\r\nLocation: /%s", 5, "longer than MTWS_REQUEST_MAX"},
        {"too long a host", "ws://h/", "302\r\nLocation: ws://%s", 5, "is invalid"},
    };
    memset(long_location, 'x', sizeof long_location - 1);
    for (size_t i = 0; i < COUNT(rows); i++) {
        if (!test_begin("%s", rows[i].name)) continue;
        char answer[16000];
        size_t used = (size_t)snprintf(answer, sizeof answer, "HTTP/1.1 ");
        const char *mark = strstr(rows[i].answer, "%s");
        used += (size_t)snprintf(answer + used, sizeof answer - used, "%.*s",
                                 mark == NULL ? (int)strlen(rows[i].answer)
                                              : (int)(mark - rows[i].answer),
                                 rows[i].answer);
        if (mark != NULL) {
            used += (size_t)snprintf(answer + used, sizeof answer - used, "%s", long_location);
        }
        snprintf(answer + used, sizeof answer - used, "\r\n\r\n");
        peer_plan plan = {.answer = answer};
        peer p;
        peer_init(&p);
        p.plans = &plan;
        p.url = rows[i].url;
        p.options.max_redirects = rows[i].max_redirects;
        p.options.max_reconnect_attempts = MTWS_UNLIMITED;
        peer_start(&p);
        peer_run(&p);
        CHECK_STR(peer_states(&p), "connecting error failed");
        CHECK_INT(p.connections, 1);
        const peer_event *error = peer_last_state(&p, MTWS_STATE_ERROR);
        if (CHECK(error != NULL)) {
            CHECK_INT(error->event.result, MTWS_ERR_HTTP_STATUS);
            CHECK_INT(error->event.http_status, atoi(rows[i].answer));
            CHECK_TEXT(strstr(error->reason, rows[i].reason) != NULL, "\"%s\"", error->reason);
        }
        peer_finish(&p);
        test_end();
    }
}

/* ---- how many --------------------------------------------------------------------------------- */

/* A circle ends at the limit; more than 5 are 5. */
static void limits(void) { /* FAULTS row 29 */
    static const struct {
        int32_t given, resolved;
    } rows[] = {
        {1, 1}, {2, 2}, {5, 5}, {6, 5}, {INT32_MAX, 5}, {0, MTWS_OFF}, {MTWS_OFF, MTWS_OFF}};
    for (size_t i = 0; i < COUNT(rows); i++) {
        peer_plan plan = {0};
        peer p;
        mtws_options options;
        peer_init(&p);
        plan.answer = leads_to(302, p.url);
        p.plans = &plan;
        p.options.max_redirects = rows[i].given;
        test_context("max_redirects %d", (int)rows[i].given);
        peer_start(&p);
        mtws_get_options(p.ws, &options);
        CHECK_INT(options.max_redirects, rows[i].resolved);
        peer_run(&p);
        int32_t most = rows[i].resolved == MTWS_OFF ? 0 : rows[i].resolved;
        CHECK_INT(p.connections, 1 + most);
        CHECK_UINT(p.closes, (unsigned)(1 + most));
        CHECK_STR(peer_states(&p), "connecting error failed");
        CHECK(strstr(p.events[1].reason, "302") != NULL);
        CHECK_INT(p.events[1].event.attempt, 1); /* all of it is one */
        peer_finish(&p);
    }
    mtws_options options;
    memset(&options, 0, sizeof options);
    options.max_redirects = -2;
    CHECK_UINT(mtws_memory_required(&options), 0);
}

/* As many as are allowed, to different places; each Location counts from where it was said. */
static void chain(void) {
    peer_plan plans[6];
    peer p;
    memset(plans, 0, sizeof plans);
    peer_init(&p);
    PEER_PLANS(&p, plans);
    plans[0].answer = leads_to(301, "/a/b/");
    plans[1].answer = leads_to(302, "c");
    plans[2].answer = leads_to(303, "//other.example/d/e?f");
    plans[3].answer = leads_to(307, "g");
    plans[4].answer = leads_to(308, "?h");
    p.options.max_redirects = 5;
    p.options.headers = credentials;
    peer_open_up(&p);
    CHECK_INT(p.connections, 6);
    CHECK_STR(p.opened_host, "other.example");
    CHECK_STR(first_line(&p), "GET /d/g?h HTTP/1.1");
    CHECK(!peer_told(&p, "CANARY"));
    peer_finish(&p);
}

/* Once another origin had its say, credentials don't come back: not to the first one either. */
static void foreign_stays_foreign(void) {
    peer_plan plans[] = {{0}, {0}, {0}};
    peer p;
    peer_init(&p);
    PEER_PLANS(&p, plans);
    plans[0].answer = leads_to(302, "ws://other.example/");
    plans[1].answer = leads_to(302, p.url);
    p.options.max_redirects = 5;
    p.options.headers = credentials;
    peer_open_up(&p);
    CHECK_INT(p.connections, 3);
    CHECK_STR(p.opened_host, "server.example");
    CHECK(strstr(wire_text(&p.request), "CANARY") == NULL);
    /* The next attempt is the program's own again. */
    peer_end(&p, MTWS_IO_EOF);
    peer_run(&p);
    plans[2].answer = NULL;
    CHECK(peer_reach(&p, MTWS_STATE_CONNECTED, 4000));
    CHECK_STR(peer_request_header(&p, "Authorization"), "Bearer CANARY");
    CHECK_STR(peer_request_header(&p, "Host"), "virtual.example");
    peer_finish(&p);
}

/* ---- part of an attempt ----------------------------------------------------------------------- */

/* A reconnect asks the original again, of a permanent redirect too: what a captive portal or a bad
 * deploy said does not outlive it. */
static void reconnect_begins_anew(void) {
    for (int status = 301; status <= 308; status += 7) {
        peer_plan plans[] = {{0}, {0}, {0}, {0}, {0}};
        peer p;
        peer_init(&p);
        PEER_PLANS(&p, plans);
        plans[0].answer = leads_to(status, "ws://other.example/one");
        plans[2].answer = leads_to(status, "ws://third.example/two");
        p.options.max_redirects = 1; /* for each attempt */
        peer_open_up(&p);
        CHECK_STR(p.opened_host, "other.example");
        peer_queue_text(&p, "kept");
        peer_end(&p, MTWS_IO_ERROR);
        peer_run(&p);
        CHECK_INT(p.last_state, MTWS_STATE_RECONNECTING);
        while (p.connections < 3 && p.bad.size == 0) peer_advance(&p, 1);
        peer_run(&p);
        CHECK_INT(p.connections, 4);
        CHECK_INT(p.last_state, MTWS_STATE_CONNECTED);
        CHECK_STR(p.opened_host, "third.example");
        peer_advance(&p, 200);
        CHECK_UINT(p.settled, 1);
        peer_end(&p, MTWS_IO_EOF);
        peer_run(&p);
        CHECK(peer_reach(&p, MTWS_STATE_CONNECTED, 4000));
        CHECK_STR(p.opened_host, "server.example");
        CHECK_STR(first_line(&p), "GET /chat HTTP/1.1");
        CHECK_STR(peer_states(&p), "connecting connected error reconnecting connected error "
                                   "reconnecting connected");
        peer_finish(&p);
    }
}

/* One timeout for all of it. */
static void one_timeout(void) {
    for (int enough = 0; enough < 2; enough++) {
        peer_plan plans[] = {{.latency_ms = 400}, {.latency_ms = 400}, {.latency_ms = 400}};
        peer p;
        peer_init(&p);
        PEER_PLANS(&p, plans);
        plans[0].answer = leads_to(302, "/a");
        plans[1].answer = leads_to(302, "/b");
        p.options.max_redirects = 5;
        p.options.connect_timeout_ms = enough ? 1201 : 1199;
        peer_start(&p);
        peer_advance(&p, 1250);
        CHECK_INT(p.last_state, enough ? MTWS_STATE_CONNECTED : MTWS_STATE_RECONNECTING);
        CHECK_INT(p.connections, 3);
        const peer_event *error = peer_last_state(&p, MTWS_STATE_ERROR);
        CHECK_INT(error != NULL, !enough);
        if (error != NULL) CHECK_INT(error->event.result, MTWS_ERR_TIMEOUT);
        peer_finish(&p);
    }
}

/* The redirect is cut anywhere, and so is what comes after it: the same events. */
static void cut_anywhere(void) {
    wire_buffer whole = {0};
    size_t size = 300;
    for (size_t cut = 0; cut <= size; cut++) {
        peer_plan plans[] = {{0}, {.then = "text:welcome"}};
        peer p;
        peer_init(&p);
        PEER_PLANS(&p, plans);
        plans[0].answer = leads_to(302, "wss://other.example/chat?token=x");
        p.options.max_redirects = 3;
        if (cut > 2) p.read_cut = cut;
        if (cut == 1 || cut == 2) {
            p.read_size = p.write_size = cut;
            p.write_pause = true;
        }
        test_context("cut at %zu", cut);
        peer_open_up(&p);
        peer_run(&p);
        CHECK_INT(p.connections, 2);
        CHECK_UINT(peer_count_events(&p, MTWS_EVENT_MESSAGE), 1);
        if (cut == 0) wire_add(&whole, p.log.data, p.log.size);
        CHECK_STR(wire_text(&p.log), wire_text(&whole));
        peer_finish(&p);
    }
    wire_free(&whole);
}

/* The redirect's target can't be reached: an attempt like any other. */
static void target_fails(void) {
    peer_plan plans[] = {{0}, {.open_result = MTWS_ERR_CONNECT}, {0}};
    peer p;
    peer_init(&p);
    PEER_PLANS(&p, plans);
    plans[0].answer = leads_to(302, "ws://other.example:99/");
    p.options.max_redirects = 5;
    peer_start(&p);
    peer_run(&p);
    CHECK_STR(peer_states(&p), "connecting error reconnecting");
    const peer_event *error = peer_last_state(&p, MTWS_STATE_ERROR);
    if (CHECK(error != NULL)) {
        CHECK_INT(error->event.result, MTWS_ERR_CONNECT);
        CHECK(strstr(error->reason, "other.example, port 99") != NULL);
    }
    CHECK(peer_reach(&p, MTWS_STATE_CONNECTED, 4000));
    CHECK_STR(p.opened_host, "server.example");
    peer_finish(&p);
}

/* What the program sets for the next attempt, while this one is about to be redirected: the new
 * URL's password is not for the old server, nor for where that one leads. */
static void set_meanwhile(void) {
    static const struct {
        const char *url, *location;
        bool known; /* the new origin is where it leads */
    } rows[] = {
        {"ws://user:CANARY@new.example/", "/x", false},
        {"ws://user:CANARY@new.example/", "ws://other.example/x", false},
        {"ws://user:CANARY@new.example/", "ws://new.example/x", true},
        {"ws://user:CANARY@server.example:81/", "/x", false},
        {"ws://user:CANARY@server.example/fresh", "/x", true},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        peer_plan plans[] = {{.latency_ms = 100}, {0}};
        peer p;
        peer_init(&p);
        PEER_PLANS(&p, plans);
        plans[0].answer = leads_to(302, rows[i].location);
        p.options.max_redirects = 5;
        test_context("row %zu", i);
        peer_start(&p);
        peer_advance(&p, 50);
        CHECK_INT(mtws_set_url(p.ws, rows[i].url, NULL), MTWS_OK);
        peer_advance(&p, 100);
        CHECK_INT(p.last_state, MTWS_STATE_CONNECTED);
        CHECK_INT(p.connections, 2);
        CHECK_INT(peer_request_header(&p, "Authorization") != NULL, rows[i].known);
        CHECK_STR(first_line(&p), "GET /x HTTP/1.1");
        peer_finish(&p);
    }
}

/* The longest target that has room, with headers that leave little; not a byte more. */
static void longest(void) {
    static char value[MTWS_REQUEST_MAX], location[MTWS_REQUEST_MAX];
    memset(value, 'v', 4000);
    mtws_pair headers[] = {{"X-Long", value}, {NULL, NULL}};
    size_t followed_size = 0;
    for (size_t size = 4000; size < 4300; size++) {
        peer_plan plans[] = {{0}, {0}};
        peer p;
        peer_init(&p);
        PEER_PLANS(&p, plans);
        memset(location, 'l', size);
        location[0] = '/';
        location[size] = 0;
        plans[0].answer = leads_to(302, location);
        p.url = "ws://user:password@server.example/";
        p.options.headers = headers;
        p.options.max_redirects = 5;
        test_context("%zu bytes", size);
        peer_start(&p);
        peer_run(&p);
        if (p.last_state == MTWS_STATE_CONNECTED) {
            followed_size = size;
            CHECK_UINT(strlen(first_line(&p)), size + 13);
            CHECK_STR(peer_request_header(&p, "X-Long"), value);
        } else {
            CHECK_INT(p.connections, 1);
            CHECK(strstr(p.events[1].reason, "MTWS_REQUEST_MAX") != NULL);
            CHECK(size > followed_size);
        }
        peer_finish(&p);
    }
    test_context("%s", "");
    CHECK_RANGE(followed_size, 4050, 4250);
}

/* Stopped, or destroyed, while it is on its way. */
static void ended_underway(void) {
    for (int how = 0; how < 2; how++) {
        for (int polls = 0; polls < 30; polls++) {
            peer_plan plans[] = {{.open_again = 2}, {.open_again = 2}, {.open_again = 1}};
            peer p;
            peer_init(&p);
            PEER_PLANS(&p, plans);
            plans[0].answer = leads_to(302, "/a");
            plans[1].answer = leads_to(302, "ws://other.example/a");
            p.options.max_redirects = 5;
            test_context("how %d, %d polls", how, polls);
            peer_start(&p);
            for (int i = 0; i < polls; i++) peer_poll(&p);
            if (how == 1) {
                mtws_disconnect(p.ws, 0, NULL);
                mtws_disconnect(p.ws, 0, NULL);
                peer_run(&p);
                CHECK_INT(p.last_state, MTWS_STATE_DISCONNECTED);
                CHECK_UINT(p.closes, (unsigned)p.connections);
            }
            peer_finish(&p);
        }
    }
}

int main(int argc, char **argv) {
    static const test_entry tests[] = {
        TEST_ROWS(followed),
        TEST_ROWS(not_followed),
        TEST(limits),
        TEST(chain),
        TEST(foreign_stays_foreign),
        TEST(reconnect_begins_anew),
        TEST(one_timeout),
        TEST(cut_anywhere),
        TEST(target_fails),
        TEST(set_meanwhile),
        TEST(longest),
        TEST(ended_underway),
    };
    return TEST_MAIN(tests, argc, argv);
}
