/* threads: several threads produce messages, one thread has the client. A client belongs to one
 * thread at a time, so the others hand messages over by a queue of the program's, and wake it.
 *
 *     cc -O2 -pthread -o threads threads.c
 *     ./threads ws://127.0.0.1:9001/ 10000
 *
 * sends 10,000 messages from each of three threads, and ends when all are delivered.
 */
#define MTWS_IMPLEMENTATION
#include "../mtws.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PRODUCERS = 3, ROOM = 256, TEXT_SIZE = 64 };

/* What the threads share. Everything else belongs to one of them. */
typedef struct handover {
    pthread_mutex_t mutex;
    pthread_cond_t room;
    char texts[ROOM][TEXT_SIZE];
    unsigned first, count;
    bool closed; /* nobody takes any more: producers end */
    mtws_client *ws;
    unsigned long each;
} handover;

typedef struct producer {
    handover *to;
    int number;
    pthread_t thread;
} producer;

/* Waits while there is no room, so a slow network slows the producers down, and memory stays
 * bounded. False: there is nobody to take it. */
static bool hand_over(handover *h, const char *text) {
    pthread_mutex_lock(&h->mutex);
    while (h->count == ROOM && !h->closed) pthread_cond_wait(&h->room, &h->mutex);
    bool taken = !h->closed;
    if (taken) {
        char *slot = h->texts[(h->first + h->count++) % ROOM];
        snprintf(slot, TEXT_SIZE, "%s", text);
    }
    pthread_mutex_unlock(&h->mutex);
    /* The one function that any thread may call. Wake-ups merge: one for many messages is cheap. */
    if (taken) mtws_wake(h->ws);
    return taken;
}

static void *produce(void *argument) {
    const producer *p = argument;
    char text[TEXT_SIZE];
    bool going = true;
    for (unsigned long i = 1; going && i <= p->to->each; i++) {
        snprintf(text, sizeof text, "producer %d message %lu", p->number, i);
        going = hand_over(p->to, text);
    }
    return NULL;
}

/* As much as the client takes: what it refuses stays here until MTWS_EVENT_WRITABLE. Returns how
 * many it took. */
static unsigned take_over(handover *h) {
    unsigned taken = 0;
    pthread_mutex_lock(&h->mutex);
    while (h->count > 0) { /* mtws_send does no I/O, so the lock is not held for long */
        mtws_result result = mtws_send_text(h->ws, h->texts[h->first]);
        if (result == MTWS_ERR_QUEUE_FULL) break;
        if (result == MTWS_OK) taken++;
        else fprintf(stderr, "not sent: %s\n", mtws_result_text(result));
        h->first = (h->first + 1) % ROOM;
        h->count--;
    }
    pthread_cond_broadcast(&h->room);
    pthread_mutex_unlock(&h->mutex);
    return taken;
}

/* The network thread. True: everything was delivered. */
static bool run(handover *h) {
    unsigned long long sent = 0, delivered = 0, dropped = 0, all = h->each * PRODUCERS;
    bool closing = false;
    mtws_event event;
    while (mtws_poll(h->ws, &event, -1) >= 0) { /* 0 where mtws_wake ended it */
        unsigned long long range = event.id - event.first_id + 1;
        if (event.type == MTWS_EVENT_STATE)
            printf("%s %s\n", mtws_state_name(event.state), event.reason);
        if (event.type == MTWS_EVENT_DELIVERED) delivered += range;
        if (event.type == MTWS_EVENT_DROPPED) dropped += range;
        if (!closing) sent += take_over(h);
        if (delivered + dropped == all && !closing)
            closing = mtws_disconnect(h->ws, 1000, NULL) == MTWS_OK;
    }
    printf("%llu sent, %llu delivered, %llu dropped\n", sent, delivered, dropped);
    return delivered == all;
}

int main(int argc, char **argv) {
    static handover h = {.mutex = PTHREAD_MUTEX_INITIALIZER, .room = PTHREAD_COND_INITIALIZER};
    producer producers[PRODUCERS];
    int started = 0;
    if (argc < 2 || argc > 3) {
        fprintf(stderr, "usage: threads URL [MESSAGES-EACH]\n");
        return 2;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    h.each = argc > 2 ? strtoul(argv[2], NULL, 10) : 10000;
    mtws_options options = {.max_reconnect_attempts = MTWS_UNLIMITED, .wakeable = true};
    mtws_result result = mtws_create(&h.ws, &options);
    if (result == MTWS_OK) result = mtws_connect(h.ws, argv[1], NULL);
    if (result != MTWS_OK) fprintf(stderr, "threads: %s\n", mtws_result_text(result));

    for (; result == MTWS_OK && started < PRODUCERS; started++) {
        producer *p = &producers[started];
        p->to = &h;
        p->number = started;
        if (pthread_create(&p->thread, NULL, produce, p) != 0) break;
    }
    bool good = started == PRODUCERS && run(&h);
    pthread_mutex_lock(&h.mutex);
    h.closed = true;
    pthread_cond_broadcast(&h.room);
    pthread_mutex_unlock(&h.mutex);
    while (started > 0) pthread_join(producers[--started].thread, NULL);
    mtws_destroy(h.ws); /* when no thread is left that could wake it */
    return good ? 0 : 1;
}
