/* A whole life of a client, over every public function: matrix.sh builds this file in many ways, as
 * C and as C++, with the implementation inside (-DMTWS_IMPLEMENTATION) or linked to it, and runs it
 * against examples/chaos_server:
 *
 *     life ws://127.0.0.1:9001/
 *
 * The header comes first, as its manual asks. The table gives each function the type that its
 * documentation promises, so that a change of one does not compile.
 */
#include "../../mtws.h"

#include <stdio.h>
#include <string.h>

typedef struct life_api {
    size_t (*memory_required)(const mtws_options *);
    mtws_result (*create)(mtws_client **, const mtws_options *);
    mtws_result (*create_in)(mtws_client **, const mtws_options *, void *, size_t);
    void (*destroy)(mtws_client *);
    mtws_result (*connect)(mtws_client *, const char *, const mtws_pair *);
    mtws_result (*disconnect)(mtws_client *, uint16_t, const char *);
    mtws_result (*retry_now)(mtws_client *);
    mtws_result (*set_url)(mtws_client *, const char *, const mtws_pair *);
    mtws_result (*set_header)(mtws_client *, const char *, const char *);
    mtws_result (*set_proxy)(mtws_client *, const char *);
    mtws_result (*proxy_from_environment)(const char *, char *, size_t);
    mtws_result (*trust_create)(mtws_trust **, const char *, const char *);
    mtws_result (*trust_create_in)(mtws_trust **, const char *, const char *, void *, size_t);
    size_t (*trust_memory_required)(const char *, const char *);
    size_t (*trust_count)(const mtws_trust *);
    void (*trust_destroy)(mtws_trust *);
    mtws_result (*set_trust)(mtws_client *, const mtws_trust *);
    int (*poll)(mtws_client *, mtws_event *, int32_t);
    void (*get_wait)(const mtws_client *, mtws_wait *);
    mtws_result (*wake)(mtws_client *);
    mtws_result (*set_paused)(mtws_client *, bool);
    mtws_result (*send)(mtws_client *, mtws_kind, const void *, size_t, unsigned, uint64_t *);
    mtws_result (*send_text)(mtws_client *, const char *);
    mtws_result (*send_part)(mtws_client *, mtws_kind, const void *, size_t, bool, bool,
                             uint64_t *);
    mtws_result (*release_queue)(mtws_client *);
    mtws_result (*clear_queue)(mtws_client *);
    mtws_result (*confirm)(mtws_client *, uint64_t);
    mtws_result (*on_message)(mtws_client *, const char *, mtws_message_handler *, void *);
    mtws_result (*on_state)(mtws_client *, mtws_state_handler *, void *);
    bool (*dispatch)(mtws_client *, const mtws_event *);
    mtws_result (*set_network)(mtws_client *, bool);
    mtws_result (*net_transport)(mtws_transport *, void *, size_t);
    mtws_result (*net_set_proxy)(mtws_transport *, const char *);
    const char *(*net_reason)(const mtws_transport *);
    void (*net_destroy)(mtws_transport *);
    mtws_state (*get_state)(const mtws_client *);
    void (*get_options)(const mtws_client *, mtws_options *);
    void (*get_stats)(const mtws_client *, mtws_stats *);
    const char *(*get_header)(const mtws_client *, const char *);
    const char *(*get_subprotocol)(const mtws_client *);
    void *(*get_user_data)(const mtws_client *);
    const char *(*result_text)(int);
    const char *(*state_name)(mtws_state);
    const char *(*version)(void);
} life_api;

static const life_api api = {
    mtws_memory_required,
    mtws_create,
    mtws_create_in,
    mtws_destroy,
    mtws_connect,
    mtws_disconnect,
    mtws_retry_now,
    mtws_set_url,
    mtws_set_header,
    mtws_set_proxy,
    mtws_proxy_from_environment,
    mtws_trust_create,
    mtws_trust_create_in,
    mtws_trust_memory_required,
    mtws_trust_count,
    mtws_trust_destroy,
    mtws_set_trust,
    mtws_poll,
    mtws_get_wait,
    mtws_wake,
    mtws_set_paused,
    mtws_send,
    mtws_send_text,
    mtws_send_part,
    mtws_release_queue,
    mtws_clear_queue,
    mtws_confirm,
    mtws_on_message,
    mtws_on_state,
    mtws_dispatch,
    mtws_set_network,
    mtws_net_transport,
    mtws_net_set_proxy,
    mtws_net_reason,
    mtws_net_destroy,
    mtws_get_state,
    mtws_get_options,
    mtws_get_stats,
    mtws_get_header,
    mtws_get_subprotocol,
    mtws_get_user_data,
    mtws_result_text,
    mtws_state_name,
    mtws_version,
};

