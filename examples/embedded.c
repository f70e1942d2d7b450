/* embedded: a sensor with little memory. All of the client lies in a static array whose size the
 * compiler knows, and malloc is not called.
 *
 *     cc -Os -o embedded embedded.c
 *     ./embedded ws://127.0.0.1:9001/ 10
 *
 * reports ten times a second, for ten seconds. Where the server is away for so long that the queue
 * fills, the oldest readings give way to new ones.
 */
#define MTWS_IMPLEMENTATION
#define MTWS_REQUEST_MAX 256 /* URL and headers; the manual names these limits under >>config */
#define MTWS_ANSWER_MAX 1024
#define MTWS_FIRST_MAX 64
#define MTWS_PART_MAX 64
#define MTWS_HANDLERS_MAX 1
#define MTWS_MESSAGE_ROOM 16   /* messages are this short, so the queue's index has to be long */
#define MTWS_MALLOC(size) NULL /* so that a use would be seen: there is none but mtws_create's */
#define MTWS_FREE(pointer) ((void)(pointer))
#include "../mtws.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { MESSAGE_SIZE = 256, QUEUE_SIZE = 512, EVERY_MS = 100 };

static unsigned char memory[MTWS_MEMORY_SIZE(MESSAGE_SIZE, QUEUE_SIZE)];

static uint64_t now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static mtws_result report(mtws_client *ws, unsigned number) {
    char text[32];
    snprintf(text, sizeof text, "reading %u", number);
    return mtws_send_text(ws, text);
}

int main(int argc, char **argv) {
    int seconds = argc > 2 ? atoi(argv[2]) : 10;
    if (argc < 2 || argc > 3 || seconds < 1) {
        fprintf(stderr, "usage: embedded URL [SECONDS]\n");
        return 2;
    }
    mtws_options options = {.max_reconnect_attempts = MTWS_UNLIMITED,
                            .max_reconnect_delay_ms = 5000,
                            .max_message_size = MESSAGE_SIZE,
                            .max_queue_size = QUEUE_SIZE,
                            .drop_oldest = true,
                            .network = MTWS_NETWORK_MANUAL}; /* saves a descriptor */
    printf("%zu bytes, of which these options use %zu\n", sizeof memory,
           mtws_memory_required(&options));
    mtws_client *ws;
    mtws_result result = mtws_create_in(&ws, &options, memory, sizeof memory);
    if (result == MTWS_OK) result = mtws_connect(ws, argv[1], NULL);

    unsigned sent = 0, refused = 0;
    uint64_t start = now_ms(), next = start;
    bool closing = false;
    for (int got = 0; result == MTWS_OK && got >= 0;) {
        uint64_t now = now_ms();
        if (!closing && now >= next) {
            next += EVERY_MS;
            result = report(ws, sent + 1);
            if (result == MTWS_OK) sent++;
            else if (result == MTWS_ERR_QUEUE_FULL) { /* of what is on the wire, unconfirmed */
                refused++;
                result = MTWS_OK;
            }
        }
        if (!closing && now - start >= (uint64_t)seconds * 1000)
            closing = mtws_disconnect(ws, 1000, NULL) == MTWS_OK; /* delivers what is queued */

        mtws_event event;
        got = mtws_poll(ws, &event, closing ? -1 : next > now ? (int32_t)(next - now) : 0);
        if (event.type == MTWS_EVENT_STATE)
            printf("%s %s\n", mtws_state_name(event.state), event.reason);
        fflush(stdout);
    }
    if (result != MTWS_OK) {
        fprintf(stderr, "embedded: %s\n", mtws_result_text(result));
        mtws_destroy(ws);
        return 1;
    }
    mtws_stats stats;
    mtws_get_stats(ws, &stats);
    unsigned dropped = (unsigned)stats.dropped, left = (unsigned)stats.queued_messages;
    printf("%u sent, %u delivered, %u dropped, %u left, %u refused\n", sent, sent - dropped - left,
           dropped, left, refused);
    mtws_destroy(ws);
    return left > 0;
}
