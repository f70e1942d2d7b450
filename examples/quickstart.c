/* Stays connected to a server for as long as it runs: greets it each time the connection opens, and
 * prints what it says.
 *
 *     cc -O2 -o quickstart quickstart.c && ./quickstart ws://127.0.0.1:9001/
 */
#define MTWS_IMPLEMENTATION
#include "../mtws.h"

#include <stdio.h>

int main(int argc, char **argv) {
    mtws_options options = {.max_reconnect_attempts = MTWS_UNLIMITED};
    mtws_client *ws;
    mtws_result result = mtws_create(&ws, &options);
    if (result == MTWS_OK)
        result = mtws_connect(ws, argc > 1 ? argv[1] : "ws://127.0.0.1:9001/", NULL);

    mtws_event event;
    while (result == MTWS_OK && mtws_poll(ws, &event, -1) >= 0) {
        if (event.type == MTWS_EVENT_STATE) {
            printf("%s %s\n", mtws_state_name(event.state),
                   *event.reason || !event.result ? event.reason : mtws_result_text(event.result));
            if (event.state == MTWS_STATE_CONNECTED) result = mtws_send_text(ws, "hello");
        } else if (event.type == MTWS_EVENT_MESSAGE) {
            printf("received %.*s\n", (int)event.size, (const char *)event.data);
        } else if (event.type == MTWS_EVENT_DROPPED) {
            printf("not delivered: %s\n", mtws_result_text(event.result));
        }
        fflush(stdout);
    }
    if (result != MTWS_OK) fprintf(stderr, "quickstart: %s\n", mtws_result_text(result));
    int status = result != MTWS_OK || mtws_get_state(ws) == MTWS_STATE_FAILED;
    mtws_destroy(ws);
    return status;
}
