/* A client under test, for servers.py: it sends numbered messages over TLS, and prints what becomes
 * of them.
 *
 *     client URL [NAME=VALUE...]
 *
 *     ca, ca_pem, cert, key     files; ca_pem is read and given as text; cert and key as texts
 *     trust=1                   the anchors of ca in an mtws_trust
 *     pin, name, insecure=1     options.pin_sha256, server_name, insecure_skip_verify
 *     proxy, redirects          options.proxy, max_redirects
 *     attempts, connect, close, interval, timeout, max     options in milliseconds, or as they are
 *     clock=SECONDS             this much is added to the wall clock
 *     count=N, gap=MS           so many messages, a burst of them each MS milliseconds
 *     endless=1                 messages until the standard input ends, instead of a count
 *     size=N                    all of this size, or about it; over 64 KiB in fragments
 *     echo=1                    the server sends each back: compared, and waited for
 *     hold=MS                   after all that it stays connected so long
 *     limit=MS                  gives up
 *
 * Built with CLIENT_OPENSSL it goes through examples/openssl_transport.c, which takes ca alone of
 * what is about TLS.
 *
 * Output, one event a line:
 *     state NEW RESULT CLOSE_CODE HTTP_STATUS REASON...
 *     log ITEM TEXT...
 *     delivered FIRST LAST      dropped FIRST LAST RESULT
 *     figures longest_us=N resumed_us=N polls=N connects=N echoes=N wrong=N sent=N
 * (the processor's time for the longest mtws_poll while not connected, and since the first ERROR)
 * and its exit status is 0 where all was delivered and came back, and it ended in "disconnected".
 */
#define _DEFAULT_SOURCE
#ifdef CLIENT_OPENSSL
#define OPENSSL_TRANSPORT_NO_MAIN
#include "../../examples/openssl_transport.c"
#else
#define MTWS_BEARSSL
#define MTWS_IMPLEMENTATION
#include "../../mtws.h"
#endif

#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { TEXT_MAX = 4 << 20, BURST = 7 };

typedef struct settings {
    mtws_options options;
    const char *url, *trust_file;
    int64_t clock_s;
    uint64_t count, gap_ms, size, hold_ms, limit_ms;
    bool echo, trust, endless;
} settings;

typedef struct program {
    settings *set;
    mtws_client *ws;
    uint64_t sent, settled, echoes, wrong, dropped;
    uint64_t next_ms, hold_until_ms;
    uint64_t longest_ns, resumed_ns, polls, connects;
    bool closing, ended, disconnected, failed;
} program;

static int64_t clock_offset_s;