#define EXPECT(condition)                                                                          \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            printf("%s:%d: not true: %s\n", __FILE__, __LINE__, #condition);                       \
            return 1;                                                                              \
        }                                                                                          \
    } while (0)

enum { POLL_MS = 10000, BINARY_SIZE = 70000, ROUNDS = 3 };

/* An odd address, since any alignment is allowed. */
#ifdef MTWS_BEARSSL
enum { MEMORY_SIZE = MTWS_MEMORY_SIZE(100000, 300000) + MTWS_TLS_MEMORY_SIZE };
#else
enum { MEMORY_SIZE = MTWS_MEMORY_SIZE(100000, 300000) };
#endif
static unsigned char memory[MEMORY_SIZE + 1];
static unsigned char payload[BINARY_SIZE];

/* Before a connection: nothing here does I/O. */
static int look_around(mtws_client *ws, void *user_data) {
    mtws_options resolved;
    mtws_wait wait;
    uint64_t id = 0;
    char version[32];

    api.get_options(ws, &resolved);
    EXPECT(resolved.connect_timeout_ms == POLL_MS && resolved.heartbeat_interval_ms > 0);
    EXPECT(api.get_user_data(ws) == user_data);
    EXPECT(api.get_state(ws) == MTWS_STATE_DISCONNECTED);
    EXPECT(strcmp(api.state_name(MTWS_STATE_CONNECTED), "connected") == 0);
    EXPECT(api.result_text(MTWS_ERR_QUEUE_FULL)[0] != '\0');
    snprintf(version, sizeof version, "%d.%d.%d", MTWS_VERSION_MAJOR, MTWS_VERSION_MINOR,
             MTWS_VERSION_PATCH);
    EXPECT(strcmp(api.version(), version) == 0);
    EXPECT(strcmp(api.get_subprotocol(ws), "") == 0);
    EXPECT(api.get_header(ws, "Server") == NULL);
    EXPECT(api.retry_now(ws) == MTWS_ERR_STATE);
    EXPECT(api.release_queue(ws) == MTWS_ERR_STATE);
    EXPECT(api.confirm(ws, 1) == MTWS_ERR_STATE);
    EXPECT(api.send_part(ws, MTWS_TEXT, "a", 1, true, false, &id) == MTWS_ERR_STATE);
    EXPECT(api.set_header(ws, "X-Life", "yes") == MTWS_OK);
    EXPECT(api.set_proxy(ws, "https://proxy.invalid") == MTWS_ERR_URL);
    EXPECT(api.set_proxy(ws, NULL) == MTWS_OK);
    EXPECT(api.proxy_from_environment("http://h/", version, sizeof version) == MTWS_ERR_URL);
    EXPECT(api.send_text(ws, "never sent") == MTWS_OK);
    EXPECT(api.clear_queue(ws) == MTWS_OK);
    EXPECT(api.set_network(ws, true) == MTWS_OK);
    EXPECT(api.set_paused(ws, true) == MTWS_OK);
    EXPECT(api.set_paused(ws, false) == MTWS_OK);
    EXPECT(api.wake(ws) == MTWS_OK);
    api.get_wait(ws, &wait);
    EXPECT(wait.count <= MTWS_WAIT_MAX);
    return 0;
}

/* The network for a TLS library: made, aimed, and ended without having been opened. */
static int look_at_net(void) {
    static unsigned char room[MTWS_NET_MEMORY_SIZE + 1];
    mtws_transport net;

    EXPECT(api.net_transport(&net, room + 1, MTWS_NET_MEMORY_SIZE) == MTWS_OK);
    EXPECT(api.net_set_proxy(&net, "socks5://proxy.invalid") == MTWS_OK);
    EXPECT(api.net_set_proxy(&net, "proxy.invalid") == MTWS_ERR_URL);
    EXPECT(api.net_reason(&net)[0] == '\0');
    api.net_destroy(&net);
    return 0;
}

