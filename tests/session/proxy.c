/* The whole client through a proxy: CONNECT and SOCKS5, whole, byte by byte and cut at each place;
 * proxies that refuse, that answer nonsense, that are slow or silent; and that nothing of the server
 * goes to the proxy, nothing of the proxy to the server, and no password to people.
 */
#define MTWS_IMPLEMENTATION
#include "../../mtws.h"

#include "../test.h"
#include "peer.h"

#define COUNT(list) (sizeof(list) / sizeof((list)[0]))

/* ---- the proxy -------------------------------------------------------------------------------- */

typedef struct gate_plan {
    const char *answer;  /* instead of the right one, to whatever is asked */
    size_t answer_size;  /* of one that holds zero bytes */
    bool silent;         /* it never answers */
    int end;             /* the connection ends behind the answer so; 0: it stays */
    int open_again;      /* as peer_plan's */
    int open_result;     /* of reaching the proxy */
    uint32_t latency_ms; /* of each answer */
} gate_plan;

typedef enum gate_phase { GATE_CLOSED, GATE_TALKING, GATE_THROUGH } gate_phase;

/* A transport that stands for the network: it reaches a proxy, which reaches the peer. */
typedef struct gate {
    peer p;
    bool socks;
    const char *login; /* "user:password"; NULL: it wants none */
    const gate_plan *plans;
    size_t plan_count;
    size_t read_size; /* as the peer's, for what the proxy says */
    size_t read_cut;
    bool write_slowly; /* a byte at a time, an AGAIN behind each */

    const gate_plan *plan;
    gate_phase phase;
    int connections, closes, open_left, step;
    char host[300]; /* that was reached */
    unsigned port;
    wire_buffer up, down, said; /* said: everything that any proxy was told */
    size_t down_at;
    uint64_t due_us; /* of what is in down */
    bool read_gate, write_gate;
} gate;

static void gate_answer(gate *g, const void *data, size_t size) {
    wire_add(&g->down, data, size);
    g->due_us = g->p.now_us + (uint64_t)g->plan->latency_ms * 1000;
}

/* The way is free: the peer is opened under the name that the proxy was given. */
static bool gate_reach(gate *g, const char *host, unsigned port) {
    peer *p = &g->p;
    int result = peer_open(p, host, (uint16_t)port, false);
    if (result != 0) peer_wrong(p, "the peer does not open at once");
    return result == 0;
}

static void gate_http(gate *g) {
    const char *text = wire_text(&g->up), *end = strstr(text, "\r\n\r\n");
    char expected[1200], host[300], login[300];
    unsigned port = 0;
    if (end == NULL) return;
    if (sscanf(text, "CONNECT %299[^ ]", host) != 1) {
        peer_wrong(&g->p, "the proxy is asked: %s", text);
        return;
    }
    int size =
        snprintf(expected, sizeof expected, "CONNECT %s HTTP/1.1\r\nHost: %s\r\n", host, host);
    if (g->login != NULL) {
        wire_base64((const uint8_t *)g->login, strlen(g->login), login);
        size += snprintf(expected + size, sizeof expected - (size_t)size,
                         "Proxy-Authorization: Basic %s\r\n", login);
    }
    snprintf(expected + size, sizeof expected - (size_t)size, "\r\n");
    /* To the byte: no header that is not the proxy's. */
    if (strcmp(text, expected) != 0) peer_wrong(&g->p, "the proxy is asked: %s", text);
    char *colon = strrchr(host, ':');
    if (colon == NULL) {
        peer_wrong(&g->p, "no port: %s", host);
        return;
    }
    port = (unsigned)atoi(colon + 1);
    *colon = 0;
    char *name = host;
    if (name[0] == '[') {
        name++;
        name[strlen(name) - 1] = 0;
    }
    g->up.size = 0;
    if (g->plan->silent) return;
    if (g->plan->answer != NULL) {
        size_t plan_size = g->plan->answer_size;
        gate_answer(g, g->plan->answer, plan_size != 0 ? plan_size : strlen(g->plan->answer));
        return;
    }
    if (!gate_reach(g, name, port)) return;
    g->step = -1;
    gate_answer(g, "HTTP/1.1 200 Connection established\r\nVia: gate\r\n\r\n", 50);
}

/* Takes `size` bytes off what the client said, if they are there. */
static bool gate_take(gate *g, const uint8_t *expected, size_t size) {
    if (g->up.size < size) return false;
    if (expected != NULL && memcmp(g->up.data, expected, size) != 0) {
        peer_wrong(&g->p, "SOCKS5 step %d: other bytes", g->step);
    }
    return true;
}

static void gate_drop(gate *g, size_t size) {
    memmove(g->up.data, g->up.data + size, g->up.size - size);
    g->up.size -= size;
    g->step++;
}

