/* gameloop: networking inside a loop that draws 60 frames a second and may never wait.
 *
 *     cc -O2 -o gameloop gameloop.c
 *     ./gameloop ws://127.0.0.1:9001/ 10
 *
 * plays for 10 seconds, against any server that answers each binary message with one, such as
 * chaos_server. Each frame polls with a timeout of 0 and within a budget, so that a flood from the
 * server costs a late snapshot rather than a late frame.
 */
#define MTWS_IMPLEMENTATION
#include "../mtws.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { FRAMES_PER_SECOND = 60, FRAME_US = 1000000 / FRAMES_PER_SECOND };
enum { BUDGET_EVENTS = 64, BUDGET_US = 2000 }; /* of a frame's 16,666 us */

/* As it goes over the wire, where both ends agree on the byte order. */
typedef struct input {
    uint64_t at_us; /* comes back with the server's answer, and so gives the round trip */
    uint32_t frame, buttons;
} input;

typedef struct game {
    mtws_client *ws;
    uint32_t frame;
    input newest; /* the latest snapshot: a later one makes an earlier one worthless */
    /* of this second */
    unsigned sent, missed, answered, late_frames;
    uint64_t longest_poll_us, longest_trip_us;
} game;

static uint64_t now_us(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

/* MTWS_NO_QUEUE: what the player did a second ago, on a connection that is gone, is of no use. The
 * game goes on without a connection, and so does without the input. */
static void send_input(game *g) {
    input now = {now_us(), g->frame, g->frame / 30 % 4};
    mtws_result result = mtws_send(g->ws, MTWS_BINARY, &now, sizeof now, MTWS_NO_QUEUE, NULL);
    if (result == MTWS_OK) g->sent++;
    else g->missed++; /* MTWS_ERR_STATE: not connected; MTWS_ERR_QUEUE_FULL: the link is too slow */
}

static void on_event(game *g, const mtws_event *event) {
    if (event->type == MTWS_EVENT_STATE) {
        printf("%s %s\n", mtws_state_name(event->state), event->reason);
    } else if (event->type == MTWS_EVENT_MESSAGE && event->size == sizeof g->newest) {
        memcpy(&g->newest, event->data, sizeof g->newest); /* data may be unaligned */
        uint64_t trip_us = now_us() - g->newest.at_us;
        if (trip_us > g->longest_trip_us) g->longest_trip_us = trip_us;
        g->answered++;
    }
}

/* False: it has given up for good. What the budget leaves over waits for the next frame. */
static bool pump(game *g) {
    uint64_t start = now_us();
    mtws_event event;
    int got = 1;
    for (int i = 0; i < BUDGET_EVENTS && got == 1 && now_us() - start < BUDGET_US; i++) {
        uint64_t before = now_us();
        got = mtws_poll(g->ws, &event, 0);
        uint64_t took = now_us() - before;
        if (took > g->longest_poll_us) g->longest_poll_us = took;
        if (got == 1) on_event(g, &event);
    }
    return got >= 0;
}

static void show_second(game *g, unsigned second) {
    printf("%3u s: %2u inputs sent, %2u missed, %2u answers, round trip <= %.1f ms, "
           "poll <= %.2f ms, %u late frames\n",
           second, g->sent, g->missed, g->answered, (double)g->longest_trip_us / 1000,
           (double)g->longest_poll_us / 1000, g->late_frames);
    fflush(stdout);
    g->sent = g->missed = g->answered = g->late_frames = 0;
    g->longest_poll_us = g->longest_trip_us = 0;
}

static bool play(game *g, unsigned seconds) {
    uint64_t due = now_us();
    while (g->frame < seconds * FRAMES_PER_SECOND) {
        send_input(g); /* before polling, so that it leaves in this frame */
        if (!pump(g)) return false;
        /* Here a game would move its world on from g->newest, and draw. */
        if (++g->frame % FRAMES_PER_SECOND == 0) show_second(g, g->frame / FRAMES_PER_SECOND);
        due += FRAME_US;
        uint64_t now = now_us();
        if (now > due) {
            g->late_frames++;
            due = now; /* a frame that is missed is not made up for by a short one */
        } else nanosleep(&(struct timespec){0, (long)(due - now) * 1000}, NULL);
    }
    return true;
}

int main(int argc, char **argv) {
    static game g;
    int seconds = argc == 3 ? atoi(argv[2]) : 10;
    if (argc < 2 || argc > 3 || seconds < 1 || seconds > 86400) {
        fprintf(stderr, "usage: gameloop URL [SECONDS]\n");
        return 2;
    }
    /* A player notices an outage at once, so it asks often and comes back fast. Nobody listens to
     * what becomes of each input: MTWS_CONFIRM_NONE saves the Pings that would ask. */
    mtws_options options = {.max_reconnect_attempts = MTWS_UNLIMITED,
                            .initial_reconnect_delay_ms = 250,
                            .max_reconnect_delay_ms = 2000,
                            .heartbeat_interval_ms = 1000,
                            .heartbeat_timeout_ms = 1000,
                            .confirm = MTWS_CONFIRM_NONE};
    mtws_result result = mtws_create(&g.ws, &options);
    if (result == MTWS_OK) result = mtws_connect(g.ws, argv[1], NULL);
    if (result != MTWS_OK) fprintf(stderr, "gameloop: %s\n", mtws_result_text(result));
    bool good = result == MTWS_OK && play(&g, (unsigned)seconds);

    if (good) mtws_disconnect(g.ws, 1000, NULL);
    mtws_event event;
    while (good && mtws_poll(g.ws, &event, -1) >= 0) on_event(&g, &event);
    mtws_destroy(g.ws);
    return good ? 0 : 1;
}