static const char anchor[] = "-----BEGIN CERTIFICATE-----\n"
                             "MIIBmTCCAT+gAwIBAgIUAQCvPEiYJwKSUTeTLSnTNbLzC24wCgYIKoZIzj0EAwIw\n"
                             "ITEOMAwGA1UECgwFVGVzdHMxDzANBgNVBAMMBkFuY2hvcjAgFw0yNjExMjYxODUw\n"
                             "NDZaGA8yMTI2MTEwMjE4NTA0NlowITEOMAwGA1UECgwFVGVzdHMxDzANBgNVBAMM\n"
                             "BkFuY2hvcjBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABBqdAcf6yKlN4+eWIkG/\n"
                             "n7JYgT6jJ+KjWSK6+vsAgCrpEM2tJ9qYRvTVHqN23Xh8ATsHQQhYTU8i1he6xVBW\n"
                             "r6GjUzBRMB0GA1UdDgQWBBSAmsB6aHXxZrioYMopCREEekDAYTAfBgNVHSMEGDAW\n"
                             "gBSAmsB6aHXxZrioYMopCREEekDAYTAPBgNVHRMBAf8EBTADAQH/MAoGCCqGSM49\n"
                             "BAMCA0gAMEUCIQC+veIgsfPCgLxXPy0x4WDx0hoZbpJe6cfxvJc2FKHaHQIgP9W1\n"
                             "bTInC0SnRblWNum4HKHkHGwbbSj7fbEwvpSC9fU=\n"
                             "-----END CERTIFICATE-----\n";

/* Anchors in static memory; without BearSSL everything about TLS is refused. */
static int trust(mtws_client *ws) {
    static unsigned char anchors[MTWS_PEM_MEMORY_SIZE(sizeof anchor) + 1];
    mtws_trust *t = NULL;
#ifdef MTWS_BEARSSL
    mtws_trust *other = NULL;
    size_t required = api.trust_memory_required(NULL, anchor);
    EXPECT(required > 0 && required < sizeof anchors);
    EXPECT(api.trust_create_in(&t, NULL, anchor, anchors + 1, required) == MTWS_OK);
    EXPECT(api.trust_count(t) == 1);
    EXPECT(api.set_trust(ws, NULL) == MTWS_ERR_ARGUMENT);
    EXPECT(api.connect(ws, "wss://localhost/", NULL) == MTWS_ERR_TLS_TRUST);
    EXPECT(api.set_trust(ws, t) == MTWS_OK);
    EXPECT(api.connect(ws, "wss://localhost/", NULL) == MTWS_OK);
    EXPECT(api.disconnect(ws, 0, NULL) == MTWS_OK);
    EXPECT(api.trust_create(&other, NULL, anchor) == MTWS_OK);
    EXPECT(api.set_trust(ws, other) == MTWS_OK && api.set_trust(ws, t) == MTWS_OK);
    api.trust_destroy(other);
#else
    EXPECT(api.trust_memory_required(NULL, anchor) == 0);
    EXPECT(api.trust_create(&t, NULL, anchor) == MTWS_ERR_TLS && t == NULL);
    EXPECT(api.trust_create_in(&t, NULL, anchor, anchors, sizeof anchors) == MTWS_ERR_TLS);
    EXPECT(api.set_trust(ws, t) == MTWS_ERR_TLS);
    EXPECT(api.trust_count != NULL);
    EXPECT(api.connect(ws, "wss://localhost/", NULL) == MTWS_ERR_TLS);
    api.trust_destroy(t);
#endif
    return 0;
}

static int send_everything(mtws_client *ws) {
    uint64_t id = 0;
    size_t i;

    for (i = 0; i < sizeof payload; i++) payload[i] = (unsigned char)(i * 7 + i / 256);
    for (i = 0; i < ROUNDS; i++) {
        EXPECT(api.send_text(ws, "h\xc3\xa9llo") == MTWS_OK);
        EXPECT(api.send(ws, MTWS_BINARY, payload, sizeof payload, 0, &id) == MTWS_OK && id > 1);
    }
    EXPECT(api.send_part(ws, MTWS_TEXT, "in ", 3, true, false, &id) == MTWS_OK);
    EXPECT(api.send_part(ws, MTWS_TEXT, "parts", 5, false, true, &id) == MTWS_OK);
    return 0;
}