static void gate_socks_ask(gate *g) {
    const uint8_t *in = g->up.data;
    char host[300];
    if (g->up.size < 5) return;
    size_t size = in[3] == 1 ? 4 : in[3] == 4 ? 16 : (size_t)in[4] + 1;
    if (g->up.size < 4 + size + 2) return;
    if (memcmp(in, "\x05\x01\0", 3) != 0) peer_wrong(&g->p, "SOCKS5: no CONNECT");
    if (in[3] == 3) {
        snprintf(host, sizeof host, "%.*s", (int)in[4], (const char *)in + 5);
    } else if (in[3] == 1) {
        snprintf(host, sizeof host, "%u.%u.%u.%u", in[4], in[5], in[6], in[7]);
    } else {
        snprintf(host, sizeof host, "::%x", in[19]); /* the tests have no longer one */
    }
    unsigned port = (unsigned)in[4 + size] << 8 | in[5 + size];
    gate_drop(g, 4 + size + 2);
    if (!gate_reach(g, host, port)) return;
    gate_answer(g,
                "\x05\0\0\x01"
                "\0\0\0\0"
                "\0",
                10);
    g->step = -1;
}

static void gate_socks(gate *g) {
    uint8_t words[300];
    if (g->plan->silent) return;
    if (g->plan->answer != NULL) {
        if (g->step++ == 0) gate_answer(g, g->plan->answer, g->plan->answer_size);
        return;
    }
    if (g->step == 0) {
        bool login = g->login != NULL;
        const char *expected = login ? "\x05\x02\0\x02" : "\x05\x01\0";
        size_t size = login ? 4 : 3;
        if (!gate_take(g, (const uint8_t *)expected, size)) return;
        gate_drop(g, size);
        gate_answer(g, login ? "\x05\x02" : "\x05\0", 2);
    } else if (g->step == 1 && g->login != NULL) {
        size_t user = strcspn(g->login, ":"), password = strlen(g->login) - user - 1;
        words[0] = 1;
        words[1] = (uint8_t)user;
        memcpy(words + 2, g->login, user);
        words[2 + user] = (uint8_t)password;
        memcpy(words + 3 + user, g->login + user + 1, password);
        if (!gate_take(g, words, 3 + user + password)) return;
        gate_drop(g, 3 + user + password);
        gate_answer(g, "\x01", 2);
    } else {
        gate_socks_ask(g);
    }
}

static int gate_open(void *context, const char *host, uint16_t port, bool tls) {
    gate *g = (gate *)context;
    if (tls) peer_wrong(&g->p, "the proxy is reached with TLS");
    if (g->phase == GATE_CLOSED && g->open_left == 0) {
        size_t plan =
            (size_t)g->connections < g->plan_count ? (size_t)g->connections : g->plan_count - 1;
        g->plan = &g->plans[plan];
        g->connections++;
        g->open_left = g->plan->open_again + 1;
        g->step = 0;
        g->up.size = g->down.size = g->down_at = 0;
        g->read_gate = g->write_gate = false;
        snprintf(g->host, sizeof g->host, "%s", host);
        g->port = port;
    }
    if (strcmp(host, g->host) != 0 || port != g->port) {
        peer_wrong(&g->p, "open() continued with other arguments");
    }
    if (--g->open_left > 0) return MTWS_IO_AGAIN;
    g->phase = GATE_TALKING;
    return g->plan->open_result;
}

static size_t gate_readable(const gate *g) {
    return g->p.now_us >= g->due_us ? g->down.size - g->down_at : 0;
}

static ptrdiff_t gate_read(void *context, void *out, size_t capacity) {
    gate *g = (gate *)context;
    size_t size = gate_readable(g);
    if (g->read_gate) {
        g->read_gate = false;
        return MTWS_IO_AGAIN;
    }
    if (size == 0 && g->down_at == g->down.size) {
        if (g->step < 0) {
            g->phase = GATE_THROUGH;
            return peer_read(&g->p, out, capacity);
        }
        if (g->down_at > 0 && g->plan->end != 0) return g->plan->end;
    }
    if (size == 0) return MTWS_IO_AGAIN;
    size = size < capacity ? size : capacity;
    if (g->read_size != 0 && size > g->read_size) size = g->read_size;
    if (size > g->read_cut) size = g->read_cut;
    if (g->read_cut != SIZE_MAX) {
        g->read_cut -= size;
        if (g->read_cut == 0) {
            g->read_cut = SIZE_MAX;
            g->read_gate = true;
        }
    }
    g->read_gate |= g->read_size != 0;
    memcpy(out, g->down.data + g->down_at, size);
    g->down_at += size;
    g->p.between += size;
    return (ptrdiff_t)size;
}

static ptrdiff_t gate_write(void *context, const void *data, size_t size) {
    gate *g = (gate *)context;
    if (g->step < 0) {
        if (g->down_at < g->down.size) peer_wrong(&g->p, "the client does not wait for the proxy");
        return peer_write(&g->p, data, size);
    }
    if (g->write_gate) {
        g->write_gate = false;
        return MTWS_IO_AGAIN;
    }
    if (g->write_slowly) size = 1;
    g->write_gate = g->write_slowly;
    wire_add(&g->up, data, size);
    wire_add(&g->said, data, size);
    g->p.between += size;
    if (g->socks) gate_socks(g);
    else gate_http(g);
    return (ptrdiff_t)size;
}

