/* A server on libwebsockets that writes each message into a ledger, in its receive callback.
 *
 *     server PORT LEDGER
 *
 * libwebsockets answers a Ping after the frames before it have been through the callback, and a
 * record is with the kernel when write() returns: so a Pong says that the ledger has all that came
 * before, and kill -9 takes none of it back. Records are of 16 bytes, so that none crosses a page.
 */
#include <fcntl.h>
#include <libwebsockets.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { RECORD_SIZE = 16 };

typedef struct message {
    unsigned number, sum;
    bool numbered; /* the number has ended */
} message;

static int ledger;

/* The next bytes of a message, which comes in as many pieces as the library likes. */
static void add(message *m, const unsigned char *bytes, size_t size) {
    for (size_t i = 0; i < size; i++) {
        if (bytes[i] == ' ') m->numbered = true;
        if (!m->numbered) m->number = m->number * 10 + (bytes[i] - (unsigned)'0');
        m->sum += bytes[i];
    }
}

static void write_down(const message *m) {
    char record[RECORD_SIZE + 1];
    int size = snprintf(record, sizeof record, "%8u %6u\n", m->number, m->sum % 1000000);
    if (size != RECORD_SIZE || write(ledger, record, RECORD_SIZE) != RECORD_SIZE) abort();
}

static int callback(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in,
                    size_t size) {
    message *m = user;
    if (reason != LWS_CALLBACK_RECEIVE) return lws_callback_http_dummy(wsi, reason, user, in, size);
    if (lws_is_first_fragment(wsi)) memset(m, 0, sizeof *m);
    add(m, in, size);
    if (lws_is_final_fragment(wsi)) write_down(m);
    return 0;
}

int main(int argc, char **argv) {
    static const struct lws_protocols protocols[] = {{"ledger", callback, sizeof(message), 0, 0,
                                                      NULL, 0},
                                                     {NULL, NULL, 0, 0, 0, NULL, 0}};
    struct lws_context_creation_info info;
    if (argc != 3) return 2;
    ledger = open(argv[2], O_WRONLY | O_APPEND);
    if (ledger < 0) return 1;
    memset(&info, 0, sizeof info);
    info.port = atoi(argv[1]);
    info.iface = "127.0.0.1";
    info.protocols = protocols;
    lws_set_log_level(LLL_ERR, NULL);
    struct lws_context *context = lws_create_context(&info);
    if (context == NULL) return 1;
    puts("ready");
    fflush(stdout);
    while (lws_service(context, 0) >= 0) continue;
    lws_context_destroy(context);
    return 0;
}