typedef struct life_counts {
    unsigned texts, binaries, parts, settled;
} life_counts;

/* Counts what is echoed; anything that was not sent is an error. */
static int take_message(const mtws_event *event, life_counts *counts) {
    EXPECT(event->first && event->last && event->data[event->size] == 0);
    if (event->kind == MTWS_BINARY) {
        EXPECT(event->size == sizeof payload && memcmp(event->data, payload, event->size) == 0);
        counts->binaries++;
    } else if (event->size == 8) {
        EXPECT(memcmp(event->data, "in parts", 8) == 0);
        counts->parts++;
    } else {
        EXPECT(event->size == 6 && memcmp(event->data, "h\xc3\xa9llo", 6) == 0);
        counts->texts++;
    }
    return 0;
}

static void count_state(mtws_client *ws, const mtws_event *change, void *user) {
    (void)ws, (void)change;
    ++*(unsigned *)user;
}

static void count_message(mtws_client *ws, const mtws_event *message, void *user) {
    (void)ws, (void)message;
    ++*(unsigned *)user;
}

/* All that was sent is echoed and settled; "never sent" is among the settled, as DROPPED. */
static bool complete(const life_counts *counts) {
    return counts->texts == ROUNDS && counts->binaries == ROUNDS && counts->parts == 1 &&
           counts->settled == 2 * ROUNDS + 2;
}

static int talk(mtws_client *ws) {
    life_counts counts = {0, 0, 0, 0};
    mtws_event event;
    unsigned changes = 0, typed = 0;
    bool closing = false;
    int result = 1;

    EXPECT(api.on_state(ws, count_state, &changes) == MTWS_OK);
    EXPECT(api.on_message(ws, "echo", count_message, &typed) == MTWS_OK);
    while (result == 1 || result == 0) { /* 0: mtws_wake, above */
        result = api.poll(ws, &event, POLL_MS);
        EXPECT(api.dispatch(ws, &event) == (event.type == MTWS_EVENT_STATE));
        if (event.type == MTWS_EVENT_STATE) {
            EXPECT(event.state != MTWS_STATE_FAILED && event.state != MTWS_STATE_RECONNECTING);
            if (event.state == MTWS_STATE_CONNECTED && send_everything(ws) != 0) return 1;
        } else if (event.type == MTWS_EVENT_MESSAGE) {
            if (take_message(&event, &counts) != 0) return 1;
        } else if (event.type == MTWS_EVENT_DELIVERED || event.type == MTWS_EVENT_DROPPED) {
            counts.settled += (unsigned)(event.id - event.first_id + 1);
        }
        if (complete(&counts) && !closing) {
            EXPECT(api.disconnect(ws, 1000, "done") == MTWS_OK);
            closing = true;
        }
    }
    EXPECT(result == MTWS_ERR_IDLE && api.get_state(ws) == MTWS_STATE_DISCONNECTED);
    EXPECT(complete(&counts) && changes == 3 && typed == 0);
    EXPECT(api.get_header(ws, "sec-websocket-accept") != NULL);
    return 0;
}

int main(int argc, char **argv) {
    mtws_options options;
    mtws_stats stats;
    mtws_client *ws = NULL;
    int failed;

    if (argc != 2) return 2;
    memset(&options, 0, sizeof options);
    options.connect_timeout_ms = POLL_MS;
    options.wakeable = true;
    options.user_data = &stats;
    EXPECT(api.memory_required(NULL) > 0);
    EXPECT(api.create(&ws, &options) == MTWS_OK && ws != NULL);
    api.destroy(ws);

    options.max_message_size = 100000;
    options.max_queue_size = 300000;
#ifdef MTWS_BEARSSL
    options.ca_file = "";
#endif
    EXPECT(api.create_in(&ws, &options, memory + 1, sizeof memory - 1) == MTWS_OK);
    failed = look_around(ws, &stats) || look_at_net() || trust(ws);
    if (!failed) {
        EXPECT(api.connect(ws, "ws://127.0.0.1:1/", NULL) == MTWS_OK);
        EXPECT(api.set_url(ws, argv[1], NULL) == MTWS_OK);
        failed = talk(ws);
    }
    api.get_stats(ws, &stats);
    api.destroy(ws);
    EXPECT(failed || (stats.messages_received == 2 * ROUNDS + 1 && stats.connects == 1));
    return failed;
}