static void gate_wait(void *context, bool want_read, bool want_write, mtws_wait *out) {
    gate *g = (gate *)context;
    if (g->phase == GATE_CLOSED) {
        out->timeout_ms = 0; /* opening */
        return;
    }
    bool ended = g->down_at > 0 && g->down_at == g->down.size && g->plan->end != 0;
    if (g->step < 0) ended = g->phase == GATE_TALKING && g->down_at == g->down.size;
    if (want_read && (gate_readable(g) > 0 || g->read_gate || ended)) out->timeout_ms = 0;
    if (want_write && g->step >= 0) out->timeout_ms = 0;
    if (g->phase == GATE_THROUGH) peer_transport_wait(&g->p, want_read, want_write, out);
}

static void gate_close(void *context) {
    gate *g = (gate *)context;
    if (g->p.open) peer_transport_close(&g->p);
    g->closes++;
    g->phase = GATE_CLOSED;
    g->open_left = 0;
}

static void gate_init(gate *g, const char *proxy) {
    static const gate_plan good;
    memset(g, 0, sizeof *g);
    peer_init(&g->p);
    g->plans = &good;
    g->plan_count = 1;
    g->read_cut = SIZE_MAX;
    g->socks = strncmp(proxy, "socks", 5) == 0;
    g->p.options.proxy = proxy;
    g->p.options.transport.open = gate_open;
    g->p.options.transport.read = gate_read;
    g->p.options.transport.write = gate_write;
    g->p.options.transport.wait = gate_wait;
    g->p.options.transport.close = gate_close;
    g->p.options.transport.ctx = g;
    g->p.options.max_reconnect_attempts = MTWS_UNLIMITED;
}

#define GATE_PLANS(g, list) ((g)->plans = (list), (g)->plan_count = COUNT(list))

static void gate_finish(gate *g) {
    mtws_destroy(g->p.ws);
    CHECK_INT(g->closes, g->connections);
    g->p.ws = NULL;
    peer_finish(&g->p);
    wire_free(&g->up);
    wire_free(&g->down);
    wire_free(&g->said);
}

/* ---- through it ------------------------------------------------------------------------------- */

static const struct {
    const char *name, *proxy, *login, *url, *host;
    unsigned port;
} ways[] = {
    {"CONNECT", "http://proxy.example:3128", NULL, "ws://server.example/chat", "server.example",
     80},
    {"CONNECT with a login", "http://uncle:open%20sesame@proxy.example:3128", "uncle:open sesame",
     "ws://server.example:9001/chat", "server.example", 9001},
    {"CONNECT to IPv6", "http://proxy.example:3128/", NULL, "ws://[::7]/chat", "::7", 80},
    {"SOCKS5", "socks5://proxy.example:3128", NULL, "ws://server.example/chat", "server.example",
     80},
    {"SOCKS5 with a login", "socks5h://uncle:open%20sesame@proxy.example:3128", "uncle:open sesame",
     "ws://server.example:9001/chat", "server.example", 9001},
    {"SOCKS5 to IPv4", "socks5://proxy.example:3128", NULL, "ws://10.1.2.3/chat", "10.1.2.3", 80},
    {"SOCKS5 to IPv6", "socks5://proxy.example:3128", NULL, "ws://[::7]/chat", "::7", 80},
};

/* A conversation: the client sends two messages, of which the server gets the second after the first
 * connection broke; what the server says comes with the 101. */
static void converse(gate *g, size_t way) {
    static const peer_plan plans[] = {{.then = "text:welcome", .echo = true},
                                      {.then = "text:again", .echo = true}};
    static const mtws_pair headers[] = {{"Authorization", "Bearer of-the-server"},
                                        {"Cookie", "id=of-the-server"},
                                        {NULL, NULL}};
    peer *p = &g->p;
    p->url = ways[way].url;
    PEER_PLANS(p, plans);
    p->options.headers = headers;
    p->options.initial_reconnect_delay_ms = 250;
    g->login = ways[way].login;
    if (!peer_start(p)) return;
    CHECK_INT(peer_queue_text(p, "hello"), MTWS_OK);
    CHECK(peer_reach(p, MTWS_STATE_CONNECTED, 1000));
    peer_advance(p, 200);
    peer_end(p, MTWS_IO_ERROR);
    peer_run(p);
    CHECK_INT(peer_queue_text(p, "kept"), MTWS_OK);
    CHECK(peer_reach(p, MTWS_STATE_CONNECTED, 2000));
    peer_advance(p, 200);
}

static void check_conversation(gate *g, size_t way) {
    peer *p = &g->p;
    CHECK_STR(peer_client_said(p), "text:hello text:kept /");
    CHECK_INT(g->connections, 2);
    CHECK_STR(g->host, "proxy.example");
    CHECK_UINT(g->port, 3128);
    CHECK_STR(p->opened_host, ways[way].host);
    CHECK_UINT(p->opened_port, ways[way].port);
    CHECK(!p->opened_tls);
    CHECK_UINT(p->settled, 2);
    CHECK(peer_request_header(p, "Proxy-Authorization") == NULL);
    CHECK_STR(peer_request_header(p, "Authorization"), "Bearer of-the-server");
    CHECK(strstr(wire_text(&p->request), "sesame") == NULL);
    CHECK(!peer_told(p, "sesame") && !peer_told(p, "open%20"));
    for (size_t i = 0; i + 13 <= g->said.size; i++) {
        CHECK(memcmp(g->said.data + i, "of-the-server", 13) != 0);
    }
}

