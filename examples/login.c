/* login: a device that reports to a server which wants a login on each connection, and whose token
 * expires. No reading goes out before the login is answered, and none is lost until then.
 *
 *     cc -O2 -o login login.c
 *     ./login ws://127.0.0.1:9001/ /run/secrets/token 20
 *
 * sends 20 readings, five a second, and ends when each is delivered. The token is the first line of
 * a file that somebody else renews, as container platforms do.
 */
#define MTWS_IMPLEMENTATION
#include "../mtws.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { EVERY_MS = 200 };

typedef struct device {
    const char *token_file;
    char authorization[1024]; /* the header's present value */
    bool token_refused, closing;
    uint64_t login_id;
    unsigned long long wanted, sent, lost;
} device;

static uint64_t now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* True: there is another token than before; it goes out with the next attempt. For a server that
 * wants it in the URL, mtws_set_url does what mtws_set_header does here. */
static bool renew_token(mtws_client *ws, device *d) {
    char value[sizeof d->authorization] = "Bearer ";
    FILE *file = fopen(d->token_file, "r");
    if (!file || !fgets(value + 7, (int)sizeof value - 7, file)) perror(d->token_file);
    if (file) fclose(file);
    value[strcspn(value, "\r\n")] = '\0';
    if (!value[7] || strcmp(value, d->authorization) == 0) return false;
    mtws_result result = mtws_set_header(ws, "Authorization", value);
    if (result != MTWS_OK) fprintf(stderr, "token: %s\n", mtws_result_text(result));
    else memcpy(d->authorization, value, sizeof value);
    return result == MTWS_OK;
}

/* MTWS_FIRST: ahead of what is queued, although the queue is held, and on this connection alone:
 * the next one gets a login of its own. */
static void log_in(mtws_client *ws, device *d) {
    static const char login[] = "{\"type\":\"login\",\"device\":\"pump-7\"}";
    mtws_result result =
        mtws_send(ws, MTWS_TEXT, login, sizeof login - 1, MTWS_FIRST, &d->login_id);
    if (result != MTWS_OK) fprintf(stderr, "login: %s\n", mtws_result_text(result));
}

static void on_login_ok(mtws_client *ws, const mtws_event *message, void *user) {
    (void)message, (void)user;
    printf("logged in\n");
    mtws_release_queue(ws); /* on this connection; the next one begins with a held queue again */
}

static void on_login_failed(mtws_client *ws, const mtws_event *message, void *user) {
    fprintf(stderr, "login refused: %s\n", (const char *)message->data);
    ((device *)user)->closing = true;
    mtws_disconnect(ws, 1000, NULL);
}

static void on_state(mtws_client *ws, const mtws_event *change, void *user) {
    device *d = user;
    printf("%s %s\n", mtws_state_name(change->state), change->reason);
    if (change->state == MTWS_STATE_CONNECTED) log_in(ws, d);
    if (change->state == MTWS_STATE_RECONNECTING) renew_token(ws, d);
    d->token_refused = change->state == MTWS_STATE_FAILED && change->http_status == 401;
}

static void send_reading(mtws_client *ws, device *d) {
    char text[64];
    snprintf(text, sizeof text, "{\"type\":\"reading\",\"number\":%llu}", d->sent + 1);
    mtws_result result = mtws_send_text(ws, text);
    if (result == MTWS_OK) d->sent++; /* else the queue is full, and its turn comes again */
    else fprintf(stderr, "reading: %s\n", mtws_result_text(result));
}

static void run(mtws_client *ws, device *d) {
    uint64_t next = now_ms();
    for (;;) {
        mtws_stats stats;
        uint64_t now = now_ms();
        if (d->sent < d->wanted && now >= next && !d->closing) {
            send_reading(ws, d);
            next = now + EVERY_MS;
        }
        mtws_get_stats(ws, &stats);
        if (d->sent == d->wanted && stats.queued_messages == 0 && !d->closing)
            d->closing = mtws_disconnect(ws, 1000, NULL) == MTWS_OK;

        mtws_event event;
        int got = mtws_poll(ws, &event, next > now ? (int32_t)(next - now) : EVERY_MS);
        if (got < 0 && !d->token_refused) return;
        if (got < 0) { /* a refused token is final, until somebody has put a fresh one there */
            nanosleep(&(struct timespec){0, EVERY_MS * 1000000L}, NULL);
            if (renew_token(ws, d)) mtws_retry_now(ws);
        }
        if (event.type == MTWS_EVENT_DROPPED && event.id != d->login_id) {
            d->lost += event.id - event.first_id + 1;
            fprintf(stderr, "dropped: %s\n", mtws_result_text(event.result));
        }
        mtws_dispatch(ws, &event);
    }
}

int main(int argc, char **argv) {
    static device d;
    if (argc < 3 || argc > 4) {
        fprintf(stderr, "usage: login URL TOKEN-FILE [READINGS]\n");
        return 2;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    d.token_file = argv[2];
    d.wanted = argc > 3 ? strtoull(argv[3], NULL, 10) : UINT64_MAX;
    mtws_options options = {.max_reconnect_attempts = MTWS_UNLIMITED, .hold_queue = true};
    mtws_client *ws;
    mtws_result result = mtws_create(&ws, &options);
    if (result == MTWS_OK) result = mtws_on_state(ws, on_state, &d);
    if (result == MTWS_OK) result = mtws_on_message(ws, "login_ok", on_login_ok, &d);
    if (result == MTWS_OK) result = mtws_on_message(ws, "login_failed", on_login_failed, &d);
    /* To try it: an echo server, such as chaos_server, answers with the login itself. */
    if (result == MTWS_OK) result = mtws_on_message(ws, "login", on_login_ok, &d);
    if (result == MTWS_OK) result = mtws_connect(ws, argv[1], NULL);
    if (result != MTWS_OK) {
        fprintf(stderr, "login: %s\n", mtws_result_text(result));
        mtws_destroy(ws);
        return 1;
    }
    renew_token(ws, &d);
    run(ws, &d);
    mtws_stats stats;
    mtws_get_stats(ws, &stats);
    printf("%llu readings sent, %llu lost, %llu left\n", d.sent, d.lost,
           (unsigned long long)stats.queued_messages);
    mtws_destroy(ws);
    return d.sent == d.wanted && d.lost == 0 && stats.queued_messages == 0 ? 0 : 1;
}
