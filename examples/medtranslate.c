/* medtranslate: a medical translation app's client. What a doctor says must not be lost with the
 * ward's Wi-Fi, nor be taken for translated when it was not.
 *
 *     cc -O2 -o medtranslate medtranslate.c
 *     MEDTRANSLATE_TOKEN=secret ./medtranslate ws://127.0.0.1:9001/translate SESSION-ID
 *
 * Each line of input is an utterance; translations go to standard output, states and the fate of
 * each line to standard error. At the end of the input (Ctrl-D) it waits until all is settled.
 */
#define MTWS_IMPLEMENTATION
#include "../mtws.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifndef HEARTBEAT_MS
#define HEARTBEAT_MS 15000 /* below the minute after which many proxies end an idle connection */
#endif
enum { LINE_SIZE = 4096, QUIET_MS = 1000 };

typedef struct app {
    mtws_client *ws;
    char input[LINE_SIZE];
    size_t input_size;
    bool input_ended, queue_full;
    unsigned long long lines, delivered, dropped;
} app;

static void on_message(mtws_client *ws, const mtws_event *message, void *heading) {
    (void)ws; /* data is the whole message, for the program's JSON parser */
    printf("%s: %.*s\n", (char *)heading, (int)message->size, (const char *)message->data);
}

static void on_state(mtws_client *ws, const mtws_event *change, void *user) {
    (void)ws, (void)user;
    fprintf(stderr, "[%s] %s", mtws_state_name(change->state), change->reason);
    if (change->retry_ms) fprintf(stderr, "; trying again in %.1f s", change->retry_ms / 1000.0);
    fprintf(stderr, "\n");
}

/* Every message of this program is a line, so the ids of the client's events are line numbers. */
static void on_event(app *a, const mtws_event *event) {
    bool dropped = event->type == MTWS_EVENT_DROPPED;
    a->queue_full = a->queue_full && event->type != MTWS_EVENT_WRITABLE;
    if (mtws_dispatch(a->ws, event) || (!dropped && event->type != MTWS_EVENT_DELIVERED)) return;
    *(dropped ? &a->dropped : &a->delivered) += event->id - event->first_id + 1;
    for (uint64_t id = event->first_id; id <= event->id; id++)
        fprintf(stderr, "#%llu %s%s\n", (unsigned long long)id, dropped ? "DROPPED: " : "delivered",
                dropped ? mtws_result_text(event->result) : "");
}

/* The number in the message lets the server recognise a line that arrives twice. */
static void send_line(app *a, const char *line, size_t size) {
    static char text[64 + 6 * LINE_SIZE];
    static const char head[] = "{\"type\":\"utterance\",\"id\":%llu,\"text\":\"";
    size_t end = (size_t)snprintf(text, sizeof text, head, a->lines + 1);
    for (size_t i = 0; i < size; i++) {
        unsigned char c = (unsigned char)line[i];
        if (c < 0x20) end += (size_t)snprintf(text + end, 7, "\\u%04x", (unsigned)c);
        else if (c == '"' || c == '\\') text[end++] = '\\';
        if (c >= 0x20) text[end++] = line[i];
    }
    memcpy(text + end, "\"}", 2);
    mtws_result result = mtws_send(a->ws, MTWS_TEXT, text, end + 2, 0, NULL);
    a->queue_full = result == MTWS_ERR_QUEUE_FULL;
    a->lines += result == MTWS_OK;
    if (result == MTWS_OK && mtws_get_state(a->ws) != MTWS_STATE_CONNECTED)
        fprintf(stderr, "#%llu queued until there is a connection\n", a->lines);
    if (result != MTWS_OK && !a->queue_full) /* not UTF-8, for one */
        fprintf(stderr, "a line was not sent: %s\n", mtws_result_text(result));
}