static void through(void) {
    for (size_t way = 0; way < COUNT(ways); way++) {
        if (!test_begin("%s", ways[way].name)) continue;
        wire_buffer whole = {0};
        size_t size = 0;
        for (size_t cut = 0; cut <= size + 1; cut++) {
            gate g;
            gate_init(&g, ways[way].proxy);
            test_context("cut at %zu of %zu", cut, size);
            if (cut > 0) g.read_cut = cut;
            converse(&g, way);
            check_conversation(&g, way);
            if (cut == 0) {
                wire_add(&whole, g.p.log.data, g.p.log.size);
                size = g.down.size;
            } else {
                CHECK_STR(wire_text(&g.p.log), wire_text(&whole));
            }
            gate_finish(&g);
        }
        for (size_t read_size = 1; read_size < 4; read_size++) {
            gate g;
            gate_init(&g, ways[way].proxy);
            test_context("%zu bytes at a time", read_size);
            g.read_size = g.p.read_size = read_size;
            g.write_slowly = g.p.write_pause = true;
            g.p.write_size = 1;
            converse(&g, way);
            check_conversation(&g, way);
            CHECK_STR(wire_text(&g.p.log), wire_text(&whole));
            gate_finish(&g);
        }
        wire_free(&whole);
        test_end();
    }
}

/* ---- refusals --------------------------------------------------------------------------------- */

typedef enum ends { RETRIED, STUBBORN } ends;

static const struct {
    const char *name;
    bool socks;
    gate_plan plan;
    ends ends;
    mtws_result result;
    unsigned status;
    const char *reason; /* a part of it */
} refusals[] = {
    {"407",
     false,
     {.answer = "HTTP/1.1 407 Who\r\nProxy-Authenticate: Basic\r\n\r\n"},
     STUBBORN,
     MTWS_ERR_PROXY,
     407,
     "407: it wants user and password"},
    {"403",
     false,
     {.answer = "HTTP/1.1 403 No\r\n\r\n<html>"},
     STUBBORN,
     MTWS_ERR_PROXY,
     403,
     "403"},
    {"redirect",
     false,
     {.answer = "HTTP/1.1 302 F\r\nLocation: ws://evil.example/\r\n\r\n"},
     STUBBORN,
     MTWS_ERR_PROXY,
     302,
     "302"},
    {"502", false, {.answer = "HTTP/1.1 502 Bad\r\n\r\n"}, RETRIED, MTWS_ERR_PROXY, 502, "502"},
    {"503", false, {.answer = "HTTP/1.0 503 Bad\r\n\r\n"}, RETRIED, MTWS_ERR_PROXY, 503, "503"},
    {"nonsense",
     false,
     {.answer = "SSH-2.0-OpenSSH\r\n"},
     STUBBORN,
     MTWS_ERR_PROXY,
     0,
     "not HTTP/1"},
    {"early bytes",
     false,
     {.answer = "HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 101 Switching Protocols\r\n\r\n"},
     STUBBORN,
     MTWS_ERR_PROXY,
     0,
     "unasked"},
    {"unanswered",
     false,
     {.answer = "HTTP/1.1 2", .end = MTWS_IO_EOF},
     RETRIED,
     MTWS_ERR_PROXY,
     0,
     "closed the connection"},
    {"reset", false, {.answer = "H", .end = MTWS_IO_ERROR}, RETRIED, MTWS_ERR_PROXY, 0, "broke"},
    {"not reached",
     false,
     {.open_result = MTWS_ERR_CONNECT},
     RETRIED,
     MTWS_ERR_CONNECT,
     0,
     "through the proxy proxy.example, port 3128"},
    {"not resolved",
     false,
     {.open_result = MTWS_ERR_RESOLVE},
     RETRIED,
     MTWS_ERR_RESOLVE,
     0,
     "through the proxy proxy.example, port 3128"},
    {"SOCKS5 wants a login",
     true,
     {.answer = "\x05\xff", .answer_size = 2},
     STUBBORN,
     MTWS_ERR_PROXY,
     0,
     "wants user and password"},
    {"SOCKS5 is HTTP",
     true,
     {.answer = "HTTP/1.1 400", .answer_size = 12},
     STUBBORN,
     MTWS_ERR_PROXY,
     0,
     "not SOCKS5"},
    {"SOCKS5 early",
     true,
     {.answer = "\x05\0\x05\0", .answer_size = 4},
     STUBBORN,
     MTWS_ERR_PROXY,
     0,
     "unasked"},
};

static void check_refusal(const gate *g, size_t row) {
    const peer_event *error = peer_last_state(&g->p, MTWS_STATE_ERROR);
    if (!CHECK(error != NULL)) return;
    CHECK_INT(error->event.result, refusals[row].result);
    CHECK_UINT(error->event.http_status, refusals[row].status);
    CHECK_TEXT(strstr(error->reason, refusals[row].reason) != NULL, "\"%s\" lacks \"%s\"",
               error->reason, refusals[row].reason);
    CHECK(strstr(error->reason, "server.example") != NULL);
    CHECK(mtws_get_header(g->p.ws, "Proxy-Authenticate") == NULL);
    CHECK(mtws_get_header(g->p.ws, "Location") == NULL);
}