static uint64_t now_ns(clockid_t clock) {
    struct timespec t = {0, 0};
    clock_gettime(clock, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static uint64_t now_ms(void) { return now_ns(CLOCK_MONOTONIC) / 1000000; }

static uint64_t hook_now_us(void *ctx) {
    (void)ctx;
    return now_ns(CLOCK_MONOTONIC) / 1000;
}

static uint64_t hook_unix_ms(void *ctx) {
    (void)ctx;
    int64_t now = (int64_t)(now_ns(CLOCK_REALTIME) / 1000000) + clock_offset_s * 1000;
    return now < 0 ? 0 : (uint64_t)now;
}

static void hook_log(void *ctx, mtws_level level, const char *item, const char *text) {
    (void)ctx, (void)level;
    printf("log %s %s\n", item, text);
    fflush(stdout);
}

static const char *read_file(const char *path) {
    char *text = (char *)calloc(1, TEXT_MAX);
    FILE *file = fopen(path, "rb");
    if (file == NULL || text == NULL || fread(text, 1, TEXT_MAX - 1, file) == 0) {
        fprintf(stderr, "client: %s cannot be read\n", path);
        exit(2);
    }
    fclose(file);
    return text;
}

/* ---- arguments ------------------------------------------------------------------------------- */

static bool set_text(settings *s, const char *name, const char *value) {
    mtws_options *o = &s->options;
    if (strcmp(name, "ca") == 0) o->ca_file = value;
    else if (strcmp(name, "ca_pem") == 0) o->ca_pem = read_file(value);
    else if (strcmp(name, "cert") == 0) o->client_cert_pem = read_file(value);
    else if (strcmp(name, "key") == 0) o->client_key_pem = read_file(value);
    else if (strcmp(name, "pin") == 0) o->pin_sha256 = value;
    else if (strcmp(name, "name") == 0) o->server_name = value;
    else if (strcmp(name, "proxy") == 0) o->proxy = value;
    else return false;
    return true;
}

static bool set_number(settings *s, const char *name, int64_t value) {
    mtws_options *o = &s->options;
    struct {
        const char *name;
        int32_t *option;
        uint64_t *own;
    } rows[] = {
        {"attempts", &o->max_reconnect_attempts, NULL},
        {"connect", &o->connect_timeout_ms, NULL},
        {"close", &o->close_timeout_ms, NULL},
        {"interval", &o->heartbeat_interval_ms, NULL},
        {"timeout", &o->heartbeat_timeout_ms, NULL},
        {"max", &o->max_reconnect_delay_ms, NULL},
        {"count", NULL, &s->count},
        {"gap", NULL, &s->gap_ms},
        {"size", NULL, &s->size},
        {"hold", NULL, &s->hold_ms},
        {"limit", NULL, &s->limit_ms},
        {"redirects", &o->max_redirects, NULL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (strcmp(rows[i].name, name) != 0) continue;
        if (rows[i].option != NULL) *rows[i].option = (int32_t)value;
        else *rows[i].own = (uint64_t)value;
        return true;
    }
    if (strcmp(name, "clock") == 0) s->clock_s = value;
    else if (strcmp(name, "echo") == 0) s->echo = value != 0;
    else if (strcmp(name, "trust") == 0) s->trust = value != 0;
    else if (strcmp(name, "endless") == 0) s->endless = value != 0;
    else if (strcmp(name, "insecure") == 0) o->insecure_skip_verify = value != 0;
    else return false;
    return true;
}

static void parse(settings *s, int argc, char **argv) {
    memset(s, 0, sizeof *s);
    s->options.max_reconnect_attempts = MTWS_OFF;
    s->options.initial_reconnect_delay_ms = 250;
    s->options.logger.log = hook_log;
    s->options.logger.level = MTWS_LOG_DEBUG;
    s->options.clock.now_us = hook_now_us;
    s->options.clock.unix_ms = hook_unix_ms;
    s->limit_ms = 20000;
    s->size = 100;
    s->url = argc > 1 ? argv[1] : "";
    for (int i = 2; i < argc; i++) {
        char name[32];
        const char *equals = strchr(argv[i], '=');
        size_t size = equals == NULL ? 0 : (size_t)(equals - argv[i]);
        if (equals == NULL || size >= sizeof name) exit(2);
        memcpy(name, argv[i], size);
        name[size] = 0;
        if (set_text(s, name, equals + 1)) continue;
        if (set_number(s, name, strtoll(equals + 1, NULL, 10))) continue;
        fprintf(stderr, "client: what is \"%s\"?\n", argv[i]);
        exit(2);
    }
    clock_offset_s = s->clock_s;
    if (s->endless) s->count = UINT64_MAX;
}

/* ---- messages -------------------------------------------------------------------------------- */

/* Begins with its number, which says the rest of it. */
static size_t message(const settings *s, uint64_t number, char *text) {
    size_t size = (size_t)(s->size < 16 ? 16 : s->size - number % (s->size / 8 + 1));
    int digits = snprintf(text, 24, "%" PRIu64 " ", number);
    for (size_t i = (size_t)digits; i < size; i++) text[i] = (char)('a' + (number + i) % 26);
    return size;
}

static void send_due(program *p) {
    static char text[TEXT_MAX];
    if (p->closing || p->sent == p->set->count || now_ms() < p->next_ms) return;
    p->next_ms = now_ms() + p->set->gap_ms;
    for (int i = 0; i < BURST && p->sent < p->set->count; i++) {
        size_t size = message(p->set, p->sent + 1, text);
        if (mtws_send(p->ws, MTWS_TEXT, text, size, 0, NULL) != MTWS_OK) return;
        p->sent++;
    }
}

/* What comes back is what was sent, in order; what was sent twice may come twice. */
static void compare(program *p, const mtws_event *e) {
    static char text[TEXT_MAX];
    uint64_t number = strtoull((const char *)e->data, NULL, 10);
    size_t size = number == 0 ? 0 : message(p->set, number, text);
    bool same =
        number > 0 && number <= p->sent && size == e->size && memcmp(text, e->data, size) == 0;
    if (!same) p->wrong++;
    else if (number == p->echoes + 1) p->echoes++;
    else if (number > p->echoes) p->wrong++;
}

static void take(program *p, const mtws_event *e) {
    switch (e->type) {
    case MTWS_EVENT_STATE:
        printf("state %s %d %u %u %s\n", mtws_state_name(e->state), (int)e->result,
               (unsigned)e->close_code, (unsigned)e->http_status, e->reason);
        p->ended = e->state == MTWS_STATE_DISCONNECTED || e->state == MTWS_STATE_FAILED;
        p->disconnected = e->state == MTWS_STATE_DISCONNECTED;
        p->connects += e->state == MTWS_STATE_CONNECTED;
        p->failed = p->failed || e->state == MTWS_STATE_ERROR;
        break;
    case MTWS_EVENT_MESSAGE:
        if (p->set->echo) compare(p, e);
        else printf("message %.*s\n", (int)mtws__min_size(e->size, 200), (const char *)e->data);
        break;
    case MTWS_EVENT_DELIVERED:
        p->settled += e->id - e->first_id + 1;
        printf("delivered %" PRIu64 " %" PRIu64 "\n", e->first_id, e->id);
        break;
    case MTWS_EVENT_DROPPED:
        p->settled += e->id - e->first_id + 1;
        p->dropped += e->id - e->first_id + 1;
        printf("dropped %" PRIu64 " %" PRIu64 " %d\n", e->first_id, e->id, (int)e->result);
        break;
    default: break;
    }
    fflush(stdout);
}

/* Every event there is; the longest mtws_poll of a connection that is being made is noted. */
static void pump(program *p) {
    mtws_event e;
    int result = 1;
    while (result == 1) {
        bool connecting = mtws_get_state(p->ws) != MTWS_STATE_CONNECTED;
        uint64_t start = now_ns(CLOCK_THREAD_CPUTIME_ID);
        result = mtws_poll(p->ws, &e, 0);
        uint64_t took = now_ns(CLOCK_THREAD_CPUTIME_ID) - start;
        if (connecting && took > p->longest_ns) p->longest_ns = took;
        if (connecting && p->failed && took > p->resumed_ns) p->resumed_ns = took;
        p->polls++;
        if (result == 1) take(p, &e);
    }
}

static void wait_for(program *p) {
    struct pollfd fds[MTWS_WAIT_MAX];
    mtws_wait wait;
    nfds_t count = 0;
    mtws_get_wait(p->ws, &wait);
    for (int i = 0; i < wait.count; i++) {
        if (!wait.fds[i].want_read && !wait.fds[i].want_write) continue;
        fds[count].fd = wait.fds[i].fd;
        fds[count].events =
            (short)((wait.fds[i].want_read ? POLLIN : 0) | (wait.fds[i].want_write ? POLLOUT : 0));
        fds[count++].revents = 0;
    }
    int limit = p->sent < p->set->count ? (int)p->set->gap_ms + 1 : 50;
    bool sooner = wait.timeout_ms >= 0 && wait.timeout_ms < limit;
    poll(fds, count, sooner ? wait.timeout_ms : limit);
}

/* An endless one has sent all when its standard input ends. */
static void read_input(program *p) {
    struct pollfd input = {STDIN_FILENO, POLLIN, 0};
    if (!p->set->endless || poll(&input, 1, 0) != 1) return;
    p->set->endless = false;
    p->set->count = p->sent;
}

static void run(program *p) {
    uint64_t give_up_ms = now_ms() + p->set->limit_ms;
    while (!p->ended && now_ms() < give_up_ms) {
        pump(p);
        if (p->ended) break;
        send_due(p);
        read_input(p);
        bool all = p->sent == p->set->count && p->settled == p->sent && p->connects > 0 &&
                   (!p->set->echo || p->echoes == p->sent);
        if (!all) p->hold_until_ms = now_ms() + p->set->hold_ms;
        else if (!p->closing && now_ms() >= p->hold_until_ms) {
            mtws_disconnect(p->ws, 1000, NULL);
            p->closing = true;
        }
        wait_for(p);
    }
}

int main(int argc, char **argv) {
    settings set;
    program p;
    mtws_trust *trust = NULL;
    memset(&p, 0, sizeof p);
    parse(&set, argc, argv);
    p.set = &set;
    mtws_result result = MTWS_OK;
#ifdef CLIENT_OPENSSL
    static openssl_transport transport;
    if (!openssl_transport_make(&transport, &set.options.transport, set.options.ca_file)) return 1;
    set.options.ca_file = NULL;
#endif
    if (set.trust) {
        result = mtws_trust_create(&trust, set.options.ca_file, set.options.ca_pem);
        set.options.ca_file = set.options.ca_pem = NULL;
        set.options.trust = trust;
    }
    if (set.size > 65536) set.options.max_message_size = set.options.max_queue_size = TEXT_MAX;
    if (result == MTWS_OK) result = mtws_create(&p.ws, &set.options);
    if (result == MTWS_OK) result = mtws_connect(p.ws, set.url, NULL);
    if (result != MTWS_OK) {
        printf("refused %d\n", (int)result);
        mtws_destroy(p.ws);
        mtws_trust_destroy(trust);
        return 1;
    }
    run(&p);
    mtws_destroy(p.ws);
    mtws_trust_destroy(trust);
#ifdef CLIENT_OPENSSL
    printf("log openssl %s\n", transport.reason);
    openssl_transport_free(&transport);
#endif
    printf("figures longest_us=%" PRIu64 " resumed_us=%" PRIu64 " polls=%" PRIu64
           " connects=%" PRIu64 " echoes=%" PRIu64 " wrong=%" PRIu64 " sent=%" PRIu64 "\n",
           p.longest_ns / 1000, p.resumed_ns / 1000, p.polls, p.connects, p.echoes, p.wrong,
           p.sent);
    bool whole = p.sent == set.count && p.settled == p.sent && p.dropped == 0 && p.wrong == 0 &&
                 (!set.echo || p.echoes == p.sent);
    return p.disconnected && whole ? 0 : 1;
}