/* A line that finds the queue full stays in the buffer, and nothing more is read until WRITABLE. */
static void send_lines(app *a) {
    while (a->input_size > 0 && !a->queue_full) {
        char *newline = memchr(a->input, '\n', a->input_size);
        size_t size = newline ? (size_t)(newline - a->input) : a->input_size;
        if (!newline && !a->input_ended) {
            if (size < LINE_SIZE) return;
            do size--; /* a longer line leaves in pieces, cut between characters */
            while (size > 1 && (a->input[size] & 0xC0) == 0x80);
        }
        if (size > 0) send_line(a, a->input, size);
        if (a->queue_full) return;
        a->input_size -= size + (newline != NULL);
        memmove(a->input, a->input + size + (newline != NULL), a->input_size);
    }
}

/* Waits for what the client waits for, and for input. */
static void wait_and_read(app *a) {
    struct pollfd fds[MTWS_WAIT_MAX + 1];
    mtws_wait wait;
    mtws_get_wait(a->ws, &wait);
    for (int i = 0; i < wait.count; i++) {
        const mtws_wait_fd *w = &wait.fds[i];
        short events = (short)((w->want_read ? POLLIN : 0) | (w->want_write ? POLLOUT : 0));
        fds[i] = (struct pollfd){events ? w->fd : -1, events, 0};
    }
    bool reading = !a->input_ended && !a->queue_full && a->input_size < LINE_SIZE;
    fds[wait.count] = (struct pollfd){reading ? STDIN_FILENO : -1, POLLIN, 0};
    poll(fds, (nfds_t)wait.count + 1, wait.timeout_ms);
    if (!fds[wait.count].revents) return;
    ssize_t got = read(STDIN_FILENO, a->input + a->input_size, LINE_SIZE - a->input_size);
    a->input_ended = got <= 0;
    if (got > 0) a->input_size += (size_t)got;
}

int main(int argc, char **argv) {
    static app a;
    const char *token = getenv("MEDTRANSLATE_TOKEN"); /* arguments are for everyone to see */
    if (argc != 3 || !token) {
        fprintf(stderr, "usage: MEDTRANSLATE_TOKEN=... medtranslate URL SESSION-ID\n");
        return 2;
    }
    mtws_options options = {.max_reconnect_attempts = MTWS_UNLIMITED,
                            .heartbeat = MTWS_HEARTBEAT_JSON,
                            .heartbeat_interval_ms = HEARTBEAT_MS};
    mtws_pair params[] = {{"sessionId", argv[2]}, {"token", token}, {NULL, NULL}};
    mtws_result result = mtws_create(&a.ws, &options);
    if (result == MTWS_OK) result = mtws_on_state(a.ws, on_state, NULL);
    if (result == MTWS_OK) result = mtws_on_message(a.ws, "translation", on_message, "translation");
    if (result == MTWS_OK) result = mtws_on_message(a.ws, "session_status", on_message, "session");
    if (result == MTWS_OK) result = mtws_on_message(a.ws, "error", on_message, "SERVER ERROR");
    if (result == MTWS_OK) result = mtws_on_message(a.ws, NULL, on_message, "other");
    if (result == MTWS_OK) result = mtws_connect(a.ws, argv[1], params);
    if (result != MTWS_OK) {
        fprintf(stderr, "medtranslate: %s\n", mtws_result_text(result));
        mtws_destroy(a.ws);
        return 1;
    }
    setvbuf(stdout, NULL, _IOLBF, 0); /* a program behind a pipe wants each line at once, too */
    mtws_event event;
    for (int got = 0; got >= 0;) {
        got = mtws_poll(a.ws, &event, a.input_ended ? QUIET_MS : 0);
        if (got == 1) on_event(&a, &event);
        else if (got == 0 && !a.input_ended) wait_and_read(&a);
        else if (got == 0 && a.input_size == 0 && a.delivered + a.dropped == a.lines)
            mtws_disconnect(a.ws, 1000, NULL);
        send_lines(&a);
    }
    bool good = mtws_get_state(a.ws) == MTWS_STATE_DISCONNECTED && a.delivered == a.lines;
    if (!good) fprintf(stderr, "%llu lines were not delivered\n", a.lines - a.delivered);
    mtws_destroy(a.ws);
    return good ? 0 : 1;
}