static void refusals_at_first(void) {
    for (size_t i = 0; i < COUNT(refusals); i++) {
        if (!test_begin("%s", refusals[i].name)) continue;
        gate g;
        gate_init(&g,
                  refusals[i].socks ? "socks5://proxy.example:3128" : "http://proxy.example:3128");
        g.plans = &refusals[i].plan;
        peer_start(&g.p);
        peer_run(&g.p);
        check_refusal(&g, i);
        CHECK_STR(peer_states(&g.p), refusals[i].ends == STUBBORN
                                         ? "connecting error failed"
                                         : "connecting error reconnecting");
        CHECK_INT(g.p.connections, 0); /* the server was not reached */
        gate_finish(&g);
        test_end();
    }
}

/* Once a connection was open, a proxy that refuses does not end it for good. */
static void refusals_after_an_open(void) {
    for (size_t i = 0; i < COUNT(refusals); i++) {
        if (!test_begin("%s", refusals[i].name)) continue;
        gate g;
        gate_plan plans[3];
        memset(plans, 0, sizeof plans);
        plans[1] = refusals[i].plan;
        gate_init(&g,
                  refusals[i].socks ? "socks5://proxy.example:3128" : "http://proxy.example:3128");
        GATE_PLANS(&g, plans);
        g.p.options.initial_reconnect_delay_ms = 250;
        CHECK(peer_open_up(&g.p));
        peer_end(&g.p, MTWS_IO_ERROR);
        CHECK(peer_reach(&g.p, MTWS_STATE_RECONNECTING, 1000));
        while (g.connections < 2 && g.p.bad.size == 0) peer_advance(&g.p, 10);
        peer_run(&g.p);
        check_refusal(&g, i);
        CHECK_INT(g.p.last_state, MTWS_STATE_RECONNECTING);
        const mtws_event *last = &g.p.events[g.p.event_count - 1].event;
        bool slow = refusals[i].ends == STUBBORN;
        CHECK(slow ? last->retry_ms > 20000 : last->retry_ms < 5000);
        CHECK(peer_reach(&g.p, MTWS_STATE_CONNECTED, 40000));
        gate_finish(&g);
        test_end();
    }
}

static void retry_after(void) {
    static const char *const busy[] = {
        "HTTP/1.1 503 Busy\r\nRetry-After: 100\r\n\r\n",
        "HTTP/1.1 429 Too Many Requests\r\nRetry-After: 100\r\n\r\n",
    };
    for (size_t i = 0; i < COUNT(busy); i++) {
        const gate_plan plans[] = {
            {.answer = busy[i]},
            {.answer = "HTTP/1.1 502 Bad\r\nRetry-After: 100\r\n\r\n"},
            {0},
        };
        gate g;
        gate_init(&g, "http://proxy.example");
        GATE_PLANS(&g, plans);
        peer_start(&g.p);
        peer_run(&g.p);
        const peer_event *event = peer_last_state(&g.p, MTWS_STATE_RECONNECTING);
        CHECK(event != NULL && event->event.retry_ms >= 100000 && event->event.retry_ms <= 110000);
        peer_advance(&g.p, 111000);
        CHECK_INT(g.p.last_state, MTWS_STATE_CONNECTED);
        gate_finish(&g);
    }
}

/* ---- time ------------------------------------------------------------------------------------- */

/* Waits in small steps, since the peer does not know when the proxy speaks. */
static void gate_advance(gate *g, uint64_t ms) {
    for (uint64_t i = 0; i < ms; i += 10) peer_advance(&g->p, 10);
}

/* The connect timeout counts over all of it. */
static void timeouts(void) {
    static const struct {
        const char *proxy, *login;
        gate_plan plan;
        unsigned answers; /* of the proxy */
    } rows[] = {
        {"http://proxy.example", NULL, {.silent = true}, 0},
        {"socks5://proxy.example", NULL, {.silent = true}, 0},
        {"http://proxy.example", NULL, {.latency_ms = 900}, 1},
        {"socks5://proxy.example", NULL, {.latency_ms = 900}, 2},
        {"socks5://u:p@proxy.example", "u:p", {.latency_ms = 900}, 3},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        for (int enough = 0; enough < 2; enough++) {
            gate g;
            gate_init(&g, rows[i].proxy);
            test_context("row %zu, enough %d", i, enough);
            g.plans = &rows[i].plan;
            g.login = rows[i].login;
            unsigned needed = rows[i].answers * 900;
            g.p.options.connect_timeout_ms =
                (int32_t)(enough ? needed + 200 : needed - needed / 3 + 20);
            peer_start(&g.p);
            gate_advance(&g, needed + 100);
            bool connects = enough && rows[i].answers > 0;
            if (!connects) gate_advance(&g, 200);
            CHECK_INT(g.p.last_state, connects ? MTWS_STATE_CONNECTED : MTWS_STATE_RECONNECTING);
            if (!connects) {
                const peer_event *error = peer_last_state(&g.p, MTWS_STATE_ERROR);
                if (!CHECK(error != NULL)) break;
                CHECK_INT(error->event.result, MTWS_ERR_TIMEOUT);
                CHECK(strstr(error->reason, "through the proxy proxy.example, port ") != NULL);
            }
            gate_finish(&g);
        }
    }
}

