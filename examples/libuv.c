/* libuv: a client in a libuv loop: a uv_poll_t for each descriptor that it waits for, and a
 * uv_timer_t for its time.
 *
 *     cc -O2 -o libuv libuv.c -luv            (Debian: apt install libuv1-dev)
 *     ./libuv ws://127.0.0.1:9001/
 *
 * says something each second, until Ctrl-C: then it delivers what is queued, closes, and ends.
 */
#define MTWS_IMPLEMENTATION
#include "../mtws.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <uv.h>

typedef struct watched {
    uv_poll_t poll; /* first, so that its address is that of the whole */
    mtws_wait_fd what;
} watched;

typedef struct app {
    mtws_client *ws;
    uv_loop_t *loop;
    watched *watched[MTWS_WAIT_MAX]; /* NULL: free */
    uv_timer_t due, talk;
    uv_signal_t interrupted;
    unsigned number;
} app;

static void pump(app *a);

/* Whatever failed, mtws_poll finds it in its next read or write. */
static void on_ready(uv_poll_t *handle, int status, int events) {
    (void)status, (void)events;
    pump(handle->data);
}

static void on_due(uv_timer_t *timer) { pump(timer->data); }
static void on_closed(uv_handle_t *handle) { free(handle); }

static bool same(const mtws_wait_fd *a, const mtws_wait_fd *b) {
    return a->fd == b->fd && a->serial == b->serial && a->want_read == b->want_read &&
           a->want_write == b->want_write;
}

/* libuv may not poll a descriptor that is closed, and one that has left the list stays open until
 * the next mtws_poll: so this is called after each. Closing a handle stops it at once, although its
 * memory is in use until on_closed. */
static void unwatch(app *a, const mtws_wait *now) {
    for (int i = 0; i < MTWS_WAIT_MAX; i++) {
        bool wanted = a->watched[i] == NULL;
        for (int k = 0; !wanted && k < now->count; k++)
            wanted = same(&a->watched[i]->what, &now->fds[k]);
        if (wanted) continue;
        uv_close((uv_handle_t *)&a->watched[i]->poll, on_closed);
        a->watched[i] = NULL;
    }
}

static void watch(app *a, const mtws_wait_fd *what) {
    int events = (what->want_read ? UV_READABLE : 0) | (what->want_write ? UV_WRITABLE : 0);
    int slot = -1;
    for (int i = 0; i < MTWS_WAIT_MAX; i++) {
        if (a->watched[i] && same(&a->watched[i]->what, what)) return;
        if (!a->watched[i]) slot = i;
    }
    if (!events || slot < 0) return;
    watched *w = calloc(1, sizeof *w);
    int error = w ? uv_poll_init(a->loop, &w->poll, what->fd) : UV_ENOMEM;
    if (error) {
        fprintf(stderr, "libuv: %s\n", uv_strerror(error));
        exit(1);
    }
    w->what = *what;
    w->poll.data = a;
    uv_poll_start(&w->poll, events, on_ready);
    a->watched[slot] = w;
}

static void on_event(const mtws_event *event) {
    if (event->type == MTWS_EVENT_STATE)
        printf("%s %s\n", mtws_state_name(event->state), event->reason);
    else if (event->type == MTWS_EVENT_MESSAGE)
        printf("received %.*s\n", (int)event->size, (const char *)event->data);
    else if (event->type == MTWS_EVENT_DELIVERED)
        printf("delivered %llu\n", (unsigned long long)event->id);
    else if (event->type == MTWS_EVENT_DROPPED)
        printf("dropped: %s\n", mtws_result_text(event->result));
    fflush(stdout);
}

/* When something is ready or due, and after each call that is not const. */
static void pump(app *a) {
    mtws_event event;
    mtws_wait now;
    int got;
    do {
        got = mtws_poll(a->ws, &event, 0);
        if (got == 1) on_event(&event);
        mtws_get_wait(a->ws, &now);
        unwatch(a, &now);
    } while (got == 1);
    for (int i = 0; i < now.count; i++) watch(a, &now.fds[i]);
    uv_timer_stop(&a->due);
    if (got < 0) uv_stop(a->loop); /* disconnected, or failed */
    else if (now.timeout_ms >= 0) uv_timer_start(&a->due, on_due, (uint64_t)now.timeout_ms, 0);
}

static void on_talk(uv_timer_t *timer) {
    app *a = timer->data;
    char text[64];
    snprintf(text, sizeof text, "tick %u", ++a->number);
    mtws_result result = mtws_send_text(a->ws, text);
    if (result != MTWS_OK) fprintf(stderr, "tick: %s\n", mtws_result_text(result));
    pump(a);
}

static void on_interrupt(uv_signal_t *handle, int number) {
    app *a = handle->data;
    (void)number;
    uv_timer_stop(&a->talk);
    mtws_disconnect(a->ws, 1000, NULL); /* pressed again, it ends at once */
    pump(a);
}

int main(int argc, char **argv) {
    static app a;
    mtws_options options = {.max_reconnect_attempts = MTWS_UNLIMITED};
    mtws_result result = mtws_create(&a.ws, &options);
    if (result == MTWS_OK)
        result = mtws_connect(a.ws, argc > 1 ? argv[1] : "ws://127.0.0.1:9001/", NULL);
    if (result != MTWS_OK) {
        fprintf(stderr, "libuv: %s\n", mtws_result_text(result));
        mtws_destroy(a.ws);
        return 1;
    }
    a.loop = uv_default_loop();
    uv_timer_init(a.loop, &a.due);
    uv_timer_init(a.loop, &a.talk);
    uv_signal_init(a.loop, &a.interrupted);
    a.due.data = a.talk.data = a.interrupted.data = &a;
    uv_timer_start(&a.talk, on_talk, 0, 1000);
    uv_signal_start(&a.interrupted, on_interrupt, SIGINT);
    uv_run(a.loop, UV_RUN_DEFAULT);
    bool failed = mtws_get_state(a.ws) == MTWS_STATE_FAILED;
    mtws_destroy(a.ws); /* the handles end with the process, and the loop no longer runs */
    return failed;
}