/* Stopped, or destroyed, at every step of the way. */
static void ended_underway(void) {
    for (int way = 0; way < 2; way++) {
        for (int how = 0; how < 2; how++) {
            for (int polls = 0; polls < 40; polls++) {
                static const gate_plan plan = {.open_again = 2};
                gate g;
                gate_init(&g, way ? "socks5://u:p@proxy.example" : "http://u:p@proxy.example");
                g.plans = &plan;
                g.login = "u:p";
                g.read_size = 5;
                test_context("way %d, how %d, %d polls", way, how, polls);
                peer_start(&g.p);
                for (int i = 0; i < polls; i++) peer_poll(&g.p);
                if (how == 1) {
                    mtws_disconnect(g.p.ws, 0, NULL);
                    mtws_disconnect(g.p.ws, 0, NULL);
                    peer_run(&g.p);
                    CHECK_INT(g.p.last_state, MTWS_STATE_DISCONNECTED);
                }
                gate_finish(&g);
            }
        }
    }
}

/* ---- which proxy ------------------------------------------------------------------------------ */

static void another_proxy(void) {
    gate g;
    mtws_options options;
    char text[MTWS_PROXY_MAX + 8];
    gate_init(&g, "http://one.example:1");
    g.p.options.initial_reconnect_delay_ms = 250;
    CHECK(peer_open_up(&g.p));
    CHECK_STR(g.host, "one.example");
    mtws_get_options(g.p.ws, &options);
    CHECK_STR(options.proxy, "http://one.example:1");
    CHECK_INT(mtws_set_proxy(g.p.ws, "https://x"), MTWS_ERR_URL);
    CHECK_INT(mtws_set_proxy(g.p.ws, "proxy:80"), MTWS_ERR_URL);
    memset(text, 'x', sizeof text);
    memcpy(text, "http://", 7);
    text[MTWS_PROXY_MAX] = 0;
    CHECK_INT(mtws_set_proxy(g.p.ws, text), MTWS_ERR_TOO_BIG);
    mtws_get_options(g.p.ws, &options);
    CHECK_STR(options.proxy, "http://one.example:1");
    CHECK_INT(mtws_set_proxy(g.p.ws, options.proxy), MTWS_OK); /* what it gave is taken */
    /* While connected nothing changes but what the next attempt does. */
    CHECK_INT(mtws_set_proxy(g.p.ws, "socks5://two.example"), MTWS_OK);
    mtws_get_options(g.p.ws, &options);
    CHECK_STR(options.proxy, "socks5://two.example");
    peer_queue_text(&g.p, "still through one");
    peer_advance(&g.p, 200);
    CHECK_UINT(g.p.settled, 1);
    g.socks = true;
    peer_end(&g.p, MTWS_IO_EOF);
    peer_run(&g.p);
    CHECK(peer_reach(&g.p, MTWS_STATE_CONNECTED, 2000));
    CHECK_STR(g.host, "two.example");
    CHECK_UINT(g.port, 1080);
    /* None: the transport is opened to the server, which this gate takes for its own language. */
    CHECK_INT(mtws_set_proxy(g.p.ws, NULL), MTWS_OK);
    mtws_get_options(g.p.ws, &options);
    CHECK_STR(options.proxy, "");
    CHECK_UINT(g.p.bad.size, 0);
    g.p.ignore_violations = true;
    g.said.size = 0;
    peer_end(&g.p, MTWS_IO_EOF);
    peer_run(&g.p);
    for (int i = 0; i < 200 && g.connections < 3; i++) peer_advance(&g.p, 10);
    CHECK_STR(g.host, "server.example");
    CHECK(strstr(wire_text(&g.said), "GET /chat HTTP/1.1") != NULL);
    CHECK_INT(mtws_set_proxy(g.p.ws, ""), MTWS_OK);
    gate_finish(&g);
}

/* The proxy changes while an attempt is on its way through the old one. */
static void another_proxy_meanwhile(void) {
    static const gate_plan plans[] = {{.latency_ms = 1000}, {0}};
    gate g;
    gate_init(&g, "http://one.example");
    GATE_PLANS(&g, plans);
    peer_start(&g.p);
    gate_advance(&g, 500);
    CHECK_INT(mtws_set_proxy(g.p.ws, "http://two.example:2"), MTWS_OK);
    gate_advance(&g, 600);
    CHECK_INT(g.p.last_state, MTWS_STATE_CONNECTED);
    CHECK_STR(g.host, "one.example");
    peer_end(&g.p, MTWS_IO_EOF);
    peer_run(&g.p);
    CHECK(peer_reach(&g.p, MTWS_STATE_CONNECTED, 4000));
    CHECK_STR(g.host, "two.example");
    gate_finish(&g);
}

static void bad_options(void) {
    static const struct {
        const char *proxy;
        mtws_result result;
    } rows[] = {
        {NULL, MTWS_OK},
        {"", MTWS_OK},
        {"http://proxy", MTWS_OK},
        {"socks5h://u:p@[::1]:1", MTWS_OK},
        {"proxy", MTWS_ERR_URL},
        {"https://canary-user:canary-word@proxy", MTWS_ERR_URL},
        {"http://canary-user:canary-word@proxy/path", MTWS_ERR_URL},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        peer p;
        peer_init(&p);
        p.options.proxy = rows[i].proxy;
        test_context("%s", rows[i].proxy == NULL ? "NULL" : rows[i].proxy);
        CHECK_INT(mtws_create(&p.ws, &p.options), rows[i].result);
        CHECK_INT(p.ws != NULL, rows[i].result == MTWS_OK);
        CHECK(!peer_told(&p, "canary"));
        CHECK_INT(strstr(wire_text(&p.logged), "bad_proxy") != NULL, rows[i].result != MTWS_OK);
        if (p.ws != NULL) {
            mtws_options options;
            mtws_get_options(p.ws, &options);
            CHECK_STR(options.proxy, rows[i].proxy == NULL ? "" : rows[i].proxy);
        }
        peer_finish(&p);
    }
}

/* A transport that does TLS must have the proxy below it. */
static void no_tls_above(void) {
    gate g;
    gate_init(&g, "http://proxy.example");
    CHECK_INT(mtws_create(&g.p.ws, &g.p.options), MTWS_OK);
    CHECK_INT(mtws_connect(g.p.ws, "wss://server.example/", NULL), MTWS_ERR_TLS);
    CHECK(peer_told(&g.p, "mtws_net_set_proxy"));
    CHECK_INT(mtws_set_proxy(g.p.ws, ""), MTWS_OK);
    CHECK_INT(mtws_connect(g.p.ws, "wss://server.example/", NULL), MTWS_OK);
    CHECK_INT(mtws_set_proxy(g.p.ws, "http://proxy.example"), MTWS_OK);
    peer_run(&g.p);
    const peer_event *error = peer_last_state(&g.p, MTWS_STATE_ERROR);
    if (CHECK(error != NULL)) CHECK_INT(error->event.result, MTWS_ERR_TLS);
    CHECK_INT(g.connections, 0); /* nothing went out */
    gate_finish(&g);
}

/* A redirect's target is reached through the proxy too; one that needs TLS is not followed where the
 * proxy lies above the transport that would do it. */
static void redirects(void) {
    static const peer_plan plans[] = {
        {.answer = "HTTP/1.1 302 Found\r\nLocation: ws://other.example:99/x\r\n\r\n"},
        {.answer = "HTTP/1.1 302 Found\r\nLocation: wss://other.example/x\r\n\r\n"},
        {0}};
    gate g;
    gate_init(&g, "http://user:pass@proxy.example");
    PEER_PLANS(&g.p, plans);
    g.login = "user:pass";
    g.p.options.max_redirects = 5;
    peer_start(&g.p);
    peer_run(&g.p);
    CHECK_INT(g.connections, 2);
    CHECK_STR(g.host, "proxy.example");
    CHECK_STR(g.p.opened_host, "other.example");
    CHECK_UINT(g.p.opened_port, 99);
    CHECK(peer_request_header(&g.p, "Proxy-Authorization") == NULL);
    const peer_event *error = peer_last_state(&g.p, MTWS_STATE_ERROR);
    if (CHECK(error != NULL)) CHECK(strstr(error->reason, "there is no TLS") != NULL);
    gate_finish(&g);
}

/* ---- secrets ---------------------------------------------------------------------------------- */

/* FAULTS row 31, for the proxy's user and password: whoever repeats them, people don't see them. */
static void canaries(void) {
    static const char *const urls[] = {"http://canary-user:canary%20word@proxy.example",
                                       "socks5://canary-user:canary%20word@proxy.example"};
    static const peer_plan plans[] = {{.then = "close:1011,canary-user"},
                                      {.then = "close:1001,canary%20word"},
                                      {.answer = "HTTP/1.1 503 canary-user canary word\r\n\r\n"},
                                      {0}};
    static const gate_plan gates[] = {
        {0},
        {0},
        {0},
        {.answer = "HTTP/1.1 502 canary-user canary word Y2FuYXJ5LXVzZXI6Y2FuYXJ5IHdvcmQ=\r\n\r\n"},
        {.answer = "HTTP/1.1 407 canary-user\r\nProxy-Authenticate: Basic canary word\r\n\r\n"},
        {.answer = "canary-user:canary word"},
        {.silent = true},
        {0}};
    for (size_t i = 0; i < COUNT(urls); i++) {
        gate g;
        gate_init(&g, urls[i]);
        test_context("%s", urls[i]);
        PEER_PLANS(&g.p, plans);
        g.login = "canary-user:canary word";
        if (i == 0) GATE_PLANS(&g, gates);
        peer_start(&g.p);
        for (int k = 0; k < 40 && g.p.bad.size == 0; k++) {
            peer_advance(&g.p, 5000);
            if (k == 20)
                mtws_set_proxy(g.p.ws, "http://canary-next:canary-next-word@proxy.example");
            if (k == 20) g.login = "canary-next:canary-next-word", g.socks = false;
            if (k == 30) peer_end(&g.p, MTWS_IO_EOF);
        }
        CHECK_INT(g.p.last_state, MTWS_STATE_CONNECTED);
        CHECK(g.connections > (i == 0 ? 8 : 4));
        CHECK(!peer_told(&g.p, "canary") && !peer_told(&g.p, "Y2FuYXJ5"));
        CHECK(strstr(wire_text(&g.p.request), "canary") == NULL);
        CHECK(strstr(wire_text(&g.p.request), "Y2FuYXJ5") == NULL);
        gate_finish(&g);
    }
}

/* Of the proxy that is in use, and of the one that is to come. */
static void canaries_of_both(void) {
    static const char *const words[] = {"canary-old", "canary-next"};
    for (size_t i = 0; i < COUNT(words); i++) {
        gate g;
        char frame[64];
        gate_init(&g, "http://old:canary-old@proxy.example");
        g.login = "old:canary-old";
        CHECK(peer_open_up(&g.p));
        CHECK_INT(mtws_set_proxy(g.p.ws, "http://next:canary-next@proxy.example"), MTWS_OK);
        snprintf(frame, sizeof frame, "close:1001,%s", words[i]);
        peer_stream(&g.p, frame);
        peer_run(&g.p);
        const peer_event *error = peer_last_state(&g.p, MTWS_STATE_ERROR);
        if (CHECK(error != NULL)) CHECK_TEXT(error->reason[0] == '*', "\"%s\"", error->reason);
        CHECK(!peer_told(&g.p, "canary"));
        gate_finish(&g);
    }
}

/* What the last proxy refused with is not said of a transport that has none. */
static void no_stale_reason(void) {
    static const gate_plan plans[] = {{.answer = "HTTP/1.1 502 Bad\r\n\r\n"},
                                      {.open_result = MTWS_ERR_PROXY}};
    gate g;
    gate_init(&g, "http://proxy.example");
    GATE_PLANS(&g, plans);
    peer_start(&g.p);
    peer_run(&g.p);
    CHECK_INT(mtws_set_proxy(g.p.ws, NULL), MTWS_OK);
    while (g.connections < 2 && g.p.bad.size == 0) peer_advance(&g.p, 10);
    const peer_event *error = peer_last_state(&g.p, MTWS_STATE_ERROR);
    if (CHECK(error != NULL)) {
        CHECK_INT(error->event.result, MTWS_ERR_PROXY);
        CHECK_UINT(error->event.http_status, 0);
        CHECK(strstr(error->reason, "502") == NULL && strstr(error->reason, "through") == NULL);
    }
    gate_finish(&g);
}

/* What a server said in its last answer is gone once the proxy's takes its room; what the server
 * says next is there. */
static void answers_of_the_server(void) {
    static const peer_plan plans[] = {
        {.answer = PEER_ANSWER_LINES "X-Of: the server\r\n\r\n"},
        {.answer = "HTTP/1.1 503 Busy\r\nX-Of: the second\r\n\r\n"},
        {0},
    };
    static const gate_plan gates[] = {{0}, {0}, {.silent = true}, {0}};
    gate g;
    gate_init(&g, "http://proxy.example");
    PEER_PLANS(&g.p, plans);
    GATE_PLANS(&g, gates);
    g.p.options.connect_timeout_ms = 1000;
    CHECK(peer_open_up(&g.p));
    CHECK_STR(mtws_get_header(g.p.ws, "X-Of"), "the server");
    CHECK(mtws_get_header(g.p.ws, "Via") == NULL);
    peer_end(&g.p, MTWS_IO_EOF);
    peer_run(&g.p);
    CHECK_STR(mtws_get_header(g.p.ws, "X-Of"), "the server");
    while (g.connections < 2 && g.p.bad.size == 0) peer_advance(&g.p, 10);
    CHECK_STR(mtws_get_header(g.p.ws, "X-Of"), "the second");
    while (g.connections < 3 && g.p.bad.size == 0) peer_advance(&g.p, 10);
    CHECK(mtws_get_header(g.p.ws, "X-Of") == NULL);
    CHECK(mtws_get_header(g.p.ws, "Via") == NULL);
    CHECK_STR(mtws_get_subprotocol(g.p.ws), "");
    CHECK(peer_reach(&g.p, MTWS_STATE_CONNECTED, 10000));
    CHECK(mtws_get_header(g.p.ws, "Upgrade") != NULL);
    gate_finish(&g);
}

int main(int argc, char **argv) {
    static const test_entry tests[] = {
        TEST_ROWS(through),
        TEST_ROWS(refusals_at_first),
        TEST_ROWS(refusals_after_an_open),
        TEST(retry_after),
        TEST(timeouts),
        TEST(ended_underway),
        TEST(another_proxy),
        TEST(another_proxy_meanwhile),
        TEST(bad_options),
        TEST(no_tls_above),
        TEST(redirects),
        TEST(canaries),
        TEST(canaries_of_both),
        TEST(no_stale_reason),
        TEST(answers_of_the_server),
    };
    return TEST_MAIN(tests, argc, argv);
}
